"""The thumbnail process: what it makes of pictures, and what hostile bytes make of it."""

import asyncio
import contextlib
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from mediavault.domain import media_type
from mediavault.errors import ThumbnailFailed, ThumbnailRefused
from mediavault.thumbnails.making import Thumbnail, ThumbnailConfig, ThumbnailMaker

FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "AVIF"]


def picture(format_name: str = "JPEG", size: tuple[int, int] = (900, 600), mode: str = "RGB", **saved) -> bytes:
    """A picture with a red left and a blue right half."""
    image = Image.new(mode, size, "red")
    image.paste("blue", (size[0] // 2, 0, *size))
    out = io.BytesIO()
    image.save(out, format_name, **saved)
    return out.getvalue()


async def make(data: bytes, content_type: str | None = None, **changes) -> Thumbnail:
    """The thumbnail of some bytes; the type is what they look like unless told."""
    with opened(data) as fd:
        maker = ThumbnailMaker(ThumbnailConfig(**changes))
        return await maker.make(fd, content_type or media_type.sniff(data) or "none")


@contextlib.contextmanager
def opened(data: bytes) -> Iterator[int]:
    fd = os.memfd_create("original")
    try:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    found = image.getpixel((x, y))
    assert isinstance(found, tuple)
    return found


def shown(made: Thumbnail) -> Image.Image:
    image = Image.open(io.BytesIO(made.data))
    image.load()
    assert image.size == (made.width, made.height)
    return image


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, data: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


@pytest.mark.parametrize("format_name", FORMATS)
async def test_every_format_becomes_a_small_jpeg(format_name):
    made = await make(picture(format_name))
    assert (made.content_type, made.width, made.height) == ("image/jpeg", 480, 320)
    image = shown(made)
    red, blue = pixel(image, 50, 160), pixel(image, 430, 160)
    assert red[0] > 200 > 60 > red[2]
    assert blue[2] > 200 > 60 > blue[0]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
async def test_every_kind_of_colour_is_taken(mode):
    image = Image.new("RGB", (600, 300), "red").convert(mode)
    out = io.BytesIO()
    image.save(out, "PNG" if mode in {"1", "L", "P"} else "JPEG")
    assert (await make(out.getvalue())).width == 480


async def test_sixteen_bits_of_grey_are_scaled_and_not_cut():
    out = io.BytesIO()
    Image.new("I;16", (600, 300), 0x8000).save(out, "PNG")
    assert pixel(shown(await make(out.getvalue())), 5, 5)[0] == pytest.approx(128, abs=3)


async def test_what_shows_through_stays_so():
    made = await make(picture("PNG", mode="RGBA", size=(100, 50)))
    assert made.content_type == "image/jpeg"
    out = io.BytesIO()
    Image.new("RGBA", (600, 300), (255, 0, 0, 128)).save(out, "PNG")
    made = await make(out.getvalue())
    assert made.content_type == "image/webp"
    assert pixel(shown(made).convert("RGBA"), 5, 5)[3] == pytest.approx(128, abs=3)


async def test_nothing_is_made_larger_than_it_was():
    made = await make(picture(size=(64, 40)))
    assert (made.width, made.height) == (64, 40)


async def test_a_line_of_pixels_stays_a_line():
    made = await make(picture(size=(4000, 1)))
    assert (made.width, made.height) == (480, 1)


async def test_a_turned_picture_is_set_upright_and_tells_nothing_more():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways
    exif[0x010F] = "SECRET CAMERA"
    exif.get_ifd(0x8825)[1] = "N"
    data = picture(exif=exif.tobytes(), comment=b"SECRET COMMENT", icc_profile=b"SECRET PROFILE")
    made = await make(data)
    assert (made.width, made.height) == (320, 480)
    assert b"SECRET" in data
    assert b"SECRET" not in made.data
    assert b"Exif" not in made.data
    assert not shown(made).getexif()


async def test_a_camera_s_file_of_several_pictures_gives_the_first():
    out = io.BytesIO()
    first, second = (Image.new("RGB", (600, 300), colour) for colour in ("red", "blue"))
    first.save(out, "MPO", save_all=True, append_images=[second])
    assert media_type.sniff(out.getvalue()) == "image/jpeg"
    assert pixel(shown(await make(out.getvalue())), 5, 5)[0] > 200


async def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (50, 50), colour) for colour in ("red", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    assert pixel(shown(await make(out.getvalue())), 5, 5)[0] > 200


JPEG = picture()
HOSTILE = {
    "truncated": JPEG[: len(JPEG) // 2],
    "only a header": JPEG[:200],
    "png cut": picture("PNG")[:-40],
    "zip behind magic": b"\x89PNG\r\n\x1a\n" + b"PK\x03\x04" * 500,
    "huge dimensions": png(2**31 - 1, 2**31 - 1, zlib.compress(b"\0")),
    "a bomb": png(30_000, 30_000, zlib.compress(bytes(2_000_000))),
    "bad checksum": picture("PNG").replace(b"IDAT", b"IDAX"),
    "zeroes": b"\xff\xd8\xff" + bytes(100_000),
    "webp of nothing": b"RIFF\xff\xff\xff\x7fWEBPVP8 " + bytes(500),
    "gif of nothing": b"GIF89a" + b"\xff" * 500,
    "avif of nothing": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + b"\xff" * 800,
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_bytes_are_refused_in_words(name):
    with pytest.raises(ThumbnailRefused, match="no thumbnail can be made of it"):
        await make(HOSTILE[name])


@pytest.mark.parametrize("format_name", ["TIFF", "BMP", "ICO", "PPM", "TGA", "EPS", "PDF"])
async def test_no_other_decoder_is_reached_whatever_the_bytes_are_said_to_be(format_name):
    with pytest.raises(ThumbnailRefused, match="format that is allowed"):
        await make(picture(format_name, size=(16, 16)), "image/jpeg")


@pytest.mark.parametrize("content_type", ["image/svg+xml", "image/tiff", "audio/mpeg", "application/pdf", ""])
async def test_other_types_start_no_process(content_type):
    with pytest.raises(ThumbnailRefused, match="not made of"):
        await make(JPEG, content_type or "none")


async def test_the_pixel_cap_is_told_by_the_header():
    with pytest.raises(ThumbnailRefused, match="900 x 600 pixels, more than 1000"):
        await make(JPEG, most_pixels=1000)


async def test_a_memory_eater_ends_itself_and_not_the_vault():
    image = png(8000, 8000, zlib.compress(bytes(8000 * (8000 * 3 + 1))))
    with pytest.raises((ThumbnailRefused, ThumbnailFailed)):
        await make(image, memory_bytes=200 << 20)


async def test_a_process_that_takes_too_long_is_killed_with_its_reason():
    with pytest.raises(ThumbnailFailed, match=r"was killed: 0\.01 seconds were over"):
        await make(JPEG, wall_seconds=0.01)


async def test_an_endless_input_is_not_waited_for():
    read, write = os.pipe()
    try:
        with pytest.raises(ThumbnailFailed, match="was killed"):
            await ThumbnailMaker(ThumbnailConfig(wall_seconds=1)).make(read, "image/jpeg")
    finally:
        os.close(read)
        os.close(write)


async def test_an_output_beyond_the_cap_is_not_taken():
    out = io.BytesIO()
    Image.effect_noise((480, 480), 200).convert("RGB").save(out, "PNG")
    with pytest.raises(ThumbnailFailed, match="wrote more than"):
        await make(out.getvalue(), most_output_bytes=1000)


async def test_a_vault_that_stops_leaves_no_process_behind(tmp_path):
    read, write = os.pipe()
    try:
        job = asyncio.create_task(ThumbnailMaker(ThumbnailConfig()).make(read, "image/jpeg"))
        async with asyncio.timeout(20):
            while not (ours := thumbnail_processes()):  # noqa: ASYNC110 - another program is awaited
                await asyncio.sleep(0.02)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert not ours & thumbnail_processes()
    finally:
        os.close(read)
        os.close(write)


async def test_no_more_run_at_once_than_configured():
    maker = ThumbnailMaker(ThumbnailConfig(at_once=1))
    most, done = 0, asyncio.Event()

    async def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, len(thumbnail_processes()))
            await asyncio.sleep(0.005)

    async def one() -> None:
        with opened(JPEG) as fd:
            await maker.make(fd, "image/jpeg")

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(one() for _ in range(5)))
    done.set()
    await watching
    assert most == 1


def thumbnail_processes() -> set[str]:
    """The thumbnail processes that are children of this one."""
    found = set()
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and b"thumbnails.child" in (folder / "cmdline").read_bytes():
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                found |= {folder.name} if int(parent) == os.getpid() else set()
    return found


#: Run in a process that has given up what a thumbnail process gives up, before it looks at bytes.
ESCAPES = {
    "open a file": "open('/etc/hostname')",
    "write a file": "os.open('/tmp/x', os.O_CREAT | os.O_WRONLY)",
    "open its input again, to write": "os.open('/proc/self/fd/0', os.O_RDWR)",
    "cut its input": "os.ftruncate(0, 0)",
    "write to its input": "os.write(0, b'x')",
    "dial": "socket.socket()",
    "talk to a neighbour": "socket.socketpair()",
    "run a program": "os.execv('/bin/sh', ['sh'])",
    "fork": "os.fork()",
    "start a thread": "threading.Thread(target=print).start()",
    "kill somebody": "os.kill(os.getppid(), 0)",
    "delete": "os.unlink('/tmp/x')",
    "rename": "os.rename('/tmp/x', '/tmp/y')",
    "raise a limit": "resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))",
    "take much memory": "bytearray(2 << 30)",
}
_CONFINED = """
import os, resource, socket, sys, threading
from mediavault.thumbnails import confinement, picture
picture.load_decoders()
confinement.die_with_parent()
confinement.leave_network()
confinement.set_limits(confinement.Limits(1 << 30, 5, 20))
confinement.leave_root()
confinement.forbid_processes()
assert confinement.forbid_calls(confinement.ALL_LISTED)
try:
    {escape}
except (OSError, MemoryError, RuntimeError, ValueError) as error:
    os.write(1, type(error).__name__.encode())
else:
    os.write(1, b'escaped')
"""


@pytest.mark.parametrize("escape", ESCAPES)
def test_a_confined_process_cannot(escape, tmp_path):
    source = tmp_path / "original"
    source.write_bytes(JPEG)
    source.chmod(0o666)
    with source.open("rb") as original:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _CONFINED.format(escape=ESCAPES[escape])],
            stdin=original,
            capture_output=True,
            timeout=60,
        )
    assert b"escaped" not in done.stdout, done
    assert done.stdout or done.returncode < 0, done
    assert source.read_bytes() == JPEG


