"""The scrub: bounded, resumed, stopped by nothing; and what a crash between its steps leaves."""

import asyncio
import errno
import hashlib
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from fakes import system_calls
from fakes.blobs import MemoryBlobs
from fakes.catalog_rows import NOW, broken_invariants, rows, tenant
from mediavault.blobs.disk import DiskBlobs
from mediavault.blobs.store import blob_key
from mediavault.catalog import blob_rows, damage
from mediavault.catalog.blob_rows import StoredBytes
from mediavault.domain.scrub_round import ScrubRound
from mediavault.domain.times import DAY, MINUTE
from mediavault.storer.scrub import Scrub, ScrubConfig
from mediavault.vault.integrity.damaging import Damaging

BODY = bytes(range(256)) * 40


class Stopped(Exception):
    """The process ends here."""


class Pauses:
    """Instead of waiting; ends the process after some pauses."""

    def __init__(self, most=1 << 30):
        self.most = most
        self.seconds = []

    async def __call__(self, seconds):
        self.seconds.append(seconds)
        if len(self.seconds) >= self.most:
            raise Stopped


async def one(content):
    yield content


async def stored(catalog, blobs, count):
    """That many variants with their own blobs; the rows of the blobs, in the order of the scrub."""
    owner = await tenant(catalog, max_inflight=100)
    for number in range(count):
        await owner.queue(await owner.variant(str(number)))
        claim = await owner.claim()
        body = BODY + bytes([number])
        await blobs.put(blob_key(claim.org_id, claim.blob_id), one(body))
        measured = StoredBytes(len(body), hashlib.sha256(body).hexdigest(), "image/jpeg", f"v{number}")
        await catalog.run(blob_rows.settle, claim, measured, NOW)
    return await rows(catalog, "blobs")


def scrub(catalog, blobs, pauses=None, now=lambda: NOW, **config):
    damaging = Damaging(catalog, blobs, None, lambda: None, now)
    return Scrub(catalog, blobs, damaging, now, ScrubConfig(**config), pauses or Pauses())


def key(blob):
    return blob_key(blob["org_id"], blob["id"])


@pytest.fixture(params=[MemoryBlobs, None], ids=["memory", "disk"])
def blobs(request, tmp_path):
    return DiskBlobs(tmp_path / "blobs") if request.param is None else request.param()


async def test_a_round_reads_every_blob_at_the_rate_it_was_given(catalog, blobs):
    live = await stored(catalog, blobs, 3)
    pauses = Pauses()
    done = await scrub(catalog, blobs, pauses, bytes_per_second=1000).scrub()
    size = sum(blob["size_bytes"] for blob in live)
    assert (done.blobs, done.bytes, done.damaged, done.unreadable) == (3, size, 0, 0)
    assert sum(pauses.seconds) == pytest.approx(size / 1000)


async def test_the_next_round_begins_when_its_time_has_come(catalog, blobs):
    await stored(catalog, blobs, 1)
    assert (await scrub(catalog, blobs, round_every_ms=DAY).scrub()).blobs == 1
    assert await scrub(catalog, blobs, now=lambda: NOW + DAY - 1, round_every_ms=DAY).scrub() is None
    assert (await scrub(catalog, blobs, now=lambda: NOW + DAY, round_every_ms=DAY).scrub()).blobs == 1


async def test_a_round_that_a_restart_cut_short_goes_on_where_it_was(catalog, blobs, monkeypatch):
    monkeypatch.setattr("mediavault.storer.scrub._REMEMBERED_BYTES", 1)
    live = await stored(catalog, blobs, 4)
    with pytest.raises(Stopped):
        await scrub(catalog, blobs, Pauses(3)).scrub()
    read: list[str] = []
    real = blobs.read

    def recorded(of, *part):
        read.append(of)
        return real(of, *part)

    monkeypatch.setattr(blobs, "read", recorded)
    done = await scrub(catalog, blobs).scrub()
    assert read == [key(blob) for blob in live[2:]]
    assert done.blobs == 4


