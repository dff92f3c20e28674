"""The variables of derived thumbnails."""

from typing import Any

from mediavault.config.texts import read_bytes, read_count, read_program, read_seconds
from mediavault.config.variable import Variable
from mediavault.thumbnails.making import ThumbnailConfig

THUMBNAILS: dict[str, Variable] = {
    "THUMBNAIL_EDGE_PIXELS": Variable(
        "thumbnail_edge_pixels",
        read_count,
        "The longer side of a derived thumbnail, pixels; nothing is made larger than it was.",
        f"`{ThumbnailConfig.edge_pixels}`",
    ),
    "THUMBNAIL_MOST_PIXELS": Variable(
        "thumbnail_most_pixels",
        read_count,
        "No thumbnail is made of a picture or a video with more pixels.",
        f"`{ThumbnailConfig.most_pixels}`",
    ),
    "THUMBNAIL_MEMORY_BYTES": Variable(
        "thumbnail_memory_bytes",
        read_bytes,
        "The address space that making one may take, bytes.",
        f"`{ThumbnailConfig.memory_bytes}`",
    ),
    "THUMBNAIL_CPU_SECONDS": Variable(
        "thumbnail_cpu_seconds",
        read_count,
        "The processor time that making one may take, seconds.",
        f"`{ThumbnailConfig.cpu_seconds}`",
    ),
    "THUMBNAIL_WALL_SECONDS": Variable(
        "thumbnail_wall_seconds",
        read_seconds,
        "How long making one may take, seconds; then its processes are killed.",
        f"`{ThumbnailConfig.wall_seconds:g}`",
    ),
    "THUMBNAIL_AT_ONCE": Variable(
        "thumbnail_at_once", read_count, "How many are made at once.", f"`{ThumbnailConfig.at_once}`"
    ),
    "FFMPEG": Variable(
        "thumbnail_ffmpeg", read_program, "What takes a frame of a video: its absolute path.", "`ffmpeg` on the `PATH`"
    ),
}


def read_thumbnails(values: dict[str, Any]) -> ThumbnailConfig:
    """Takes what is about derived thumbnails out of the values."""
    given = [name for name in values if name.startswith("thumbnail_")]
    return ThumbnailConfig(**{name.removeprefix("thumbnail_"): values.pop(name) for name in given})
