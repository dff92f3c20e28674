"""HTTP as it is on the wire: requests that no client would send, answers read byte by byte."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass
class RawAnswer:
    """An answer before anything interprets it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def raw(
    base_url: str,
    method: str,
    target: bytes | str,
    headers: list[tuple[bytes, bytes]] | None = None,
    body: bytes = b"",
    *,
    announced: int | None = None,
    chunked: bool = False,
    drop: bool = False,
) -> RawAnswer | None:
    """One request on a connection of its own. `drop` hangs up when all is sent, and there is no answer then."""
    parts = urlsplit(base_url)
    target = target.encode() if isinstance(target, str) else target
    lines = [b"%s %s HTTP/1.1" % (method.encode(), target), b"Host: test"]
    lines += [name + b": " + value for name, value in headers or []]
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in _pieces(body)) + b"0\r\n\r\n"
    elif body or announced is not None:
        lines.append(b"Content-Length: %d" % (len(body) if announced is None else announced))
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
        await writer.drain()
        reading = asyncio.create_task(_read(reader, method))
        await _send(writer, body)
        if drop:
            reading.cancel()
            return None
        answer = await reading
    finally:
        writer.close()
    return answer


async def _read(reader: asyncio.StreamReader, method: str) -> RawAnswer:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").rstrip().split("\r\n")
    pairs = (line.partition(":") for line in rest)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    length = 0 if method == "HEAD" else int(headers["content-length"])
    return RawAnswer(int(first.split()[1]), headers, await reader.readexactly(length))


async def _send(writer: asyncio.StreamWriter, body: bytes) -> None:
    """The server may answer and hang up before it has read all of it."""
    try:
        for piece in _pieces(body):
            writer.write(piece)
            await writer.drain()
    except (ConnectionResetError, BrokenPipeError):
        return


def _pieces(body: bytes) -> list[bytes]:
    return [body[start : start + 65_536] for start in range(0, len(body), 65_536)]