def test_the_process_says_how_it_is_confined():
    task = {"work": "shrink", "edge": 480, "mostPixels": 10**6, "memoryBytes": 1 << 30, "cpuSeconds": 5}
    with opened(JPEG) as fd:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "mediavault.thumbnails.child", json.dumps(task | {"wallSeconds": 20})],
            stdin=fd,
            capture_output=True,
            env={},
            timeout=60,
        )
    assert json.loads(done.stdout.partition(b"\n")[0])["confined"]["calls"] is True


def test_the_decoder_of_videos_is_never_root_and_reads_its_input(tmp_path):
    video = tmp_path / "video"
    video.write_bytes(b"bytes that its owner alone may read")
    video.chmod(0o600)
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nexec /bin/cat /proc/self/status /dev/fd/0\n")
    program.chmod(0o755)
    task = {"work": "frame", "contentType": "video/mp4", "program": str(program), "edge": 480, "mostPixels": 10**6}
    task |= {"memoryBytes": 1 << 30, "cpuSeconds": 5, "wallSeconds": 20}
    command = [sys.executable, "-I", "-m", "mediavault.thumbnails.child", json.dumps(task)]
    with video.open("rb") as source:
        done = subprocess.run(command, stdin=source, capture_output=True, env={}, timeout=60)
    assert done.stdout.endswith(video.read_bytes()), done
    said = dict(line.split(":", 1) for line in done.stdout.decode().splitlines() if ":" in line)
    users, rights = set(said["Uid"].split()), {int(said[name], 16) for name in ("CapPrm", "CapEff", "CapAmb")}
    if os.geteuid() == 0:
        assert users == {"65534"}
        assert rights <= {1 << 1, 1 << 2}  # to read files, and nothing else that root may
    else:
        assert (users, rights) == ({str(os.geteuid())}, {0})


def test_a_process_that_left_root_still_ends_with_the_vault():
    asked = """
import ctypes
from mediavault.thumbnails import confinement
confinement.die_with_parent()
confinement.leave_root()
number = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(number))  # PR_GET_PDEATHSIG
print(number.value)
"""
    done = subprocess.run([sys.executable, "-I", "-c", asked], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("9\n", "")


async def test_without_ffmpeg_a_video_is_lacking_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    maker = ThumbnailMaker(ThumbnailConfig())
    assert "ffmpeg is not installed" in (maker.lacking("video/mp4") or "")
    assert "video/mp4" not in maker.makeable()
    with opened(b"\0\0\0\x18ftypisom") as fd, pytest.raises(ThumbnailRefused, match="ffmpeg"):
        await maker.make(fd, "video/mp4")
