"""Every blob store keeps the contract of `mediavault.blobs.store`. A new backend is a line in BACKENDS."""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

import pytest

from fakes import s3_server
from fakes.blobs import MemoryBlobs
from fakes.bodies import BODY, chunks, held, listed, measured, whole
from mediavault.blobs.disk import DiskBlobs
from mediavault.blobs.places import TwoPlaces
from mediavault.blobs.s3 import S3Blobs
from mediavault.blobs.store import BlobKey, BlobStore, blob_key
from mediavault.errors import BlobCorrupt, BlobNotFound, BlobUnavailable, InvalidRequest, LimitReached

BACKENDS: dict[str, Callable[[Path], BlobStore]] = {
    "memory": lambda _folder: MemoryBlobs(),
    "disk": lambda folder: DiskBlobs(folder / "blobs"),
    "two places": lambda folder: TwoPlaces(DiskBlobs(folder / "blobs"), DiskBlobs(folder / "before")),
    "a remote place before a folder": lambda folder: TwoPlaces(MemoryBlobs(), DiskBlobs(folder / "before")),
}

KEY = blob_key("0198a5b0c0de7000", "0198a5b0c0de7000800000000000beef")
PLAIN = BlobKey("0198a5b0c0de7000800000000000cafe")
END = len(BODY)
NOT_KEYS = ["", "/", "a/", "/a", "a//b", "a/b/c", "..", "../a", "a/..", "A", "a.b", "a b", "é", "a\n", "a\0", "a" * 65]


@pytest.fixture(params=[*BACKENDS, pytest.param("s3", marks=pytest.mark.ceph)])
def store(request, tmp_path) -> BlobStore:
    if request.param != "s3":
        return BACKENDS[request.param](tmp_path)
    url = request.getfixturevalue("s3_url")
    return S3Blobs(s3_server.place_of(url, s3_server.new_bucket(url), "pre/fix"), s3_server.credentials_of(url))


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "fetched"
    path.write_bytes(BODY)
    return path


async def assert_absent(store: BlobStore, key: BlobKey) -> None:
    assert key not in await listed(store)
    with pytest.raises(BlobNotFound):
        await store.measure(key)
    with pytest.raises(BlobNotFound):
        await whole(store, key)


@pytest.mark.parametrize("key", [KEY, PLAIN, BlobKey("a"), BlobKey("z" * 64 + "/" + "9" * 64)])
async def test_what_is_put_is_read_back(store, key):
    assert await store.put(key, chunks()) == measured(key, BODY)
    assert await whole(store, key) == BODY
    assert await store.measure(key) == measured(key, BODY)
    assert await listed(store) == {key}


async def test_an_empty_blob_is_a_blob(store):
    assert await store.put(KEY, chunks(b"")) == measured(KEY, b"")
    assert await whole(store, KEY) == b""
    assert await listed(store) == {KEY}


async def test_empty_chunks_add_nothing(store):
    async def body() -> AsyncIterator[bytes]:
        for chunk in (b"", b"a", b"", b"b", b""):
            yield chunk

    assert await store.put(KEY, body()) == measured(KEY, b"ab")


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, 0), (0, 1), (5, None), (1 << 20, 5), (END - 3, None), (END - 3, 99), (END, None), (2**40, 9)],
)
async def test_a_part_is_exactly_that_part(store, start, length):
    await store.put(KEY, chunks())
    stop = None if length is None else start + length
    assert await whole(store, KEY, start, length) == BODY[start:stop]


@pytest.mark.parametrize(("start", "length"), [(-1, None), (0, -1)])
async def test_a_negative_part_is_refused(store, start, length):
    await store.put(KEY, chunks(b"abc"))
    with pytest.raises(InvalidRequest):
        await whole(store, KEY, start, length)


async def test_a_reader_may_leave_early(store):
    await store.put(KEY, chunks())
    async with contextlib.aclosing(store.read(KEY)) as reading:
        assert BODY.startswith(await anext(reading))
    assert await whole(store, KEY) == BODY


