"""The main line with the bytes in a bucket of a real S3 server, and blobs on their way there and back."""

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest
from yarl import URL

from fakes import s3_server
from fakes.bodies import listed
from fakes.catalog_rows import broken_invariants, dump
from fakes.vaults import RunningVault, running_vault, until
from fakes.vaults import test_config as vault_config
from mediavault.blobs.disk import DiskBlobs
from mediavault.blobs.places import Place, StorageConfig, url_of
from mediavault.blobs.s3 import S3Blobs
from mediavault.blobs.store import BlobKey
from mediavault.cli import serving as vault_serving
from mediavault.errors import BlobUnavailable, ConfigError, InvalidRequest
from mediavault.storer.sweeps import SweepConfig
from mediavault.vault.integrity.moving import Turn

SWEPT_OFTEN = SweepConfig(every_seconds=0.1, undo_window_ms=0)


def storage(url: str, bucket: str, **more: Any) -> StorageConfig:
    return StorageConfig(s3_server.place_of(url, bucket, "vault"), credentials=s3_server.credentials_of(url), **more)


def blobs_in(url: str, bucket: str) -> S3Blobs:
    return S3Blobs(s3_server.place_of(url, bucket, "vault"), s3_server.credentials_of(url))


async def stored_photo(vault: RunningVault, connection: str, **media: Any) -> tuple[str, bytes]:
    """A stored photo: the URL it is served under, and its bytes."""
    photo, item = await vault.add(connection, type="photo", **media)
    body = (await vault.ask("GET", item["media"]["full"]["url"])).body
    full = (await vault.until_stored(connection, photo.id))["media"]["full"]
    return full["url"], body


async def bytes_of(vault: RunningVault, url: str) -> bytes:
    answer = await vault.ask("GET", url)
    assert answer.status == 200
    return answer.body


async def test_media_in_a_bucket_are_stored_served_in_ranges_removed_and_swept(
    tmp_path, database_url, s3_url, s3_bucket
):
    options = {"storage": storage(s3_url, s3_bucket), "sweep": SWEPT_OFTEN, "database_url": database_url}
    async with running_vault(tmp_path / "data", **options) as vault:
        connection = await vault.connect()
        photo, item = await vault.add(connection, type="photo", size_bytes=3_000_000)
        url = item["media"]["full"]["url"]
        body = (await vault.ask("GET", url)).body
        await vault.until_stored(connection, photo.id)
        assert not [path for path in (tmp_path / "data").glob("blobs/**/*") if path.is_file()]

        again = await vault.ask("GET", url)
        assert (again.status, again.body, again.headers["Content-Length"]) == (200, body, str(len(body)))
        part = await vault.ask("GET", url, range="bytes=1500000-1600000")
        assert (part.status, part.body) == (206, body[1_500_000:1_600_001])
        parts = await vault.ask("GET", url, range="bytes=0-9,2999990-")
        assert parts.status == 206
        assert body[:10] in parts.body
        assert body[-10:] in parts.body
        assert (await vault.ask("HEAD", url)).headers["Content-Length"] == str(len(body))
        assert (await vault.ask("GET", url, if_none_match=again.headers["ETag"])).status == 304

        blobs = blobs_in(s3_url, s3_bucket)
        assert len(await listed(blobs)) >= 1
        await vault.call("DELETE", f"/v2/vault-plus/media/{photo.id}", connection=connection)
        assert (await vault.ask("GET", url)).status == 404

        async def swept() -> bool:
            return not await listed(blobs)

        await until(swept)
        assert await broken_invariants(vault.vault.foundation.catalog) == []


async def moved(vault: RunningVault, to: Place) -> list[Turn]:
    """Turns until all is there, each cut as short as can be: after one group of blobs."""
    turns: list[Turn] = []
    after = ""
    while not turns or not turns[-1].done:
        turns.append(await vault.vault.moving.turn(url_of(to), after, 0.001))
        after = turns[-1].after
    return turns


