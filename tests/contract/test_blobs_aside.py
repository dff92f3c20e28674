"""What is set aside leads nowhere any more and is never deleted; what crashed writers left can be listed."""

import os

import pytest

from fakes.blobs import MemoryBlobs
from fakes.bodies import BODY, chunks, listed
from mediavault.blobs.disk import DiskBlobs
from mediavault.blobs.store import BlobKey, blob_key
from mediavault.errors import BlobNotFound, InvalidRequest

KEY = blob_key("0198a5b0c0de7000", "0198a5b0c0de7000800000000000beef")


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    return MemoryBlobs() if request.param == "memory" else DiskBlobs(tmp_path / "blobs")


async def test_what_is_set_aside_is_no_blob_any_more(store):
    await store.put(KEY, chunks())
    assert await store.set_aside(KEY)
    assert await listed(store) == set()
    with pytest.raises(BlobNotFound):
        await store.measure(KEY)
    assert not await store.set_aside(KEY)


async def test_only_keys_can_be_set_aside(store):
    with pytest.raises(InvalidRequest):
        await store.set_aside(BlobKey("../elsewhere"))


@pytest.mark.parametrize("kind", ["file", "link", "broken link", "folder", "pipe"])
async def test_whatever_lies_under_the_key_is_moved_as_it_is_and_outlives_deletes_and_sweeps(tmp_path, kind):
    store = DiskBlobs(tmp_path / "blobs")
    await store.put(KEY, chunks())
    (place,) = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    if kind != "file":
        place.rename(tmp_path / "real")
    if kind == "link":
        place.symlink_to(tmp_path / "real")
    if kind == "broken link":
        place.symlink_to(tmp_path / "nothing")
    if kind == "folder":
        place.mkdir()
        (place / "in it").write_bytes(b"x")
    if kind == "pipe":
        os.mkfifo(place)
    assert await store.set_aside(KEY)
    await store.delete(KEY)
    await store.sweep_staging(-60)
    assert not os.path.lexists(place)
    (aside,) = (tmp_path / "blobs" / ".quarantine").iterdir()
    assert aside.name.startswith(KEY.replace("/", "."))
    assert aside.is_symlink() == ("link" in kind)
    if kind == "file":
        assert aside.read_bytes() == BODY
    if kind == "link":
        assert (tmp_path / "real").read_bytes() == BODY


async def test_the_same_key_can_be_set_aside_twice(tmp_path):
    store = DiskBlobs(tmp_path / "blobs")
    for _ in range(2):
        await store.put(KEY, chunks())
        assert await store.set_aside(KEY)
    assert len(list((tmp_path / "blobs" / ".quarantine").iterdir())) == 2


async def test_leftovers_are_what_a_sweep_would_take(tmp_path):
    store = DiskBlobs(tmp_path / "blobs")
    (tmp_path / "blobs" / ".staging" / "left.0123").write_bytes(b"half")
    assert await store.leftovers(60) == []
    assert await store.leftovers(-60) == ["left.0123"]
    assert await store.sweep_staging(-60) == 1
    assert await store.leftovers(-60) == []
