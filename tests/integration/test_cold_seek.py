"""Parts of cold media: what is asked for is fetched, joined in one file, and is of one version."""

import asyncio
import contextlib
import hashlib
import random
from typing import Any
from urllib.parse import urlsplit

import pytest

from fakes.variants import Seen, see, view
from fakes.vaults import RunningVault, running_vault, until
from mediavault.platform.faults import Fault
from mediavault.vault.fills.config import FillConfig

MIB = 1 << 20
GIB = 1 << 30
OPENING = FillConfig.opening_bytes
#: An origin that gives nothing by which two answers could be told to be of the same bytes.
NAMELESS = {"etag": "", "last-modified": ""}


@pytest.fixture
async def keeping_nothing(vault: RunningVault) -> RunningVault:
    """A vault whose policy stores nothing by itself."""
    settings = {"vaultPlus": {"defaultSettings": {"autoCacheVault": False}}}
    assert (await vault.call("PATCH", "/v2/account/settings", json=settings)).status == 200
    return vault


async def cold(vault: RunningVault, size: int, **fault: Any) -> Seen:
    """A video of that size that nobody has asked for, and whose origin misbehaves so."""
    seen = await see(vault, await vault.connect(), type="video", size_bytes=size)
    if fault:
        vault.sandbox.faults.add(Fault(path=seen.path, **fault))
    return seen


def content(seen: Seen, start: int, stop: int) -> bytes:
    return bytes(seen.media.renditions["full"].content.read(start, stop))


async def part(seen: Seen, asked: str, start: int, stop: int) -> str:
    """Ask for a range and check it to the byte; its ETag."""
    answer = await seen.vault.ask("GET", seen.url, range=asked)
    size = seen.media.renditions["full"].content.size
    assert (answer.status, answer.headers["Content-Range"]) == (206, f"bytes {start}-{stop - 1}/{size}")
    assert answer.body == content(seen, start, stop)
    return str(answer.headers["ETag"])


def asked(seen: Seen) -> list[str | None]:
    """The ranges that the origin was asked for."""
    return [record.range for record in seen.vault.sandbox.log.records(seen.path)]


def sent(seen: Seen) -> int:
    return sum(record.bytes_sent for record in seen.vault.sandbox.log.records(seen.path))


