"""Fresh URLs for expired ones, and bodies that go on where they broke off."""

import asyncio
import hashlib
import time
from typing import Any

import pytest

from fakes.variants import Seen, see, status, view
from fakes.vaults import AURORA, RunningVault, running_vault, until
from mediavault.errors import OriginExpired
from mediavault.platform.faults import Fault
from mediavault.platform.sandbox import Sandbox
from mediavault.storer.store_variant import StoreConfig
from mediavault.storer.worker import WorkerConfig
from mediavault.vault.fills.reminting import RemintConfig

SIZE = 600_000
HALF = SIZE // 2
LISTING = "/v2/access/vault/media"
NAMELESS = {"etag": "", "last-modified": ""}


def statuses(seen: Seen) -> list[int]:
    """How the origin answered, in order."""
    return [record.status for record in seen.vault.sandbox.log.records(seen.path)]


def ranges(seen: Seen) -> list[str | None]:
    return [record.range for record in seen.vault.sandbox.log.records(seen.path)]


def refreshes(vault: RunningVault) -> int:
    return len(vault.sandbox.log.records(LISTING))


async def seen_once(vault: RunningVault, **media: Any) -> Seen:
    """Media whose sight is no longer in the sandbox's log."""
    seen = await see(vault, await vault.connect(), **({"size_bytes": SIZE} | media))
    vault.sandbox.log.clear()
    return seen


def breaks_once(seen: Seen, at: int = HALF, **more: Any) -> None:
    """The next answer breaks off there; it takes its time, so that a test can act meanwhile."""
    seen.vault.sandbox.faults.add(Fault(path=seen.path, times=1, truncate_at=at, bytes_per_second=2 << 20, **more))


async def begun(seen: Seen) -> bool:
    records = seen.vault.sandbox.log.records(seen.path)
    return bool(records) and records[0].bytes_sent > 50_000


async def test_fifty_waiters_on_an_expired_url_cost_one_refresh_and_one_fetch(tmp_path, database_url):
    async with running_vault(tmp_path / "data", database_url=database_url) as vault:
        seen = await seen_once(vault)
        vault.sandbox.expire_urls()
        assert set(await asyncio.gather(*(view(seen) for _ in range(50)))) == {(200, seen.sha256)}
        assert (statuses(seen), refreshes(vault)) == ([403, 200], 1)
        await seen.until_status("stored")
        assert statuses(seen) == [403, 200]


@pytest.mark.parametrize("code", [401, 403, 404, 410])
async def test_a_refused_url_is_replaced_by_a_fresh_one(vault, code):
    seen = await seen_once(vault)
    vault.sandbox.faults.add(Fault(path=seen.path, status=code, times=1))
    vault.sandbox.expire_urls()
    assert await view(seen) == (200, seen.sha256)
    assert (statuses(seen), refreshes(vault)) == ([code, 200], 1)
    row = await seen.row()
    assert (row.last_error, row.not_before) == (None, 0)


async def test_a_url_past_its_own_expiry_is_not_even_dialled(tmp_path):
    sandbox = Sandbox(now=lambda: time.time() - 7200)
    async with running_vault(tmp_path / "data", sandbox=sandbox) as vault:
        seen = await seen_once(vault)
        sandbox.advance(7200)
        assert await view(seen) == (200, seen.sha256)
        assert (statuses(seen), refreshes(vault)) == ([200], 1)


async def test_where_clocks_differ_the_origin_decides(tmp_path):
    sandbox = Sandbox(now=lambda: time.time() - 7200)
    async with running_vault(tmp_path / "data", sandbox=sandbox) as vault:
        seen = await seen_once(vault)
        assert await view(seen) == (200, seen.sha256)  # the upstream shows what is past by our clock, and it works
        sandbox.expire_session(AURORA.username)
        other = await see_signed_out(vault, sandbox)
        assert await view(other) == (200, other.sha256)
        assert statuses(other) == [200]


async def see_signed_out(vault: RunningVault, sandbox: Sandbox) -> Seen:
    sandbox.restore_session(AURORA.username)
    seen = await seen_once(vault, seed=8)
    sandbox.expire_session(AURORA.username)
    return seen


async def test_an_expiry_in_the_middle_of_a_body_is_not_noticed(vault):
    seen = await seen_once(vault)
    breaks_once(seen)
    viewing = asyncio.create_task(view(seen))
    await until(lambda: begun(seen))
    vault.sandbox.expire_urls()
    assert await viewing == (200, seen.sha256)
    assert (statuses(seen), refreshes(vault)) == ([200, 403, 206], 1)
    assert ranges(seen)[2] == f"bytes={HALF}-{SIZE - 1}"
    assert (await seen.until_status("stored")).sha256 == seen.sha256


