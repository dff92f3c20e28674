"""The scrub: bounded, resumed, stopped by nothing; and what a crash between its steps leaves."""

import asyncio
import hashlib

import pytest

from fakes.blobs import MemoryBlobs
from fakes.catalog_rows import NOW, broken_invariants, rows, tenant
from mediavault.blobs.disk import DiskBlobs
from mediavault.blobs.store import blob_key
from mediavault.catalog import blob_rows, damage
from mediavault.catalog.blob_rows import StoredBytes
from mediavault.domain.times import DAY
from mediavault.storer.scrub import Scrub, ScrubConfig
from mediavault.vault.damaging import Damaging

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