async def test_blobs_move_to_a_bucket_and_back_while_they_are_served(tmp_path, database_url, s3_url, s3_bucket):
    folder, bucket = tmp_path / "data" / "blobs", s3_server.place_of(s3_url, s3_bucket, "vault")
    clock = Clock()
    options: dict[str, Any] = {"database_url": database_url, "sweep": SWEPT_OFTEN, "now": clock}
    disk, s3 = DiskBlobs(folder), blobs_in(s3_url, s3_bucket)
    async with running_vault(tmp_path / "data", **options) as vault:
        sandbox = vault.sandbox
        connection = await vault.connect()
        seen = dict([await stored_photo(vault, connection, size_bytes=50_000 + n) for n in range(6)])
    before = await listed(disk)
    async with running_vault(
        tmp_path / "data", sandbox=sandbox, **options, storage=storage(s3_url, s3_bucket, previous=folder)
    ) as vault:
        seen = {f"{vault.served.media_url}{url[url.index('/v2/') :]}": body for url, body in seen.items()}
        reading = asyncio.create_task(read_all_the_time(vault, seen))
        turns = await moved(vault, bucket)
        assert (turns[-1].left, [turn.failed for turn in turns]) == (0, [[]] * len(turns))
        assert sum(turn.moved for turn in turns) == len(before)
        assert len(await listed(s3)) == len(before)
        assert await listed(disk) == before  # for who had found them there
        clock.advance_ms(6 * 60_000)

        async def swept() -> bool:
            return not await listed(disk)

        await until(swept)
        assert not reading.done()  # it ends only by an answer that is not what it should be
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        for url, body in seen.items():
            assert await bytes_of(vault, url) == body
        assert await broken_invariants(vault.vault.foundation.catalog) == []
        assert (await moved(vault, bucket))[-1].moved == 0
        back = await moved(vault, folder)
        assert sum(turn.moved for turn in back) == len(before)
        for url, body in seen.items():
            assert await bytes_of(vault, url) == body
        assert await broken_invariants(vault.vault.foundation.catalog) == []
    assert len(await listed(disk)) == len(before)


@pytest.mark.parametrize("kind", ["photo", "video"])
async def test_viewers_may_be_sent_to_the_bucket(tmp_path, s3_url, s3_bucket, kind):
    config = storage(s3_url, s3_bucket, redirect=True)
    async with running_vault(tmp_path / "data", storage=config) as vault:
        connection = await vault.connect()
        media, item = await vault.add(connection, type=kind, size_bytes=90_000)
        first = await vault.ask("GET", item["media"]["full"]["url"])
        full = (await vault.until_stored(connection, media.id))["media"]["full"]
        sent = await vault.ask("GET", full["url"], range="bytes=10-19")
        assert (sent.status, sent.body, sent.headers["Cache-Control"]) == (307, b"", "no-store")
        there = await vault.ask("GET", cast(str, URL(sent.headers["Location"], encoded=True)), range="bytes=10-19")
        assert (there.status, there.body) == (206, first.body[10:20])
        assert there.headers["Content-Type"] == first.headers["Content-Type"]
        assert there.headers["Content-Disposition"] == first.headers["Content-Disposition"]
        assert s3_server.credentials_of(s3_url).secret_access_key not in sent.headers["Location"]
        good_for = int(parse_qs(urlsplit(sent.headers["Location"]).query)["X-Amz-Expires"][0])
        assert 0 < good_for <= 7200
        head = await vault.ask("HEAD", full["url"])
        assert (head.status, head.headers["Content-Length"]) == (200, "90000")
        assert (await vault.ask("GET", full["url"], if_none_match=head.headers["ETag"])).status == 304
        assert (await vault.ask("GET", full["url"], range="bytes=90000-")).status == 416


class Clock:
    """The wall's, and as much later as it was told."""

    def __init__(self) -> None:
        self._ahead_ms = 0

    def __call__(self) -> int:
        from mediavault.assembly import milliseconds

        return milliseconds() + self._ahead_ms

    def advance_ms(self, by: int) -> None:
        self._ahead_ms += by


async def read_all_the_time(vault: RunningVault, seen: dict[str, bytes]) -> None:
    while True:
        for url, body in seen.items():
            assert await bytes_of(vault, url) == body


async def test_a_place_the_vault_does_not_read_from_is_no_target(vault):
    with pytest.raises(InvalidRequest, match="does not read from"):
        await vault.vault.moving.turn("file:///elsewhere", "", 1)


