"""Makes a thumbnail of stored bytes, and believes nothing that the process which does it says."""

import asyncio
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from mediavault.domain import media_type
from mediavault.domain.derivation import PICTURES, VIDEOS
from mediavault.domain.reasons import printable
from mediavault.errors import ThumbnailFailed, ThumbnailRefused

_CHILD = "mediavault.thumbnails.child"
_HEAD_BYTES = 4096
_READ_BYTES = 1 << 16
_OUTPUT_TYPES = frozenset({"image/jpeg", "image/webp"})
_SHORTENED = 200


@dataclass(frozen=True)
class ThumbnailConfig:
    """How thumbnails are made, and what making one may take."""

    edge_pixels: int = 480  #: the longer side; nothing is made larger than it was
    most_pixels: int = 80_000_000  #: of the original: told by its header, before anything is decoded
    memory_bytes: int = 1 << 30  #: address space of one process
    cpu_seconds: int = 20
    wall_seconds: float = 30  #: then the process and all it started are killed
    most_output_bytes: int = 1 << 20
    most_frame_bytes: int = 16 << 20  #: of a video's frame, on its way to becoming a thumbnail
    at_once: int = 1
    ffmpeg: str | None = None  #: the program's path; looked for where programs are unless given


class _Head(msgspec.Struct, rename="camel"):
    """The line a thumbnail process answers with."""

    refused: str | None = None
    content_type: str = ""
    width: int = 0
    height: int = 0


_head = msgspec.json.Decoder(_Head)


@dataclass(frozen=True)
class Thumbnail:
    """A finished picture."""

    data: bytes
    content_type: str
    width: int
    height: int


class ThumbnailMaker:
    """Starts one process a job, so many at once as the config says."""

    def __init__(self, config: ThumbnailConfig) -> None:
        self._config = config
        self._room = asyncio.Semaphore(config.at_once)
        self._has_pillow = importlib.util.find_spec("PIL") is not None
        self._ffmpeg = config.ffmpeg or shutil.which("ffmpeg")

    def lacking(self, content_type: str) -> str | None:
        """What this machine lacks for originals of that type, in words; None where a thumbnail can be made."""
        if content_type not in PICTURES | VIDEOS:
            return f"thumbnails are not made of {content_type}"
        if not self._has_pillow:
            return "Pillow is not installed here: install mediavault[thumbnails]"
        if content_type in VIDEOS and self._ffmpeg is None:
            return "ffmpeg is not installed here, and it is what takes a frame of a video"
        return None

    def makeable(self) -> frozenset[str]:
        """The types of originals that this machine can make thumbnails of."""
        return frozenset(each for each in PICTURES | VIDEOS if self.lacking(each) is None)

    async def make(self, source_fd: int, content_type: str) -> Thumbnail:
        """The thumbnail of the file that is open there. Raises ThumbnailRefused, ThumbnailFailed."""
        lacking = self.lacking(content_type)
        if lacking is not None:
            raise ThumbnailRefused(lacking)
        async with self._room:
            if content_type in PICTURES:
                return await self._shrink(source_fd)
            frame = await self._frame(source_fd, content_type)
            with tempfile.TemporaryFile() as file:
                file.write(frame)
                file.seek(0)
                return await self._shrink(file.fileno())

    async def _shrink(self, source_fd: int) -> Thumbnail:
        task = {"work": "shrink", "edge": self._config.edge_pixels}
        output = await self._run(task, source_fd, self._config.most_output_bytes + _HEAD_BYTES)
        line, newline, body = output.partition(b"\n")
        try:
            head = _head.decode(line)
        except msgspec.DecodeError:
            raise ThumbnailFailed("the thumbnail process answered nonsense") from None
        if head.refused is not None:
            raise ThumbnailRefused(f"no thumbnail can be made of it: {printable(head.refused[:_SHORTENED])}")
        edge = self._config.edge_pixels
        sound = newline and head.content_type in _OUTPUT_TYPES and media_type.sniff(body) == head.content_type
        if not sound or not (0 < head.width <= edge and 0 < head.height <= edge):
            raise ThumbnailFailed("the thumbnail process gave something other than a thumbnail")
        return Thumbnail(body, head.content_type, head.width, head.height)

    async def _frame(self, source_fd: int, content_type: str) -> bytes:
        task = {"work": "frame", "contentType": content_type, "program": self._ffmpeg, "edge": self._config.edge_pixels}
        frame = await self._run(task, source_fd, self._config.most_frame_bytes)
        if media_type.sniff(frame) != "image/png":
            raise ThumbnailRefused("no thumbnail can be made of it: there is no frame that ffmpeg can decode")
        return frame

    async def _run(self, task: dict[str, Any], source_fd: int, most_bytes: int) -> bytes:
        """What the process wrote. Raises ThumbnailFailed when it ended in any way but its own."""
        async with _process(self._told(task), source_fd) as process:
            try:
                async with asyncio.timeout(self._config.wall_seconds):
                    output = await _read(process, most_bytes)
                    ended = await process.wait()
            except TimeoutError:
                seconds = self._config.wall_seconds
                raise ThumbnailFailed(f"the thumbnail process was killed: {seconds:g} seconds were over") from None
        if ended < 0:
            name = signal.Signals(-ended).name if -ended in set(signal.Signals) else f"signal {-ended}"
            raise ThumbnailFailed(f"the thumbnail process was ended by {name}")
        if ended > 0 and task["work"] == "shrink":
            raise ThumbnailFailed(f"the thumbnail process failed with exit status {ended}")
        return output

    def _told(self, task: dict[str, Any]) -> str:
        limits = {
            "mostPixels": self._config.most_pixels,
            "memoryBytes": self._config.memory_bytes,
            "cpuSeconds": self._config.cpu_seconds,
            "wallSeconds": int(self._config.wall_seconds) + 5,
        }
        return json.dumps(task | limits)


@asynccontextmanager
async def _process(task: str, source_fd: int) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    """The process of a task, in a group and with an empty environment of its own; nothing of it is left behind."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-B", "-m", _CHILD, task),
        stdin=source_fd,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
        cwd="/",
        start_new_session=True,
        limit=_READ_BYTES,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            process.kill()
        await asyncio.shield(process.wait())


async def _read(process: asyncio.subprocess.Process, most_bytes: int) -> bytes:
    """All it writes. Raises ThumbnailFailed where that does not end within the cap."""
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    output = bytearray()
    while chunk := await process.stdout.read(_READ_BYTES):
        output += chunk
        if len(output) > most_bytes:
            raise ThumbnailFailed(f"the thumbnail process wrote more than {most_bytes} bytes")
    return bytes(output)
