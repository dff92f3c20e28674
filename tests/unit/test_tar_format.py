"""Tar archives: what is written is read back, by this program and by others, and whatever was cut off is left out."""

import io
import os
import tarfile
import tempfile

from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain.exported import is_media_name, media_name
from mediavault.errors import InvalidRequest
from mediavault.vault.portable import tar_format

_NAMES = st.lists(
    st.builds(
        lambda media_id, label, at: media_name(media_id, label, "image/jpeg", at, set()),
        st.text("abcXYZ0189_-", min_size=1, max_size=64),
        st.text("abcXYZ0189_-", min_size=1, max_size=32),
        st.integers(0, 253_402_300_799_999),
    ),
    unique=True,
    max_size=5,
)
_FILES = st.tuples(_NAMES, st.lists(st.binary(max_size=1_600), min_size=5, max_size=5))


def archived(names: list[str], contents: list[bytes]) -> bytes:
    parts = [
        tar_format.header(name, len(content), 1) + content.ljust(tar_format.padded(len(content)), b"\0")
        for name, content in zip(names, contents, strict=False)
    ]
    return b"".join(parts) + tar_format.END


def read(archive: bytes, *, cut_short: bool = False) -> list[tuple[str, bytes]]:
    with tempfile.TemporaryFile() as file:
        file.write(archive)
        file.flush()
        fd = file.fileno()
        return [
            (member.name, os.pread(fd, member.size_bytes, member.offset))
            for member in tar_format.members(fd, cut_short=cut_short)
        ]


@given(_FILES)
def test_what_is_written_is_read_back_here_and_by_others(files):
    names, contents = files
    archive = archived(names, contents)
    wanted = list(zip(names, contents, strict=False))
    assert read(archive) == wanted
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        found = [(each.name, opened.extractfile(each)) for each in opened]
        assert [(name, file and file.read()) for name, file in found] == wanted
    assert all(is_media_name(name) for name in names)


@given(_FILES, st.data())
def test_of_an_archive_that_was_cut_off_what_is_whole_is_read(files, data):
    names, contents = files
    archive = archived(names, contents)
    cut = data.draw(st.integers(0, len(archive)))
    wanted = list(zip(names, contents, strict=False))
    found = read(archive[:cut], cut_short=True)
    assert found == wanted[: len(found)]
    left = archived(names[: len(found) + 1], contents)[: -len(tar_format.END)]
    assert len(found) == len(wanted) or cut < len(left)


@given(st.binary(max_size=3_000), st.booleans())
def test_whatever_is_read_as_an_archive_is_read_or_refused(content, cut_short):
    try:
        found = read(content, cut_short=cut_short)
    except InvalidRequest:
        return
    assert sum(len(each) for _, each in found) <= len(content)


@given(_FILES, st.data())
def test_a_header_with_another_byte_is_refused_or_a_plain_file_in_the_archive(files, data):
    archive = bytearray(archived(*files))
    at = data.draw(st.integers(0, len(archive) - 1))
    archive[at] = data.draw(st.integers(0, 255))
    try:
        found = read(bytes(archive))
    except InvalidRequest:
        return
    assert sum(len(each) for _, each in found) <= len(archive)


@given(st.integers(0, 2**62))
def test_a_size_is_read_back_however_large(size_bytes):
    header = tar_format.header("a", size_bytes, 0)
    with tempfile.TemporaryFile() as file:
        file.write(header)
        file.truncate(512 + min(size_bytes, 1 << 40))
        members = list(tar_format.members(file.fileno(), cut_short=True))
    assert [member.size_bytes for member in members] == ([size_bytes] if size_bytes <= 1 << 40 else [])
