"""What is served in a run: groups of objects of one size, which the origin offers and both contenders hold or fetch."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from mediavault.platform.contents import Synthetic
from mediavault.platform.library import held

KIB, MIB, MB = 1 << 10, 1 << 20, 1_000_000
_WRITE_BYTES = 1 << 22
#: Media ids are a group's number times this, plus the object's number.
MOST_OBJECTS = 100_000


@dataclass(frozen=True)
class Group:
    """Objects of one size and type, with the same bytes under names of their own."""

    number: int
    name: str
    size_bytes: int
    kind: str  #: photo or video, as the Access API has it
    stored: bool  #: seen in the creator's vault, which is stored at the first view; else in posts, and only cached
    bytes_per_second: int | None = None  #: how fast the origin gives each of them
    labels: tuple[str, ...] = ("full",)

    @property
    def extension(self) -> str:
        return "jpg" if self.kind == "photo" else "mp4"

    @property
    def file_name(self) -> str:
        return f"{self.name}.{self.extension}"

    def media_id(self, number: int) -> int:
        """The id upstream of one of them."""
        return self.number * MOST_OBJECTS + number

    def origin_path(self, number: int, label: str = "full") -> str:
        """Where the origin offers it, below /media/."""
        return f"{self.name}/{number}/{label}.{self.extension}"


GROUPS = {
    group.name: group
    for group in (
        Group(1, "hot-32k", 32 * KIB, "photo", stored=True),
        Group(2, "hot-1m", MIB, "photo", stored=True),
        Group(3, "hot-100m", 100 * MIB, "video", stored=True),
        Group(4, "item", 32 * KIB, "photo", stored=True, labels=("full", "preview", "thumb")),
        Group(5, "herd", 20 * MB, "video", stored=False, bytes_per_second=20 * MB),
        Group(6, "cold-100m", 100 * MIB, "video", stored=False),
        Group(7, "cold-1m", MIB, "photo", stored=False),
        *(
            Group(8 + n, f"herd-{mb}m", mb * MB, "video", stored=False, bytes_per_second=20 * MB)
            for n, mb in enumerate((18, 20, 22, 24, 26))
        ),
    )
}


def content(group: Group) -> Synthetic:
    """The bytes of a group's objects: a real picture or film, with filler that differs every 64 KiB."""
    seed_file = held("seeds/photo.jpg" if group.kind == "photo" else "seeds/video.mp4")
    return Synthetic(seed_file.data, seed_file.content_type, group.size_bytes, group.number)


def write(group: Group, folder: Path) -> str:
    """Write a group's bytes into the folder; their sha256, in hexadecimal."""
    bytes_of, digest = content(group), hashlib.sha256()
    with (folder / group.file_name).open("wb") as file:
        for start in range(0, group.size_bytes, _WRITE_BYTES):
            piece = bytes_of.read(start, start + _WRITE_BYTES)
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()