async def test_putting_the_same_key_twice_succeeds(store):
    await store.put(KEY, chunks())
    assert await store.put(KEY, chunks(b"again")) == measured(KEY, b"again")
    assert await whole(store, KEY) == b"again"
    assert await listed(store) == {KEY}


async def test_concurrent_puts_of_one_key_leave_one_whole_blob(store):
    bodies = [bytes([letter]) * 300_000 for letter in b"abcd"]
    await asyncio.gather(*(store.put(KEY, chunks(body)) for body in bodies))
    assert await whole(store, KEY) in bodies
    assert await listed(store) == {KEY}


async def test_nobody_sees_part_of_a_blob(store):
    proceed, asked = asyncio.Event(), asyncio.Event()
    putting = asyncio.create_task(store.put(KEY, held(BODY, proceed, asked)))
    await asked.wait()
    await assert_absent(store, KEY)
    proceed.set()
    await putting
    assert await whole(store, KEY) == BODY + b"the rest"


async def test_the_old_bytes_stay_until_the_new_ones_are_whole(store):
    await store.put(KEY, chunks(b"old"))
    proceed, asked = asyncio.Event(), asyncio.Event()
    putting = asyncio.create_task(store.put(KEY, held(BODY, proceed, asked)))
    await asked.wait()
    assert await whole(store, KEY) == b"old"
    proceed.set()
    await putting
    assert await whole(store, KEY) == BODY + b"the rest"


async def test_a_cancelled_put_leaves_nothing(store):
    asked = asyncio.Event()
    putting = asyncio.create_task(store.put(KEY, held(BODY, asyncio.Event(), asked)))
    await asked.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    await assert_absent(store, KEY)


async def test_the_error_of_a_body_passes_through_and_nothing_is_left(store):
    class OriginBroke(Exception):
        pass

    async def body() -> AsyncIterator[bytes]:
        yield BODY
        raise OriginBroke

    with pytest.raises(OriginBroke):
        await store.put(KEY, body())
    await assert_absent(store, KEY)


async def test_a_blob_of_exactly_its_limit_is_kept(store):
    assert await store.put(KEY, chunks(), limit_bytes=len(BODY)) == measured(KEY, BODY)


@pytest.mark.parametrize("limit_bytes", [0, 1, len(BODY) - 1])
async def test_a_blob_over_its_limit_is_refused_and_nothing_is_left(store, limit_bytes):
    with pytest.raises(LimitReached):
        await store.put(KEY, chunks(), limit_bytes=limit_bytes)
    await assert_absent(store, KEY)


async def test_a_limit_stops_an_endless_body(store):
    async def endless() -> AsyncGenerator[bytes, None]:
        while True:
            yield bytes(50_000)

    async with contextlib.aclosing(endless()) as body:
        with pytest.raises(LimitReached):
            await store.put(KEY, body, limit_bytes=3_000_000)
    await assert_absent(store, KEY)


async def test_an_adopted_file_is_a_blob_and_stays_its_owners(store, local):
    await store.adopt(KEY, local, size_bytes=len(BODY))
    assert local.read_bytes() == BODY
    local.unlink()
    assert await store.measure(KEY) == measured(KEY, BODY)
    assert await whole(store, KEY, 10, 5) == BODY[10:15]
    assert await listed(store) == {KEY}


async def test_adopting_the_same_key_twice_succeeds(store, local):
    await store.adopt(KEY, local, size_bytes=len(BODY))
    await store.adopt(KEY, local, size_bytes=len(BODY))
    assert await whole(store, KEY) == BODY
    assert await listed(store) == {KEY}


async def test_one_file_may_be_adopted_under_two_keys(store, local):
    await store.adopt(KEY, local, size_bytes=len(BODY))
    await store.adopt(PLAIN, local, size_bytes=len(BODY))
    await store.delete(KEY)
    assert await whole(store, PLAIN) == BODY


