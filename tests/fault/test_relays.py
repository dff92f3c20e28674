"""What is passed through costs origins no more than what is kept: turns, rates, fresh URLs, cool-downs."""

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from fakes import dialling
from fakes.raw_origin import Ending, head, raw_origin
from fakes.variants import BROKEN, Seen, see, view
from fakes.vaults import AURORA, RunningVault, running_vault, until
from mediavault.edge.cache import EdgeConfig
from mediavault.origin.addresses import AllowList
from mediavault.origin.client import ClientConfig
from mediavault.platform.faults import Fault
from mediavault.vault.fills.seats import RestConfig, Resting, Seat
from mediavault.vault.fills.turns import TurnConfig, Turns, Urgency

SIZE = 200_000
#: More than all buffers between an origin and a viewer hold.
LARGE = 24 << 20
#: So much is never free: nothing can be staged.
FULL = EdgeConfig(free_floor_bytes=1 << 60)
LOOPBACK = ClientConfig(allow=AllowList.parse("127.0.0.0/8"))
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


async def shown(vault: RunningVault, connection: str, how: str, size_bytes: int = SIZE) -> Seen:
    """A new photo and its URL."""
    if how == "full":
        return await see(vault, connection, size_bytes=size_bytes)
    added = vault.sandbox.add_media(AURORA.username, type="photo", size_bytes=size_bytes)
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


class Stalled:
    """A viewer who asks and then takes next to nothing."""

    async def begin(self, seen: Seen) -> "Stalled":
        parts = urlsplit(seen.url)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (parts.hostname, parts.port))
        self._reader, self._writer = await asyncio.open_connection(sock=sock, limit=1 << 16)
        self._writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        assert b" 200 " in await self._reader.readline()
        return self

    async def all_of_it(self) -> str:
        """Take the rest: its sha256."""
        await self._reader.readuntil(b"\r\n\r\n")
        digest = hashlib.sha256()
        with contextlib.suppress(ConnectionError):
            while chunk := await self._reader.read(1 << 16):
                digest.update(chunk)
        self._writer.close()
        return digest.hexdigest()


@pytest.mark.parametrize("how", ["direct", "full"])
async def test_a_viewer_who_takes_nothing_does_not_keep_the_turn_from_the_others(tmp_path, how):
    async with passing_through(tmp_path / "data", how, turns=NARROW) as (vault, connection):
        relaying = vault.vault.media.relaying
        relaying.resting.config = RestConfig(stalled_seconds=0.05)
        large = await shown(vault, connection, how, LARGE)
        others = [await shown(vault, connection, how) for _ in range(2)]
        stalled = await Stalled().begin(large)

        async def rests() -> bool:
            return bool(relaying.resting.count(vault.platform_url))

        await until(rests)
        for other in others:
            assert await view(other) == (200, other.sha256)
        assert await stalled.all_of_it() == large.sha256  # with a turn of its own again, and nothing is lost
        assert not await rests()
        assert await view(others[0]) == (200, others[0].sha256)
        turns = vault.vault.media.revalidating._turns
        assert all(host.idle for host in turns._hosts.values())


async def test_of_too_many_who_take_nothing_the_first_is_cut_off(tmp_path):
    async with passing_through(tmp_path / "data", "direct", turns=NARROW) as (vault, connection):
        relaying = vault.vault.media.relaying
        relaying.resting.config = RestConfig(stalled_seconds=0.05, most_resting=1)
        seen = [await shown(vault, connection, "direct", LARGE) for _ in range(2)]
        first = await Stalled().begin(seen[0])
        await until(lambda: _resting(vault))
        oldest = await _resting(vault)
        second = await Stalled().begin(seen[1])

        async def another_rests() -> bool:
            return await _resting(vault) not in (oldest, [])

        await until(another_rests)
        assert await first.all_of_it() != seen[0].sha256
        assert await second.all_of_it() == seen[1].sha256


async def _resting(vault: RunningVault) -> list[Any]:
    return [seat for seats in vault.vault.media.relaying.resting._by_host.values() for seat in seats]


@pytest.mark.parametrize("how", ["direct", "full"])
async def test_a_part_is_called_what_the_first_bytes_tell_and_not_what_the_origin_says(tmp_path, how):
    async with passing_through(tmp_path / "data", how) as (vault, connection):
        seen = await shown(vault, connection, how)
        vault.sandbox.faults.add(Fault(path=seen.path, content_type="video/mp4"))
        whole = await vault.ask("GET", seen.url)
        for asked in ("bytes=1000-1999", "bytes=-500", "bytes=0-99"):
            part = await vault.ask("GET", seen.url, Range=asked)
            assert part.status == 206
            for name in ("Content-Type", "Content-Disposition"):
                assert part.headers[name] == whole.headers[name]
        assert whole.headers["Content-Type"] == "image/jpeg"


async def test_a_part_is_never_asked_for_before_the_first_bytes_have_told_what_it_is(tmp_path):
    async with passing_through(tmp_path / "data", "direct", turns=NARROW) as (vault, connection):
        seen = await shown(vault, connection, "direct")
        vault.sandbox.faults.add(Fault(path=seen.path, content_type="text/html"))
        for asked in ("bytes=1000-1999", "bytes=2000-2999"):
            part = await vault.ask("GET", seen.url, Range=asked)
            content = seen.media.renditions["full"].content
            assert (part.status, part.body) == (206, content.read(int(asked[6:10]), int(asked[6:10]) + 1000))
            assert part.headers["Content-Type"] == "image/jpeg"
        assert seen.fetches == 3  # its first bytes, once, and the two parts
        page = await shown(vault, connection, "direct")
        vault.sandbox.faults.add(Fault(path=page.path, body="<html>" + "x" * 3_000, content_type="image/jpeg"))
        assert (await vault.ask("GET", page.url, Range="bytes=1000-1999")).status == 502


