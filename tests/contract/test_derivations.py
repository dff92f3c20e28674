"""Derived thumbnails in the catalog: they come, go and are replaced as variants without an origin."""

import asyncio
from dataclasses import replace

import pytest

from fakes.catalog_rows import (
    HOUR,
    NOW,
    Tenant,
    broken_invariants,
    bytes_of,
    dump,
    row,
    rows,
    seen,
    shown,
    tenant,
)
from mediavault.catalog import at_risk, blob_rows, derivations, leases, limits, restoring, transitions
from mediavault.catalog.database import Catalog
from mediavault.catalog.derivations import Deriver, Original
from mediavault.catalog.leases import Claim, Failure
from mediavault.domain.lifecycle import Event
from mediavault.domain.settings import VaultSettings
from mediavault.errors import LimitReached, LostRace, ThumbnailFailed

DERIVER = Deriver(frozenset({"image/jpeg", "video/mp4"}), lambda _configured, _facts: True)
UNWANTED = Deriver(DERIVER.makeable, lambda _configured, _facts: False)


def keeps(configured, standing):
    """A judge that lets everything be stored."""


@pytest.fixture
async def owner(catalog: Catalog):
    """A connection; whatever a test did to it, the invariants hold afterwards."""
    yield await tenant(catalog)
    assert await broken_invariants(catalog) == []


async def store_full(owner: Tenant, *, deriver: Deriver = DERIVER, content: str = "picture") -> Claim:
    """A stored `full`, settled as the storer settles it."""
    await owner.queue(await owner.variant())
    claim = await owner.claim()
    await owner.catalog.run(derivations.settle_fetched, claim, bytes_of(content), keeps, deriver, NOW)
    return claim


async def thumb(owner: Tenant) -> dict[str, object]:
    return await row(owner.catalog, "variants", label="thumb")


async def make_thumb(owner: Tenant, content: str = "small") -> Claim:
    """The pending thumbnail, claimed and stored."""
    claim = await owner.claim()
    (original, *_) = await derivations.originals(owner.catalog, claim.variant_id, DERIVER.makeable)
    await owner.catalog.run(derivations.settle_derived, claim, bytes_of(content, 100), original, keeps, NOW)
    return claim


async def event_types(owner: Tenant, variant_id: object) -> list[str]:
    found = await rows(owner.catalog, "outbox", variant_id=variant_id)
    return [each["type"] for each in sorted(found, key=lambda each: each["seq"])]


async def test_a_stored_original_queues_its_thumbnail_in_the_same_transaction(owner):
    full = await store_full(owner)
    made = await thumb(owner)
    assert (made["status"], made["derived_from"], made["origin_key"]) == ("pending", full.variant_id, "")
    assert made["decided_by"] == "upstream has no thumb, so one is made of full"
    assert (await row(owner.catalog, "usage"))["live_count"] == 2


async def test_a_thumbnail_is_stored_and_counted_like_any_variant(owner):
    full = await store_full(owner)
    await make_thumb(owner)
    made = await thumb(owner)
    assert (made["status"], made["size_bytes"], made["derived_from"]) == ("stored", 100, full.variant_id)
    usage = await row(owner.catalog, "usage")
    assert (usage["live_count"], usage["stored_count"], usage["stored_bytes"]) == (2, 2, 1100)


@pytest.mark.parametrize("label", ["thumb", "squarePreview"])
async def test_no_thumbnail_is_made_of_a_thumbnail_or_of_a_cropped_picture(owner, label):
    await owner.queue(await owner.variant(label=label))
    await owner.catalog.run(derivations.settle_fetched, await owner.claim(), bytes_of("x"), keeps, DERIVER, NOW)
    assert len(await rows(owner.catalog, "variants")) == 1


async def test_what_upstream_has_or_policy_does_not_want_is_not_made(owner):
    await owner.observe(seen("100", shown("full"), shown("thumb")))
    await store_full(owner)
    assert (await thumb(owner))["status"] == "edge_only"
    await owner.queue(await owner.variant("200"))
    claim = await owner.claim()
    await owner.catalog.run(derivations.settle_fetched, claim, bytes_of("y"), keeps, UNWANTED, NOW)
    assert len(await rows(owner.catalog, "variants")) == 3


async def test_what_this_storer_cannot_decode_is_not_queued(owner):
    await owner.queue(await owner.variant())
    odd = replace(bytes_of("x"), content_type="image/x-odd")
    await owner.catalog.run(derivations.settle_fetched, await owner.claim(), odd, keeps, DERIVER, NOW)
    assert len(await rows(owner.catalog, "variants")) == 1


