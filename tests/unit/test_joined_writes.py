"""Joined writes: one turn of the loop, one write; nothing is lost, reordered or held for long."""

import asyncio
from typing import Any

from mediavault.serving.joined_writes import JoinedWrites


class Recorder(asyncio.Transport):
    """A transport that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Any] = []
        self.closing = False

    def write(self, data: Any) -> None:
        self.told.append(bytes(data))

    def write_eof(self) -> None:
        self.told.append("eof")

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True
        self.told.append("close")

    def abort(self) -> None:
        self.closing = True
        self.told.append("abort")


async def joined() -> tuple[JoinedWrites, Recorder]:
    recorder = Recorder()
    return JoinedWrites(recorder, asyncio.get_running_loop()), recorder


async def test_what_is_written_in_one_turn_is_one_write():
    transport, recorder = await joined()
    transport.write(b"head ")
    transport.write(b"body")
    assert recorder.told == []
    await asyncio.sleep(0)
    assert recorder.told == [b"head body"]
    transport.write(b"next")
    await asyncio.sleep(0)
    assert recorder.told == [b"head body", b"next"]


async def test_a_long_body_is_not_held():
    transport, recorder = await joined()
    for _ in range(10):
        transport.write(bytes(20_000))
    assert sum(map(len, recorder.told)) >= 140_000
    await asyncio.sleep(0)
    assert b"".join(recorder.told) == bytes(200_000)


async def test_closing_sends_what_is_held_first():
    transport, recorder = await joined()
    transport.write(b"last words")
    transport.close()
    await asyncio.sleep(0)
    assert recorder.told == [b"last words", "close"]


async def test_the_end_of_what_is_sent_comes_behind_it():
    transport, recorder = await joined()
    transport.write(b"last words")
    transport.write_eof()
    await asyncio.sleep(0)
    assert recorder.told == [b"last words", "eof"]


async def test_nothing_is_written_to_a_connection_that_was_broken_off():
    transport, recorder = await joined()
    transport.write(b"half an answer")
    transport.abort()
    await asyncio.sleep(0)
    assert recorder.told == ["abort"]
