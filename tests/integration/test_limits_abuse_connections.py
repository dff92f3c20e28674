"""Clients that are slow, large or many, on raw sockets; a good client is answered meanwhile."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from fakes.documents import resolved, validator
from fakes.media_port import answers
from fakes.vaults import KEY, RunningVault, running_vault, until
from mediavault.api.requests import LARGEST_BODY
from mediavault.domain.client_address import TrustedProxies
from mediavault.serving.api_protocol import ApiPatience
from mediavault.serving.doors import DoorConfig, Doors
from mediavault.serving.requests import LARGEST_HEAD_BYTES, LARGEST_TARGET_BYTES, MOST_HEADERS

ERROR = resolved({"$ref": "#/components/schemas/Error"})
HOST = b"Host: x\r\n"
AS_ME = HOST + b"apiKey: " + KEY.encode() + b"\r\n"
WHOAMI = b"GET /v2/account/whoami HTTP/1.1\r\n" + AS_ME
IMPORT = b"POST /v2/account/connections/import HTTP/1.1\r\n" + AS_ME
HASTY = ApiPatience(head_seconds=0.3, body_seconds=0.3, parting_seconds=0.2)


@pytest.fixture
async def hasty(tmp_path) -> AsyncIterator[RunningVault]:
    async with running_vault(tmp_path / "data", patience=HASTY) as vault:
        yield vault


async def opened(vault: RunningVault, url: str | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = (url or vault.api_url).removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def said(vault: RunningVault, *sent: bytes, url: str | None = None) -> bytes:
    """All that the server says until it closes; what it does not take any more is not sent."""
    reader, writer = await opened(vault, url)
    try:
        reading = asyncio.create_task(reader.read())
        with contextlib.suppress(ConnectionError):
            for part in sent:
                writer.write(part)
                await writer.drain()
        async with asyncio.timeout(20):
            return await reading
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def is_well(vault: RunningVault) -> bool:
    return (await vault.call("GET", "/v2/account/whoami")).status == 200


def check(raw: bytes, status: int, kind: str) -> None:
    """One answer of the contract's shape, and the end."""
    ((told, headers, body),) = answers(raw)
    assert told == status, raw[:300]
    problem = json.loads(body)
    validator(ERROR).validate(problem)
    assert problem["type"] == kind
    assert headers["x-request-id"] == problem["requestId"]
    assert headers["content-type"] == "application/json"
    assert headers["connection"] == "close"


async def test_who_connects_and_says_nothing_is_cut_off(hasty):
    assert await said(hasty) == b""


async def test_a_head_that_does_not_come_is_a_408(hasty):
    for raw in await asyncio.gather(*(said(hasty, begun) for begun in (b"G", b"GET / HTTP/1.1\r\n", WHOAMI + b"X: "))):
        check(raw, 408, "REQUEST_TIMEOUT")


async def test_a_head_that_dribbles_has_no_more_time_than_one_that_stops(hasty):
    reader, writer = await opened(hasty)

    async def dribble() -> None:
        writer.write(WHOAMI)
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"X-Slow: 1\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)

    dribbling = asyncio.create_task(dribble())
    async with asyncio.timeout(20):
        check(await reader.read(), 408, "REQUEST_TIMEOUT")
    dribbling.cancel()
    writer.close()