async def test_a_damaged_blob_does_not_keep_the_others(catalog, blobs):
    live = await stored(catalog, blobs, 4)
    await blobs.put(key(live[1]), one(BODY + b"?"))
    await blobs.put(key(live[2]), one(BODY))
    done = await scrub(catalog, blobs).scrub()
    assert (done.blobs, done.damaged) == (4, 2)
    assert await broken_invariants(catalog) == []
    assert len(await rows(catalog, "blobs")) == 2
    assert sorted(each["status"] for each in await rows(catalog, "variants")) == ["pending"] * 2 + ["stored"] * 2
    (event, _) = [each for each in await rows(catalog, "outbox") if each["type"] == "vault.media.damaged"]
    assert "digest" in event["data"] or "bytes instead of" in event["data"]


async def test_a_single_missing_blob_is_lost_and_all_of_them_are_a_store_that_is_away(catalog, blobs):
    live = await stored(catalog, blobs, 4)
    await blobs.delete(key(live[0]))
    assert (await scrub(catalog, blobs, round_every_ms=0).scrub()).damaged == 1
    for blob in live[1:]:
        await blobs.delete(key(blob))
    done = await scrub(catalog, blobs, round_every_ms=0).scrub()
    assert (done.damaged, done.unreadable) == (0, 3)
    assert {each["state"] for each in await rows(catalog, "blobs")} == {"live"}


@pytest.mark.parametrize("set_aside", [False, True])
async def test_a_crash_between_the_quarantine_and_its_end_is_finished_by_the_next_start(catalog, blobs, set_aside):
    """The row says quarantined, and the bytes are in their place, or were set aside already."""
    (blob,) = await stored(catalog, blobs, 1)
    await catalog.run(damage.quarantine, blob["id"], "rotten", NOW)
    if set_aside:
        assert await blobs.set_aside(key(blob))
    running = asyncio.create_task(scrub(catalog, blobs, bytes_per_second=0).run())
    async with asyncio.timeout(20):
        while await rows(catalog, "blobs"):  # noqa: ASYNC110 - another task's work is awaited
            await asyncio.sleep(0.01)
    running.cancel()
    assert [each async for each in blobs.keys()] == []  # noqa: SIM118 - a store is no dict
    if isinstance(blobs, DiskBlobs):
        (aside,) = (blobs._root / ".quarantine").iterdir()
        assert aside.read_bytes() == BODY + b"\0"
    else:
        assert blobs.aside == [BODY + b"\0"]


async def test_a_rate_of_nothing_reads_nothing(catalog, blobs):
    await stored(catalog, blobs, 1)
    looked = asyncio.create_task(scrub(catalog, blobs, bytes_per_second=0).run())
    await asyncio.sleep(0)
    await catalog.run(damage.quarantined)
    looked.cancel()
    assert await damage.find_round(catalog) is None


def failing_disk(monkeypatch, *blobs):
    """Reading their files gives EIO, until that is undone."""
    names = {blob["id"] for blob in blobs}

    def is_bad(fd, *_):
        return Path(f"/proc/self/fd/{fd}").readlink().name in names

    return system_calls.fail(monkeypatch, "pread", errno.EIO, is_bad)


def told(events):
    return [each for each in events if each["type"] == "vault.media.unreadable"]


async def test_what_cannot_be_read_once_is_in_the_log_alone(catalog, tmp_path, monkeypatch):
    blobs = DiskBlobs(tmp_path / "blobs")
    live = await stored(catalog, blobs, 2)
    with monkeypatch.context() as patched, capture_logs() as logs:
        failing_disk(patched, live[0])
        done = await scrub(catalog, blobs).scrub()
    assert (done.blobs, done.damaged, done.unreadable) == (2, 0, 1)
    assert [each["blob_id"] for each in logs if each["event"] == "blob_unreadable"] == [live[0]["id"]]
    later = await scrub(catalog, blobs, now=lambda: NOW + 10 * MINUTE).look_again()  # the disk has recovered
    assert (later.doubtful, later.reported) == ({}, ())
    assert told(await rows(catalog, "outbox")) == []
    assert {each["last_error"] for each in await rows(catalog, "variants")} == {None}


