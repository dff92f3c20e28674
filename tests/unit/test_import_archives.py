"""Archives that a stranger made: plain files and folders, or nothing is taken."""

import os
import tarfile
from pathlib import Path

import pytest

from fakes.exports import NAME, PICTURE, WHOLE, archive, check, documents, other, packed, part, refused, spoiled
from mediavault.errors import InvalidRequest
from mediavault.vault.portable import tar_format
from mediavault.vault.portable.import_source import Export


def test_a_device_is_no_archive(tmp_path):
    os.mkfifo(tmp_path / "fifo.tar")
    for path in (Path("/dev/null"), Path("/dev/zero"), tmp_path / "fifo.tar", tmp_path / "none.tar"):
        with pytest.raises(InvalidRequest):
            Export(path)


OF_OTHER_KINDS = {
    "symbolic link": other(NAME, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": other(NAME, type=tarfile.LNKTYPE, linkname="export.json"),
    "hard link with a size": spoiled(other(NAME, type=tarfile.LNKTYPE, linkname="export.json"), 124, b"00000001000\0"),
    "symbolic link for a document": other("items.jsonl", type=tarfile.SYMTYPE, linkname="/dev/zero"),
    "character device": other(NAME, type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "block device": other(NAME, type=tarfile.BLKTYPE, devmajor=8),
    "FIFO": other(NAME, type=tarfile.FIFOTYPE),
    "contiguous file": other(NAME, PICTURE, type=tarfile.CONTTYPE),
    "folder with bytes": spoiled(other("media/", type=tarfile.DIRTYPE), 124, b"00000001000\0"),
    "sparse file of GNU": spoiled(other(NAME, PICTURE, tarfile.GNU_FORMAT), 156, b"S"),
    "pax size": other(NAME, PICTURE, tarfile.PAX_FORMAT, pax_headers={"size": "1"}),
    "pax path": other(NAME, PICTURE, tarfile.PAX_FORMAT, pax_headers={"path": "../../outside"}),
    "pax sparse": other(NAME, PICTURE, tarfile.PAX_FORMAT, pax_headers={"GNU.sparse.realsize": "9" * 18}),
    "global pax": tarfile.TarInfo.create_pax_global_header({"path": NAME}),
    "long name of GNU": other("a" * 200, PICTURE, tarfile.GNU_FORMAT),
    "long link of GNU": other(NAME, b"", tarfile.GNU_FORMAT, type=tarfile.SYMTYPE, linkname="a" * 200),
    "unknown kind": spoiled(other(NAME, PICTURE), 156, b"Z"),
    "volume label": spoiled(other(NAME), 156, b"V"),
}


@pytest.mark.parametrize("kind", OF_OTHER_KINDS)
def test_an_archive_has_plain_files_and_folders_and_nothing_else(tmp_path, kind):
    for before in ([], packed(WHOLE)[:-1]):  # the first thing in it, and the last
        refused(archive(tmp_path, [*before, OF_OTHER_KINDS[kind], *packed(WHOLE)]), "is no plain file in the archive")


PLAIN = other(NAME, PICTURE)

SPOILED = {
    "empty": b"",
    "no archive": b"hello" * 300,
    "short": PLAIN[:100],
    "a wrong checksum": PLAIN[:148] + b"000001\0 " + PLAIN[156:],
    "a checksum that is no number": PLAIN[:148] + b"\xff" * 8 + PLAIN[156:],
    "a negative size": spoiled(PLAIN, 124, b"-0000000001\0"),
    "a negative binary size": spoiled(PLAIN, 124, b"\xff" * 12),
    "a size with junk": spoiled(PLAIN, 124, b"00000000x12\0"),
    "a size with a gap": spoiled(PLAIN, 124, b"0000 000012\0"),
    "a size in decimal": spoiled(PLAIN, 124, b"00000000089\0"),
    "a size of exabytes": spoiled(PLAIN, 124, b"\x80\0\0\0\x7f" + b"\xff" * 7),
    "a size of more than sixty-four bits": spoiled(PLAIN, 124, b"\x80\x01\0\0" + (17).to_bytes(8, "big")),
    "more than there is": spoiled(PLAIN, 124, b"77777777777\0"),
    "a name that is not ASCII": spoiled(PLAIN, 0, b"media/2026-01/\xd0\xb0.jpg\0"),
    "cut off in the bytes": PLAIN[:520],
    "compressed with gzip": b"\x1f\x8b" + bytes(600),
    "compressed with zstd": b"\x28\xb5\x2f\xfd" + bytes(600),
}


@pytest.mark.parametrize("how", SPOILED)
def test_what_is_no_archive_is_refused(tmp_path, how):
    with pytest.raises(InvalidRequest):
        Export(archive(tmp_path, [SPOILED[how]]))
    with pytest.raises(InvalidRequest):
        Export(archive(tmp_path, [*packed(WHOLE)[:-1], SPOILED[how]]))


def test_a_huge_hole_in_an_archive_is_of_no_help(tmp_path):
    """A file that announces an exabyte may be there, as a hole of the file system; the items cannot tell so much."""
    path = archive(tmp_path, packed(documents()))
    with path.open("r+b") as file:
        file.seek(-1024, os.SEEK_END)
        file.write(spoiled(PLAIN[:512], 124, b"\x80\0\0\0" + (1 << 42).to_bytes(8, "big")))
        try:
            file.truncate((1 << 42) + 1_000_000)
        except OSError:
            pytest.fail("the file system of the tests has no large sparse files")
    refused(path, f"{1 << 42} bytes, and the export says {len(PICTURE)}")


def test_an_archive_that_is_cut_off_anywhere_is_refused(tmp_path):
    content = b"".join(packed(WHOLE))
    ends = len(content) - len(tar_format.END)
    for cut in (1, 511, 512, 513, ends // 2, ends - 513, ends - 1, ends, ends + 511):
        refused(archive(tmp_path, [content[:cut]]), "no tar header|ends in the middle")
    check(archive(tmp_path, [content[: ends + 512]]))  # one block of zeroes is an end too


def test_what_comes_after_the_end_of_an_archive_is_not_looked_at(tmp_path):
    more = part("media/2026-01/2026-01-02_101_full.jpg", PICTURE)
    check(archive(tmp_path, [*packed(WHOLE), b"garbage" * 999, more]))
    refused(archive(tmp_path, [tar_format.END, *packed(WHOLE)]), "is not in the archive")


@pytest.mark.parametrize("name", ["export.json", "items.jsonl", NAME])
def test_a_name_that_is_twice_in_an_archive_is_refused(tmp_path, name):
    again = part(name, WHOLE[name])
    refused(archive(tmp_path, [*packed(WHOLE)[:-1], again, tar_format.END]), "twice in the archive")
    dotted = other(f"./{name}", WHOLE[name])
    refused(archive(tmp_path, [dotted, *packed(WHOLE)]), "twice in the archive")
