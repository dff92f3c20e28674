"""What is passed through costs origins no more than what is kept: turns, rates, fresh URLs, cool-downs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fakes.variants import Seen, see, view
from fakes.vaults import AURORA, RunningVault, running_vault, until
from mediavault.edge.cache import EdgeConfig
from mediavault.platform.faults import Fault
from mediavault.vault.fills.turns import TurnConfig

SIZE = 200_000
#: So much is never free: nothing can be staged.
FULL = EdgeConfig(free_floor_bytes=1 << 60)
NARROW = TurnConfig(host_at_once=1, background_at_once=1, most_waiting=1)


@contextlib.asynccontextmanager
async def passing_through(data: Any, how: str, **options: Any) -> AsyncIterator[tuple[RunningVault, str]]:
    """A vault that keeps nothing: Vault+ is off for its connection, or its disk is full."""
    if how == "full":
        options["edge"] = FULL
    async with running_vault(data, **options) as vault:
        connection = await vault.connect()
        if how == "direct":
            path = f"/v2/account/connections/{connection}/settings"
            assert (await vault.call("PATCH", path, json={"vaultPlus": {"enabled": False}})).status == 200
        yield vault, connection


async def shown(vault: RunningVault, connection: str, how: str) -> Seen:
    """A new photo and its URL."""
    if how == "full":
        return await see(vault, connection, size_bytes=SIZE)
    added = vault.sandbox.add_media(AURORA.username, type="photo", size_bytes=SIZE)
    listing = await vault.see(connection, "/v2/access/vault/media?limit=1")
    (url,) = [each["files"]["full"]["url"] for each in listing["list"] if each["id"] == added.id]
    return Seen(vault, connection, added, url)


@pytest.mark.parametrize("how", ["direct", "full"])
async def test_relays_take_turns_and_give_them_back(tmp_path, how):
    async with passing_through(tmp_path / "data", how, turns=NARROW) as (vault, connection):
        seen = [await shown(vault, connection, how) for _ in range(3)]
        turns = vault.vault.media.revalidating._turns
        armed = vault.sandbox.faults.add(Fault(path=seen[0].path, stall_at=100_000))
        first = asyncio.create_task(view(seen[0]))
        await until(lambda: _sent(seen[0], 100_000))
        second = asyncio.create_task(view(seen[1]))

        async def waits() -> bool:
            return bool(turns.waiting(vault.platform_url)[0])

        await until(waits)
        refused = await vault.ask("GET", seen[2].url)
        assert (refused.status, refused.json["code"]) == (503, "ORIGIN_BUSY")
        assert int(refused.headers["Retry-After"]) >= 1
        assert (seen[1].fetches, seen[2].fetches) == (0, 0)
        armed.clear()
        assert [await first, await second] == [(200, seen[0].sha256), (200, seen[1].sha256)]
        assert await view(seen[2]) == (200, seen[2].sha256)


@pytest.mark.parametrize("how", ["direct", "full"])
async def test_a_viewer_who_leaves_a_relay_gives_its_turn_back(tmp_path, how):
    async with passing_through(tmp_path / "data", how, turns=NARROW) as (vault, connection):
        seen = [await shown(vault, connection, how) for _ in range(2)]
        vault.sandbox.faults.add(Fault(path=seen[0].path, stall_at=100_000))
        leaving = asyncio.create_task(view(seen[0]))
        await until(lambda: _sent(seen[0], 100_000))
        leaving.cancel()
        assert await view(seen[1]) == (200, seen[1].sha256)


async def _sent(seen: Seen, size_bytes: int) -> bool:
    """Whether the last answer is so far: with a full disk the first one only tells that there is no room."""
    return any(record.bytes_sent >= size_bytes for record in seen.vault.sandbox.log.records(seen.path)[-1:])


@pytest.mark.parametrize("how", ["direct", "full"])
async def test_relays_count_in_the_connections_rate(tmp_path, how):
    turns = TurnConfig(connection_bytes_per_second=SIZE)
    async with passing_through(tmp_path / "data", how, turns=turns) as (vault, connection):
        seen = await shown(vault, connection, how)
        began = asyncio.get_running_loop().time()
        assert await view(seen) == (200, seen.sha256)
        line = vault.vault.media.revalidating._turns.traffic._line(connection)
        assert line.next_at >= began  # all of it was counted: after a pause, a second's bytes pass at once


async def test_a_relayed_variant_gets_a_fresh_url(tmp_path):
    async with passing_through(tmp_path / "data", "full") as (vault, connection):
        seen = await shown(vault, connection, "full")
        old = await seen.row()
        vault.sandbox.expire_urls()
        assert await view(seen) == (200, seen.sha256)
        assert (await seen.row()).origin_key != old.origin_key


async def test_what_a_relay_is_refused_is_not_asked_for_again_at_every_view(tmp_path):
    async with passing_through(tmp_path / "data", "full") as (vault, connection):
        seen = await shown(vault, connection, "full")
        vault.sandbox.faults.add(Fault(path=seen.path, times=1))  # the fill learns that there is no room
        vault.sandbox.faults.add(Fault(path=seen.path, status=451))
        for _ in range(5):
            answer = await vault.ask("GET", seen.url)
            assert answer.status == 502
        assert seen.fetches == 2
        assert (await seen.row()).not_before > vault.vault.now()


async def test_what_a_relay_finds_to_be_no_media_is_not_asked_for_again_either(tmp_path):
    async with passing_through(tmp_path / "data", "full") as (vault, connection):
        seen = await shown(vault, connection, "full")
        vault.sandbox.faults.add(Fault(path=seen.path, times=1))
        vault.sandbox.faults.add(Fault(path=seen.path, status=200, body="<html><title>Log in</title></html>"))
        for _ in range(5):
            assert (await vault.ask("GET", seen.url)).status == 502
        assert seen.fetches == 2
