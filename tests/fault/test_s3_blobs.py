"""Blobs in a bucket whose service fails: never a short blob, never a lost one taken for a missing one."""

import asyncio
import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes import s3_server
from fakes.bodies import BODY, chunks, held, listed, measured, whole
from fakes.s3_faulty import ABORT, BEGIN, COMPLETE, CREDENTIALS, DELETE, GET, PART, PUT, FaultyS3
from mediavault.blobs.s3 import S3Blobs
from mediavault.blobs.s3_client import S3Timing
from mediavault.blobs.store import BlobKey, blob_key
from mediavault.errors import BlobError, BlobNotFound, BlobUnavailable

KEY = blob_key("0198a5b0c0de7000", "0198a5b0c0de7000800000000000beef")
NAME = f"pre/{KEY}"
PLAIN = BlobKey("abc")
LARGE = BODY * 8  # three parts
QUICK = S3Timing(connect_seconds=2, read_seconds=1, most_retries=2, retry_seconds=10, first_backoff_seconds=0.01)
#: What a body of each size is sent by.
SENT_BY = [(BODY, PUT), (LARGE, BEGIN), (LARGE, PART), (LARGE, COMPLETE)]


@pytest.fixture
async def service() -> FaultyS3:
    return FaultyS3()


@pytest.fixture
async def store(service: FaultyS3) -> AsyncIterator[S3Blobs]:
    async with service.served() as place:
        yield S3Blobs(place, CREDENTIALS, timing=QUICK)


@pytest.mark.parametrize("body", [BODY, LARGE])
async def test_every_byte_is_sent_with_a_checksum_that_the_service_believes(store, service, body):
    assert await store.put(KEY, chunks(body)) == measured(KEY, body)
    assert service.objects == {NAME: body}
    assert await store.measure(KEY) == measured(KEY, body)
    assert service.uploads == {}


@pytest.mark.parametrize(("body", "sent_by"), [(BODY, PUT), (LARGE, PART)])
async def test_bytes_that_changed_on_the_way_are_refused_and_nothing_is_left(store, service, body, sent_by):
    service.fail(sent_by, "spoil")
    with pytest.raises(BlobUnavailable, match="BadDigest"):
        await store.put(KEY, chunks(body))
    assert service.objects == {}
    assert service.uploads == {}


@pytest.mark.parametrize("how", ["503", "reset", "lost"])
@pytest.mark.parametrize(("body", "sent_by"), SENT_BY)
async def test_a_failure_that_passes_is_outlived(store, service, body, sent_by, how):
    service.fail(sent_by, how, times=1)
    assert await store.put(KEY, chunks(body)) == measured(KEY, body)
    assert service.objects == {NAME: body}


@pytest.mark.parametrize("how", ["503", "reset", "403"])
@pytest.mark.parametrize(("body", "sent_by"), SENT_BY)
async def test_a_failure_that_stays_is_unavailable_and_leaves_nothing(store, service, body, sent_by, how):
    service.fail(sent_by, how)
    with pytest.raises(BlobUnavailable) as failed:
        await store.put(KEY, chunks(body))
    assert CREDENTIALS.secret_access_key not in str(failed.value)
    assert service.objects == {}
    assert service.uploads == {}


async def test_a_put_whose_answers_are_all_lost_is_found_to_be_there(store, service):
    service.fail(PUT, "lost")
    assert await store.put(KEY, chunks()) == measured(KEY, BODY)
    service.fail(COMPLETE, "lost")
    assert await store.put(KEY, chunks(LARGE)) == measured(KEY, LARGE)
    assert await whole(store, KEY) == LARGE


async def test_what_lies_there_of_old_is_not_taken_for_what_was_sent(store, service):
    service.objects[NAME] = b"other bytes"
    service.fail(PUT, "503")
    with pytest.raises(BlobUnavailable):
        await store.put(KEY, chunks())


@pytest.mark.parametrize("start", [0, 1000])
async def test_a_truncated_answer_is_asked_on_or_raises_but_is_never_short(store, service, start):
    await store.put(KEY, chunks())
    service.fail(GET, "truncate", times=1)
    with contextlib.suppress(BlobUnavailable):
        assert await whole(store, KEY, start) == BODY[start:]
    service.fail(GET, "truncate")
    with pytest.raises(BlobUnavailable):
        await whole(store, KEY, start)
    service.heal()
    assert await whole(store, KEY, start) == BODY[start:]


@pytest.mark.parametrize("how", ["503", "403", "reset", "stall"])
async def test_a_service_that_fails_is_not_one_without_the_blob(store, service, how):
    await store.put(KEY, chunks())
    service.fail(GET, how)
    with pytest.raises(BlobUnavailable):
        await store.measure(KEY)
    service.heal()
    await store.delete(KEY)
    with pytest.raises(BlobNotFound):
        await store.measure(KEY)


