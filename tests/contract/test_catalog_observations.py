"""What was seen upstream, as rows: new, again, changed, in other places, after removal, and never across tenants."""

from dataclasses import replace

import pytest

from fakes.catalog_rows import HOUR, NOW, broken_invariants, dump, row, rows, seen, shown, tenant
from mediavault.catalog import connections, transitions
from mediavault.catalog import variants as catalog_variants
from mediavault.domain.lifecycle import Event

LATER = NOW + 10 * HOUR


async def test_what_is_new_becomes_edge_only(catalog):
    owner = await tenant(catalog)
    ids = await owner.observe(
        seen("5", shown("full"), shown("240", key="k2", expires_at=NOW + 9), type="video", duration=12.5)
    )
    assert sorted(ids) == [("5", "240"), ("5", "full")]
    media = await row(catalog, "media")
    assert {name: media[name] for name in ("media_id", "type", "duration", "sources", "created_at")} == {
        "media_id": "5",
        "type": "video",
        "duration": 12.5,
        "sources": "vault",
        "created_at": NOW,
    }
    variant = await row(catalog, "variants", label="240")
    assert variant == variant | {
        "id": ids[("5", "240")],
        "org_id": owner.org_id,
        "connection_id": owner.connection_id,
        "media_pk": media["id"],
        "status": "edge_only",
        "origin_url": b"sealed 240 k2",
        "origin_key": "240-k2",
        "origin_expires_at": NOW + 9,
        "observed_path": "/v2/access/vault/media?limit=10",
        "size_bytes": 0,
        "access_count": 0,
        "created_at": NOW,
        "last_accessed_at": NOW,
        "stored_at": None,
        "blob_id": None,
        "fence": 0,
        "attempts": 0,
    }
    assert [each for each in await rows(catalog, "outbox") if each["variant_id"] is not None] == []


async def test_seeing_the_same_again_changes_nothing(catalog):
    owner = await tenant(catalog)
    ids = await owner.observe(seen("5", shown("full"), shown("thumb")))
    before = await dump(catalog)
    assert await owner.observe(seen("5", shown("full"), shown("thumb")), now=LATER) == ids
    assert await dump(catalog) == before


async def test_a_variant_that_shows_later_joins_its_media(catalog):
    owner = await tenant(catalog)
    first = await owner.observe(seen("5", shown("thumb")))
    both = await owner.observe(seen("5", shown("full"), shown("thumb")), now=LATER)
    assert both[("5", "thumb")] == first[("5", "thumb")]
    assert (await row(catalog, "variants", label="full"))["created_at"] == LATER
    assert (await row(catalog, "variants", label="thumb"))["created_at"] == NOW
    assert (await row(catalog, "media"))["created_at"] == NOW


async def test_a_changed_url_clears_the_blame_of_the_old_one(catalog):
    owner = await tenant(catalog)
    variant_id = await owner.variant()
    await catalog.run(catalog_variants.blame_origin, variant_id, "full-k1", "403", LATER)
    blamed = await row(catalog, "variants")
    assert (blamed["not_before"], blamed["last_error"]) == (LATER, "403")
    await owner.observe(seen("100", shown(key="k2", expires_at=LATER), observed_path="/elsewhere"), now=LATER)
    after = await row(catalog, "variants")
    changed = {name: value for name, value in after.items() if value != blamed[name]}
    assert changed == {
        "origin_url": b"sealed full k2",
        "origin_key": "full-k2",
        "origin_expires_at": LATER,
        "observed_path": "/elsewhere",
        "not_before": 0,
        "last_error": None,
    }


async def test_blame_for_a_url_that_changed_meanwhile_does_not_stick(catalog):
    owner = await tenant(catalog)
    variant_id = await owner.variant()
    await owner.variant(key="k2")
    before = await dump(catalog)
    await catalog.run(catalog_variants.blame_origin, variant_id, "full-k1", "403", LATER)
    assert await dump(catalog) == before


async def test_the_same_url_does_not_clear_the_blame(catalog):
    owner = await tenant(catalog)
    variant_id = await owner.variant()
    await catalog.run(catalog_variants.blame_origin, variant_id, "full-k1", "403", LATER)
    await owner.observe(seen(), now=LATER)
    assert (await row(catalog, "variants"))["last_error"] == "403"


async def test_a_changed_url_wakes_a_store_that_waits(catalog):
    owner = await tenant(catalog)
    variant_id = await owner.variant()
    await owner.queue(variant_id)
    claim = await owner.claim()
    await catalog.run(
        transitions.apply, variant_id, Event.RELEASED, at=NOW, fence=claim.fence, run_at=LATER + HOUR, attempts=3
    )
    await owner.variant(key="k2")
    waiting = await row(catalog, "variants")
    assert (waiting["status"], waiting["run_at"], waiting["attempts"], waiting["fence"]) == ("pending", NOW, 0, 1)


