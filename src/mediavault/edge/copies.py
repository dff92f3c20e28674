"""What the edge cache knows of one copy, and where it keeps it.

    copies/<last two of the variant id>/<variant id>.<version>          the bytes
    copies/<last two of the variant id>/<variant id>.<version>.json     the EdgeCopy

The version is part of the name, so that a reader who found one version can never open the bytes of the next.
"""

import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from mediavault.errors import InvalidRequest

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SIDECAR = ".json"


class EdgeCopy(msgspec.Struct, frozen=True):
    """A complete copy of one version of a variant's bytes."""

    variant_id: str
    version: str  #: names these bytes for good; their strong ETag
    size_bytes: int
    sha256: str  #: hex
    content_type: str
    fetched_at: int  #: ms
    fresh_until: int  #: ms; from then on it wants revalidation
    origin_etag: str | None
    origin_last_modified: str | None
    origin_identity: str  #: what the origin calls the bytes, whatever URL it signs for them


def copy_path(copies: Path, copy: EdgeCopy) -> Path:
    """The file of a copy's bytes. Raises InvalidRequest where its ids could not be part of a file name."""
    for name in (copy.variant_id, copy.version):
        if not _NAME.fullmatch(name):
            raise InvalidRequest(f"not an id an edge copy can have: {name!r}; it must be [A-Za-z0-9_-]{{1,64}}")
    return copies / copy.variant_id[-2:] / f"{copy.variant_id}.{copy.version}"


def write_sidecar(path: Path, copy: EdgeCopy) -> None:
    """Keep what is known of a copy beside its bytes. Not synced: a sidecar cut short costs one fetch."""
    _sidecar(path).write_bytes(msgspec.json.encode(copy))


def remove_copy(path: Path) -> None:
    """Remove a copy's file and sidecar. Descriptors that are open stay readable (POSIX unlink)."""
    for name in (_sidecar(path), path):
        with suppress(OSError):  # what stays is met again, and dropped or counted, at the next start
            name.unlink()


def scan(copies: Path) -> Iterator[EdgeCopy]:
    """Every copy whose sidecar and file agree. Removes what does not belong to one; oldest fetch first."""
    found: list[EdgeCopy] = []
    for folder in _folders(copies):
        whole = {}
        for sidecar in folder.glob(f"*{_SIDECAR}"):
            copy = _read_sidecar(sidecar)
            if copy is not None and _agrees(copies, sidecar, copy):
                whole[sidecar.stem] = copy
        for path in folder.iterdir():
            if path.name.removesuffix(_SIDECAR) not in whole:
                with suppress(OSError):
                    path.unlink()
        found += whole.values()
    yield from sorted(found, key=lambda copy: (copy.fetched_at, copy.version))


def _agrees(copies: Path, sidecar: Path, copy: EdgeCopy) -> bool:
    try:
        path = copy_path(copies, copy)
        status = path.lstat()
    except (InvalidRequest, OSError):
        return False
    return _sidecar(path) == sidecar and stat.S_ISREG(status.st_mode) and status.st_size == copy.size_bytes


def _read_sidecar(sidecar: Path) -> EdgeCopy | None:
    try:
        return msgspec.json.decode(sidecar.read_bytes(), type=EdgeCopy)
    except (msgspec.DecodeError, OSError):
        return None


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + _SIDECAR)


def _folders(copies: Path) -> list[Path]:
    return [folder for folder in copies.iterdir() if folder.is_dir() and not folder.is_symlink()]