async def test_a_thumbnail_goes_with_its_item_and_is_freed_once(owner):
    await store_full(owner)
    await make_thumb(owner)
    removed = await owner.remove()
    assert (len(removed.variant_ids), removed.freed_bytes) == (2, 1100)
    assert {each["status"] for each in await rows(owner.catalog, "variants")} == {"removed"}


async def test_a_thumbnail_goes_with_its_original_alone_even_while_it_is_made(owner):
    full = await store_full(owner)
    claim = await owner.claim()
    (original,) = await derivations.originals(owner.catalog, claim.variant_id, DERIVER.makeable)
    moved = await owner.catalog.run(transitions.apply, full.variant_id, Event.REMOVED, at=NOW, reason="expired")
    assert [each.variant_id for each in moved.along] == [claim.variant_id]
    assert (await thumb(owner))["decided_by"] == "its original was removed: expired"
    with pytest.raises((LostRace, ThumbnailFailed)):
        await owner.catalog.run(derivations.settle_derived, claim, bytes_of("s"), original, keeps, NOW)
    await owner.catalog.run(blob_rows.doom_dead_intents)


async def test_the_limit_evicts_an_original_with_its_thumbnail_and_frees_both(owner):
    await store_full(owner)
    await make_thumb(owner)
    removed = await owner.catalog.run(
        limits.make_room,
        owner.org_id,
        owner.connection_id,
        limit_bytes=1,
        strategy="purge_oldest",
        incoming_bytes=0,
        reason="full",
        now=NOW,
    )
    assert (len(removed.variant_ids), removed.freed_bytes) == (2, 1100)


async def test_both_come_back_inside_the_undo_window(owner):
    await store_full(owner)
    await make_thumb(owner)
    await owner.remove()
    back = await owner.catalog.run(
        restoring.restore_item,
        *(owner.org_id, owner.connection_id, "100", NOW - HOUR),
        lambda _organisation, _overrides: VaultSettings(),
        NOW + 1,
    )
    assert back.count == 2
    assert (await thumb(owner))["status"] == "stored"


async def test_a_thumbnail_that_is_given_up_is_removed_and_not_made_again(owner):
    await store_full(owner)
    claim = await owner.claim()
    await owner.catalog.run(leases.fail, claim, Failure(Event.GIVEN_UP, "a bomb", "", 1, not_before=NOW + HOUR), NOW)
    gone = await thumb(owner)
    assert (gone["status"], gone["last_error"], gone["attempts"]) == ("removed", "a bomb", 1)
    assert (await event_types(owner, gone["id"]))[-2:] == ["vault.media.failed", "vault.media.removed"]
    assert await derivations.lacking(owner.catalog, owner.org_id, owner.connection_id, "") == []
    await owner.catalog.run(blob_rows.doom_dead_intents)


async def test_an_original_that_is_stored_anew_gets_its_thumbnail_anew(owner):
    await store_full(owner)
    await make_thumb(owner)
    await owner.remove()
    await owner.observe(seen("100", shown("full", key="k2")), now=NOW + 1)
    await store_full(owner, content="another picture")
    again = await thumb(owner)
    assert (again["status"], again["attempts"], again["last_error"]) == ("pending", 0, None)
    await make_thumb(owner, "another small one")
    assert (await thumb(owner))["status"] == "stored"


async def test_what_the_limit_evicted_stays_out(owner):
    await store_full(owner)
    made = await make_thumb(owner)
    await owner.catalog.run(transitions.apply, made.variant_id, Event.REMOVED, at=NOW, reason="x", kept_out="full")
    full = (await row(owner.catalog, "variants", label="full"))["id"]
    assert await owner.catalog.run(derivations.want, full, DERIVER, NOW) is None


async def test_a_thumb_seen_upstream_replaces_a_stored_one_which_serves_until_then(owner):
    await store_full(owner)
    await make_thumb(owner)
    await owner.observe(seen("100", shown("full"), shown("thumb")), now=NOW + 1)
    waiting = await thumb(owner)
    assert (waiting["status"], waiting["origin_key"]) == ("pending", "thumb-k1")
    assert waiting["retained_blob_id"] is not None
    claim = await owner.claim(NOW + 2)
    await owner.catalog.run(derivations.settle_fetched, claim, bytes_of("theirs"), keeps, DERIVER, NOW + 2)
    theirs = await thumb(owner)
    assert (theirs["status"], theirs["derived_from"], theirs["retained_blob_id"]) == ("stored", None, None)
    moved = await owner.catalog.run(
        transitions.apply, str(theirs["derived_from"] or claim.variant_id), Event.REMOVED, at=NOW + 3
    )
    assert moved.along == ()


