"""Edge copies to keep, and how to get them back."""

import contextlib
import hashlib
import os
from pathlib import Path

import xxhash

from mediavault.edge.cache import EdgeCache
from mediavault.edge.copies import EdgeCopy

JOURNAL = "copies.jsonl"


def describe_copy(variant_id: str, body: bytes, *, version: str = "v1", fetched_at: int = 0) -> EdgeCopy:
    """What a fill would say of `body`."""
    return EdgeCopy(
        variant_id=variant_id,
        version=version,
        size_bytes=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        checksum=xxhash.xxh3_128(body).hexdigest(),
        content_type="image/jpeg",
        fetched_at=fetched_at,
        fresh_until=1_000_000,
        origin_etag='"e"',
        origin_last_modified=None,
        origin_identity="cdn/1.jpg",
    )


def keep_copy(cache: EdgeCache, variant_id: str, body: bytes, *, version: str = "v1", fetched_at: int = 0) -> EdgeCopy:
    """A whole fill, from staging to copy."""
    copy = describe_copy(variant_id, body, version=version, fetched_at=fetched_at)
    with contextlib.closing(cache.stage(len(body))) as staging:
        staging.append(body)
        assert cache.keep(staging, copy) == copy
    return copy


def content(cache: EdgeCache, copy: EdgeCopy) -> bytes | None:
    """A copy's bytes; None where the cache has them no more."""
    opened = cache.open_file(copy)
    if opened is None:
        return None
    with contextlib.closing(opened):
        return os.pread(opened.fd, copy.size_bytes + 1, 0)


def files_below(folder: Path) -> set[str]:
    """The files, not the folders, below a folder; the journal aside."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()} - {JOURNAL}


def vanish(path: Path) -> None:
    """The file is not there."""
    path.unlink()


def shorten(path: Path) -> None:
    """It lacks its last byte."""
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    """It has a byte too many."""
    os.truncate(path, path.stat().st_size + 1)


def become_a_link(path: Path) -> None:
    """It is a symbolic link to the right bytes."""
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def become_a_folder(path: Path) -> None:
    """It is a folder."""
    path.unlink()
    path.mkdir()


def become_a_fifo(path: Path) -> None:
    """It is a pipe, which would hold its reader for ever."""
    path.unlink()
    os.mkfifo(path)


SPOILT = [vanish, shorten, lengthen, become_a_link, become_a_folder, become_a_fifo]