@pytest.mark.parametrize("begun", [b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"])
async def test_a_body_that_does_not_come_is_a_408_and_holds_nothing(hasty, begun):
    check(await said(hasty, IMPORT + begun), 408, "REQUEST_TIMEOUT")

    async def free() -> bool:
        return not len(hasty.vault.api._limits.key_seats)

    await until(free)


async def test_a_body_behind_an_answer_that_did_not_need_it_does_not_hold_the_connection(hasty):
    raw = await said(hasty, b"POST /nowhere HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\n{")
    assert answers(raw)[0][0] == 404


async def test_blank_lines_do_not_keep_a_connection_open(hasty):
    served = hasty.served.running._servers[0]
    reader, writer = await opened(hasty)
    writer.write(b"\r\n")
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()
    reader, writer = await opened(hasty)
    writer.write(WHOAMI + b"\r\n")
    await reader.readuntil(b"\r\n\r\n")
    (connection,) = [each for each in served.server_state.connections if each.cycle and each.cycle.response_complete]
    writer.write(b"\r\n")

    async def timed() -> bool:
        return connection._chunk_bytes == 2 and connection.timeout_keep_alive_task is not None

    await until(timed)
    writer.close()


async def test_slow_heads_by_the_hundred_do_not_keep_a_good_client_waiting(hasty):
    slow = [await opened(hasty) for _ in range(300)]
    for _, writer in slow:
        writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
    assert await is_well(hasty)
    connections = hasty.served.running._servers[0].server_state.connections

    async def rid() -> bool:
        return len(connections) <= 1  # the good client's

    await until(rid)
    for _, writer in slow:
        writer.close()


REFUSED = [
    (b"GET /" + b"x" * LARGEST_TARGET_BYTES + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "URI_TOO_LONG"),
    (WHOAMI + b"X: y\r\n" * MOST_HEADERS + b"\r\n", 431, "HEADERS_TOO_LARGE"),
    (WHOAMI + b"X: " + b"y" * (2 * LARGEST_HEAD_BYTES) + b"\r\n\r\n", 431, "HEADERS_TOO_LARGE"),
    (b"GET /" + b"x" * (20 * LARGEST_HEAD_BYTES), 431, "HEADERS_TOO_LARGE"),
    (WHOAMI + b"X: " + b"y" * (20 * LARGEST_HEAD_BYTES), 431, "HEADERS_TOO_LARGE"),
    (WHOAMI + b"x" * (20 * LARGEST_HEAD_BYTES), 431, "HEADERS_TOO_LARGE"),
    (b"\x16\x03\x01\x02\x00\x01\x00", 400, "BAD_REQUEST"),
    (b"GET / HTTP/9.9\r\n\r\n", 400, "BAD_REQUEST"),
    (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400, "BAD_REQUEST"),
    (WHOAMI + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, "BAD_REQUEST"),
    (IMPORT + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "BAD_REQUEST"),
    (WHOAMI + b"X\x00: y\r\n\r\n", 400, "BAD_REQUEST"),
]


async def test_a_head_that_no_client_needs_is_refused(vault):
    for head, status, kind in REFUSED:
        check(await said(vault, head), status, kind)
    assert await is_well(vault)


async def test_a_head_of_the_size_that_is_allowed_passes(vault):
    filling = b"".join(b"X-%d: %b\r\n" % (number, b"y" * 600) for number in range(90))
    answer = await said(vault, WHOAMI + filling + b"Connection: close\r\n\r\n")
    assert answers(answer)[0][0] == 200


async def test_what_follows_a_refused_request_is_not_answered(vault):
    check(await said(vault, b"nonsense\r\n\r\n" + WHOAMI + b"\r\n"), 400, "BAD_REQUEST")


async def test_an_answer_under_way_is_not_mixed_with_the_refusal_of_the_next_request(vault):
    raw = await said(vault, WHOAMI + b"\r\n" + b"nonsense\r\n\r\n")
    ((status, _, body),) = answers(raw)
    assert status == 200
    assert b'"permissions"' in body


async def test_many_requests_piped_in_are_all_answered_in_order(vault):
    heads = [WHOAMI + b"X-Request: %d\r\n\r\n" % number for number in range(60)]
    raw = await said(vault, b"".join(heads) + WHOAMI + b"Connection: close\r\n\r\n")
    assert [status for status, *_ in answers(raw)] == [200] * 61


async def test_a_body_is_cut_off_at_its_limit_whatever_was_announced(vault):
    piece = b"%x\r\n%b\r\n" % (65_536, b" " * 65_536)
    head = IMPORT + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw = await said(vault, head, *[piece] * (LARGEST_BODY // 65_536), b"1\r\n \r\n")
    assert answers(raw)[0][0] == 413
    raw = await said(vault, IMPORT + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % 10**15)
    assert answers(raw)[0][0] == 413
    assert await is_well(vault)


async def test_connections_over_those_an_address_may_have_are_closed_unread_on_both_ports(tmp_path):
    doors = DoorConfig(most_per_address=4)
    async with running_vault(tmp_path / "data", doors=doors) as vault:
        urls = [vault.api_url, vault.served.media_url]
        held = [await opened(vault, urls[number % 2]) for number in range(4)]

        async def refused() -> bool:
            return [await ended(vault, url) for url in urls] == [True, True]

        await until(refused)
        held[0][1].close()
        held[1][1].close()

        async def well() -> bool:
            with contextlib.suppress(OSError):
                return await is_well(vault)
            return False

        await until(well)
        for _, writer in held:
            writer.close()


async def test_a_flood_of_connections_leaves_those_that_are_open_alone(tmp_path):
    async with running_vault(tmp_path / "data", doors=DoorConfig(most_per_address=5)) as vault:
        assert await is_well(vault)  # on a connection that is kept
        held = [await opened(vault) for _ in range(4)]
        for _ in range(5):
            outcomes = await asyncio.gather(*(ended(vault, vault.api_url) for _ in range(40)))
            assert all(outcomes)
            assert await is_well(vault)
        for _, writer in held:
            writer.close()


async def ended(vault: RunningVault, url: str | None) -> bool:
    """Whether a new connection is closed before it says anything."""
    try:
        reader, writer = await opened(vault, url)
    except ConnectionError:
        return True
    try:
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(20):
            return await reader.read() == b""
    except ConnectionError:
        return True
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def test_doors_count_by_client_and_in_all():
    doors = Doors(DoorConfig(most=3, most_per_address=2))
    first = doors.enter("9.9.9.9")
    assert first == doors.enter("9.9.9.9") == "9.9.9.9"
    assert doors.enter("9.9.9.9") is None
    assert doors.enter("2001:db8::1") == "2001:db8::/64"
    assert doors.enter("8.8.8.8") is None
    doors.leave(first)
    assert doors.enter("8.8.8.8") == "8.8.8.8"
    assert len(doors) == 3


def test_a_trusted_proxy_may_have_as_many_as_there_may_be():
    doors = Doors(replace(DoorConfig(most=5, most_per_address=1), trusted=TrustedProxies.parse("10.0.0.0/8")))
    assert [doors.enter("10.0.0.1") for _ in range(6)] == [""] * 5 + [None]


def test_a_flood_is_told_once_in_a_while_and_counted_in_bounded_memory(capsys):
    now = [0.0]
    doors = Doors(DoorConfig(most=1), clock=lambda: now[0])
    doors.enter("9.9.9.9")
    for number in range(5_000):
        assert doors.enter(f"8.8.{number // 250}.{number % 250}") is None
    now[0] = 11.0
    doors.enter("8.8.8.8")
    lines: Any = [line for line in capsys.readouterr().out.splitlines() if "connections_refused" in line]
    assert len(lines) == 2
    assert "refused=1 " in lines[0] + " "
    assert "refused=5000 " in lines[1] + " "