async def test_a_damaged_blob_stays_where_it_is_and_keeps_none_of_the_others(tmp_path, s3_url, s3_bucket):
    folder, bucket = tmp_path / "data" / "blobs", s3_server.place_of(s3_url, s3_bucket, "vault")
    async with running_vault(tmp_path / "data", storage=storage(s3_url, s3_bucket, previous=folder)) as vault:
        connection = await vault.connect()
        seen = dict([await stored_photo(vault, connection, size_bytes=60_000 + n) for n in range(3)])
        await moved(vault, folder)
        victim = next(iter(await listed(DiskBlobs(folder))))
        spoil(folder, victim)
        turns = await moved(vault, bucket)
        assert turns[-1].left == 1
        assert [failed.partition(":")[0] for turn in turns for failed in turn.failed] == [victim.partition("/")[2]]
        rows = await dump(vault.vault.foundation.catalog)
        assert len([row for row in rows["blobs"] if row["state"] == "live" and row["place"] == url_of(bucket)]) >= 2
        assert len(seen) == 3
        assert await broken_invariants(vault.vault.foundation.catalog) == []


def spoil(folder: Path, key: BlobKey) -> None:
    organisation, _, blob_id = key.partition("/")
    path = folder / organisation / blob_id[-2:] / blob_id
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
    ("bucket", "credentials", "said"),
    [
        ("no-such-bucket", {}, "does not exist"),
        (None, None, "needs MEDIAVAULT_S3_ACCESS_KEY_ID"),
        (None, {"secret_access_key": "another-secret"}, "secret key is not the access key's"),
        (None, {"access_key_id": "nobody"}, "does not know the access key"),
    ],
)
async def test_what_can_never_work_refuses_to_start(tmp_path, s3_url, s3_bucket, bucket, credentials, said):
    right = s3_server.credentials_of(s3_url)
    given = None if credentials is None else replace(right, **credentials)
    wrong = StorageConfig(s3_server.place_of(s3_url, bucket or s3_bucket), credentials=given)
    with pytest.raises(ConfigError, match=said) as refused:
        await vault_serving.start(vault_config(tmp_path / "data", "http://127.0.0.1:9", storage=wrong))
    assert right.secret_access_key not in str(refused.value)
    assert "another-secret" not in repr(wrong) + str(refused.value)


async def test_a_service_that_does_not_answer_lets_the_vault_start_and_say_that_it_is_not_ready(tmp_path, s3_url):
    away = replace(s3_server.place_of(s3_url, "bucket"), endpoint="http://127.0.0.1:9")
    config = StorageConfig(away, credentials=s3_server.credentials_of(s3_url))
    async with running_vault(tmp_path / "data", storage=config) as vault:
        assert (await vault.ask("GET", f"{vault.api_url}/livez")).status == 200


async def test_an_unfinished_upload_is_swept_once_it_is_old(s3_url, s3_bucket):
    blobs = blobs_in(s3_url, s3_bucket)
    s3_server.asked(s3_url, "POST", f"{s3_bucket}/vault/org/abc", {"uploads": ""})
    assert len(await blobs.leftovers(0)) == 1
    assert await blobs.sweep_staging(3600) == 0
    assert await blobs.sweep_staging(-5) == 1
    assert await blobs.leftovers(-5) == []


@pytest.mark.parametrize(
    ("rule", "tidy"),
    [
        (None, False),
        ({"prefix": ""}, True),
        ({"prefix": "vault/"}, True),
        ({"prefix": "other/"}, False),
        ({"status": "Disabled"}, False),
    ],
)
async def test_the_rule_that_tidies_up_is_seen(s3_url, s3_bucket, rule, tidy):
    if rule is not None:
        s3_server.set_lifecycle(s3_url, s3_bucket, **rule)
    assert await blobs_in(s3_url, s3_bucket).bucket.aborts_unfinished_uploads() is tidy


async def test_a_missing_bucket_is_not_a_missing_blob(s3_url):
    gone = blobs_in(s3_url, "no-such-bucket")
    with pytest.raises(BlobUnavailable, match="does not exist"):
        await gone.measure(BlobKey("abc"))
    with pytest.raises(BlobUnavailable, match="does not exist"):
        await gone.delete(BlobKey("abc"))
    with pytest.raises(BlobUnavailable, match="does not exist"):
        await listed(gone)
    with pytest.raises(ConfigError, match="does not exist"):
        await gone.set_aside(BlobKey("abc"))
