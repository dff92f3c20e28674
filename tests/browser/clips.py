"""Real films, made by ffmpeg: red, then green, then blue, so that a picture tells where in it one is."""

import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from browser.chromium import program

SECONDS = 60
#: What colour is shown from which second on.
COLOURS = {0: "red", 20: "green", 40: "blue"}
TYPES = {"faststart.mp4": "video/mp4", "moov-at-end.mp4": "video/mp4", "film.webm": "video/webm"}

#: Noise that no encoder can do much about makes the file large; the colour shows all the same.
_PICTURE = (
    "color=red:s=160x90:r={r}:d=20[a];color=0x00ff00:s=160x90:r={r}:d=20[b];color=blue:s=160x90:r={r}:d=20[c];"
    "[a][b][c]concat=n=3:v=1:a=0,noise=alls=25:allf=t,format=yuv420p"
)
_RATE = ("-b:v", "800k", "-minrate", "800k", "-maxrate", "800k", "-bufsize", "800k")
_H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "20", *_RATE)
#: As good as it can be: few pictures have to make as many bytes, for this encoder is slow.
_VP8 = (
    "-c:v",
    "libvpx",
    "-deadline",
    "realtime",
    "-cpu-used",
    "16",
    "-g",
    "16",
    "-qmin",
    "0",
    "-qmax",
    "0",
    "-b:v",
    "4M",
)
#: Pictures a second, and how they are written.
_MADE = {
    "faststart.mp4": (10, (*_H264, "-movflags", "+faststart")),
    "moov-at-end.mp4": (10, _H264),
    "film.webm": (8, _VP8),
}


@cache
def clip(name: str) -> bytes:
    """A film of one minute and some megabytes: a seek must be far from what is fetched already."""
    rate, arguments = _MADE[name]
    return encode("-f", "lavfi", "-i", _PICTURE.format(r=rate), *arguments, suffix=Path(name).suffix)


def encode(*arguments: str, suffix: str) -> bytes:
    """What ffmpeg writes with these arguments. Raises CalledProcessError."""
    with TemporaryDirectory() as folder:
        made = Path(folder) / f"made{suffix}"
        subprocess.run(
            [program("ffmpeg"), "-nostdin", "-v", "error", *arguments, "-fflags", "+bitexact", str(made)],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        return made.read_bytes()