@contextlib.asynccontextmanager
async def playing(seen: Seen, asked_range: str) -> Any:
    """A viewer who has begun to read, and drops the connection at the end."""
    parts = urlsplit(seen.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(f"GET {parts.path} HTTP/1.1\r\nhost: x\r\nrange: {asked_range}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 206 " in head
    await reader.readexactly(100_000)
    try:
        yield reader
    finally:
        writer.transport.abort()


async def test_two_bytes_of_a_cold_gigabyte_cost_one_small_request(keeping_nothing):
    seen = await cold(keeping_nothing, GIB)
    await part(seen, "bytes=0-1", 0, 2)
    assert asked(seen) == [f"bytes=0-{OPENING - 1}"]
    assert (await seen.row()).status == "edge_only"


async def test_the_end_of_a_cold_gigabyte_is_there_at_once(keeping_nothing):
    seen = await cold(keeping_nothing, GIB)
    await part(seen, "bytes=-65536", GIB - 65536, GIB)
    assert asked(seen) == [f"bytes=0-{OPENING - 1}", f"bytes={GIB - 65536}-{GIB - 1}"]
    assert sent(seen) <= OPENING + 65536


async def test_a_head_of_a_cold_gigabyte_fetches_no_more_than_its_start(keeping_nothing):
    seen = await cold(keeping_nothing, GIB)
    answer = await seen.vault.ask("HEAD", seen.url)
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(GIB))
    assert asked(seen) == [f"bytes=0-{OPENING - 1}"]


async def test_a_seek_does_not_wait_for_a_fill_that_is_far_behind(vault):
    seen = await cold(vault, 64 * MIB, bytes_per_second=2 * MIB)
    whole = asyncio.create_task(view(seen))
    await until(lambda: _held(seen, 1))
    tag = await part(seen, f"bytes={48 * MIB}-{48 * MIB + 99}", 48 * MIB, 48 * MIB + 100)
    assert tag == await part(seen, "bytes=-65536", 64 * MIB - 65536, 64 * MIB)
    fill = vault.vault.filling.running((await seen.row()).id)
    assert fill.segments.frontier < 48 * MIB
    assert not whole.done()
    whole.cancel()


async def _held(seen: Seen, size: int) -> bool:
    fill = seen.vault.vault.filling.running((await seen.row()).id)
    return fill is not None and fill.segments.total_bytes >= size


async def test_a_seek_near_the_frontier_waits_for_it(vault):
    seen = await cold(vault, 4 * MIB, bytes_per_second=2 * MIB)
    whole = asyncio.create_task(view(seen))
    await until(lambda: _held(seen, 1))
    await part(seen, "bytes=600000-600099", 600_000, 600_100)
    assert await whole == (200, seen.sha256)
    assert asked(seen) == [None]


async def test_the_whole_is_put_together_from_its_parts_and_each_byte_is_fetched_once(keeping_nothing):
    size = 12 * MIB
    seen = await cold(keeping_nothing, size)
    tags = {
        await part(seen, "bytes=0-1", 0, 2),
        await part(seen, "bytes=-65536", size - 65536, size),
        await part(seen, f"bytes={6 * MIB}-{9 * MIB - 1}", 6 * MIB, 9 * MIB),
    }
    answer = await seen.vault.ask("GET", seen.url)
    assert hashlib.sha256(answer.body).hexdigest() == seen.sha256
    assert tags == {answer.headers["ETag"]}
    await seen.until_idle()
    copy = keeping_nothing.vault.media.edge.find((await seen.row()).id)
    assert (copy.sha256, copy.size_bytes) == (seen.sha256, size)
    assert sent(seen) == size


async def test_safari_asks_for_two_bytes_and_then_for_everything(keeping_nothing):
    size = 3 * MIB
    seen = await cold(keeping_nothing, size)
    tag = await part(seen, "bytes=0-1", 0, 2)
    assert tag == await part(seen, f"bytes=0-{size - 1}", 0, size)
    assert sent(seen) == size


async def test_chromium_begins_drops_it_and_asks_for_the_end(keeping_nothing):
    seen = await cold(keeping_nothing, GIB)
    async with playing(seen, "bytes=0-"):
        pass
    tag = await part(seen, f"bytes={GIB - 50_000}-", GIB - 50_000, GIB)
    async with playing(seen, f"bytes={GIB // 2}-"):
        pass
    assert tag == await part(seen, "bytes=0-99", 0, 100)
    row = await seen.row()
    fill = keeping_nothing.vault.filling.running(row.id)
    await until(lambda: _no_streams(fill), 30)
    assert fill.segments.total_bytes < 64 * MIB, "what nobody reads was fetched"


async def _no_streams(fill: Any) -> bool:
    return not fill.streams


async def test_a_part_is_fetched_whole_where_policy_stores_the_object(vault):
    seen = await cold(vault, 6 * MIB)
    tag = await part(seen, "bytes=0-1", 0, 2)
    row = await seen.until_status("stored")
    assert (row.sha256, f'"{row.version}"') == (seen.sha256, tag)


@pytest.mark.parametrize(
    "fault",
    [
        {"ignore_range": True},
        {"headers": {"content-range": "bytes 5-9/10"}},
        {"headers": {"content-range": "items 1-2/3"}},
        {"headers": NAMELESS},
        {"headers": {"etag": 'W/"weak"', "last-modified": ""}},
    ],
    ids=["no ranges", "lying range", "odd range", "nameless", "weakly named"],
)
async def test_an_origin_whose_parts_cannot_be_joined_is_read_from_its_start(keeping_nothing, fault):
    size = 3 * MIB
    seen = await cold(keeping_nothing, size, **fault)
    tag = await part(seen, "bytes=-1000", size - 1000, size)
    assert tag == await part(seen, "bytes=0-1", 0, 2)
    answer = await seen.vault.ask("GET", seen.url)
    assert (hashlib.sha256(answer.body).hexdigest(), answer.headers["ETag"]) == (seen.sha256, tag)


async def test_a_seek_into_an_object_that_changed_is_no_mixture(keeping_nothing):
    size = 8 * MIB
    seen = await cold(keeping_nothing, size)
    tag = await part(seen, "bytes=0-1", 0, 2)
    keeping_nothing.sandbox.change_media(seen.media.id, size_bytes=size, seed=5)
    assert await view(seen, range="bytes=-1000") is None
    assert tag != await part(seen, "bytes=-1000", size - 1000, size)
    assert await view(seen) == (200, seen.sha256)


async def test_an_origin_that_loses_its_names_gives_no_mixture(keeping_nothing):
    size = 8 * MIB
    seen = await cold(keeping_nothing, size)
    tag = await part(seen, "bytes=-1000", size - 1000, size)
    keeping_nothing.sandbox.change_media(
        seen.media.id, content=content(seen, 0, 4 * MIB) + bytes(4 * MIB), content_type="video/mp4"
    )
    keeping_nothing.sandbox.faults.add(Fault(path=seen.path, headers=NAMELESS, ignore_range=True))
    assert await view(seen) is None
    answer = await seen.vault.ask("GET", seen.url)
    assert hashlib.sha256(answer.body).hexdigest() == seen.sha256
    assert answer.headers["ETag"] != tag


async def test_no_more_answers_at_once_than_the_bound(keeping_nothing):
    seen = await cold(keeping_nothing, GIB, latency_ms=20)
    places = [n * 50 * MIB for n in range(1, 13)]
    await asyncio.gather(*(part(seen, f"bytes={at}-{at + 999}", at, at + 1000) for at in places))
    assert len(asked(seen)) == 13


@pytest.mark.parametrize("seed", range(3))
async def test_a_storm_of_parts_on_a_breaking_origin_is_right_to_the_byte(keeping_nothing, seed):
    size, dice = 10 * MIB, random.Random(seed)
    seen = await cold(keeping_nothing, size)
    for _ in range(6):
        keeping_nothing.sandbox.faults.add(Fault(path=seen.path, times=1, truncate_at=dice.randrange(1000, 3 * MIB)))
    starts = [dice.randrange(size) for _ in range(30)]
    pieces = [(start, min(size, start + dice.choice([1, 1000, 700_000, size]))) for start in starts]
    tags = await asyncio.gather(*(part(seen, f"bytes={start}-{stop - 1}", start, stop) for start, stop in pieces))
    answer = await seen.vault.ask("GET", seen.url)
    assert hashlib.sha256(answer.body).hexdigest() == seen.sha256
    assert {*tags} == {answer.headers["ETag"]}


async def test_parts_that_nobody_reads_any_more_are_given_up(tmp_path):
    fill = FillConfig(grace_seconds=0.05, rest_seconds=0.05)
    async with running_vault(tmp_path / "data", fill=fill) as vault:
        settings = {"vaultPlus": {"defaultSettings": {"autoCacheVault": False}}}
        await vault.call("PATCH", "/v2/account/settings", json=settings)
        seen = await cold(vault, GIB)
        first = await part(seen, "bytes=0-1", 0, 2)
        await seen.until_idle()
        staging = vault.vault.config.data / "edge" / "staging"

        async def gone() -> bool:
            return not list(staging.iterdir()) and vault.vault.media.edge.statistics().reserved_bytes == 0

        await until(gone)
        assert first != await part(seen, "bytes=0-1", 0, 2)  # other bytes may have come in between


async def test_a_part_that_is_kept_for_readers_to_come_holds_no_promise_of_space(keeping_nothing):
    seen = await cold(keeping_nothing, GIB)
    await part(seen, "bytes=0-1", 0, 2)
    edge = keeping_nothing.vault.media.edge

    async def released():
        return edge.statistics().reserved_bytes == 0

    await until(released)
    assert await _held(seen, OPENING)


async def test_only_so_many_idle_parts_are_kept(tmp_path):
    fill = FillConfig(most_idle_parts=2)
    async with running_vault(tmp_path / "data", fill=fill) as vault:
        settings = {"vaultPlus": {"defaultSettings": {"autoCacheVault": False}}}
        await vault.call("PATCH", "/v2/account/settings", json=settings)
        several = [await cold(vault, GIB) for _ in range(5)]
        for seen in several:
            await part(seen, "bytes=0-1", 0, 2)

        async def bounded() -> bool:
            return len(vault.vault.filling._running) <= 3

        await until(bounded)
        await part(several[-1], "bytes=2-3", 2, 4)
        assert len(asked(several[-1])) == 1