async def test_a_thumb_seen_upstream_while_one_is_made_wins(owner):
    await store_full(owner)
    claim = await owner.claim()
    (original,) = await derivations.originals(owner.catalog, claim.variant_id, DERIVER.makeable)
    await owner.observe(seen("100", shown("full"), shown("thumb")), now=NOW + 1)
    with pytest.raises(ThumbnailFailed):
        await owner.catalog.run(derivations.settle_derived, claim, bytes_of("s"), original, keeps, NOW)
    await owner.catalog.run(leases.fail, claim, Failure(Event.GIVEN_UP, "replaced", "", 1), NOW + 1)
    freed = await thumb(owner)
    assert (freed["status"], freed["attempts"]) == ("pending", 0)
    await owner.catalog.run(blob_rows.doom_dead_intents)


async def test_once_upstream_has_a_thumb_it_does_not_go_with_the_original(owner):
    full = await store_full(owner)
    await make_thumb(owner)
    await owner.observe(seen("100", shown("full"), shown("thumb")), now=NOW + 1)
    await owner.catalog.run(transitions.apply, full.variant_id, Event.REMOVED, at=NOW + 2)
    assert (await thumb(owner))["status"] == "pending"


async def test_bytes_of_an_original_that_changed_meanwhile_are_not_settled(owner):
    await store_full(owner)
    claim = await owner.claim()
    (original,) = await derivations.originals(owner.catalog, claim.variant_id, DERIVER.makeable)
    other = Original(original.variant_id, original.org_id, "full", "image/jpeg", "another")
    with pytest.raises(ThumbnailFailed):
        await owner.catalog.run(derivations.settle_derived, claim, bytes_of("s"), other, keeps, NOW)
    assert (await thumb(owner))["status"] == "storing"


async def test_the_best_stored_copy_is_taken(owner):
    for label in ("preview", "720", "1080", "full"):
        await owner.queue(await owner.variant(label=label))
        await owner.catalog.run(derivations.settle_fetched, await owner.claim(), bytes_of(label), keeps, UNWANTED, NOW)
    full = (await row(owner.catalog, "variants", label="full"))["id"]
    thumb_id = await owner.catalog.run(derivations.want, full, DERIVER, NOW)
    found = await derivations.originals(owner.catalog, thumb_id, DERIVER.makeable)
    assert [each.label for each in found] == ["full", "1080", "720", "preview"]


async def test_media_stored_before_are_found_and_asked_for_once(owner):
    full = await store_full(owner, deriver=UNWANTED)
    lacking = await derivations.lacking(owner.catalog, owner.org_id, owner.connection_id, "")
    assert lacking == [full.variant_id]
    runs = [owner.catalog.run(derivations.want_some, lacking, DERIVER, NOW) for _ in range(8)]
    assert sum(await asyncio.gather(*runs)) == 1
    assert await derivations.lacking(owner.catalog, owner.org_id, owner.connection_id, "") == []
    assert await derivations.lacking(owner.catalog, owner.org_id, owner.connection_id, full.variant_id) == []


async def test_nothing_of_another_organisation_is_found(owner):
    await store_full(owner, deriver=UNWANTED)
    other = await tenant(owner.catalog, "other", "2")
    assert await derivations.lacking(owner.catalog, other.org_id, owner.connection_id, "") == []
    assert await derivations.lacking(owner.catalog, owner.org_id, other.connection_id, "") == []


async def test_a_thumbnail_that_is_being_made_is_at_no_risk(owner):
    await store_full(owner)
    page = await at_risk.page(owner.catalog, owner.org_id, owner.connection_id, after=(0, ""), until=2**53, at_most=10)
    assert page == []


async def test_a_storer_that_dies_leaves_a_thumbnail_that_is_made_again(owner):
    await store_full(owner)
    await owner.claim()
    await owner.catalog.run(leases.reclaim, NOW, "storer-1")
    await owner.catalog.run(blob_rows.doom_dead_intents)
    assert (await thumb(owner))["status"] == "pending"
    await make_thumb(owner)


async def test_events_say_that_a_thumbnail_is_derived(owner):
    await store_full(owner)
    await make_thumb(owner)
    told = await rows(owner.catalog, "outbox", type="vault.media.stored")
    assert [('"derived":true' in each["data"]) for each in sorted(told, key=lambda each: each["seq"])] == [False, True]


async def test_room_for_a_thumbnail_is_never_made_of_its_original(owner, catalog):
    """It would go along with it, and leave a promise behind that nobody ends."""
    await store_full(owner)
    claim = await owner.claim()
    before = await dump(catalog)
    size = next(each["size_bytes"] for each in before["variants"] if each["status"] == "stored")
    settings = VaultSettings(storage_limit_bytes=size + 10)
    with pytest.raises(LimitReached):
        await catalog.run(limits.reserve, claim, 100, lambda _organisation, _overrides: settings, NOW + 1)
    assert await dump(catalog) == before
    await catalog.run(limits.refuse, claim, "no room", NOW + 1)
