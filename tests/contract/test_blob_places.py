"""Blobs whose rows name another place than the vault reads from: never taken for lost, said once, found by `verify`."""

import pytest
from structlog.testing import capture_logs

from fakes.blobs import MemoryBlobs
from fakes.catalog_rows import NOW, broken_invariants, row, rows, tenant
from mediavault.blobs.store import blob_key
from mediavault.catalog import blob_moves, damage
from mediavault.catalog.blob_rows import StoredBytes, settle
from mediavault.domain.times import MINUTE
from mediavault.errors import BlobsAway, NotFound
from mediavault.vault.checking import Readiness
from mediavault.vault.integrity.damaging import Damaging
from mediavault.vault.integrity.verifying import Asked, VerifyConfig, Verifying
from mediavault.vault.sealing import Sealer

HERE, THERE = "file:///srv/blobs", "s3://bucket/vault"
BODY = b"bytes"


async def one(content):
    yield content


@pytest.fixture
async def moved(catalog):
    """Three blobs, moved to another place; the store that this vault reads from, with nothing in it."""
    owner = await tenant(catalog, max_inflight=10)
    for number in range(3):
        await owner.queue(await owner.variant(str(number)))
        claim = await owner.claim()
        digest = f"{number}" * 64
        await catalog.run(settle, claim, StoredBytes(len(BODY), digest, "image/jpeg", f"v{number}"), NOW)
    for each in await rows(catalog, "blobs"):
        await catalog.run(blob_moves.say_place, each["id"], THERE)
    return MemoryBlobs()


def damaging(catalog, blobs, *places, now=lambda: NOW):
    return Damaging(catalog, blobs, None, lambda: None, now, frozenset(places))


def verifying(catalog, blobs, *places):
    return Verifying(
        catalog, blobs, Sealer(b"k" * 32), lambda: NOW, VerifyConfig(settle_seconds=0), places=frozenset(places)
    )


async def test_a_blob_that_lies_elsewhere_by_its_row_is_never_lost_and_there_is_a_line_a_minute(catalog, moved):
    blobs = await damage.live_blobs(catalog, "", 10)
    await moved.put(blob_key(blobs[1].org_id, blobs[1].id), one(BODY))  # one of the others is there
    await moved.put(blob_key(blobs[2].org_id, blobs[2].id), one(BODY))
    clock = [NOW]
    watching = damaging(catalog, moved, HERE, now=lambda: clock[0])
    with capture_logs() as logs:
        for at in (0, MINUTE - 1, MINUTE):
            clock[0] = NOW + at
            with pytest.raises(BlobsAway, match="does not read"):
                await watching.suspect(blobs[0].id, "missing")
    assert [each["event"] for each in logs] == ["blobs_away"] * 2
    assert (logs[0]["places"], THERE in logs[0]["reason"]) == ([HERE], True)
    assert {each["state"] for each in await rows(catalog, "blobs")} == {"live"}


async def test_a_vault_without_the_place_of_its_blobs_is_not_ready(catalog, moved):
    assert (await Readiness(catalog, moved, damaging(catalog, moved, HERE))())["blobs"] == "BlobsAway"
    for each in await rows(catalog, "blobs"):
        await moved.put(blob_key(each["org_id"], each["id"]), one(BODY))
    assert (await Readiness(catalog, moved, damaging(catalog, moved, HERE))())["blobs"] == "ok"


async def test_one_blob_that_is_missing_makes_no_vault_unready(catalog, moved):
    for each in (await rows(catalog, "blobs"))[1:]:
        await moved.put(blob_key(each["org_id"], each["id"]), one(BODY))
    assert (await Readiness(catalog, moved, damaging(catalog, moved, HERE, THERE))())["blobs"] == "ok"


async def test_verify_says_which_place_the_rows_name_and_which_is_configured(catalog, moved):
    report = await verifying(catalog, moved, HERE).verify(Asked(served=False))
    (finding,) = [each for each in report.findings if each.invariant == 1]
    assert (finding.code, finding.subject) == ("place_not_read", THERE)
    assert f"3 blobs were moved to {THERE}" in finding.text
    assert HERE in finding.text
    assert f"MEDIAVAULT_BLOBS_URL={THERE}" in finding.remedy


async def test_a_place_that_is_only_spelled_otherwise_is_no_finding(catalog, moved):
    for each in await rows(catalog, "blobs"):
        await moved.put(blob_key(each["org_id"], each["id"]), one(BODY))
    report = await verifying(catalog, moved, "s3://bucket/vault?endpoint=https://elsewhere").verify(Asked(served=False))
    assert [each.code for each in report.findings if each.invariant == 1] == []


async def test_what_a_dead_move_left_is_set_aside_by_a_repair_and_that_of_a_living_one_is_not(catalog):
    owner = await tenant(catalog)
    await owner.store("picture", "1")
    (movable,) = await blob_moves.movable(catalog, THERE, "", 10)
    await catalog.run(blob_moves.intend, movable, "copy", THERE, NOW, NOW)
    blobs = MemoryBlobs()
    await blobs.put(blob_key(owner.org_id, "copy"), one(b"half"))
    with pytest.raises(NotFound):
        await damaging(catalog, blobs, THERE, now=lambda: NOW - 1).examine("copy")
    assert (await row(catalog, "blobs", id="copy"))["state"] == "writing"
    assert await damaging(catalog, blobs, THERE).examine("copy")
    assert (blobs.aside, [each["id"] for each in await rows(catalog, "blobs")]) == ([b"half"], [movable.id])
    assert await broken_invariants(catalog) == []
