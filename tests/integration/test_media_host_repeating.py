"""The same question asked again: the same answer, for as long as it is true, and not a moment longer."""

import asyncio
import contextlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fakes.catalog_rows import rows
from fakes.clocks import Clock
from fakes.vaults import RunningVault, running_vault, until
from mediavault.blobs.store import BlobFile
from mediavault.catalog.remembering import Remembered
from mediavault.domain.byte_ranges import Slice
from mediavault.domain.responding import Representation, decide
from mediavault.domain.times import SECOND
from mediavault.edge.copies import OpenCopy
from mediavault.errors import BlobCorrupt
from mediavault.serving.repeating import Repeating
from mediavault.serving.requests import Request
from mediavault.serving.responses import Body, Response, media_response
from mediavault.serving.sources import FileSource

SMALL, LARGE = 20_000, 300_000
#: What differs between two answers to one question.
OWN = {"x-request-id", "date"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def vault(tmp_path, clock):
    """A vault whose time stands still unless the test moves it."""
    async with running_vault(tmp_path / "data", now=clock) as running:
        yield running


async def stored(vault: RunningVault, size: int) -> tuple[Any, str, Path]:
    """A stored item that is read from its blob: the sandbox's, its URL, the blob's file."""
    media, item = await vault.add(await vault.connect(), size_bytes=size)
    url = item["media"]["full"]["url"]
    assert (await vault.ask("POST", url)).status == 202
    await vault.until_stored(vault.connections["aurora"], media.id)
    (blob,) = await rows(vault.vault.foundation.catalog, "blobs")
    vault.vault.media.edge.drop(blob["variant_id"])
    await vault.vault.counting.flush()
    return media, url, vault.vault.config.blobs / blob["org_id"] / blob["id"][-2:] / blob["id"]


async def told(vault: RunningVault, url: str, method: str = "GET", **headers: str) -> tuple[int, Any, Any]:
    answer = await vault.ask(method, url, **headers)
    problem = answer.json and {name: value for name, value in answer.json.items() if name != "requestId"}
    kept = {name: value for name, value in answer.headers.items() if name.lower() not in OWN}
    return answer.status, kept, problem or answer.body


def remembered(vault: RunningVault) -> int:
    return len(vault.vault.media.repeating)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_every_question_has_its_own_answer_however_often_and_in_whatever_order_it_is_asked(vault, size):
    media, url, _ = await stored(vault, size)
    etag = (await vault.ask("HEAD", url)).headers["ETag"]
    questions: list[dict[str, str]] = [
        {},
        {"method": "HEAD"},
        {"If_None_Match": etag},
        {"If_None_Match": '"other"'},
        {"If_Match": '"other"'},
        {"Range": "bytes=0-1"},
        {"Range": "bytes=2-9"},
        {"Range": "bytes=0-1,5-6"},
        {"Range": f"bytes={size}-"},
        {"Range": "bytes=2-9", "If_Range": '"other"'},
        {"Range": "bytes=2-9", "method": "HEAD"},
    ]
    first = [await told(vault, url, **question) for question in questions]
    assert [status for status, *_ in first[:5]] == [200, 200, 304, 200, 412]
    assert first[0][2] == media.renditions["full"].content.read(0, size)
    for _ in range(2):
        assert [await told(vault, url, **question) for question in reversed(questions)] == first[::-1]


async def test_a_repeated_view_is_a_view(vault):
    media, url, _ = await stored(vault, SMALL)
    connection = vault.connections["aurora"]
    before = (await vault.item(connection, media.id))["media"]["full"]["accessCount"]
    for headers in ({}, {}, {"Range": "bytes=0-"}, {"Range": "bytes=0-"}, {"Range": "bytes=5-"}, {"Range": "bytes=5-"}):
        await told(vault, url, **headers)
    await vault.vault.counting.flush()
    assert (await vault.item(connection, media.id))["media"]["full"]["accessCount"] == before + 4


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_what_is_removed_is_gone_for_the_very_next_request(vault, size):
    media, url, _ = await stored(vault, size)
    connection = vault.connections["aurora"]
    for _ in range(2):
        assert (await vault.ask("GET", url)).status == 200
    assert (await vault.call("DELETE", f"/v2/vault-plus/media/{media.id}", connection=connection)).status == 200
    for _ in range(2):
        assert (await vault.ask("GET", url)).status == 404


async def test_a_url_that_expires_or_whose_key_is_withdrawn_opens_nothing_any_more(vault, clock):
    _, url, _ = await stored(vault, SMALL)
    signer = vault.vault.media.signer
    expires_at = signer.verify(url.rpartition("/")[2], now=clock()).expires_at
    clock.now = expires_at - 1
    assert [(await vault.ask("HEAD", url)).status for _ in range(2)] == [200, 200]
    clock.now = expires_at
    assert (await vault.ask("HEAD", url)).status == 403
    clock.now = expires_at - 1
    signer.use({7: b"another key"}, 7)
    assert (await vault.ask("HEAD", url)).status == 403


async def test_the_time_that_it_may_be_kept_for_falls_with_every_second(vault, clock):
    _, url, _ = await stored(vault, SMALL)
    seen = []
    for _ in range(3):
        answers = [await vault.ask("HEAD", url) for _ in range(2)]
        seen.append({int(answer.headers["Cache-Control"].rpartition("=")[2]) for answer in answers})
        clock.now += SECOND
    assert seen == [seen[0], {seen[0].copy().pop() - 1}, {seen[0].copy().pop() - 2}]


async def test_a_file_that_is_spoiled_between_two_requests_is_met_within_a_second_and_fetched_again(vault):
    media, url, path = await stored(vault, LARGE)
    whole = media.renditions["full"].content.read(1, 200_001)
    assert (await vault.ask("GET", url, Range="bytes=1-200000")).body == whole
    assert remembered(vault)
    path.unlink()
    assert (await vault.ask("GET", url, Range="bytes=1-200000")).body == whole

    async def forgotten() -> bool:
        return not remembered(vault)

    await until(forgotten)
    assert (await vault.ask("GET", url, Range="bytes=1-200000")).body == whole
    assert path.name not in {variant["blob_id"] for variant in await rows(vault.vault.foundation.catalog, "variants")}


async def test_files_that_are_held_open_are_let_go_of(vault):
    _, url, path = await stored(vault, LARGE)
    for _ in range(3):
        assert (await vault.ask("GET", url, Range="bytes=1-200000")).status == 206
    assert held(path) == 1
    await vault.vault.counting.flush()
    vault.vault.media.counting.count("0" * 32)
    await vault.vault.counting.flush()
    assert (await vault.ask("GET", url, Range="bytes=1-299999")).status == 206
    assert held(path) == 1
    vault.vault.media.repeating.clear()
    assert held(path) == 0


async def test_readers_of_one_open_file_neither_end_each_other_nor_leave_it_open(vault):
    """Some read to the end, some leave in the middle, in one piece and in several; views are written meanwhile."""
    size = 6 << 20
    media, url, path = await stored(vault, size)
    whole = media.renditions["full"].content.read(0, size)
    several = f"bytes=0-{size // 2},{size // 2 + 10}-{size - 1}"

    async def stay(number: int) -> None:
        if number % 3 == 0:
            await vault.vault.counting.flush()
        part = await vault.ask("GET", url, Range="bytes=5-")
        assert (part.status, part.body == whole[5:]) == (206, True)

    async def leave(number: int) -> None:
        async with vault.http.get(url, headers={"Range": several if number % 2 else "bytes=5-"}) as answer:
            assert answer.status == 206
            assert await answer.content.readexactly(1000)
            answer.close()

    await asyncio.gather(*(act(number) for number in range(12) for act in (stay, leave)))
    vault.vault.media.repeating.clear()

    async def closed() -> bool:
        return held(path) == 0

    await until(closed)


def held(path: Path) -> int:
    """How many descriptors of this process are of that file."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += entry.readlink() == path
    return found


async def test_nothing_is_remembered_of_refusals_or_of_bytes_that_are_not_stored(vault):
    connection = await vault.connect()
    _, item = await vault.add(connection, size_bytes=SMALL)
    url = item["media"]["full"]["url"]
    for _ in range(2):
        assert (await vault.ask("GET", url, Range="bytes=1-2")).status == 206
        assert (await vault.ask("GET", url[:-2] + "AA")).status == 403
    assert remembered(vault) == 0


# The memory itself


def memory(commits: int | None = 0, **more: Any) -> tuple[Any, Remembered[int, bytes]]:
    catalog: Any = SimpleNamespace(commits=commits)
    return catalog, Remembered(catalog, **more)


def test_what_was_worked_out_over_a_commit_is_not_kept_and_a_commit_ends_it_all():
    catalog, remembered = memory()
    assert remembered.find(1) is None
    assert remembered.keep(0, 1, b"one", 3)
    assert (remembered.find(1), remembered.find(2)) == (b"one", None)
    catalog.commits = 1
    assert remembered.find(1) is None
    assert not remembered.keep(0, 1, b"one", 3)
    assert remembered.find(1) is None


def test_of_a_catalog_that_others_write_to_nothing_is_kept():
    _, remembered = memory(None)
    assert not remembered.keep(remembered.now, 1, b"one", 3)
    assert remembered.find(1) is None


def test_what_is_kept_is_bounded_and_all_that_goes_is_told():
    gone: list[bytes] = []
    catalog, remembered = memory(most=100, forget=gone.append)
    for number in range(250):
        assert remembered.keep(0, number, b"%d" % number, 1)
    assert len(remembered) <= 100
    assert remembered.find(249) == b"249"
    for number in range(1000, 1040):
        assert remembered.keep(0, number, b"%d" % number, 1 << 20)
    assert len(remembered) <= 16
    remembered.discard(1039)
    catalog.commits = 1
    assert remembered.keep(1, 7, b"7", 1)
    assert len(gone) == len(set(gone)) == 290
    assert not remembered.keep(1, 7, b"again", 1)
    assert remembered.find(7) == b"7"


async def test_questions_count_with_their_bytes_and_files_are_held_in_bounded_number(tmp_path):
    catalog: Any = SimpleNamespace(commits=0)
    repeating = Repeating(catalog)
    for number in range(1000):
        asked = Request("req", "GET", f"/v2/{number}", ((b"range", bytes(60_000)),))
        repeating.keep(0, asked, Response(200), seconds_left=9, viewed_id=None)
    assert len(repeating) <= (16 << 20) // 60_000
    path = tmp_path / "blob"
    path.write_bytes(bytes(9))
    for number in range(1000):
        file = FileSource(BlobFile(os.open(path, os.O_RDONLY), 9), Representation('"x"', 9, "image/jpeg"))
        response = Response(200, body=Body(file, ((b"", Slice(0, 9)),)))
        asked = Request("req", "GET", f"/v2/{number}/of-file")
        repeating.keep(0, asked, response, seconds_left=9, viewed_id=None)
        file.close()
    assert 0 < held(path) <= 64
    repeating.clear()
    assert held(path) == 0


def test_a_small_file_that_is_not_whole_is_an_error_and_not_a_body(tmp_path):
    path = tmp_path / "short"
    path.write_bytes(bytes(9))
    file = OpenCopy(os.open(path, os.O_RDONLY), 10, "", lambda: None)
    whole = Representation('"x"', 10, "image/jpeg")
    with pytest.raises(BlobCorrupt):
        media_response(FileSource(file, whole), decide("GET", (), whole), seconds_left=9, request=Request("req"))
    assert file.fd == -1
