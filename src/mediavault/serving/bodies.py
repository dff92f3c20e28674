"""Sending a body: slices of a source, one after the other, each byte of it or a broken connection."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from mediavault.domain.byte_ranges import Slice
from mediavault.errors import BlobCorrupt, OriginUnavailable
from mediavault.serving.outlet import TURN_BYTES, Outlet
from mediavault.serving.responses import UNKNOWN_END, Body
from mediavault.serving.sources import Local, Streamed

_LAST_CHUNK = b"0\r\n\r\n"


async def send_body(outlet: Outlet, head: bytes, body: Body, *, chunked: bool) -> None:
    """Send a head and its body. Raises Left, and VaultError where the source cannot give what the head promised."""
    source = body.source
    try:
        outlet.send_now(head)
        for opening, piece in body.slices:
            if opening:
                outlet.send_now(opening)
            if isinstance(source, Streamed):
                await _send_chunks(outlet, source.chunks(piece), piece, chunked=chunked)
            else:
                await send_run(outlet, source, piece, chunked=chunked)
        if chunked or body.closing:
            outlet.send_now(_LAST_CHUNK if chunked else body.closing)
    finally:
        await let_go(source)


async def let_go(source: Local | Streamed) -> None:
    """Close a source, of whatever kind."""
    if isinstance(source, Streamed):
        await source.aclose()
    else:
        source.close()


async def send_run(outlet: Outlet, source: Local, piece: Slice, *, chunked: bool = False) -> None:
    """Send a slice of a file, as it grows. Raises Left, VaultError."""
    position = piece.start
    until = piece.stop if piece.stop < UNKNOWN_END else None
    while position < piece.stop:
        available = await source.available(position, until)
        if available <= 0:
            _check_end(piece, position)
            return
        length = min(available, piece.stop - position)
        if chunked:
            length = min(length, TURN_BYTES)
            outlet.send_now(b"%x\r\n" % length)
        await outlet.send_file(source.fd, position, length)
        if chunked:
            outlet.send_now(b"\r\n")
        position += length


async def _send_chunks(outlet: Outlet, chunks: AsyncGenerator[bytes, None], piece: Slice, *, chunked: bool) -> None:
    position = piece.start
    async with aclosing(chunks):
        async for chunk in chunks:
            position += len(chunk)
            if position > piece.stop:
                raise OriginUnavailable("more bytes came than were announced")
            if chunk:
                await outlet.send(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
    _check_end(piece, position)


def _check_end(piece: Slice, position: int) -> None:
    """A source may end early only where nobody knew its end."""
    if position < piece.stop < UNKNOWN_END:
        raise BlobCorrupt(f"a source ended {piece.stop - position} bytes before its size")
