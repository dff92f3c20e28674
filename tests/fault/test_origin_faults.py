"""What an origin can do wrong, and what becomes of it for a viewer and for the storer: one table."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from fakes.raw_origin import Ending, closed_port, full_backlog, head, raw_origin
from fakes.variants import Seen, see, view
from fakes.vaults import RunningVault, running_vault, until
from mediavault.origin.addresses import AllowList
from mediavault.origin.client import ClientConfig
from mediavault.platform.faults import Fault
from mediavault.storer.store_variant import StoreConfig
from mediavault.storer.worker import WorkerConfig
from mediavault.vault.fills.filling import FillConfig

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIZE = 200_000
HALF, NEARLY_ALL = SIZE // 2, SIZE * 99 // 100

#: What a viewer may see: an error before the first byte; a connection that breaks, unless it is one; or everything.
ERROR, BROKEN, WHOLE = "error", "broken", "whole"
#: What a store may come to: done, given up until another URL is seen, or tried again until the origin heals.
STORED, GIVEN_UP, RETRIED = "stored", "given up", "retried"


@dataclass(frozen=True)
class Case:
    """A fault and what it must lead to."""

    name: str
    viewer: str
    store: str
    reason: str = ""  #: a part of what is remembered
    fault: dict[str, Any] = field(default_factory=dict)  #: of the sandbox; else
    raw: str = ""  #: the name of a stand-in to which the sandbox redirects


HTML = "<!doctype html><title>Log in</title>"
CASES = [
    Case("refuses the connection", ERROR, RETRIED, "cannot be reached", raw="closed port"),
    Case("stalls at connect", ERROR, RETRIED, "cannot be reached", raw="full backlog"),
    Case("stalls at the header", ERROR, RETRIED, "imeout", raw="silence"),
    Case("stalls at 0 %", ERROR, RETRIED, "broke off", fault={"stall_at": 0}),
    Case("stalls at 50 %", WHOLE, STORED, fault={"stall_at": HALF}),
    Case("stalls at 99 %", WHOLE, STORED, fault={"stall_at": NEARLY_ALL}),
    Case("dribbles", ERROR, RETRIED, "dribbles", fault={"bytes_per_second": 20}),
    Case("resets at once", ERROR, RETRIED, "cannot be reached", raw="reset at once"),
    Case("resets in the middle", BROKEN, RETRIED, "broke off", raw="reset in the middle"),
    Case("closes without a word", ERROR, RETRIED, "cannot be reached", raw="nothing"),
    Case("closes early", WHOLE, STORED, fault={"truncate_at": HALF}),
    Case("closes a byte early", WHOLE, STORED, fault={"truncate_at": SIZE - 1}),
    Case("sends more than it announced", WHOLE, STORED, raw="extra bytes"),
    Case("announces no length", WHOLE, STORED, fault={"omit_content_length": True}),
    Case("ends its body by closing", WHOLE, STORED, raw="until close"),
    Case("cuts a chunk", BROKEN, RETRIED, "broke off", raw="cut chunk"),
    Case("omits the last chunk", BROKEN, RETRIED, "broke off", raw="no last chunk"),
    Case("never ends", BROKEN, GIVEN_UP, "larger than", raw="endless"),
    Case("announces too much", ERROR, GIVEN_UP, "larger than", raw="too large"),
    Case("sends nothing as 200", ERROR, RETRIED, "empty", raw="empty"),
    Case("400", ERROR, GIVEN_UP, "(400)", fault={"status": 400}),
    Case("401", ERROR, GIVEN_UP, "(401)", fault={"status": 401}),
    Case("403, expired", ERROR, GIVEN_UP, "expired", fault={"status": 403}),
    Case("404", ERROR, GIVEN_UP, "(404)", fault={"status": 404}),
    Case("410", ERROR, GIVEN_UP, "(410)", fault={"status": 410}),
    Case("416 to a plain GET", ERROR, RETRIED, "416", fault={"status": 416}),
    Case("206 to a plain GET", ERROR, RETRIED, "206", fault={"status": 206}),
    Case("204", ERROR, RETRIED, fault={"status": 204}),
    Case("205 with a body", ERROR, RETRIED, "205", raw="205"),
    Case("304 with a body", ERROR, RETRIED, "cannot be reached", raw="304"),
    Case("101", ERROR, RETRIED, "101", raw="101"),
    Case("099", ERROR, RETRIED, "99", raw="099"),
    Case("600", ERROR, RETRIED, "600", raw="600"),
    Case("429 with an odd Retry-After", ERROR, RETRIED, "429", fault={"status": 429, "retry_after": "soon, -1"}),
    Case("500", ERROR, RETRIED, "500", fault={"status": 500}),
    Case("503 with a Retry-After of ages", ERROR, RETRIED, "503", fault={"status": 503, "retry_after": 10**12}),
    Case("HTML as 200", ERROR, GIVEN_UP, "text/html", fault={"body": HTML}),
    Case("HTML as a JPEG", ERROR, GIVEN_UP, "text/html", fault={"body": HTML, "content_type": "image/jpeg"}),
    Case("JSON as 200", ERROR, GIVEN_UP, "json", fault={"body": '{"error":1}', "content_type": "image/jpeg"}),
    Case("an excuse as 200", ERROR, GIVEN_UP, "text/plain", fault={"body": "Sorry!", "content_type": "text/plain"}),
    Case("redirects in a loop", ERROR, RETRIED, "redirected more than", raw="loop"),
    Case("redirects to a refused address", ERROR, GIVEN_UP, "[::1]", fault={"redirect": "http://[::1]:1/"}),
    Case("redirects to another scheme", ERROR, GIVEN_UP, "http", fault={"redirect": "file:///etc/passwd"}),
    Case("redirects nowhere", ERROR, RETRIED, "302", fault={"status": 302}),
    Case("gzip unasked", ERROR, GIVEN_UP, "encoded", fault={"headers": {"content-encoding": "gzip"}}),
    Case("lies about the type", WHOLE, STORED, fault={"content_type": "video/mp4"}),
    Case("sends no type at all", WHOLE, STORED, fault={"content_type": ""}),
    Case("206 of all to a plain GET", ERROR, RETRIED, "206", raw="206"),
    Case("304 unasked", ERROR, RETRIED, "304", fault={"status": 304}),
    Case("429 with a negative Retry-After", ERROR, RETRIED, "429", fault={"status": 429, "retry_after": "-5"}),
    Case("451", ERROR, GIVEN_UP, "(451)", fault={"status": 451}),
    Case("502", ERROR, RETRIED, "502", fault={"status": 502}),
    Case("504", ERROR, RETRIED, "504", fault={"status": 504}),
    Case("599", ERROR, RETRIED, "599", fault={"status": 599}),
    Case("redirects to a private address", ERROR, GIVEN_UP, "10.20.30.40", fault={"redirect": "http://10.20.30.40/"}),
    Case("redirects to one in disguise", ERROR, GIVEN_UP, "", fault={"redirect": "http://[::ffff:10.20.30.40]/"}),
    Case("speaks another protocol", ERROR, RETRIED, "cannot be reached", raw="no http"),
    Case("says two lengths", ERROR, RETRIED, "cannot be reached", raw="two lengths"),
    Case("says a length that is none", ERROR, RETRIED, "cannot be reached", raw="odd length"),
    Case("sends chunks of no size", BROKEN, RETRIED, "", raw="odd chunk"),
    Case("sends 10,000 headers", ERROR, RETRIED, "", fault={"headers": {f"x-{n}": "y" for n in range(10_000)}}),
]
TABLE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def connected(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[RunningVault, str]]:
    """One vault for the whole table: its cases are told apart by their media."""
    async with running_vault(
        tmp_path_factory.mktemp("origin") / "data",
        client=ClientConfig(
            allow=AllowList.parse("127.0.0.0/8"), connect_timeout_seconds=0.15, read_timeout_seconds=0.15
        ),
        fill=FillConfig(largest_object_bytes=4 << 20, patience_seconds=0.3, resume_delay_seconds=0.01),
        store=StoreConfig(first_delay_ms=50, longest_delay_ms=200, most_attempts=1000, free_floor_bytes=1 << 20),
        worker=WorkerConfig(look_every_seconds=0.03),
    ) as vault:
        yield vault, await vault.connect()


@contextlib.asynccontextmanager
async def spoilt(seen: Seen, case: Case) -> AsyncIterator[None]:
    """The origin misbehaves for this media item, and is well again afterwards."""
    async with contextlib.AsyncExitStack() as stack:
        fault = case.fault
        if case.raw == "loop":
            fault = {"redirect": f"/cdn/{seen.path}"}
        elif case.raw:
            fault = {"redirect": await _stand_in(stack, case.raw, seen)}
        armed = seen.vault.sandbox.faults.add(Fault(path=seen.path, **fault))
        yield
        armed.clear()


async def _stand_in(stack: contextlib.AsyncExitStack, name: str, seen: Seen) -> str:
    body = seen.media.renditions["full"].content.read(0, SIZE)
    jpeg = head(content_type="image/jpeg", content_length=SIZE)
    chunked = head(content_type="image/jpeg", transfer_encoding="chunked")
    chunk = b"%x\r\n%b\r\n"
    match name:
        case "closed port":
            return stack.enter_context(closed_port())
        case "full backlog":
            return stack.enter_context(full_backlog())
    answer, ending = {
        "silence": (b"", Ending.SILENCE),
        "reset at once": (b"", Ending.RESET),
        "reset in the middle": (jpeg + body[:HALF], Ending.RESET),
        "nothing": (b"", Ending.FIN),
        "extra bytes": (jpeg + body + b"and more", Ending.FIN),
        "until close": (head(content_type="image/jpeg", connection="close") + body, Ending.FIN),
        "cut chunk": (chunked + (chunk % (SIZE, body))[:HALF], Ending.FIN),
        "no last chunk": (chunked + chunk % (SIZE, body), Ending.FIN),
        "endless": (head(content_type="image/jpeg", connection="close") + body, Ending.ENDLESS),
        "too large": (head(content_type="image/jpeg", content_length=1 << 50) + body, Ending.FIN),
        "206": (
            head(
                "206 Partial Content",
                content_type="image/jpeg",
                content_length=SIZE,
                content_range=f"bytes 0-{SIZE - 1}/{SIZE}",
            )
            + body,
            Ending.FIN,
        ),
        **{
            status: (
                head(f"{status} Odd", content_type="image/jpeg", content_length=SIZE, connection="upgrade", upgrade="x")
                + body,
                Ending.FIN,
            )
            for status in ("205", "304", "101", "099", "600")
        },
        "no http": (b"220 mail.example ESMTP\r\n" + body, Ending.FIN),
        "two lengths": (jpeg[:-2] + b"content-length: 5\r\n\r\n" + body, Ending.FIN),
        "odd length": (head(content_type="image/jpeg", content_length="+1e5") + body, Ending.FIN),
        "odd chunk": (chunked + chunk % (HALF, body[:HALF]) + b"-7\r\n" + body[HALF:], Ending.FIN),
        "empty": (head(content_type="image/jpeg", content_length=0), Ending.FIN),
    }[name]
    return (await stack.enter_async_context(raw_origin(answer, ending))).url


@TABLE
async def test_a_viewer_never_takes_a_part_for_the_whole(connected, case):
    seen = await see(*connected, size_bytes=SIZE)
    async with spoilt(seen, case):
        got = await view(seen)
        if case.viewer == WHOLE:
            assert got == (200, seen.sha256)
            return
        await seen.until_idle()
        assert case.reason in ((await seen.row()).last_error or "")
        if case.viewer == BROKEN:
            assert got is None or got[0] == 502  # it may break before the viewer's first byte is on its way
            return  # a view has begun, so it is to be stored: the storer asks the origin again
        assert got is not None
        assert got[0] == 502
        before = seen.fetches
        assert {(await view(seen) or (0, ""))[0] for _ in range(50)} == {502}
        assert seen.fetches == before, "the origin was asked again while it cools down"
        answer = await seen.vault.ask("GET", seen.url)
        assert (answer.status, answer.headers["Cache-Control"]) == (502, "no-store")
        assert int(answer.headers["Retry-After"]) >= 1


@TABLE
async def test_a_store_ends_with_the_right_bytes_or_with_a_reason(connected, case):
    vault, connection = connected
    seen = await see(vault, connection, size_bytes=SIZE)
    async with spoilt(seen, case):
        assert (await vault.ask("POST", seen.url)).status == 202
        if case.store == GIVEN_UP:
            row = await until(lambda: _given_up(seen))
            assert case.reason in (row.last_error or "")
        elif case.store == RETRIED:
            row = await until(lambda: _tried_twice(seen))
            assert row.status in {"pending", "storing"}
            assert case.reason in (row.last_error or "")
    if case.store == GIVEN_UP:
        before = seen.fetches
        assert [(await view(seen) or [0])[0] for _ in range(5)] == [502] * 5
        assert (seen.fetches, (await seen.row()).status) == (before, "edge_only")
        return
    stored = await seen.until_status("stored")
    assert (stored.sha256, stored.size_bytes, stored.content_type) == (seen.sha256, SIZE, "image/jpeg")
    assert (stored.last_error, stored.attempts) == (None, 0)
    assert await view(seen) == (200, seen.sha256)


async def _given_up(seen: Seen) -> Any:
    row = await seen.row()
    return row if row.given_up else None


async def _tried_twice(seen: Seen) -> Any:
    row = await seen.row()
    return row if row.attempts >= 2 else None


async def test_a_change_during_the_download_is_no_mixture(connected):
    seen = await see(*connected, size_bytes=400_000)
    first = seen.sha256
    slow = seen.vault.sandbox.faults.add(Fault(path=seen.path, bytes_per_second=800_000))
    viewing = asyncio.create_task(view(seen))

    async def begun() -> bool:
        records = seen.vault.sandbox.log.records(seen.path)
        return bool(records) and records[0].bytes_sent > 50_000

    await until(begun)
    seen.vault.sandbox.change_media(seen.media.id, size_bytes=300_000, seed=9)
    assert await viewing == (200, first)
    slow.clear()
    assert await view(seen) == (200, first)


async def test_nothing_is_left_of_all_these_fills(connected):
    vault, _ = connected

    async def idle() -> bool:
        return not vault.vault.filling._running and not vault.vault.filling._leaders

    await until(idle)
    folder = vault.vault.config.data
    assert list((folder / "edge" / "staging").iterdir()) == []
    assert vault.vault.media.edge.statistics().reserved_bytes == 0
