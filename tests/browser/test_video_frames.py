"""Thumbnails of real films by the real ffmpeg, and files that would lead it elsewhere."""

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from browser.chromium import program
from browser.clips import encode
from fakes.vaults import until
from mediavault.errors import ThumbnailError
from mediavault.thumbnails.making import Thumbnail, ThumbnailConfig, ThumbnailMaker

_PICTURE = ("-f", "lavfi", "-i", "color=0x00c000:size=640x360:rate=5:duration=3")
_H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
_VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "16")
#: Each container that thumbnails are made of, as ffmpeg writes it.
FILMS = {
    "faststart.mp4": ("video/mp4", (*_H264, "-movflags", "+faststart")),
    "moov-at-end.mp4": ("video/mp4", _H264),
    "fragmented.mp4": ("video/mp4", (*_H264, "-movflags", "+frag_keyframe+empty_moov")),
    "film.mov": ("video/quicktime", _H264),
    "film.3gp": ("video/3gpp", _H264),
    "film.webm": ("video/webm", _VP8),
    "film.mkv": ("video/x-matroska", _H264),
}


def film(name: str) -> tuple[str, bytes]:
    content_type, arguments = FILMS[name]
    return content_type, encode(*_PICTURE, *arguments, suffix=Path(name).suffix)


async def make(data: bytes, content_type: str, **changes: Any) -> Thumbnail:
    fd = os.memfd_create("original")
    try:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        return await ThumbnailMaker(ThumbnailConfig(ffmpeg=program("ffmpeg"), **changes)).make(fd, content_type)
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", FILMS)
async def test_a_film_gives_a_frame_of_itself(name):
    content_type, data = film(name)
    made = await make(data, content_type)
    assert (made.content_type, made.width, made.height) == ("image/jpeg", 480, 270)
    red, green, blue = Image.open(io.BytesIO(made.data)).convert("RGB").getpixel((240, 135))  # type: ignore[misc]
    assert green > 150 > 80 > max(red, blue)


async def test_a_stored_film_gets_its_thumbnail(vault):
    body = {"vaultPlus": {"defaultSettings": {"deriveThumbnails": True}}}
    assert (await vault.call("PATCH", "/v2/account/settings", json=body)).status == 200
    connection = await vault.connect()
    added, item = await vault.add(connection, type="video", content=film("moov-at-end.mp4")[1])
    await vault.ask("GET", item["media"]["full"]["url"])

    async def made() -> Any:
        media = (await vault.item(connection, added.id))["media"]
        return media["thumb"] if media.get("thumb", {}).get("status") == "stored" else None

    answer = await vault.ask("GET", (await until(made))["url"])
    assert Image.open(io.BytesIO(answer.body)).size == (480, 270)


@pytest_asyncio.fixture(loop_scope="session")
async def dialled() -> AsyncIterator[tuple[str, list[str]]]:
    """An address, and who dialled it."""
    calls: list[str] = []

    def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append("dialled")
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield f"{host}:{port}", calls
    server.close()
    await server.wait_closed()


#: Files that name others. `{path}` is a film on this machine, `{address}` a listener on it.
LEADING_AWAY = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{path}\n#EXTINF:1,\nhttp://{address}/a.ts\n#EXT-X-ENDLIST\n",
    "hls-file-url": "#EXTM3U\n#EXTINF:1,\nfile://{path}\n#EXT-X-ENDLIST\n",
    "hls-concat": "#EXTM3U\n#EXTINF:1,\nconcat:{path}|http://{address}/a\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{path}'\nfile 'http://{address}/a'\n",
    "dash": "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><Period><AdaptationSet><Representation>"
    "<BaseURL>http://{address}/</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "subfile": "subfile,,start,0,end,99,,:{path}",
    "svg": "<svg xmlns='http://www.w3.org/2000/svg'><image href='file://{path}'/></svg>",
    "ftyp-then-hls": "\0\0\0\x14ftypisom\0\0\0\0isom#EXTM3U\n#EXTINF:1,\n{path}\n",
}


@pytest.mark.parametrize("content_type", ["video/mp4", "video/webm"])
@pytest.mark.parametrize("name", LEADING_AWAY)
async def test_a_file_that_names_others_leads_nowhere(tmp_path, dialled, name, content_type):
    address, calls = dialled
    other = tmp_path / "other.mp4"
    other.write_bytes(film("faststart.mp4")[1])
    text = LEADING_AWAY[name].format(path=other, address=address)
    with pytest.raises(ThumbnailError):
        await make(text.encode("latin-1"), content_type)
    assert calls == []


async def test_a_decoder_that_may_guess_would_follow_them(tmp_path):
    """The test above proves something: without the format and the protocols fixed, ffmpeg opens what is named."""
    other = tmp_path / "other.mp4"
    other.write_bytes(film("fragmented.mp4")[1])
    listing = tmp_path / "list"
    listing.write_text(LEADING_AWAY["ffconcat"].format(path=other, address="127.0.0.1:1"))
    arguments = (
        "-v",
        "error",
        "-safe",
        "0",
        "-i",
        str(listing),
        "-frames:v",
        "1",
        "-c:v",
        "png",
        "-f",
        "image2pipe",
        "-",
    )
    done = await asyncio.to_thread(subprocess.run, [program("ffmpeg"), *arguments], capture_output=True)
    assert done.stdout.startswith(b"\x89PNG")


@pytest.mark.parametrize("cut", [40, 600, 1500])
async def test_a_film_that_breaks_off_is_refused(cut):
    content_type, data = film("faststart.mp4")
    with pytest.raises(ThumbnailError):
        await make(data[:cut], content_type)


async def test_a_film_with_more_pixels_than_allowed_is_refused():
    content_type, data = film("faststart.mp4")
    with pytest.raises(ThumbnailError):
        await make(data, content_type, most_pixels=10_000)


_CONFINED = """
import os, signal, socket
from mediavault.thumbnails import confinement
confinement.set_limits(confinement.Limits(1 << 30, 5, 20))
assert confinement.forbid_calls(confinement.DECODER)
try:
    {escape}
except OSError as error:
    os.write(1, type(error).__name__.encode())
else:
    os.write(1, b"escaped")
"""
ESCAPES = {
    "dial": "socket.socket()",
    "delete": "os.unlink({path!r})",
    "rename": "os.rename({path!r}, {path!r} + 'x')",
    "truncate": "os.truncate({path!r}, 0)",
    "link": "os.link({path!r}, {path!r} + 'y')",
    "change the mode": "os.chmod({path!r}, 0o777)",
    "kill": "os.kill(os.getppid(), 0)",
}


@pytest.mark.parametrize("escape", ESCAPES)
def test_a_decoder_cannot(tmp_path, escape):
    file = tmp_path / "file"
    file.write_bytes(b"kept")
    code = _CONFINED.format(escape=ESCAPES[escape].format(path=str(file)))
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, timeout=60)
    assert done.stdout == b"PermissionError", done
    assert file.read_bytes() == b"kept"