@pytest.mark.parametrize("size_bytes", [0, len(BODY) - 1, len(BODY) + 1])
async def test_a_file_of_another_size_is_not_adopted(store, local, size_bytes):
    with pytest.raises(BlobCorrupt):
        await store.adopt(KEY, local, size_bytes=size_bytes)
    await assert_absent(store, KEY)
    assert local.read_bytes() == BODY


async def test_what_is_no_regular_file_is_not_adopted(store, local, tmp_path):
    (tmp_path / "link").symlink_to(local)
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "link", tmp_path / "fifo", tmp_path):
        with pytest.raises(BlobCorrupt):
            await store.adopt(KEY, path, size_bytes=len(BODY))
    await assert_absent(store, KEY)


async def test_a_file_that_is_not_there_is_not_adopted(store, tmp_path):
    with pytest.raises(BlobUnavailable):
        await store.adopt(KEY, tmp_path / "gone", size_bytes=1)
    await assert_absent(store, KEY)


async def test_deleting_is_final_and_repeatable(store):
    await store.put(KEY, chunks())
    await store.put(PLAIN, chunks(b"other"))
    for _ in range(2):
        await store.delete(KEY)
        await assert_absent(store, KEY)
    assert await whole(store, PLAIN) == b"other"


async def test_a_deleted_key_can_be_put_again(store):
    await store.put(KEY, chunks())
    await store.delete(KEY)
    await store.put(KEY, chunks(b"again"))
    assert await whole(store, KEY) == b"again"


async def test_organisations_do_not_share_keys(store):
    ours, theirs = blob_key("ours", "ab"), blob_key("theirs", "ab")
    for key in (ours, theirs, BlobKey("ab"), BlobKey("ours"), blob_key("ab", "ab")):
        await store.put(key, chunks(key.encode()))
    await store.delete(theirs)
    for key in (ours, BlobKey("ab"), BlobKey("ours"), blob_key("ab", "ab")):
        assert await whole(store, key) == key.encode()
    assert await listed(store) == {ours, "ab", "ours", "ab/ab"}


async def test_a_new_store_is_empty(store):
    assert await listed(store) == set()
    await assert_absent(store, KEY)


async def test_a_local_file_if_any_has_the_whole_blob(store):
    await store.put(KEY, chunks())
    file = store.open_file(KEY)
    if file is None:
        return
    with contextlib.closing(file):
        assert file.size_bytes == len(BODY)
        assert os.pread(file.fd, len(BODY) + 1, 0) == BODY
        await store.delete(KEY)
        assert os.pread(file.fd, 3, 256) == BODY[256:259]
    file.close()  # twice is fine
    with pytest.raises(BlobNotFound):
        store.open_file(KEY)


@pytest.mark.parametrize("text", NOT_KEYS)
async def test_what_is_no_key_is_refused_at_every_door(store, local, text):
    key = BlobKey(text)
    with pytest.raises(InvalidRequest):
        await store.put(key, chunks())
    with pytest.raises(InvalidRequest):
        await store.adopt(key, local, size_bytes=len(BODY))
    with pytest.raises(InvalidRequest):
        store.open_file(key)
    with pytest.raises(InvalidRequest):
        await whole(store, key)
    with pytest.raises(InvalidRequest):
        await store.measure(key)
    with pytest.raises(InvalidRequest):
        await store.delete(key)


@pytest.mark.parametrize(("org_id", "blob_id"), [("", "a"), ("a", ""), ("a/b", "c"), ("a", "b/c"), ("..", "a")])
def test_no_key_is_made_of_what_is_no_id(org_id, blob_id):
    with pytest.raises(InvalidRequest):
        blob_key(org_id, blob_id)


def test_free_space_is_a_number_or_unknown(store):
    free = store.free_bytes()
    assert free is None or free > 0


async def test_neither_a_put_nor_a_probe_leaves_anything_to_sweep(store):
    await store.put(KEY, chunks())
    await store.check_writable()
    assert await listed(store) == {KEY}
    assert await store.sweep_staging(0) == 0
    assert await whole(store, KEY) == BODY