@pytest.mark.parametrize("status", ["101", "099", "600", "204", "205", "206", "304", "416"])
async def test_an_odd_status_is_502_and_nothing_of_it_is_handed_on(tmp_path, status):
    lines = head(f"{status} Odd", content_type="image/jpeg", content_length=9, connection="upgrade", upgrade="x")
    async with (
        passing_through(tmp_path / "data", "direct", client=LOOPBACK) as (vault, connection),
        raw_origin(lines + b"\xff\xd8\xffsecret", Ending.FIN) as odd,
    ):
        seen = await shown(vault, connection, "direct")
        vault.sandbox.faults.add(Fault(path=seen.path, redirect=odd.url))
        for asked in ({}, {"Range": "bytes=0-5"}, {"Range": "bytes=5-8"}, {"If-None-Match": '"x"'}):
            answer = await vault.ask("GET", seen.url, **asked)
            expected = {502}
            if (status, "Range" in asked) == ("416", True):
                expected = {416, 502}
            assert answer.status in expected, (asked, answer.body)
            assert b"secret" not in answer.body
        assert odd.hits > 0


CHUNKED = {"content_type": "image/jpeg", "transfer_encoding": "chunked", "etag": '"e"'}


@pytest.mark.parametrize(("told", "sent", "status"), [(9, 9, 206), (9, 10, None), (9, 8, None), (6, 9, 502)])
async def test_a_part_that_is_framed_by_chunks_is_held_to_its_length(tmp_path, told, sent, status):
    """`told` is the object's size as the origin says it: a part that reaches beyond that is none."""
    lines = head("206 Partial Content", content_range=f"bytes 0-8/{told}", **CHUNKED)
    body = b"\xff\xd8\xff\xe0 and so on"[:sent]
    async with (
        passing_through(tmp_path / "data", "direct", client=LOOPBACK) as (vault, connection),
        raw_origin(lines + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), Ending.FIN) as odd,
    ):
        seen = await shown(vault, connection, "direct")
        vault.sandbox.faults.add(Fault(path=seen.path, redirect=odd.url))
        try:
            answer = await vault.ask("GET", seen.url, Range="bytes=0-8")
        except BROKEN:
            assert status is None
            return
        assert answer.status == status
        if status == 206:
            assert (answer.body, answer.headers["Content-Length"]) == (body, "9")


async def test_an_answer_has_arrived_when_its_origin_has_sent_the_last_of_it():
    async with dialling.client("127.0.0.0/8") as client:
        for length, is_there in ((9, True), (10, False)):
            answer = head(content_length=length) + b"123456789"
            async with (
                raw_origin(answer, Ending.SILENCE) as origin,
                client.get(origin.url) as response,
                contextlib.aclosing(response.chunks()) as chunks,
            ):
                assert await anext(chunks) == b"123456789"
                assert response.arrived is is_there


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


@pytest.mark.parametrize("how", ["direct", "full"])
async def test_a_probe_of_two_bytes_is_called_what_the_object_is_and_teaches_nothing_else(tmp_path, how):
    """As Safari asks first: two bytes tell nothing by themselves."""
    async with passing_through(tmp_path / "data", how) as (vault, connection):
        seen = await shown(vault, connection, how)
        for asked in ("bytes=0-1", "bytes=1000-1999", "bytes=0-1"):
            part = await vault.ask("GET", seen.url, Range=asked)
            assert (part.status, part.headers["Content-Type"]) == (206, "image/jpeg")
            assert part.headers["Content-Disposition"].startswith("inline")


async def test_what_has_arrived_whole_needs_no_turn_again_for_its_viewer():
    """Nor does the next request of its connection have to wait for one."""
    turns, resting = Turns(TurnConfig(host_at_once=1)), Resting(RestConfig(stalled_seconds=1000))
    async with Seat(turns, resting, "http://cdn.test/a", "c1") as seat:
        seat.wait_for_viewer()
        seat._rest()  # as its timer does
        async with turns.turn("http://cdn.test/b", "c2", Urgency(urgent=True)), asyncio.timeout(5):
            await seat.go_on(is_over=True)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await seat.go_on(is_over=False)
    assert all(host.idle for host in turns._hosts.values())


async def test_a_viewer_who_leaves_while_its_turn_is_given_back_leaves_none_behind():
    """The client has taken all, its connection is lost and the timer fires, all in one turn of the loop."""
    turns, resting = Turns(TurnConfig(host_at_once=1)), Resting(RestConfig(stalled_seconds=1000))
    seats, begun, taken = list[Seat](), asyncio.Event(), asyncio.Event()

    async def view_once() -> None:
        async with Seat(turns, resting, "http://cdn.test/a", "c1") as seat:
            seat.wait_for_viewer()
            seats.append(seat)
            begun.set()
            await taken.wait()
            await seat.go_on(is_over=False)

    viewer = asyncio.create_task(view_once())
    async with asyncio.timeout(5):
        await begun.wait()
    taken.set()  # in the loop's next turn: the viewer goes on,
    asyncio.get_running_loop().call_soon(viewer.cancel)  # is gone,
    seats[0]._rest()  # and only then its turn is given back
    await asyncio.gather(viewer, return_exceptions=True)
    for _ in range(5):
        await asyncio.sleep(0)
    assert all(host.idle for host in turns._hosts.values())
    assert resting.count("http://cdn.test/a") == 0
