"""The media host's answers: the same for a cold object, one that is being filled, an edge copy and a stored one.

Stored ones lie on a local disk, or in a store that has no files here.
"""

import asyncio
import contextlib
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.blobs import MemoryBlobs
from fakes.variants import Seen, raw, see, view
from fakes.vaults import Answer, RunningVault, running_vault, until
from mediavault.blobs.store import blob_key
from mediavault.platform.faults import Fault
from mediavault.serving.responses import CONTENT_POLICY
from mediavault.storer.worker import WorkerConfig

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIZE = 150_000
STALL = 100_000
COLD, FILLING, EDGE, STORED, REMOTE = "cold", "filling", "edge", "stored", "stored elsewhere"
STATES = [COLD, FILLING, EDGE, STORED, REMOTE]
Slices = tuple[tuple[int, int], ...]
ALL: Slices = ((0, SIZE),)
OLD = "Sun, 06 Nov 1994 08:49:37 GMT"


@dataclass(frozen=True)
class Case:
    """A request, and the answer it must get in every state; `{etag}` and `{date}` stand for the object's own."""

    name: str
    status: int
    slices: Slices = ()
    is_view: bool = False
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def needs_validators(self) -> bool:
        return any("{" in value for value in self.headers.values())


def ranged(value: str, status: int, *slices: tuple[int, int], is_view: bool = False, **headers: str) -> Case:
    name = " ".join([value, *headers, *headers.values()])
    return Case(name, status, slices, is_view, headers={"Range": value} | headers)