@pytest.mark.parametrize(
    "afterwards",
    [
        {},
        {"ignore_range": True},
        {"headers": {"content-range": "bytes 0-9/10"}},
        {"headers": NAMELESS},
        {"headers": {"etag": 'W/"weak"'}},
    ],
    ids=["ranges", "200 to a Range", "lying range", "a part without a name", "weakly named"],
)
@pytest.mark.parametrize("at_first", [{}, {"headers": NAMELESS}], ids=["named", "nameless"])
async def test_a_body_that_broke_off_goes_on_as_the_same_object(vault, at_first, afterwards):
    seen = await seen_once(vault)
    breaks_once(seen, **at_first)
    vault.sandbox.faults.add(Fault(path=seen.path, **afterwards))
    assert await view(seen) == (200, seen.sha256)
    assert (await seen.until_status("stored")).sha256 == seen.sha256


async def test_a_body_of_unknown_length_goes_on_too(vault):
    seen = await seen_once(vault)
    breaks_once(seen, omit_content_length=True)
    assert await view(seen) == (200, seen.sha256)
    assert statuses(seen) == [200, 206]


@pytest.mark.parametrize("named", [{}, {"headers": NAMELESS}], ids=["named", "nameless"])
@pytest.mark.parametrize("size", [SIZE, SIZE - 1000], ids=["as long", "shorter"])
async def test_an_object_that_changes_in_the_middle_cuts_the_viewer_and_is_stored_anew(vault, named, size):
    seen = await seen_once(vault)
    before = seen.sha256
    breaks_once(seen, **named)
    vault.sandbox.faults.add(Fault(path=seen.path, **named))
    viewing = asyncio.create_task(vault.ask("GET", seen.url))
    await vault.ask("POST", seen.url)
    await until(lambda: begun(seen))
    vault.sandbox.change_media(seen.media.id, size_bytes=size, seed=9)
    with pytest.raises(Exception, match=r"payload|closed|disconnect"):
        await viewing
    assert seen.sha256 != before
    row = await seen.until_status("stored")
    assert (row.sha256, row.size_bytes) == (seen.sha256, size)
    answer = await vault.ask("GET", seen.url)
    assert (hashlib.sha256(answer.body).hexdigest(), answer.headers["ETag"]) == (seen.sha256, f'"{row.version}"')


async def test_a_body_that_breaks_off_again_and_again_without_getting_on_is_given_up(vault):
    seen = await seen_once(vault)
    vault.sandbox.faults.add(Fault(path=seen.path, truncate_at=HALF, ignore_range=True))
    assert await view(seen) is None
    await seen.until_idle()
    assert 2 <= len(statuses(seen)) <= 12


async def test_a_resume_that_is_told_to_come_much_later_does_not_come_before(vault):
    seen = await seen_once(vault)
    breaks_once(seen)
    vault.sandbox.faults.add(Fault(path=seen.path, status=503, retry_after=600))
    assert await view(seen) is None
    await seen.until_idle()
    assert statuses(seen) == [200, 503]
    assert (await seen.row()).not_before > vault.vault.now() + 300_000
    assert await status(seen) == 502
    assert statuses(seen) == [200, 503]


async def test_one_refresh_serves_every_variant_that_the_answer_shows(vault):
    connection = await vault.connect()
    several = [await see(vault, connection, seed=n) for n in range(5)]  # each by an answer of one entry
    vault.sandbox.log.clear()
    vault.sandbox.expire_urls()
    for seen in several:
        assert await view(seen) == (200, seen.sha256)
    assert refreshes(vault) == 1 + 1, "the answer that showed the first, which shows another now, and a walk of a page"


async def test_media_that_moved_out_of_the_answer_are_found_by_a_walk(vault):
    connection = await vault.connect()
    seen = await see(vault, connection)  # shown by an answer of one entry
    for n in range(3):
        vault.sandbox.add_media(AURORA.username, type="photo", seed=n)
    vault.sandbox.expire_urls()
    assert await view(seen) == (200, seen.sha256)


async def test_a_walk_has_a_bound_and_is_not_repeated_at_every_view(tmp_path):
    async with running_vault(tmp_path / "data", remint=RemintConfig(most_walked=100)) as vault:
        connection = await vault.connect()
        several = [await see(vault, connection, seed=n) for n in range(3)]
        for n in range(120):
            vault.sandbox.add_media(AURORA.username, type="photo", seed=n)
        vault.sandbox.log.clear()
        vault.sandbox.expire_urls()
        for seen in several:
            assert await status(seen) == 502
            await seen.until_idle()
        assert "does not show" in ((await several[0].row()).last_error or "")
        assert refreshes(vault) == 1 + 1, "one replay, one page of a walk"


async def test_a_refresh_brings_back_nothing_that_was_removed(vault):
    connection = await vault.connect()
    kept, removed = await see(vault, connection, seed=1), await see(vault, connection, seed=2)
    await vault.see(connection)
    assert (await vault.call("DELETE", f"/v2/vault-plus/media/{removed.media.id}", connection=connection)).json[
        "success"
    ]
    vault.sandbox.expire_urls()
    assert await view(kept) == (200, kept.sha256)
    assert (await removed.row()).status == "removed"