async def test_what_cannot_be_read_twice_is_reported_kept_and_withdrawn_when_it_can_be_read(
    catalog, tmp_path, monkeypatch
):
    blobs = DiskBlobs(tmp_path / "blobs")
    live = await stored(catalog, blobs, 2)
    with monkeypatch.context() as patched:
        failing_disk(patched, live[0])
        await scrub(catalog, blobs).scrub()
        early = scrub(catalog, blobs, now=lambda: NOW + 10 * MINUTE - 1)
        assert (await early.look_again()).reported == ()
        again = scrub(catalog, blobs, now=lambda: NOW + 10 * MINUTE)
        with capture_logs() as logs:
            assert (await again.look_again()).reported == (live[0]["id"],)
            await again.look_again()  # once is enough
        assert [each["event"] for each in logs] == ["blob_still_unreadable"]
        done = await scrub(catalog, blobs, now=lambda: NOW + 8 * DAY).scrub()  # the next round meets it again
        assert (done.reported, done.doubtful, done.unreadable) == ((live[0]["id"],), {}, 1)
    (event,) = told(await rows(catalog, "outbox"))
    assert msgspec.json.decode(event["data"])["status"] == "stored"
    variants = {each["blob_id"]: each for each in await rows(catalog, "variants")}
    assert "cannot be read" in variants[live[0]["id"]]["last_error"]
    assert "Input/output error" in variants[live[0]["id"]]["last_error"]
    assert variants[live[1]["id"]]["last_error"] is None
    assert {each["status"] for each in variants.values()} == {"stored"}
    assert {each["state"] for each in await rows(catalog, "blobs")} == {"live"}
    done = await scrub(catalog, blobs, now=lambda: NOW + 16 * DAY).scrub()
    assert (done.reported, done.unreadable) == ((), 0)
    assert {each["last_error"] for each in await rows(catalog, "variants")} == {None}
    assert await broken_invariants(catalog) == []


async def test_the_scrub_counts_what_it_does_and_knows_when_it_last_read_everything(catalog, blobs):
    live = await stored(catalog, blobs, 3)
    await blobs.put(key(live[1]), one(BODY + b"?"))
    first = scrub(catalog, blobs)
    await first.scrub()
    size = sum(blob["size_bytes"] for blob in live)
    seen = first.statistics
    assert (seen.blobs, seen.bytes, seen.damaged, seen.unreadable, seen.rounds) == (3, size, 1, 0, 1)
    assert seen.last_round_ended_at == NOW
    restarted = scrub(catalog, blobs, now=lambda: NOW + 1)
    assert await restarted.scrub() is None
    assert (restarted.statistics.rounds, restarted.statistics.last_round_ended_at) == (0, NOW)


async def test_a_store_that_is_away_is_one_line_and_not_one_for_each_blob(catalog, blobs):
    for blob in await stored(catalog, blobs, 5):
        await blobs.delete(key(blob))
    with capture_logs() as logs:
        done = await scrub(catalog, blobs).scrub()
    assert (done.unreadable, done.doubtful) == (5, {})
    assert [each["event"] for each in logs] == ["blobs_away", "scrubbed"]
    assert "MEDIAVAULT_BLOBS_URL" in logs[0]["what_to_do"]


def test_a_round_that_an_older_version_remembered_goes_on():
    content = b'{"began_at":5,"after":"b","blobs":2,"bytes":9,"damaged":0,"unreadable":1}'
    assert msgspec.json.decode(content, type=ScrubRound).passed("c", 1, damaged=False, unreadable=False).blobs == 3


def test_only_so_many_unreadable_blobs_are_remembered():
    current = ScrubRound(1)
    for number in range(1_200):
        current = current.doubted(str(number), number)
    assert len(current.doubtful) == 1_000
    assert current.doubted("0", 9_999).doubtful["0"] == 0
