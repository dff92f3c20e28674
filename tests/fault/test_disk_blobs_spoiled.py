"""What the local blob store makes of files and folders that are not as it left them."""

import errno
import os
import stat
from pathlib import Path

import pytest

from fakes.bodies import BODY, chunks, listed, whole
from fakes.system_calls import fail, held_below
from mediavault.blobs.disk import DiskBlobs
from mediavault.blobs.staged import SLICE_BYTES
from mediavault.blobs.store import blob_key
from mediavault.domain.times import DAY, SECOND
from mediavault.errors import BlobCorrupt, BlobUnavailable, DiskFull

KEY = blob_key("org1", "0198a5b0c0de7000800000000000beef")
NEIGHBOUR = blob_key("org1", "0198a5b0c0de7000800000000000daef")  # the same folder

MEANINGS = [
    (errno.ENOSPC, DiskFull),
    (errno.EDQUOT, DiskFull),
    (errno.EIO, BlobUnavailable),
    (errno.EROFS, BlobUnavailable),
    (errno.EACCES, BlobUnavailable),
]


@pytest.fixture
def root(tmp_path) -> Path:
    folder: Path = tmp_path / "blobs"
    return folder


@pytest.fixture
def store(root) -> DiskBlobs:
    return DiskBlobs(root)


@pytest.fixture
def local(tmp_path) -> Path:
    path: Path = tmp_path / "fetched"
    path.write_bytes(BODY)
    return path


@pytest.fixture(autouse=True)
def every_descriptor_is_closed(tmp_path):
    yield
    assert not held_below(tmp_path)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def spoil_with_symlink(place: Path) -> None:
    place.rename(place.with_name("moved"))
    place.symlink_to("moved")


def spoil_with_folder(place: Path) -> None:
    place.unlink()
    place.mkdir()


def spoil_with_fifo(place: Path) -> None:
    place.unlink()
    os.mkfifo(place)


@pytest.mark.parametrize("spoil", [spoil_with_symlink, spoil_with_folder, spoil_with_fifo])
async def test_what_is_no_regular_file_is_corrupt_and_listed(store, root, spoil):
    await store.put(KEY, chunks())
    spoil(root / "org1" / "ef" / KEY[-32:])
    with pytest.raises(BlobCorrupt):
        store.open_file(KEY)
    with pytest.raises(BlobCorrupt):
        await whole(store, KEY)
    with pytest.raises(BlobCorrupt):
        await store.measure(KEY)
    assert await listed(store) == {KEY}


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.EMFILE])
async def test_a_blob_that_cannot_be_opened_may_be_later(store, monkeypatch, code):
    await store.put(KEY, chunks())
    fail(monkeypatch, "open", code)
    with pytest.raises(BlobUnavailable):
        store.open_file(KEY)


async def test_a_read_error_may_pass(store, monkeypatch):
    await store.put(KEY, chunks())
    fail(monkeypatch, "pread", errno.EIO)
    with pytest.raises(BlobUnavailable):
        await whole(store, KEY)
    with pytest.raises(BlobUnavailable):
        await store.measure(KEY)


async def test_a_blob_cut_short_while_read_is_corrupt_never_just_shorter(store, root):
    await store.put(KEY, chunks())
    reading = store.read(KEY)
    await anext(reading)
    os.truncate(root / "org1" / "ef" / KEY[-32:], SLICE_BYTES + 5)
    assert len(await anext(reading)) == 5
    with pytest.raises(BlobCorrupt):
        await anext(reading)


async def test_names_that_are_no_keys_are_not_listed(store, root):
    await store.put(KEY, chunks())
    (root / "org1" / "ef" / "README.txt").touch()
    (root / "org1" / "ef" / "elsewhere").touch()
    (root / "org1" / "file").touch()
    (root / "lost+found" / "ab").mkdir(parents=True)
    (root / "lost+found" / "ab" / "xab").touch()
    (root / "file").touch()
    assert await listed(store) == {KEY}


async def test_nobody_else_may_read(store, root, local):
    local.chmod(0o644)
    await store.put(KEY, chunks())
    await store.adopt(NEIGHBOUR, local, size_bytes=len(BODY))
    modes = {path.relative_to(root).parts[-1]: stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*")}
    assert modes == {".staging": 0o700, "org1": 0o700, "ef": 0o700, KEY[-32:]: 0o600, NEIGHBOUR[-32:]: 0o600}
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_a_root_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BlobUnavailable):
            DiskBlobs(root)


@pytest.mark.parametrize(("code", "meaning"), MEANINGS)
@pytest.mark.parametrize("call", ["open", "write", "fsync", "pread"])
async def test_a_disk_that_is_not_writable_is_found_out(store, root, monkeypatch, call, code, meaning):
    fail(monkeypatch, call, code)
    with pytest.raises(meaning):
        await store.check_writable()
    assert files(root) == []


async def test_a_disk_that_gives_back_something_else_is_found_out(store, monkeypatch):
    monkeypatch.setattr(os, "pread", lambda *_: b"something else")
    with pytest.raises(BlobUnavailable):
        await store.check_writable()


async def test_free_space_that_cannot_be_asked_for_is_an_error(store, monkeypatch):
    fail(monkeypatch, "statvfs", errno.EIO)
    with pytest.raises(BlobUnavailable):
        store.free_bytes()


async def test_the_sweep_takes_only_what_has_been_still_for_long(root, local):
    abandoned = root / ".staging" / "org1.abandoned.0000"
    store = DiskBlobs(root, now=lambda: round(abandoned.stat().st_ctime * SECOND) + DAY)
    os.link(local, abandoned)
    os.utime(local, (0, 0))  # old bytes in a new link: as young as the link
    (root / ".staging" / "folder").mkdir()
    assert await store.sweep_staging(DAY / SECOND + 60) == 0
    assert abandoned.exists()
    assert await store.sweep_staging(DAY / SECOND - 60) == 1
    assert files(root) == []
    assert local.read_bytes() == BODY
