"""A backup's copies of blobs: never the blob itself, whole or not there, with shared blocks where the kernel can."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from fakes.bodies import chunks, listed, measured, whole
from mediavault.blobs import steps
from mediavault.blobs.disk import DiskBlobs
from mediavault.blobs.store import blob_key
from mediavault.errors import BlobNotFound, BlobUnavailable, DiskFull
from mediavault.vault.portable.backing_up import copied

KEY = blob_key("org", "0198beef")
BODY = os.urandom(2_500_000)


@pytest.fixture
def vault(tmp_path):
    return DiskBlobs(tmp_path / "vault")


@pytest.fixture
def backup(tmp_path):
    return DiskBlobs(tmp_path / "backup")


def file_of(folder):
    (path,) = folder.glob("[!.]*/*/*")
    return path


class Kernel:
    """An `ioctl` that shares blocks, as far as anybody can see; or says `number` instead."""

    def __init__(self, number=None):
        self.number, self.asked = number, 0

    def __call__(self, target, request, source):
        self.asked += 1
        assert request == 0x40049409
        if self.number is not None:
            raise OSError(self.number, os.strerror(self.number))
        data = Path(f"/proc/self/fd/{source}").read_bytes()
        steps.write_fully(target, data)
        return 0


@pytest.mark.parametrize("shares", [True, False])
async def test_a_copy_is_another_file_that_does_not_go_bad_with_the_blob(tmp_path, vault, backup, monkeypatch, shares):
    monkeypatch.setattr(fcntl, "ioctl", Kernel(None if shares else errno.EOPNOTSUPP))
    await vault.put(KEY, chunks(BODY))
    assert await copied(vault, backup, KEY) == measured(KEY, BODY)
    blob, copy = file_of(tmp_path / "vault"), file_of(tmp_path / "backup")
    assert (blob.stat().st_nlink, copy.stat().st_nlink, copy.stat().st_mode & 0o777) == (1, 1, 0o600)
    assert blob.stat().st_ino != copy.stat().st_ino
    with blob.open("r+b") as file:  # as a bug, or a stranger, might
        file.write(b"spoiled")
    assert await whole(backup, KEY) == BODY
    assert list((tmp_path / "backup" / ".staging").iterdir()) == []


async def test_on_this_file_system_too(tmp_path, vault, backup):
    await vault.put(KEY, chunks(BODY))
    assert await copied(vault, backup, KEY) == measured(KEY, BODY)
    assert file_of(tmp_path / "backup").stat().st_nlink == 1
    await vault.delete(KEY)
    assert await whole(backup, KEY) == BODY


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EPERM])
async def test_where_blocks_cannot_be_shared_the_bytes_are_copied(vault, backup, monkeypatch, number):
    kernel = Kernel(number)
    monkeypatch.setattr(fcntl, "ioctl", kernel)
    await vault.put(KEY, chunks(BODY))
    assert await copied(vault, backup, KEY) == measured(KEY, BODY)
    assert (kernel.asked, await whole(backup, KEY) == BODY) == (1, True)


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, DiskFull), (errno.EIO, BlobUnavailable)])
async def test_a_disk_that_fails_leaves_nothing_behind(tmp_path, vault, backup, monkeypatch, number, error):
    monkeypatch.setattr(fcntl, "ioctl", Kernel(number))
    await vault.put(KEY, chunks(BODY))
    with pytest.raises(error):
        await copied(vault, backup, KEY)
    assert await listed(backup) == set()
    assert list((tmp_path / "backup" / ".staging").iterdir()) == []


async def test_the_digest_is_of_the_bytes_that_arrived_whatever_they_should_be(vault, backup, monkeypatch):
    """Who copies compares it with the catalog's: shared blocks spare the writing, not the reading."""
    monkeypatch.setattr(fcntl, "ioctl", Kernel())
    await vault.put(KEY, chunks(BODY))
    path = Path(vault._path(KEY))
    path.write_bytes(b"other")
    assert await copied(vault, backup, KEY) == measured(KEY, b"other")
    path.unlink()
    with pytest.raises(BlobNotFound):
        await copied(vault, backup, KEY)
