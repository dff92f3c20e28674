"""The state of one fill, as its leader and its readers see it."""

import asyncio
import os
from pathlib import Path

import pytest

from mediavault.edge.cache import EdgeCache, EdgeConfig
from mediavault.edge.staging import Staging
from mediavault.errors import BlobUnavailable, OriginRefused, OriginUnavailable
from mediavault.vault.fills.config import FillConfig, Patience
from mediavault.vault.fills.fill import Fill, Filled, FillHead, Want
from mediavault.vault.fills.media_start import verified_content_type
from mediavault.vault.fills.stream import NEAR_BYTES, WINDOW_BYTES, Stream

HEAD = FillHead(6, "image/jpeg", None)
FILLED = Filled(6, "00", "11", "image/jpeg", "v1")


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    cache = EdgeCache.open(tmp_path, EdgeConfig(free_floor_bytes=0), lambda: 0)
    return cache.stage(6)


def _begun(staging: Staging, data: bytes = b"abc") -> Fill:
    fill = Fill("variant", "v1")
    fill.opened(staging)
    staging.append(data)
    fill.started(HEAD)
    fill.arrived(0, len(data))
    return fill


async def test_readers_get_what_is_there_and_wait_for_the_rest(staging):
    fill = _begun(staging)
    assert await fill.ready() == HEAD
    assert (await fill.available(1), fill.read(1, 2)) == (2, b"bc")
    waiting = asyncio.create_task(fill.available(3))
    await asyncio.sleep(0)
    assert not waiting.done()
    staging.append(b"def")
    fill.arrived(3, 6)
    assert await waiting == 3
    fill.completed(FILLED)
    assert (await fill.available(6), await fill.finished()) == (0, FILLED)
    fill.leader_left()


async def test_a_failure_reaches_everyone_who_waits_and_whoever_comes_later(staging):
    fill = _begun(staging)
    waits = [fill.available(3), fill.finished(), fill.adopted(_adopt)]
    waiting = [asyncio.create_task(wait) for wait in waits]
    await asyncio.sleep(0)
    fill.failed(OriginUnavailable("cut"))
    assert [str(error) for error in await asyncio.gather(*waiting, return_exceptions=True)] == ["cut"] * 3
    assert await fill.available(0) == 3  # what arrived was true
    for late in (fill.ready(), fill.available(3), fill.finished(), fill.adopted(_adopt)):
        with pytest.raises(OriginUnavailable, match="cut"):
            await late
    fill.leader_left()


async def _adopt(path: Path, filled: Filled) -> None:
    raise AssertionError("nothing is adopted")


async def test_what_was_completed_fails_no_reader_any_more(staging):
    fill = _begun(staging, b"abcdef")
    fill.completed(FILLED)
    fill.failed(BlobUnavailable("the edge cache"))
    assert await fill.ready() == HEAD
    assert (await fill.available(6), await fill.finished()) == (0, FILLED)
    assert not await fill.adopted(_adopt)
    fill.leader_left()


async def test_the_last_one_out_closes_the_file(staging):
    fill = _begun(staging)
    fill.join()
    fill.join()
    fill.leader_left()
    fill.leave()
    assert fill.read(0, 3) == b"abc"
    fd = staging.fd
    fill.leave()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)
    with pytest.raises(OriginUnavailable):
        fill.read(0, 3)


async def test_an_adopter_that_fails_is_told_and_the_others_still_adopt(staging):
    fill, adopted = _begun(staging, b"abcdef"), []

    async def good(path: Path, filled: Filled) -> None:
        adopted.append(filled)

    async def bad(path: Path, filled: Filled) -> None:
        raise BlobUnavailable("the disk")

    waiting = [asyncio.create_task(fill.adopted(adopt)) for adopt in (bad, good)]
    await asyncio.sleep(0)
    fill.completed(FILLED)
    assert not await fill.serve_adopters(staging.path, FILLED)
    first, second = await asyncio.gather(*waiting, return_exceptions=True)
    assert (isinstance(first, BlobUnavailable), second, adopted) == (True, True, [FILLED])
    fill.leader_left()


async def test_an_adopter_who_left_is_not_served(staging):
    fill = _begun(staging, b"abcdef")
    waiting = asyncio.create_task(fill.adopted(_adopt))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    fill.completed(FILLED)
    assert await fill.serve_adopters(staging.path, FILLED)
    fill.leader_left()


async def test_a_leader_cut_off_while_adopting_leaves_nobody_waiting(staging):
    fill, begun = _begun(staging, b"abcdef"), asyncio.Event()

    async def endless(path: Path, filled: Filled) -> None:
        begun.set()
        await asyncio.Event().wait()

    waiting = asyncio.create_task(fill.adopted(endless))
    await asyncio.sleep(0)
    fill.completed(FILLED)
    serving = asyncio.create_task(fill.serve_adopters(staging.path, FILLED))
    await begun.wait()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    fill.failed(OriginUnavailable("the vault is stopping"))
    with pytest.raises(OriginUnavailable, match="stopping"):
        await waiting
    fill.leader_left()