async def test_a_delete_that_fails_says_so(store, service):
    await store.put(KEY, chunks())
    service.fail(DELETE, "503")
    with pytest.raises(BlobUnavailable):
        await store.delete(KEY)
    service.heal()
    await store.delete(KEY)
    assert service.objects == {}


async def test_a_cancelled_upload_leaves_neither_parts_nor_an_object(store, service):
    proceed, asked = asyncio.Event(), asyncio.Event()
    putting = asyncio.create_task(store.put(KEY, held(LARGE, proceed, asked)))
    await asked.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    await asyncio.sleep(0)
    assert service.objects == {}
    assert service.uploads == {}


async def test_an_upload_that_cannot_be_aborted_now_is_swept_later(store, service):
    service.fail(PART, "403")
    service.fail(ABORT, "503")
    with pytest.raises(BlobUnavailable):
        await store.put(KEY, chunks(LARGE))
    assert len(service.uploads) == 1
    service.heal()
    assert await store.sweep_staging(-5) == 1
    assert service.uploads == {}


async def test_nothing_is_read_into_memory_at_once(store, service):
    await store.put(KEY, chunks(LARGE))
    async with contextlib.aclosing(store.read(KEY)) as pieces:
        assert max([len(piece) async for piece in pieces]) <= 1 << 20


KILLED = """
import asyncio, sys
from fakes import s3_server
from mediavault.blobs.s3 import S3Blobs
from mediavault.blobs.store import BlobKey

async def body():
    for n in range(24):
        yield bytes([n]) * (1 << 20)
    print("half", flush=True)
    await asyncio.Event().wait()

url, bucket = sys.argv[1:]
store = S3Blobs(s3_server.place_of(url, bucket, "pre"), s3_server.credentials_of(url))
asyncio.run(store.put(BlobKey("abc"), body()))
"""


async def test_a_storer_killed_in_the_middle_of_an_upload_leaves_no_blob_and_what_a_sweep_finds(s3_url, s3_bucket):
    store = S3Blobs(s3_server.place_of(s3_url, s3_bucket, "pre"), s3_server.credentials_of(s3_url))
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {tests!r})\n{KILLED}", s3_url, s3_bucket]
    storer = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert storer.stdout is not None
    assert (await storer.stdout.readline()).strip() == b"half"
    while not await store.leftovers(-60):  # noqa: ASYNC110 - the first part may still be on its way
        await asyncio.sleep(0.02)
    storer.send_signal(signal.SIGKILL)
    assert await storer.wait() == -signal.SIGKILL
    assert await listed(store) == set()
    with pytest.raises(BlobNotFound):
        await store.measure(PLAIN)
    assert await store.sweep_staging(-60) == 1
    assert await store.leftovers(-60) == []
    assert await store.put(PLAIN, chunks(LARGE)) == measured(PLAIN, LARGE)


async def test_large_blobs_go_in_parts_and_come_back_whole(s3_url, s3_bucket, tmp_path):
    store = S3Blobs(s3_server.place_of(s3_url, s3_bucket, "pre"), s3_server.credentials_of(s3_url))
    (tmp_path / "file").write_bytes(LARGE)
    await store.adopt(KEY, tmp_path / "file", size_bytes=len(LARGE))
    assert await store.measure(KEY) == measured(KEY, LARGE)
    assert await whole(store, KEY, 8_388_600, 20) == LARGE[8_388_600:8_388_620]
    assert re.fullmatch("[0-9a-f]{64}", (await store.measure(KEY)).sha256)
    assert await store.set_aside(KEY)
    assert not await store.set_aside(KEY)
    assert await listed(store) == set()


async def test_a_body_that_breaks_off_in_the_middle_leaves_nothing_on_a_real_service(s3_url, s3_bucket):
    store = S3Blobs(s3_server.place_of(s3_url, s3_bucket, "pre"), s3_server.credentials_of(s3_url))

    class Broke(BlobError):
        pass

    async def body() -> AsyncIterator[bytes]:
        async for chunk in chunks(LARGE):
            yield chunk
        raise Broke

    with pytest.raises(Broke):
        await store.put(KEY, body())
    assert await listed(store) == set()
    assert await store.leftovers(-60) == []


def test_the_interpreter_ends_cleanly_after_using_a_bucket(s3_url, s3_bucket):
    program = KILLED.replace("print(", "return; print(")
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {tests!r})\n{program}", s3_url, s3_bucket]
    for _ in range(3):
        assert subprocess.run(command, capture_output=True).returncode == 0
