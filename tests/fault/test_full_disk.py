"""A disk with an end: a small file system of its own that fills up in the middle of writes, and is freed again.

The kernel itself gives the short writes and the ENOSPC here. Where no file system can be mounted, a limit of the
process on the size of its files gives the same: `write` takes a part, then refuses.
"""

import asyncio
import contextlib
import hashlib
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.bodies import whole
from fakes.catalog_rows import broken_invariants, rows
from fakes.vaults import running_vault, until
from mediavault.blobs.disk import DiskBlobs
from mediavault.blobs.store import blob_key
from mediavault.errors import BlobUnavailable, DiskFull
from mediavault.storer.store_variant import StoreConfig
from mediavault.storer.worker import WorkerConfig

KEY = blob_key("org1", "0198a5b0c0de7000800000000000beef")
MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB; where none can be mounted the test is of no use, and says so."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def pieces(size_bytes: int):
    for at in range(0, size_bytes, 100_000):
        yield bytes(min(100_000, size_bytes - at))


async def test_a_blob_that_does_not_fit_leaves_nothing_and_takes_nothing(small_disk):
    store = DiskBlobs(small_disk / "blobs")
    free = store.free_bytes()
    for _ in range(3):
        with pytest.raises(DiskFull):
            await store.put(KEY, pieces(5 * MIB))
        assert store.free_bytes() == free
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []
    blob = await store.put(KEY, pieces(2 * MIB))
    assert hashlib.sha256(await whole(store, KEY)).hexdigest() == blob.sha256


async def test_an_adopted_copy_that_does_not_fit_leaves_nothing(small_disk, tmp_path):
    store, fetched = DiskBlobs(small_disk / "blobs"), tmp_path / "fetched"
    fetched.write_bytes(bytes(5 * MIB))  # on another file system: it is copied
    with pytest.raises(DiskFull):
        await store.adopt(KEY, fetched, size_bytes=5 * MIB)
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []
    assert fetched.stat().st_size == 5 * MIB


async def test_stores_wait_for_a_full_disk_and_go_on_when_it_is_freed(small_disk, tmp_path):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 * MIB + MIB // 2))
    async with running_vault(
        tmp_path / "data",
        blobs=small_disk / "blobs",
        store=StoreConfig(first_delay_ms=20, no_room_delay_ms=50, free_floor_bytes=0),
        worker=WorkerConfig(look_every_seconds=0.05),
    ) as vault:
        connection, catalog = await vault.connect(), vault.vault.foundation.catalog
        media, item = await vault.add(connection, size_bytes=MIB)
        url = item["media"]["full"]["url"]
        assert (await vault.ask("POST", url)).status == 202

        async def refused() -> bool:
            (variant,) = [each for each in await rows(catalog, "variants") if each["label"] == "full"]
            return variant["status"] == "pending" and "space" in (variant["last_error"] or "")

        await until(refused)
        viewed = await vault.ask("GET", url)
        assert hashlib.sha256(viewed.body).hexdigest() == media.renditions["full"].content.sha256()
        assert await broken_invariants(catalog) == []
        ballast.unlink()
        await vault.until_stored(connection, media.id)
        (blob,) = await rows(catalog, "blobs", state="live")
        assert [each["attempts"] for each in await rows(catalog, "variants", id=blob["variant_id"])] == [0]
        await vault.vault.sweeps.sweep()
        assert len([path for path in (small_disk / "blobs").rglob("*") if path.is_file()]) == 1


@contextlib.contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """No file may grow beyond that: the write that crosses it is short, the next one is refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


async def test_a_short_write_of_the_kernel_and_then_a_refusal_leave_nothing(tmp_path):
    store = DiskBlobs(tmp_path / "blobs")
    with largest_file(1_234_567), pytest.raises(BlobUnavailable, match="File too large"):
        await store.put(KEY, pieces(2 * MIB))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    await store.put(KEY, pieces(2 * MIB))
    assert len(await whole(store, KEY)) == 2 * MIB


async def test_without_a_free_descriptor_nothing_is_lost(tmp_path):
    store = DiskBlobs(tmp_path / "blobs")
    await store.put(KEY, pieces(MIB))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    try:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (max(int(fd.name) for fd in Path("/proc/self/fd").iterdir()) + 8, hard)
        )
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        with pytest.raises(BlobUnavailable, match="Too many open files"):
            store.open_file(KEY)
        with pytest.raises(BlobUnavailable, match="Too many open files"):
            await store.put(blob_key("org1", "0198a5b0c0de7000800000000000daef"), pieces(MIB))
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await asyncio.sleep(0)
    assert len(await whole(store, KEY)) == MIB