async def test_a_url_without_an_expiry_is_good_from_its_last_observation(catalog):
    """Contract: expiresAt is 24 h after observation where the URL tells none, so the same URL may gain time."""
    owner = await tenant(catalog)
    await owner.observe(seen("1", shown(expires_at=NOW + 24 * HOUR)))
    await owner.observe(seen("1", shown(expires_at=NOW + 24 * HOUR + 1)), now=NOW + 1)
    assert (await row(catalog, "variants"))["origin_expires_at"] == NOW + 24 * HOUR  # not worth a write
    await owner.observe(seen("1", shown(expires_at=NOW + 34 * HOUR)), now=LATER)
    assert (await row(catalog, "variants"))["origin_expires_at"] == NOW + 34 * HOUR
    await owner.observe(seen("1", shown(expires_at=NOW)), now=LATER)
    assert (await row(catalog, "variants"))["origin_expires_at"] == NOW + 34 * HOUR  # never less


async def test_sources_are_kept_in_the_order_they_were_seen(catalog):
    owner = await tenant(catalog)
    for source in ("posts", "vault", "posts", "messages", "vault"):
        await owner.observe(seen(source=source))
    assert (await row(catalog, "media"))["sources"] == "posts,vault,messages"


async def test_a_duration_that_is_known_is_not_lost(catalog):
    owner = await tenant(catalog)
    await owner.observe(seen(type="video", duration=7.5))
    await owner.observe(seen(type="video", duration=None))
    assert (await row(catalog, "media"))["duration"] == 7.5


async def test_seen_again_after_removal_it_is_edge_only_and_counts_go_on(catalog):
    owner = await tenant(catalog)
    claim = await owner.store()
    await catalog.run(catalog_variants.count_views, [catalog_variants.Views(claim.variant_id, 5, LATER)])
    await owner.remove()
    assert await owner.observe(seen(), now=LATER) == {("100", "full"): claim.variant_id}
    back = await row(catalog, "variants")
    assert (back["status"], back["blob_id"], back["stored_at"], back["access_count"]) == ("edge_only", None, None, 5)
    assert (await rows(catalog, "outbox"))[-1]["type"] == "vault.media.seen_again"
    assert await broken_invariants(catalog) == []


@pytest.mark.parametrize("count", [99, 100, 101, 350])
async def test_an_answer_may_show_any_number_of_media(catalog, count):
    owner = await tenant(catalog)
    items = [seen(str(number), shown("full"), shown("thumb")) for number in range(count)]
    ids = await owner.observe(*items)
    assert len(ids) == 2 * count
    assert {variant["id"] for variant in await rows(catalog, "variants")} == set(ids.values())
    assert await owner.observe(*items) == ids


async def test_an_answer_without_media_is_no_answer_at_all(catalog):
    owner = await tenant(catalog)
    assert await owner.observe() == {}


async def test_media_without_a_usable_url_have_no_variants(catalog):
    owner = await tenant(catalog)
    assert await owner.observe(replace(seen(), variants=())) == {}
    assert await rows(catalog, "variants") == []


async def test_the_same_media_twice_in_one_answer_are_one(catalog):
    owner = await tenant(catalog)
    ids = await owner.observe(
        seen("5", shown("full", key="first"), shown("thumb"), type="video"),
        seen("5", shown("full", key="second"), shown("preview"), type="video", duration=3.0),
    )
    assert sorted(ids) == [("5", "full"), ("5", "preview"), ("5", "thumb")]
    assert (await row(catalog, "variants", label="full"))["origin_key"] == "full-first"
    assert (await row(catalog, "media"))["duration"] == 3.0


async def test_the_same_label_twice_in_one_item_is_the_first_one(catalog):
    owner = await tenant(catalog)
    for _ in range(2):
        await owner.observe(seen("5", shown(key="first"), shown(key="second")))
        assert (await row(catalog, "variants"))["origin_key"] == "full-first"


async def test_tenants_with_the_same_media_ids_never_mix(catalog):
    first, other_org = await tenant(catalog, "first"), await tenant(catalog, "second")
    other_connection = await first.connection("2")
    owners = (first, other_connection, other_org)
    found = [await owner.observe(seen("1", shown(key=f"of {n}"))) for n, owner in enumerate(owners)]
    assert len({ids[("1", "full")] for ids in found}) == 3
    await first.remove("1")
    await other_org.observe(seen("1", shown(key="changed"), shown("thumb")), now=LATER)
    statuses = {
        (variant["connection_id"], variant["label"]): (variant["status"], variant["origin_key"])
        for variant in await rows(catalog, "variants")
    }
    assert statuses == {
        (first.connection_id, "full"): ("removed", "full-of 0"),
        (other_connection.connection_id, "full"): ("edge_only", "full-of 1"),
        (other_org.connection_id, "full"): ("edge_only", "full-changed"),
        (other_org.connection_id, "thumb"): ("edge_only", "thumb-k1"),
    }
    assert await broken_invariants(catalog) == []


async def test_a_connection_that_is_gone_shows_its_variants_to_nobody(catalog):
    owner = await tenant(catalog)
    variant_id = await owner.variant()
    assert await catalog_variants.find_variant(catalog, variant_id) is not None
    await catalog.run(connections.disconnect, owner.org_id, owner.connection_id, NOW)
    assert await catalog_variants.find_variant(catalog, variant_id) is None