async def test_without_a_session_a_store_stays_pending_with_the_reason(tmp_path):
    store = StoreConfig(first_delay_ms=100, longest_delay_ms=400, most_attempts=4, free_floor_bytes=1 << 20)
    worker = WorkerConfig(look_every_seconds=0.02)
    async with running_vault(tmp_path / "data", store=store, worker=worker) as vault:
        seen = await seen_once(vault)
        vault.sandbox.expire_urls()
        vault.sandbox.expire_session(AURORA.username)
        await vault.ask("POST", seen.url)

        async def tried() -> Any:
            row = await seen.row()
            return row if row.status == "pending" and row.attempts >= 2 else None

        row = await until(tried)
        assert "session" in row.last_error
        assert "403" in row.last_error
        assert refreshes(vault) == 1, "an expired session is not shown to the upstream again"

        async def given_up() -> bool:
            return (await seen.row()).given_up

        await until(given_up)
        assert len(statuses(seen)) <= store.most_attempts
        assert {await status(seen) for _ in range(20)} == {502}
        assert len(statuses(seen)) <= store.most_attempts
        connections = (await vault.call("GET", "/v2/account/connections")).json["list"]
        assert connections[0]["status"] == "expired"


async def test_media_gone_upstream_are_not_given_up_at_once(vault):
    seen = await seen_once(vault)
    vault.sandbox.remove_media(seen.media.id)
    await vault.ask("POST", seen.url)

    async def tried() -> Any:
        row = await seen.row()
        return row if row.attempts >= 2 else None

    row = await until(tried)
    assert row.status in {"pending", "storing"}
    assert "does not show the media any more" in (row.last_error or "")
    assert row.not_before > vault.vault.now()
    assert await status(seen) == 502


async def test_a_fresh_url_that_is_refused_too_means_that_the_media_are_gone(vault):
    seen = await seen_once(vault)
    vault.sandbox.faults.add(Fault(path=seen.path, status=404))
    vault.sandbox.expire_urls()
    await vault.ask("POST", seen.url)

    async def given_up() -> Any:
        row = await seen.row()
        return row if row.given_up else None

    assert "(404)" in (await until(given_up)).last_error
    assert statuses(seen) == [404, 404]


async def test_stopping_the_vault_ends_a_refresh_that_hangs(tmp_path):
    async with running_vault(tmp_path / "data") as vault:
        seen = await seen_once(vault)
        vault.sandbox.expire_urls()
        vault.sandbox.faults.add(Fault(path=LISTING, latency_ms=600_000))
        viewing = asyncio.create_task(status(seen))

        async def asked() -> bool:
            return refreshes(vault) == 1

        await until(asked)
        reminting = vault.vault.filling._reminting
        assert len(reminting._tasks) == 1
    assert await viewing in {502, 503, None}
    assert not reminting._tasks


async def test_a_viewer_who_leaves_during_a_refresh_does_not_end_it(vault):
    seen = await seen_once(vault)
    vault.sandbox.expire_urls()
    slow = vault.sandbox.faults.add(Fault(path=LISTING, latency_ms=300, times=1))
    leaving, staying = asyncio.create_task(view(seen)), asyncio.create_task(view(seen))

    async def asked():
        return slow.hits == 1

    await until(asked)
    leaving.cancel()
    assert await staying == (200, seen.sha256)
    assert refreshes(vault) == 1


async def test_an_unusable_upstream_answer_is_the_reason(vault):
    seen = await seen_once(vault)
    vault.sandbox.expire_urls()
    vault.sandbox.faults.add(Fault(path=LISTING, body="{", content_type="application/json"))
    assert await status(seen) == 502
    await seen.until_idle()
    assert "not JSON" in ((await seen.row()).last_error or "")
    with pytest.raises(OriginExpired, match="why"):
        await vault.vault.filling._reminting.fresh(await seen.row(), "why")


async def test_what_dies_first_is_stored_first_where_nothing_can_be_refreshed(tmp_path):
    sandbox = Sandbox(now=lambda: time.time() - 100_000)
    worker = WorkerConfig(stores_at_once=1, look_every_seconds=0.02)
    async with running_vault(tmp_path / "data", sandbox=sandbox, worker=worker) as vault:
        connection = await vault.connect()
        lives = [120_000, 30_000, 70_000]  # the sandbox may add a quarter of all its URLs' life: the order stays
        several = []
        for n, seconds in enumerate(lives):
            sandbox.url_lifetime_seconds = 100_000 + seconds
            several.append(await see(vault, connection, seed=n))
        sandbox.expire_session(AURORA.username)
        sandbox.log.clear()
        vault.vault.worker._config = WorkerConfig(stores_at_once=0)
        for seen in several:
            await vault.ask("POST", seen.url)
        vault.vault.worker._config = worker
        vault.vault.worker.wake()
        for seen in several:
            await seen.until_status("stored")
        order = [record.path.removeprefix("/cdn/") for record in sandbox.log.records("/cdn/")]
        assert order == [several[1].path, several[2].path, several[0].path]
