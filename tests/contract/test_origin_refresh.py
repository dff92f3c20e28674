"""Fresh origin URLs as rows: of what is known and live, under the URL they replace, and never across tenants."""

from typing import Any

from fakes.catalog_rows import HOUR, NOW, broken_invariants, dump, row, seen, shown, tenant
from mediavault.catalog import leases, origin_refresh, transitions
from mediavault.catalog import variants as catalog_variants
from mediavault.catalog.origin_refresh import FreshOrigin, LiveOrigin, Origin
from mediavault.domain.lifecycle import Event

LATER = NOW + 10 * HOUR


def fresh(variant_id: str, of_key: str, key: str = "new") -> FreshOrigin:
    return FreshOrigin(variant_id, of_key, b"sealed anew", key, LATER, "/v2/access/posts?limit=3")


async def the_variant(catalog: Any, owner: Any) -> str:
    return str((await owner.observe(seen("5", shown("full"))))[("5", "full")])


async def test_a_fresh_url_replaces_the_old_one_and_its_failure(catalog):
    owner = await tenant(catalog)
    variant_id = await the_variant(catalog, owner)
    await catalog.run(catalog_variants.queue, [variant_id], "wanted", NOW)
    await catalog.run(catalog_variants.blame_origin, variant_id, "full-k1", "expired", LATER)
    await catalog.run(origin_refresh.refresh, [fresh(variant_id, "full-k1")], NOW + 5)
    found = await row(catalog, "variants", id=variant_id)
    assert found == found | {
        "origin_url": b"sealed anew",
        "origin_key": "new",
        "origin_expires_at": LATER,
        "observed_path": "/v2/access/posts?limit=3",
        "not_before": 0,
        "last_error": None,
        "run_at": NOW + 5,
        "status": "pending",
    }
    assert await origin_refresh.find_origin(catalog, variant_id) == Origin("new", "/v2/access/posts?limit=3")
    assert await broken_invariants(catalog) == []


async def test_what_was_seen_or_removed_meanwhile_keeps_what_it_has(catalog):
    owner = await tenant(catalog)
    variant_id = await the_variant(catalog, owner)
    before = await dump(catalog)
    await catalog.run(origin_refresh.refresh, [fresh(variant_id, "another key")], NOW)
    await catalog.run(origin_refresh.refresh, [], NOW)
    assert await dump(catalog) == before
    await catalog.run(transitions.apply, variant_id, Event.REMOVED, at=NOW)
    removed = await dump(catalog)
    await catalog.run(origin_refresh.refresh, [fresh(variant_id, "full-k1")], NOW)
    assert await dump(catalog) == removed
    assert await origin_refresh.find_origin(catalog, variant_id) is None
    assert await origin_refresh.live(catalog, owner.org_id, owner.connection_id, ["5"]) == []


async def test_only_live_variants_of_the_own_connection_are_found(catalog):
    owner, other = await tenant(catalog), await tenant(catalog, "other", "2")
    ids = await owner.observe(seen("5", shown("full"), shown("thumb")), seen("6", shown("full")))
    await other.observe(seen("5", shown("full")))
    await catalog.run(transitions.apply, ids[("5", "thumb")], Event.REMOVED, at=NOW)
    found = await origin_refresh.live(catalog, owner.org_id, owner.connection_id, ["5", "6", "7"])
    assert sorted(found, key=lambda each: each.media_id) == [
        LiveOrigin("5", "full", ids[("5", "full")], "full-k1"),
        LiveOrigin("6", "full", ids[("6", "full")], "full-k1"),
    ]
    assert await origin_refresh.live(catalog, owner.org_id, other.connection_id, ["5"]) == []
    assert await origin_refresh.live(catalog, owner.org_id, owner.connection_id, []) == []


async def test_what_dies_first_is_claimed_first_among_connections_that_take_turns(catalog):
    owner, other = await tenant(catalog), await tenant(catalog, "other", "2")
    late = await owner.observe(
        seen("1", shown("full", expires_at=NOW + 9)), seen("2", shown("full", expires_at=NOW + 5))
    )
    only = await other.observe(seen("3", shown("full", expires_at=NOW + 7)))
    for number, ids in enumerate((late, only)):
        await catalog.run(catalog_variants.queue, list(ids.values()), "wanted", NOW + number)
    claims = [await catalog.run(leases.claim, "me", HOUR, NOW + 10 + n) for n in range(3)]
    by_owner = [claim.variant_id for claim in claims if claim.connection_id == owner.connection_id]
    assert by_owner == [late[("2", "full")], late[("1", "full")]]
    assert {claims[0].connection_id, claims[1].connection_id} == {owner.connection_id, other.connection_id}


async def test_a_refresh_moves_a_waiting_store_to_its_place_in_the_queue(catalog):
    owner = await tenant(catalog)
    ids = await owner.observe(
        seen("1", shown("full", expires_at=NOW + 5)), seen("2", shown("full", expires_at=NOW + 9))
    )
    await catalog.run(catalog_variants.queue, list(ids.values()), "wanted", NOW)
    await catalog.run(origin_refresh.refresh, [fresh(ids[("1", "full")], "full-k1")], NOW)
    claim = await catalog.run(leases.claim, "me", HOUR, NOW + 10)
    assert claim.variant_id == ids[("2", "full")]
