"""Tar archives of plain files: written in the common form, and read as if a stranger had made them.

Only regular files and folders are read, one 512-byte header at a time: no links, no devices, no extended headers (whose
length a stranger chooses, and which rename what follows), no holes, no compression. Nothing is unpacked by name.
"""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from mediavault.errors import InvalidRequest

BLOCK = 512
#: Two blocks of zeroes end an archive.
END = bytes(2 * BLOCK)

_REGULAR, _FOLDER = (b"0", b"\0"), b"5"
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}
_MOST_MEMBERS = 10_000_000


@dataclass(frozen=True)
class Member:
    """A regular file in an archive."""

    name: str
    size_bytes: int
    offset: int  #: of its first byte

    @property
    def end(self) -> int:
        """Where the next header is."""
        return self.offset + padded(self.size_bytes)


def padded(size_bytes: int) -> int:
    """The room that so many bytes take."""
    return -(-size_bytes // BLOCK) * BLOCK


def header(name: str, size_bytes: int, modified_at: int) -> bytes:
    """The header of a file; `modified_at` in seconds. The name is ASCII and at most 100 long, or 155 with folders."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size_bytes, modified_at, 0o600
    return info.tobuf(tarfile.GNU_FORMAT if size_bytes >= 8**11 else tarfile.USTAR_FORMAT, "ascii", "strict")


def members(fd: int, *, cut_short: bool = False) -> Iterator[Member]:
    """The regular files in an archive, in their order. Raises InvalidRequest for whatever is no plain archive.

    With `cut_short` it may end anywhere: what is whole comes, then nothing.
    """
    size_bytes, position = os.fstat(fd).st_size, 0
    for _ in range(_MOST_MEMBERS):
        block = os.pread(fd, BLOCK, position)
        if cut_short and len(block) < BLOCK:
            return
        if block == bytes(BLOCK):
            return
        try:
            member = _member(block, position)
        except InvalidRequest:
            if cut_short:
                return
            raise
        if member is not None and member.offset + member.size_bytes > size_bytes:
            if cut_short:
                return
            raise InvalidRequest(f"the archive ends in the middle of {member.name!r}")
        if member is not None:
            yield member
        position = position + BLOCK if member is None else member.end
    raise InvalidRequest(f"the archive has more than {_MOST_MEMBERS} members")


def _member(block: bytes, position: int) -> Member | None:
    """The file that a header announces; None for a folder."""
    if len(block) < BLOCK or _checksum(block) != _octal(block[148:156], "checksum"):
        kind = _COMPRESSED.get(block[:2]) if position == 0 else None
        if kind is not None:
            raise InvalidRequest(f"the archive is compressed with {kind}: decompress it first")
        raise InvalidRequest(f"there is no tar header at byte {position}")
    kind_of, size = block[156:157], _size(block[124:136])
    name = _name(block)
    if kind_of == _FOLDER and size == 0:
        return None
    if kind_of not in _REGULAR:
        raise InvalidRequest(
            f"{name!r} is no plain file in the archive (type {kind_of!r}): unpack it, and import the folder"
        )
    return Member(name, size, position + BLOCK)


def _name(block: bytes) -> str:
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:265] == b"ustar\x0000" else b""
    try:
        text = (prefix + b"/" + name if prefix else name).decode("ascii")
    except UnicodeDecodeError:
        raise InvalidRequest("a name in the archive is not ASCII") from None
    return text.removeprefix("./")


def _checksum(block: bytes) -> int:
    return sum(block[:148]) + 8 * 0x20 + sum(block[156:])


def _size(field: bytes) -> int:
    if field[0] == 0x80:  # as a binary number, for what takes more than eleven octal digits
        return int.from_bytes(field[1:], "big")
    return _octal(field, "size")


def _octal(field: bytes, what: str) -> int:
    digits = field.strip(b" \0")
    if digits and not (digits.isdigit() and max(digits) <= ord("7")):
        raise InvalidRequest(f"a {what} in the archive is no number")
    return int(digits or b"0", 8)