CASES = [
    Case("GET", 200, ALL, is_view=True),
    Case("GET that would take gzip", 200, ALL, is_view=True, headers={"Accept-Encoding": "gzip, br, identity;q=0"}),
    Case("OPTIONS", 200, method="OPTIONS", headers={"Range": "bytes=0-8"}),
    Case("DELETE", 405, method="DELETE"),
    Case("PUT", 405, method="PUT"),
    Case("HEAD", 200, method="HEAD"),
    Case("HEAD with Range", 200, method="HEAD", headers={"Range": "bytes=0-8"}),
    ranged("bytes=0-8", 206, (0, 9), is_view=True),
    ranged("bytes=0-", 206, (0, SIZE), is_view=True),
    ranged("bytes=5-8", 206, (5, 9)),
    ranged("bytes=-10", 206, (SIZE - 10, SIZE)),
    ranged("bytes=-900000", 206, (0, SIZE), is_view=True),
    ranged(f"bytes={SIZE - 1}-", 206, (SIZE - 1, SIZE)),
    ranged(f"bytes={SIZE - 9}-900000", 206, (SIZE - 9, SIZE)),
    ranged(f"bytes={SIZE}-", 416),
    ranged("bytes=-0", 416),
    ranged("bytes=8-0", 200, *ALL, is_view=True),
    ranged("bytes=+0-8", 200, *ALL, is_view=True),
    ranged("items=0-8", 200, *ALL, is_view=True),
    ranged("bytes=0-8,100-108", 206, (0, 9), (100, 109), is_view=True),
    ranged(f"bytes=5-8,-5,{SIZE}-", 206, (5, 9), (SIZE - 5, SIZE)),
    Case("If-None-Match *", 304, is_view=True, headers={"If-None-Match": "*"}),
    Case("If-None-Match other", 200, ALL, is_view=True, headers={"If-None-Match": '"other"'}),
    Case("If-None-Match own", 304, is_view=True, headers={"If-None-Match": '"x", W/{etag}'}),
    Case("HEAD If-None-Match own", 304, method="HEAD", headers={"If-None-Match": "{etag}"}),
    Case("If-Modified-Since own", 304, is_view=True, headers={"If-Modified-Since": "{date}"}),
    Case("If-Modified-Since old", 200, ALL, is_view=True, headers={"If-Modified-Since": OLD}),
    Case("If-Match other", 412, headers={"If-Match": '"other"'}),
    Case("HEAD If-Match other", 412, method="HEAD", headers={"If-Match": '"other"'}),
    Case("If-Match *", 200, ALL, is_view=True, headers={"If-Match": "*"}),
    Case("If-Unmodified-Since old", 412, headers={"If-Unmodified-Since": OLD, "Range": "bytes=0-8"}),
    ranged("bytes=5-8", 206, (5, 9), If_Match="{etag}"),
    ranged("bytes=5-8", 206, (5, 9), If_Range="{etag}"),
    ranged("bytes=5-8", 200, *ALL, If_Range='"other"'),
    ranged("bytes=5-8", 200, *ALL, If_Range="W/{etag}"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vaults(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, tuple[RunningVault, str]]]:
    """One vault that stores, and one whose storer never claims: there, what is at the edge stays at the edge."""
    async with contextlib.AsyncExitStack() as stack:
        folder = tmp_path_factory.mktemp("host")
        lazy = WorkerConfig(stores_at_once=0)
        storing = await stack.enter_async_context(running_vault(folder / "storing"))
        serving = await stack.enter_async_context(running_vault(folder / "serving", worker=lazy))
        remote = await stack.enter_async_context(running_vault(folder / "remote"))
        _serve_from(remote, MemoryBlobs())
        pairs = [(each, await each.connect()) for each in (storing, remote, serving)]
        yield {STORED: pairs[0], REMOTE: pairs[1], **dict.fromkeys((COLD, FILLING, EDGE), pairs[2])}


def _serve_from(vault: RunningVault, blobs: MemoryBlobs) -> None:
    """Let its media port look for blobs there, before anything has been asked of it."""
    (media,) = [one for one in vault.served.running._servers if one.config.loaded_app is vault.vault.media]
    media.config.loaded_app = vault.vault.media = replace(vault.vault.media, blobs=blobs)


@contextlib.asynccontextmanager
async def in_state(vaults: dict[str, Any], state: str, *, then_asked: bool = True) -> AsyncIterator[Seen]:
    """A photo of SIZE bytes in that state; a filling one goes on when a second reader has come."""
    vault, connection = vaults[state]
    seen = await see(vault, connection, size_bytes=SIZE)
    if state == FILLING:
        armed = vault.sandbox.faults.add(Fault(path=seen.path, stall_at=STALL))
        tasks = [asyncio.create_task(view(seen))]
        await until(lambda: _has_begun(seen))
        if then_asked:
            tasks.append(asyncio.create_task(_go_on(seen, armed.clear)))
        yield seen
        armed.clear()
        await asyncio.gather(*tasks)
        return
    if state == EDGE:
        await view(seen)
        await seen.until_idle()
    if state in {STORED, REMOTE}:
        await vault.ask("POST", seen.url)
        row = await seen.until_status("stored")
        if state == REMOTE:
            await vault.vault.media.blobs.put(blob_key(row.org_id, str(row.blob_id)), _content(seen))
    yield seen


async def _content(seen: Seen) -> AsyncIterator[bytes]:
    yield seen.media.renditions["full"].content.read(0, SIZE)


async def _has_begun(seen: Seen) -> bool:
    fill = seen.vault.vault.filling.running((await seen.row()).id)
    return fill is not None and fill.head is not None and fill.readers == 1


async def _go_on(seen: Seen, clear: Any) -> None:
    """Let the origin go on once somebody reads beside the first viewer, or after the answer needed no reading."""
    variant_id = (await seen.row()).id
    while (fill := seen.vault.vault.filling.running(variant_id)) is not None:
        if fill.readers > 1:
            await asyncio.sleep(0.02)
            clear()
        await asyncio.sleep(0.002)


async def ask(seen: Seen, case: Case) -> Answer:
    values = {name.replace("_", "-"): value for name, value in case.headers.items()}
    if case.needs_validators:
        shown = (await seen.vault.ask("HEAD", seen.url)).headers
        values = {name: value.format(etag=shown["ETag"], date=shown["Last-Modified"]) for name, value in values.items()}
    return await seen.vault.ask(case.method, seen.url, **values)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_every_state_answers_alike(vaults, state, case):
    # What needs the validators is answered from the bytes that are there; the rest may wait for the fill to go on.
    async with in_state(vaults, state, then_asked=not case.needs_validators or case.slices == ALL) as seen:
        before = (await _counted(seen)).access_count
        answer = await ask(seen, case)
        assert answer.status == case.status
        _check_headers(answer, case, (await seen.row()))
        _check_body(answer, case, seen.media.renditions["full"].content.read(0, SIZE))
        assert (await _counted(seen)).access_count - before == case.is_view
    asks_nothing = state == COLD and case.method in {"OPTIONS", "DELETE", "PUT"}
    assert seen.fetches == (0 if asks_nothing else 1)


async def _counted(seen: Seen) -> Any:
    await seen.vault.vault.counting.flush()
    return await seen.row()


def _check_headers(answer: Answer, case: Case, row: Any) -> None:
    headers = answer.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == CONTENT_POLICY
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["X-Request-Id"].startswith("req_")
    assert "Content-Encoding" not in headers
    if case.status in {405, 412, 416} or case.method == "OPTIONS":
        assert headers["Cache-Control"] == "no-store"
        assert ("Allow" in headers) == (case.status == 405 or case.method == "OPTIONS")
        return
    assert headers["Cache-Control"].startswith("private, max-age=")
    assert headers["ETag"].startswith('"')
    assert abs(parsedate_to_datetime(headers["Last-Modified"]).timestamp() - row.origin_expires_at / 1000) < 86_400
    if case.status != 304:
        assert headers["Accept-Ranges"] == "bytes"
        assert headers["Content-Disposition"] == 'inline; filename="media.jpg"'
    if row.status == "stored" and case.status != 304:
        assert headers["Repr-Digest"] == f"sha-256=:{b64encode(bytes.fromhex(row.sha256)).decode()}:"


def _check_body(answer: Answer, case: Case, content: bytes) -> None:
    headers, body = answer.headers, answer.body
    if case.method == "HEAD" or case.status == 304:
        assert body == b""
        if case.status == 200:
            assert headers["Content-Length"] == str(SIZE)
    elif case.method == "OPTIONS":
        assert answer.json == {}
    elif case.status in {405, 412, 416}:
        assert answer.json["error"] == answer.json["message"]
        assert answer.json["requestId"] == headers["X-Request-Id"]
        assert case.status != 416 or headers["Content-Range"] == f"bytes */{SIZE}"
    elif len(case.slices) == 1:
        ((start, stop),) = case.slices
        assert body == content[start:stop]
        assert headers["Content-Type"] == "image/jpeg"
        assert headers.get("Content-Range") == (f"bytes {start}-{stop - 1}/{SIZE}" if case.status == 206 else None)
    else:
        boundary = headers["Content-Type"].removeprefix("multipart/byteranges; boundary=")
        parts = body.split(f"--{boundary}".encode())[1:-1]
        ranges = [f"Content-Range: bytes {start}-{stop - 1}/{SIZE}\r\n\r\n".encode() for start, stop in case.slices]
        assert [text in part for text, part in zip(ranges, parts, strict=True)] == [True] * len(ranges)
        assert [part.partition(b"\r\n\r\n")[2] for part in parts] == [
            content[start:stop] + b"\r\n" for start, stop in case.slices
        ]


async def test_the_validators_outlive_every_state(vaults):
    vault, connection = vaults[STORED]
    seen = await see(vault, connection, size_bytes=SIZE)
    armed = vault.sandbox.faults.add(Fault(path=seen.path, stall_at=STALL))
    while_filling = (await vault.ask("HEAD", seen.url)).headers
    etag = while_filling["ETag"]
    same = [await vault.ask("GET", seen.url, **{"If-None-Match": etag}) for _ in range(2)]
    part = await vault.ask("GET", seen.url, **{"If-Range": etag, "Range": "bytes=5-8"})
    assert ([answer.status for answer in same], part.status, len(part.body)) == ([304, 304], 206, 4)
    armed.clear()
    await seen.until_idle()
    at_the_edge = (await vault.ask("HEAD", seen.url)).headers
    await vault.ask("POST", seen.url)
    await seen.until_status("stored")
    stored = (await vault.ask("HEAD", seen.url)).headers
    shown = [(headers["ETag"], headers["Last-Modified"]) for headers in (while_filling, at_the_edge, stored)]
    assert shown == [shown[0]] * 3
    assert at_the_edge["Repr-Digest"] == stored["Repr-Digest"]
    assert seen.fetches == 1


CLOSE = b"GET {path} HTTP/1.1\r\nhost: x\r\nrange: bytes=0-8\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("request_line", "extra"),
    [
        ("GET {path}", ""),
        ("HEAD {path}", ""),
        ("GET {path}", "range: bytes=0-8\r\n"),
        ("GET {path}", "range: bytes=0-8,100-108\r\n"),
        ("GET {path}", "range: bytes=-0\r\n"),
        ("GET {path}", "if-none-match: *\r\n"),
        ("HEAD {path}", "if-match: x\r\n"),
        ("GET {path}", "if-match: x\r\n"),
        ("GET {path}", "content-length: 5\r\n\r\nextra"),
        ("OPTIONS {path}", ""),
        ("DELETE {path}", ""),
        ("POST {path}", "content-length: 0\r\n"),
        ("GET {path}x", ""),
        ("HEAD {path}x", ""),
        ("GET /elsewhere", ""),
    ],
)
async def test_a_connection_is_in_order_after_every_answer(vaults, state, request_line, extra):
    async with in_state(vaults, state) as seen:
        ending = "" if extra.endswith("extra") else "\r\n"
        first = f"{request_line} HTTP/1.1\r\nhost: x\r\n{extra}{ending}".encode()
        said = await raw(seen.url, first, CLOSE)
        content = seen.media.renditions["full"].content.read(0, SIZE)
        assert said.endswith(b"\r\n\r\n" + content[:9])
        assert said.count(b"HTTP/1.1 ") == 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def at_rest(vaults: dict[str, Any]) -> AsyncIterator[list[Seen]]:
    """The same media at the edge, stored here, and stored elsewhere."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(in_state(vaults, state)) for state in (EDGE, STORED, REMOTE)]


_NUMBER = st.integers(0, SIZE + 10).map(str)
_SPEC = st.one_of(
    _NUMBER.map("-{}".format), st.tuples(_NUMBER, st.just("") | _NUMBER).map("-".join), st.text("0-,x", max_size=4)
)


@settings(max_examples=40, deadline=None)
@given(specs=st.lists(_SPEC, min_size=1, max_size=5))
async def test_any_range_is_answered_alike_and_with_its_bytes(at_rest, specs):
    header = "bytes=" + ",".join(specs)
    given = []
    for seen in at_rest:
        answer = await seen.vault.ask("GET", seen.url, Range=header)
        content = seen.media.renditions["full"].content.read(0, SIZE)
        shown = answer.headers.get("Content-Range", "")
        if answer.status == 206 and shown:
            start, stop = map(int, shown.removeprefix("bytes ").partition("/")[0].split("-"))
            assert answer.body == content[start : stop + 1]
        if answer.status == 200:
            assert answer.body == content
        given.append((answer.status, shown, len(answer.body)))
    assert given == [given[0]] * 3
    assert given[0][0] in {200, 206, 416}