async def test_a_reader_who_waits_tells_what_it_wants_until_it_is_on_its_way(staging):
    fill = _begun(staging)
    waiting = asyncio.create_task(fill.available(5, 6))
    await asyncio.sleep(0)
    assert fill.wants() == [Want(5, 6)]
    assert fill.changed.is_set()
    fill.streams.append(Stream(3, 6))
    assert fill.wants() == []
    fill.streams.clear()
    fill.arrived(5, 6)
    assert fill.wants() == []  # it is there, though its reader has not run yet
    assert await waiting == 1
    fill.failed(OriginUnavailable("cut"))
    fill.leader_left()


async def test_those_who_wait_for_the_whole_are_handed_over(staging):
    fill, adopted = _begun(staging), []

    async def adopt(path: Path, filled: Filled) -> None:
        adopted.append(filled)

    waiting = asyncio.create_task(fill.adopted(adopt))
    await asyncio.sleep(0)
    successor = Fill("variant", "v2")
    fill.hand_over(successor)
    fill.failed(OriginUnavailable("changed"))
    fill.leader_left()
    assert await successor.serve_adopters(staging.path, FILLED)
    assert await waiting
    assert (adopted, successor.restarts) == ([FILLED], 1)


@pytest.mark.parametrize(
    ("told", "waited"),
    [(None, [0.2, 0.4]), ("7", [7, 7]), ("0", [0.2, 0.4]), ("soon", [0.2, 0.4]), ("999999999", [0.2, 0.4])],
)
async def test_an_origin_that_broke_off_is_given_the_time_it_asks_for(monkeypatch, told, waited):
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    stream = Stream(0, None)
    patience = Patience(FillConfig(), stream, lambda: 0)
    for _ in range(2):
        await patience.spend(OriginUnavailable(retry_after=told))
    assert waits == waited
    stream.position = 1 << 20  # getting on renews the patience, and not the origin's
    await patience.spend(OriginUnavailable(retry_after=told))
    assert waits[2:] == [0 if told != "7" else 7]


async def test_an_origin_that_asks_for_more_than_viewers_wait_is_not_resumed():
    told = OriginUnavailable(retry_after="31")
    with pytest.raises(OriginUnavailable) as given_up:
        await Patience(FillConfig(), Stream(0, None), lambda: 0).spend(told)
    assert given_up.value is told


def test_a_stream_is_waited_for_only_by_who_is_near_it():
    stream = Stream(1000, 10 * NEAR_BYTES)
    assert stream.reaches(1000)
    assert stream.reaches(1000 + NEAR_BYTES)
    assert not stream.reaches(1001 + NEAR_BYTES)
    assert not stream.reaches(999)
    stream.is_only_way = True
    assert stream.reaches(9 * NEAR_BYTES)


def test_a_stream_keeps_a_bounded_way_ahead_of_its_readers():
    stream = Stream(0, None)
    stream.position = WINDOW_BYTES
    assert stream.is_far_ahead
    stream.note(5)
    assert not stream.is_far_ahead
    assert stream.moved.is_set()
    stream.note(WINDOW_BYTES + 2 * NEAR_BYTES)  # somebody else's place
    assert stream.asked == 5


JPEG = b"\xff\xd8\xff\xe0"


@pytest.mark.parametrize(
    ("first", "declared", "served"),
    [
        (JPEG, "image/jpeg", "image/jpeg"),
        (JPEG, "video/mp4; codecs=x", "image/jpeg"),
        (JPEG, None, "image/jpeg"),
        (b"unknown", "video/mp4", "application/octet-stream"),
        (b"#EXTM3U text", "image/jpeg", "application/octet-stream"),
        (b"unknown", "audio/mpeg", "application/octet-stream"),
        (b"unknown", "video/x-flv", "video/x-flv"),  # shown by no browser, whatever it is
        (b"", "video/mp4", "video/mp4"),
        (b"\0\0\0\x18ftypXXXX", "video/mp4", "video/mp4"),
        (b"\0\0\0\x18ftypXXXX", "image/jpeg", "application/octet-stream"),
        (b"unknown", None, "application/octet-stream"),
        (b"unknown", "binary/octet-stream", "application/octet-stream"),
        (b"unknown", "image/j\u00e9g\r\n", "application/octet-stream"),
        (b"unknown", "x" * 5000, "application/octet-stream"),
    ],
)
def test_the_type_is_that_of_the_bytes(first, declared, served):
    assert verified_content_type(first, declared) == served


@pytest.mark.parametrize(
    ("first", "declared"),
    [
        (b"<!doctype html>", "image/jpeg"),
        (b'{"error":1}', "video/mp4"),
        (b"<svg xmlns='x'>", "image/svg+xml"),
        (b"%PDF-1.7", "image/png"),
        (b"Sorry!", "text/plain"),
        (b"Sorry!", "application/problem+json"),
        (b"garbage", "image/svg+xml"),
    ],
)
def test_what_is_no_media_is_refused(first, declared):
    with pytest.raises(OriginRefused):
        verified_content_type(first, declared)
