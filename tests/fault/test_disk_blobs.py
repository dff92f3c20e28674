"""What the local blob store does when the operating system fails it. The system calls are the only thing faked."""

import asyncio
import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from fakes.bodies import BODY, CHUNK_BYTES, chunks, whole
from fakes.system_calls import describe, fail, held_below, record
from mediavault.blobs.disk import DiskBlobs
from mediavault.blobs.staged import SLICE_BYTES
from mediavault.blobs.store import blob_key
from mediavault.errors import BlobCorrupt, BlobNotFound, BlobUnavailable, DiskFull, VaultError

KEY = blob_key("org1", "0198a5b0c0de7000800000000000beef")
NEIGHBOUR = blob_key("org1", "0198a5b0c0de7000800000000000daef")  # the same folder

FULL = [errno.ENOSPC, errno.EDQUOT]
BROKEN = [errno.EIO, errno.EROFS, errno.EMFILE, errno.EACCES]


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


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    return record(monkeypatch)


def is_file(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)


def is_folder(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def meaning(code: int) -> type[VaultError]:
    return DiskFull if code in FULL else BlobUnavailable


async def test_a_put_syncs_the_file_then_renames_then_syncs_the_folders(store, calls):
    await store.put(KEY, chunks())
    assert calls == ["fsync staged", f"rename staged {KEY[-32:]}", "fsync ef", "fsync org1", "fsync blobs"]


async def test_an_adoption_does_the_same_with_a_link(store, local, calls):
    await store.adopt(KEY, local, size_bytes=len(BODY))
    assert calls == [
        "link fetched staged",
        "fsync staged",
        f"rename staged {KEY[-32:]}",
        "fsync ef",
        "fsync org1",
        "fsync blobs",
    ]


async def test_folders_known_to_be_durable_are_not_synced_again(store, calls):
    await store.put(KEY, chunks())
    calls.clear()
    await store.put(NEIGHBOUR, chunks())
    assert calls == ["fsync staged", f"rename staged {NEIGHBOUR[-32:]}", "fsync ef"]


async def test_folders_of_an_earlier_process_are_synced_once_more(store, root, calls):
    await store.put(KEY, chunks())
    again = DiskBlobs(root)
    calls.clear()
    await again.put(NEIGHBOUR, chunks())
    assert calls[-3:] == ["fsync ef", "fsync org1", "fsync blobs"]


async def test_folders_made_anew_are_synced_anew(store, root, calls):
    await store.put(KEY, chunks())
    await store.delete(KEY)
    (root / "org1" / "ef").rmdir()
    calls.clear()
    await store.put(KEY, chunks())
    assert calls[-3:] == ["fsync ef", "fsync org1", "fsync blobs"]


async def test_a_delete_unlinks_then_syncs_the_folder_even_if_the_name_was_gone(store, calls):
    await store.put(KEY, chunks())
    calls.clear()
    await store.delete(KEY)
    await store.delete(KEY)
    assert calls == [f"unlink {KEY[-32:]}", "fsync ef", "fsync ef"]


def test_a_new_root_is_durable_with_every_folder_above_it(tmp_path, calls):
    DiskBlobs(tmp_path / "data" / "blobs")
    assert calls == [f"fsync {tmp_path.name}", "fsync data"]


@pytest.mark.parametrize("code", [*FULL, *BROKEN])
@pytest.mark.parametrize(
    ("call", "when"),
    [
        ("open", lambda path, *_: ".staging" in str(path)),
        ("write", lambda _fd, data: len(data) == CHUNK_BYTES),
        ("fsync", is_file),
        ("mkdir", lambda path, *_: describe(path) == "ef"),
        ("rename", lambda *_: True),
        ("fsync", is_folder),
    ],
    ids=["open", "write", "fsync-file", "mkdir", "rename", "fsync-folder"],
)
async def test_a_failed_step_of_a_put_leaves_nothing(store, root, monkeypatch, call, when, code):
    failures = fail(monkeypatch, call, code, when)
    with pytest.raises(meaning(code)):
        await store.put(KEY, chunks())
    assert failures == [code]  # above all: no fsync is tried again
    assert files(root) == []
    with pytest.raises(BlobNotFound):
        await store.measure(KEY)
    monkeypatch.undo()
    await store.put(KEY, chunks())
    assert await whole(store, KEY) == BODY


@pytest.mark.parametrize("code", [*FULL, *BROKEN])
@pytest.mark.parametrize(
    ("call", "when"),
    [
        ("link", lambda *_: True),
        ("fchmod", lambda *_: True),
        ("fsync", is_file),
        ("rename", lambda *_: True),
        ("fsync", is_folder),
    ],
    ids=["link", "fchmod", "fsync-file", "rename", "fsync-folder"],
)
async def test_a_failed_step_of_an_adoption_leaves_nothing_but_the_file(
    store, root, local, monkeypatch, call, when, code
):
    failures = fail(monkeypatch, call, code, when)
    with pytest.raises(meaning(code)):
        await store.adopt(KEY, local, size_bytes=len(BODY))
    assert failures == [code]
    assert files(root) == []
    assert local.read_bytes() == BODY


async def test_after_a_failed_folder_sync_the_whole_chain_is_synced_again(store, monkeypatch):
    fail(monkeypatch, "fsync", errno.EIO, lambda fd: describe(fd) == "org1")
    with pytest.raises(BlobUnavailable):
        await store.put(KEY, chunks())
    monkeypatch.undo()
    calls = record(monkeypatch)
    await store.put(KEY, chunks())
    assert calls[-3:] == ["fsync ef", "fsync org1", "fsync blobs"]


async def test_a_delete_that_may_not_be_durable_says_so(store, monkeypatch):
    await store.put(KEY, chunks())
    fail(monkeypatch, "fsync", errno.EIO)
    with pytest.raises(BlobUnavailable):
        await store.delete(KEY)


async def test_cleaning_up_that_fails_too_does_not_hide_the_first_failure(store, root, monkeypatch):
    fail(monkeypatch, "fsync", errno.ENOSPC)
    fail(monkeypatch, "unlink", errno.EROFS)
    with pytest.raises(DiskFull):
        await store.put(KEY, chunks())
    monkeypatch.undo()
    assert [name.split("/")[0] for name in files(root)] == [".staging"]
    assert await DiskBlobs(root, now=lambda: 2**45).sweep_staging(0) == 1
    assert files(root) == []


@pytest.mark.parametrize("at_most", [7_001, SLICE_BYTES])
async def test_short_writes_are_carried_on(store, local, monkeypatch, at_most):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:at_most]))
    blob = await store.put(KEY, chunks())
    assert blob.size_bytes == len(BODY)
    assert await whole(store, KEY) == BODY
    fail(monkeypatch, "link", errno.EXDEV)
    await store.adopt(NEIGHBOUR, local, size_bytes=len(BODY))
    assert await whole(store, NEIGHBOUR) == BODY


