# /// script
# requires-python = ">=3.11"
# dependencies = ["av>=15", "numpy>=2", "pillow>=11"]
# ///
"""Draw the sandbox creators' media: pictures, clips and songs, and the catalogue that names them.

    uv run scripts/make_sandbox_media.py src/mediavault/platform/media

Everything is computed from fixed seeds, so another run draws the same pictures; encoders of another version may give
other bytes. The results are committed: neither the package nor its tests need an encoder.
"""

import json
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from sandbox_scenery import (
    AUDIO_RATE,
    SCENERIES,
    Frame,
    cover,
    image,
    landscape,
    locked,
    melody,
    orbits,
    pendulums,
    poster,
)

Files = dict[str, dict[str, object]]

FRAMES_PER_SECOND = 15
SIZES = {"full": (1920, 1080), "720": (1280, 720), "240": (426, 240)}
CRF = {1080: 44, 720: 42, 360: 35, 240: 38, 64: 40}  #: x264's constant rate factor by height


def encode(path: Path, frames: Iterator[Frame], width: int, height: int, sound: Frame | None) -> None:
    """An MP4 with H.264 and, if there is sound, AAC; its index in front, so that playing can start at once."""
    with av.open(str(path), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}) as container:
        options = {"crf": str(CRF[height]), "preset": "slower", "threads": "1"}
        video = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=options)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = None if sound is None else container.add_stream("aac", rate=AUDIO_RATE, layout="mono", bit_rate=24000)
        for frame in frames:
            pixels = np.asarray(image(frame).resize((width, height), Image.Resampling.BICUBIC))
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode(None))
        if audio is not None and sound is not None:
            _encode_sound(container, audio, sound)


def encode_sound(path: Path, sound: Frame) -> None:
    """An M4A: the same container with AAC alone."""
    with av.open(str(path), "w", format="ipod", options={"movflags": "+faststart", "fflags": "+bitexact"}) as container:
        _encode_sound(container, container.add_stream("aac", rate=AUDIO_RATE, layout="mono", bit_rate=36000), sound)


def _encode_sound(container: av.container.OutputContainer, stream: av.AudioStream, sound: Frame) -> None:
    for start in range(0, len(sound), 1024):
        frame = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE, start, Fraction(1, AUDIO_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


class Album:
    """One creator's folder of files, and their catalogue entries."""

    def __init__(self, folder: Path, username: str) -> None:
        self.scenery, self.username, self.folder = SCENERIES[username], username, folder / username
        self.folder.mkdir(parents=True, exist_ok=True)
        self.entries: list[dict[str, object]] = []

    def add(self, name: str, kind: str, files: Files, *, seconds: float = 0) -> None:
        entry = {"creator": self.username, "name": name, "type": kind, "duration": round(seconds), "files": files}
        self.entries.append(entry)

    def file(self, name: str, width: int, height: int) -> dict[str, object]:
        return {"file": f"{self.username}/{name}", "width": width, "height": height}

    def stills(self, name: str, picture: Image.Image) -> Files:
        """The small qualities every media item has."""
        picture = picture.convert("RGB")
        across, down = picture.size
        scale = 400 / max(across, down)
        side = min(across, down)
        square = picture.crop(((across - side) // 2, (down - side) // 2, (across + side) // 2, (down + side) // 2))
        small = {
            "preview": picture.resize((round(across * scale), round(down * scale)), Image.Resampling.LANCZOS),
            "squarePreview": square.resize((240, 240), Image.Resampling.LANCZOS),
            "thumb": square.resize((100, 100), Image.Resampling.LANCZOS),
        }
        return {label: self.jpeg(f"{name}-{label}", still, quality=58) for label, still in small.items()}

    def jpeg(self, name: str, picture: Image.Image, *, quality: int) -> dict[str, object]:
        picture.save(self.folder / f"{name}.jpg", quality=quality, optimize=True, progressive=True)
        return self.file(f"{name}.jpg", *picture.size)

    def photo(self, name: str, variation: int, width: int, height: int) -> None:
        picture = image(landscape(self.scenery, variation, width, height))
        self.add(name, "photo", {"full": self.jpeg(name, picture, quality=66), **self.stills(name, picture)})

    def clip(
        self, name: str, kind: str, draw: Callable[[int, int, float], Frame], seconds: float,
        sizes: dict[str, tuple[int, int]], sound: Frame | None,
    ) -> None:  # fmt: skip
        """A moving picture in several sizes, its frames drawn once, at half the largest when that is 1080."""
        width, height = min(max(sizes.values()), (960, 540))
        count = int(seconds * FRAMES_PER_SECOND)
        frames = [draw(width, height, number / count).astype(np.float32) for number in range(count)]
        files = self.stills(name, image(frames[count // 3]))
        for label, (across, down) in sizes.items():
            path = self.folder / f"{name}-{down}.mp4"
            encode(path, iter(frames), across, down, sound)
            files[label] = self.file(path.name, across, down)
        self.add(name, kind, files, seconds=seconds)

    def song(self, name: str, seconds: float) -> None:
        sound = melody(self.scenery, seconds)
        encode_sound(self.folder / f"{name}.m4a", sound)
        files = self.stills(name, cover(self.scenery, sound, 480, 480))
        self.add(name, "audio", {"full": self.file(f"{name}.m4a", 0, 0), **files}, seconds=seconds)

    def poster(self, name: str) -> None:
        picture = poster(self.scenery, 720, 720, 144)
        picture.save(self.folder / f"{name}.png", optimize=True)
        self.add(name, "photo", {"full": self.file(f"{name}.png", 720, 720), **self.stills(name, picture)})

    def draw(self) -> list[dict[str, object]]:
        """All of this creator's media."""
        scenery = self.scenery
        for number, (width, height) in enumerate(((840, 560), (840, 560), (560, 700), (840, 472)), start=1):
            self.photo(f"photo-{number}", number, width, height)
        self.photo("message", 5, 720, 540)
        self.photo("story", 6, 480, 854)
        self.poster("poster")
        self.clip("scene", "video", lambda w, h, t: landscape(scenery, 7, w, h, t), 3, SIZES, melody(scenery, 3))
        self.clip("swing", "video", lambda w, h, t: pendulums(scenery, w, h, t), 3, SIZES, None)
        self.clip("loop", "gif", lambda w, h, t: orbits(scenery, w, h, t), 2, {"full": (360, 360)}, None)
        self.song("song", 4)
        shut = locked(image(landscape(scenery, 8, 960, 540)))
        self.add("locked", "video", self.stills("locked", shut), seconds=60)
        face = image(landscape(scenery, 9, 240, 240)).resize((160, 160), Image.Resampling.LANCZOS)
        self.jpeg("avatar", face, quality=80)
        return self.entries


def draw_seeds(folder: Path) -> None:
    """The smallest valid files of each kind: the heads of synthetic media of any size."""
    folder.mkdir(parents=True, exist_ok=True)
    scenery = SCENERIES["aurora"]
    picture = image(orbits(scenery, 64, 64, 0))
    picture.save(folder / "photo.jpg", quality=60, optimize=True)
    encode(folder / "video.mp4", (orbits(scenery, 64, 64, n / 15) for n in range(15)), 64, 64, None)
    encode_sound(folder / "audio.m4a", melody(scenery, 1))


def main(folder: Path) -> None:
    entries = [entry for username in SCENERIES for entry in Album(folder, username).draw()]
    draw_seeds(folder / "seeds")
    (folder / "catalogue.json").write_text(json.dumps(entries, indent=1) + "\n")
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{len(entries)} media, {total:,} bytes in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
