"""Blobs as rows: intent, fact, sharing inside an organisation, and the way out."""

import pytest

from fakes.catalog_rows import LEASE_MS, NOW, Tenant, broken_invariants, bytes_of, dump, row, rows, seen, shown, tenant
from mediavault.catalog import blob_rows, leases, removals, transitions
from mediavault.catalog.leases import Claim
from mediavault.domain.lifecycle import Event
from mediavault.errors import CatalogError, LostRace

LATER = NOW + 5_000


async def claim_of(owner: Tenant, media_id: str) -> Claim:
    """A claim of a variant that was just observed; nothing else may be pending."""
    await owner.queue(await owner.variant(media_id))
    return await owner.claim()


async def test_a_settled_variant_is_stored_with_what_was_measured(catalog):
    owner = await tenant(catalog)
    claim = await claim_of(owner, "100")
    assert await catalog.run(blob_rows.settle, claim, bytes_of("picture", 1234), LATER) == claim.blob_id
    variant, blob = await row(catalog, "variants"), await row(catalog, "blobs")
    assert variant == variant | {
        "status": "stored",
        "blob_id": claim.blob_id,
        "size_bytes": 1234,
        "content_type": "image/jpeg",
        "version": "version-picture",
        "stored_at": LATER,
        "lease_holder": None,
        "lease_expires_at": None,
    }
    assert (blob["state"], blob["refs"], blob["size_bytes"]) == ("live", 1, 1234)
    assert await broken_invariants(catalog) == []


async def test_the_same_bytes_are_kept_once_in_an_organisation(catalog):
    owner = await tenant(catalog)
    first = await owner.store("same", "1")
    neighbour = await owner.connection("2")
    second = await neighbour.store("same", "1")
    assert {variant["blob_id"] for variant in await rows(catalog, "variants")} == {first.blob_id}
    assert (await row(catalog, "blobs", id=first.blob_id))["refs"] == 2
    assert (await row(catalog, "blobs", id=second.blob_id))["state"] == "doomed"
    assert await broken_invariants(catalog) == []


async def test_the_same_bytes_are_kept_apart_between_organisations(catalog):
    first, second = await tenant(catalog, "first"), await tenant(catalog, "second")
    await first.store("same")
    await second.store("same")
    assert [(blob["state"], blob["refs"]) for blob in await rows(catalog, "blobs")] == [("live", 1)] * 2
    assert {variant["blob_id"] for variant in await rows(catalog, "variants")} == {
        blob["id"] for blob in await rows(catalog, "blobs")
    }
    assert await broken_invariants(catalog) == []


async def test_a_digest_with_another_size_is_not_the_same_bytes(catalog):
    owner = await tenant(catalog)
    await owner.store("same", "1")
    claim = await claim_of(owner, "2")
    assert await catalog.run(blob_rows.settle, claim, bytes_of("same", 999), NOW) == claim.blob_id


@pytest.mark.parametrize("shared_bytes", [False, True])
async def test_a_settlement_that_comes_too_late_leaves_nothing_half_done(catalog, shared_bytes):
    owner = await tenant(catalog)
    if shared_bytes:
        await owner.store("picture", "1")
    claim = await claim_of(owner, "2")
    await catalog.run(leases.reclaim, NOW + LEASE_MS)
    before = await dump(catalog)
    with pytest.raises(LostRace):
        await catalog.run(blob_rows.settle, claim, bytes_of("picture"), LATER)
    assert await dump(catalog) == before


async def test_a_settlement_whose_intent_was_swept_leaves_nothing_half_done(catalog):
    owner = await tenant(catalog)
    claim = await claim_of(owner, "1")
    swept = Claim(claim.variant_id, claim.org_id, claim.connection_id, claim.fence, "no such blob", 0)
    before = await dump(catalog)
    with pytest.raises(LostRace):
        await catalog.run(blob_rows.settle, swept, bytes_of("picture"), LATER)
    assert await dump(catalog) == before


async def test_intents_are_doomed_when_their_claim_is_over_and_not_before(catalog):
    owner = await tenant(catalog)
    over = await claim_of(owner, "1")
    await catalog.run(transitions.apply, over.variant_id, Event.GIVEN_UP, at=NOW, fence=over.fence)
    held = await claim_of(owner, "2")
    fact = await owner.store("picture", "3")
    assert await catalog.run(blob_rows.doom_dead_intents) == 1
    states = {blob["id"]: blob["state"] for blob in await rows(catalog, "blobs")}
    assert states == {over.blob_id: "doomed", held.blob_id: "writing", fact.blob_id: "live"}
    assert await catalog.run(blob_rows.doom_dead_intents) == 0


async def test_the_intent_of_an_earlier_claim_is_dead_though_the_variant_is_being_stored_again(catalog):
    owner = await tenant(catalog)
    first = await claim_of(owner, "1")
    await catalog.run(leases.reclaim, NOW + LEASE_MS)
    second = await owner.claim(NOW + LEASE_MS)
    assert await catalog.run(blob_rows.doom_dead_intents) == 1
    states = {blob["id"]: blob["state"] for blob in await rows(catalog, "blobs")}
    assert states == {first.blob_id: "doomed", second.blob_id: "writing"}


async def test_removed_bytes_are_kept_for_the_undo_window_and_then_let_go(catalog):
    owner = await tenant(catalog)
    claim = await owner.store()
    removed = await owner.remove(now=LATER)
    assert (removed.variant_ids, removed.freed_bytes) == ((claim.variant_id,), 1000)
    assert await catalog.run(blob_rows.release_retained, LATER - 1) == 0
    assert (await row(catalog, "variants"))["retained_blob_id"] == claim.blob_id
    assert await catalog.run(blob_rows.release_retained, LATER) == 1
    assert (await row(catalog, "variants"))["retained_blob_id"] is None
    assert (await row(catalog, "blobs"))["state"] == "doomed"
    assert await broken_invariants(catalog) == []