async def test_a_disk_that_takes_nothing_is_an_error_not_a_loop(store, root, monkeypatch):
    monkeypatch.setattr(os, "write", lambda _fd, _data: 0)
    with pytest.raises(BlobUnavailable):
        await store.put(KEY, chunks())
    assert files(root) == []


async def test_a_disk_that_loses_bytes_is_found_out(store, root, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:-1]) + 1)
    with pytest.raises(BlobCorrupt):
        await store.put(KEY, chunks())
    assert files(root) == []


async def test_an_adopted_file_is_not_copied_on_one_file_system(store, root, local):
    await store.adopt(KEY, local, size_bytes=len(BODY))
    assert (root / "org1" / "ef" / KEY[-32:]).samefile(local)


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
async def test_an_adopted_file_is_copied_where_it_cannot_be_linked(store, root, local, monkeypatch, calls, code):
    fail(monkeypatch, "link", code)
    await store.adopt(KEY, local, size_bytes=len(BODY))
    assert calls[:2] == ["fsync staged", f"rename staged {KEY[-32:]}"]
    assert calls[-1] == "fsync blobs"
    assert not (root / "org1" / "ef" / KEY[-32:]).samefile(local)
    assert await whole(store, KEY) == BODY
    assert local.read_bytes() == BODY
    assert files(root) == [f"org1/ef/{KEY[-32:]}"]


@pytest.mark.parametrize("size_bytes", [len(BODY) - 1, len(BODY) + 1])
async def test_a_copy_of_another_size_is_refused(store, root, local, monkeypatch, size_bytes):
    fail(monkeypatch, "link", errno.EXDEV)
    with pytest.raises(BlobCorrupt):
        await store.adopt(KEY, local, size_bytes=size_bytes)
    assert files(root) == []


async def test_adopting_again_leaves_no_second_name_in_staging(store, root, local):
    for _ in range(2):  # the second rename is onto the same file, and does nothing (POSIX)
        await store.adopt(KEY, local, size_bytes=len(BODY))
    assert files(root) == [f"org1/ef/{KEY[-32:]}"]


@pytest.mark.parametrize("cancellations", [1, 3])
async def test_a_cancelled_put_waits_for_its_write_before_it_closes_the_file(store, root, monkeypatch, cancellations):
    real, writing, go_on = os.write, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    descriptors: list[str] = []

    def slow(fd: int, data: bytes) -> int:
        if len(data) != CHUNK_BYTES:
            return real(fd, data)
        loop.call_soon_threadsafe(writing.set)
        assert go_on.wait(timeout=30)
        descriptors.append(describe(fd))
        return real(fd, data)

    monkeypatch.setattr(os, "write", slow)
    putting = asyncio.create_task(store.put(KEY, chunks()))
    await writing.wait()
    for _ in range(cancellations):
        putting.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not putting.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert set(descriptors) == {"staged"}
    assert files(root) == []