async def test_restored_inside_the_undo_window_it_is_stored_as_before(catalog):
    owner = await tenant(catalog)
    claim = await owner.store()
    await owner.remove()
    await catalog.run(transitions.apply, claim.variant_id, Event.RESTORED, at=LATER)
    assert (await row(catalog, "variants"))["blob_id"] == claim.blob_id
    assert await catalog.run(blob_rows.release_retained, LATER) == 0
    assert await broken_invariants(catalog) == []


async def test_bytes_retained_of_a_variant_that_is_seen_again_still_leave_in_time(catalog):
    owner = await tenant(catalog)
    await owner.store()
    await owner.remove()
    await owner.observe(seen(), now=LATER)
    assert await catalog.run(blob_rows.release_retained, NOW) == 1
    assert (await row(catalog, "blobs"))["refs"] == 0
    assert await broken_invariants(catalog) == []


async def test_retained_bytes_are_taken_up_by_the_next_store_of_the_same(catalog):
    owner = await tenant(catalog)
    first = await owner.store("same")
    await owner.remove()
    second = await owner.store("same", now=LATER)
    variant = await row(catalog, "variants")
    assert (variant["blob_id"], variant["retained_blob_id"]) == (first.blob_id, None)
    states = {blob["id"]: (blob["state"], blob["refs"]) for blob in await rows(catalog, "blobs")}
    assert states == {first.blob_id: ("live", 1), second.blob_id: ("doomed", 0)}


async def test_retained_bytes_are_let_go_by_the_next_store_of_others(catalog):
    owner = await tenant(catalog)
    first = await owner.store("old")
    await owner.remove()
    second = await owner.store("new", now=LATER)
    states = {blob["id"]: (blob["state"], blob["refs"]) for blob in await rows(catalog, "blobs")}
    assert states == {first.blob_id: ("doomed", 0), second.blob_id: ("live", 1)}
    assert await broken_invariants(catalog) == []


async def test_removed_twice_it_retains_its_bytes_once(catalog):
    owner = await tenant(catalog)
    claim = await owner.store()
    await owner.remove()
    await owner.observe(seen(), now=LATER)
    assert (await owner.remove(now=LATER)).freed_bytes == 0
    assert (await row(catalog, "variants"))["retained_blob_id"] == claim.blob_id
    assert await broken_invariants(catalog) == []
    await catalog.run(blob_rows.release_retained, LATER)
    assert (await row(catalog, "blobs"))["state"] == "doomed"
    assert await broken_invariants(catalog) == []


async def test_damage_lets_go_of_the_bad_bytes(catalog):
    owner = await tenant(catalog)
    claim = await owner.store()
    await catalog.run(transitions.apply, claim.variant_id, Event.DAMAGED, at=LATER, run_at=LATER)
    assert (await row(catalog, "variants"))["status"] == "pending"
    assert (await row(catalog, "blobs"))["state"] == "doomed"
    assert await broken_invariants(catalog) == []


async def test_bytes_that_others_refer_to_outlive_one_of_them(catalog):
    owner = await tenant(catalog)
    first = await owner.store("same", "1")
    await owner.store("same", "2")
    await owner.remove("1")
    await catalog.run(blob_rows.release_retained, NOW)
    blob = await row(catalog, "blobs", id=first.blob_id)
    assert (blob["state"], blob["refs"]) == ("live", 1)
    await owner.remove("2")
    await catalog.run(blob_rows.release_retained, NOW)
    assert (await row(catalog, "blobs", id=first.blob_id))["state"] == "doomed"


async def test_only_doomed_rows_are_listed_for_deletion_and_forgotten(catalog):
    owner = await tenant(catalog)
    doomed = await owner.store("same", "2")
    live = await owner.store("other", "3")
    await owner.remove("2")
    await catalog.run(blob_rows.release_retained, NOW)
    writing = await claim_of(owner, "4")
    assert await catalog.run(blob_rows.doomed, 10) == [(doomed.blob_id, owner.org_id)]
    assert await catalog.run(blob_rows.doomed, 0) == []
    for blob_id in (doomed.blob_id, live.blob_id, writing.blob_id, "unknown"):
        await catalog.run(blob_rows.forget, blob_id)
    assert {blob["id"] for blob in await rows(catalog, "blobs")} == {live.blob_id, writing.blob_id}


async def test_a_variant_cannot_refer_to_a_blob_that_is_not_there(catalog):
    owner = await tenant(catalog)
    claim = await claim_of(owner, "1")
    with pytest.raises(CatalogError):
        await catalog.run(
            transitions.apply, claim.variant_id, Event.STORED, at=NOW, fence=claim.fence, blob_id="invented"
        )
    assert await broken_invariants(catalog) == []


async def test_a_purge_removes_a_connections_variants_in_batches_and_nobody_elses(catalog):
    owner = await tenant(catalog)
    neighbour = await owner.connection("2")
    await neighbour.variant()
    await owner.store()
    await owner.observe(*[seen(f"m{n}", shown("full"), shown("thumb")) for n in range(300)])
    counts, freed = [], 0
    while (
        batch := await catalog.run(removals.remove_some, owner.org_id, owner.connection_id, "purge", NOW)
    ).variant_ids:
        counts.append(len(batch.variant_ids))
        freed += batch.freed_bytes
    assert counts == [500, 101]
    assert freed == 1000
    left = await rows(catalog, "variants", status="edge_only")
    assert [variant["connection_id"] for variant in left] == [neighbour.connection_id]
    assert await broken_invariants(catalog) == []
