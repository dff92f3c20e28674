"""Counting views, and what the API and the media host read: items, totals, single variants, connections, keys."""

from dataclasses import replace

import pytest

from fakes.catalog_rows import LEASE_MS, NOW, connection_row, row, rows, seen, shown, tenant
from mediavault.catalog import connections, items, leases, organisations, removals
from mediavault.catalog import variants as catalog_variants
from mediavault.catalog.organisations import KeyRow, OrganisationRow
from mediavault.catalog.variants import Views
from mediavault.errors import Conflict, NotFound

LATER = NOW + 5_000


async def test_views_are_added_and_the_last_one_never_falls(catalog):
    owner = await tenant(catalog)
    variant_id = await owner.variant()
    for count, at in ((3, LATER), (2, LATER - 1), (0, NOW - 1)):
        await catalog.run(catalog_variants.count_views, [Views(variant_id, count, at)])
    counted = await row(catalog, "variants")
    assert (counted["access_count"], counted["last_accessed_at"]) == (5, LATER)


@pytest.mark.parametrize("count", [1, 100, 101, 250])
async def test_any_number_of_variants_is_counted_at_once(catalog, count):
    owner = await tenant(catalog)
    ids = await owner.observe(*[seen(str(n)) for n in range(count)])
    viewed = await catalog.run(catalog_variants.count_views, [Views(each, 2, LATER) for each in ids.values()])
    assert {variant["access_count"] for variant in await rows(catalog, "variants")} == {2}
    assert {variant.id for variant in viewed} == set(ids.values())
    assert {variant.access_count for variant in viewed} == {2}
    assert len(viewed) == count


async def test_counting_nothing_and_the_unknown_is_no_error(catalog):
    assert await catalog.run(catalog_variants.count_views, []) == []
    assert await catalog.run(catalog_variants.count_views, [Views("unknown", 1, NOW)]) == []


async def test_only_what_is_edge_only_is_offered_to_policy(catalog):
    owner = await tenant(catalog)
    stored = await owner.store(media_id="1")
    edge_only, pending = await owner.variant("2"), await owner.variant("3")
    await owner.queue(pending)
    viewed = await catalog.run(
        catalog_variants.count_views, [Views(each, 1, NOW) for each in (stored.variant_id, edge_only, pending)]
    )
    assert [variant.id for variant in viewed] == [edge_only]
    assert {variant["access_count"] for variant in await rows(catalog, "variants")} == {1}


async def test_queueing_leaves_what_somebody_moved(catalog):
    owner = await tenant(catalog)
    first, second = await owner.variant("1"), await owner.variant("2")
    assert await owner.queue(first) == 1
    assert await owner.queue(first, second, "unknown") == 1
    told = [each["variant_id"] for each in await rows(catalog, "outbox") if each["variant_id"] is not None]
    assert told == [first, second]


async def test_an_item_has_its_live_variants_by_label(catalog):
    owner = await tenant(catalog)
    ids = await owner.observe(seen("5", shown("thumb"), shown("full"), type="video", duration=2.5))
    settings, item = await items.connection_and_item(catalog, owner.org_id, owner.connection_id, "5") or (None, None)
    assert settings == items.SettingsRow("{}", None)
    assert item is not None
    assert (item.media_id, item.type, item.duration) == ("5", "video", 2.5)
    assert [(variant.label, variant.id) for variant in item.variants] == [
        ("full", ids[("5", "full")]),
        ("thumb", ids[("5", "thumb")]),
    ]
    assert await items.items(catalog, owner.org_id, owner.connection_id, ["5"]) == {"5": item}


async def test_removed_variants_are_hidden_and_an_item_without_others_is_none(catalog):
    owner = await tenant(catalog)
    await owner.observe(seen("5", shown("thumb"), shown("full")))
    await owner.remove("5")
    found = await items.connection_and_item(catalog, owner.org_id, owner.connection_id, "5")
    assert found == (items.SettingsRow("{}", None), None)
    assert await items.items(catalog, owner.org_id, owner.connection_id, ["5"]) == {}
    await owner.observe(seen("5", shown("thumb")))
    found = await items.connection_and_item(catalog, owner.org_id, owner.connection_id, "5")
    assert found is not None
    assert found[1] is not None
    assert [variant.label for variant in found[1].variants] == ["thumb"]


async def test_an_unknown_item_is_none(catalog):
    owner = await tenant(catalog)
    found = await items.connection_and_item(catalog, owner.org_id, owner.connection_id, "5")
    assert found == (items.SettingsRow("{}", None), None)


async def test_another_organisations_connection_does_not_exist(catalog):
    owner, stranger = await tenant(catalog, "first"), await tenant(catalog, "second")
    await owner.observe(seen("5"))
    assert await items.connection_and_item(catalog, stranger.org_id, owner.connection_id, "5") is None
    assert await items.connection_and_item(catalog, owner.org_id, "conn_unknown", "5") is None
    assert await items.items(catalog, stranger.org_id, owner.connection_id, ["5"]) == {}
    assert await items.connection_totals(catalog, stranger.org_id, owner.connection_id) == (0, 0, 0)
    assert (await catalog.run(removals.remove_item, stranger.org_id, owner.connection_id, "5", "x", NOW)) == (
        removals.Removed((), 0)
    )
    assert await connections.find_connection(catalog, stranger.org_id, owner.connection_id) is None
    await catalog.run(connections.expire, stranger.org_id, owner.connection_id, NOW)
    with pytest.raises(NotFound):
        await catalog.run(connections.disconnect, stranger.org_id, owner.connection_id, NOW)
    found = await connections.find_connection(catalog, owner.org_id, owner.connection_id)
    assert found is not None
    assert found.state == "active"


async def test_a_disconnected_connection_does_not_exist(catalog):
    owner = await tenant(catalog)
    await owner.observe(seen("5"))
    await catalog.run(connections.disconnect, owner.org_id, owner.connection_id, NOW)
    assert await items.connection_and_item(catalog, owner.org_id, owner.connection_id, "5") is None
    assert await connections.find_connection(catalog, owner.org_id, owner.connection_id) is None
    assert (await row(catalog, "connections"))["session"] == b""


@pytest.mark.parametrize("asked", [0, 1, 100])
async def test_a_batch_asks_for_up_to_a_hundred(catalog, asked):
    owner = await tenant(catalog)
    await owner.observe(*[seen(str(n)) for n in range(asked)])
    found = await items.items(catalog, owner.org_id, owner.connection_id, [str(n) for n in range(asked)])
    assert sorted(found) == sorted(str(n) for n in range(asked))


async def test_totals_count_live_variants_and_stored_bytes(catalog):
    owner = await tenant(catalog)
    other, stranger = await owner.connection("2"), await tenant(catalog, "second")
    await owner.store("one", "1")
    await owner.observe(seen("1", shown("full"), shown("thumb")), seen("2"))
    await owner.store("gone", "3")
    await owner.remove("3")
    await other.store("two", "1")
    await stranger.store("three", "1")
    await catalog.run(connections.configure, other.org_id, other.connection_id, enabled=False, overrides=None, now=NOW)
    assert await items.connection_totals(catalog, owner.org_id, owner.connection_id) == (3, 1, 1000)
    assert await items.organisation_totals(catalog, owner.org_id) == (2, 1, 2000, 4)
    assert await items.organisation_totals(catalog, "unknown") == (0, 0, 0, 0)


async def test_a_single_variant_knows_its_bytes_and_its_rules(catalog):
    owner = await tenant(catalog)
    claim = await owner.store("picture")
    found = await catalog_variants.find_variant(catalog, claim.variant_id)
    assert found is not None
    assert (found.status, found.version, found.blob_id, found.media_id, found.sources) == (
        "stored",
        "version-picture",
        claim.blob_id,
        "100",
        "vault",
    )
    assert len(found.sha256 or "") == 64
    assert not found.given_up
    assert await catalog_variants.find_variant(catalog, "unknown") is None


async def test_the_same_upstream_user_again_is_the_same_connection(catalog):
    owner = await tenant(catalog)
    again = connection_row(owner.org_id, "1", session=b"new session", client_reference_id="ref", updated_at=LATER)
    await catalog.run(connections.expire, owner.org_id, owner.connection_id, NOW)
    assert await catalog.run(connections.save, again, 4) == owner.connection_id
    found = await connections.find_connection(catalog, owner.org_id, owner.connection_id)
    assert found is not None
    assert (found.session, found.state, found.client_reference_id) == (b"new session", "active", "ref")
    assert (found.created_at, found.updated_at, found.expired_at) == (NOW, LATER, None)
    assert await catalog.run(connections.save, replace(again, client_reference_id=None), 4) == owner.connection_id
    found = await connections.find_connection(catalog, owner.org_id, owner.connection_id)
    assert found is not None
    assert found.client_reference_id == "ref"


async def test_a_user_who_was_disconnected_comes_back_as_a_new_connection(catalog):
    owner = await tenant(catalog)
    await catalog.run(connections.disconnect, owner.org_id, owner.connection_id, NOW)
    again = connection_row(owner.org_id, "1")
    assert await catalog.run(connections.save, again, 4) == again.id
    listed = await connections.listed(catalog, owner.org_id, None, 10, 0)
    assert [connection.id for connection in listed] == [again.id]


async def test_connections_are_listed_in_the_order_of_their_making(catalog):
    owner = await tenant(catalog)
    made = [
        await catalog.run(connections.save, connection_row(owner.org_id, f"u{n}", created_at=NOW + 9 - n), 4)
        for n in range(3)
    ]
    await catalog.run(connections.expire, owner.org_id, made[0], NOW)
    order = [owner.connection_id, *reversed(made)]
    assert [c.id for c in await connections.listed(catalog, owner.org_id, None, 10, 0)] == order
    assert [c.id for c in await connections.listed(catalog, owner.org_id, None, 2, 1)] == order[1:3]
    assert [c.id for c in await connections.listed(catalog, owner.org_id, "expired", 10, 0)] == made[:1]


def key(org_id: str, key_id: str = "key") -> KeyRow:
    return KeyRow(key_id, org_id, "default", None, "mv_abc", ("ACCOUNT", "ACCESS"), NOW, None)


async def test_a_key_is_found_by_its_digest_until_it_is_revoked(catalog):
    owner = await tenant(catalog)
    await catalog.run(organisations.add_key, key(owner.org_id), "digest")
    assert await organisations.find_key(catalog, "digest", NOW) == key(owner.org_id)
    assert await organisations.find_key(catalog, "another", NOW) is None
    assert await catalog.run(organisations.revoke_key, "key", NOW)
    assert not await catalog.run(organisations.revoke_key, "key", LATER)
    assert await organisations.find_key(catalog, "digest", NOW) is None
    assert [each.revoked_at for each in await organisations.keys(catalog)] == [NOW]


async def test_a_secret_is_given_once(catalog):
    owner = await tenant(catalog)
    await catalog.run(organisations.add_key, key(owner.org_id), "digest")
    with pytest.raises(Conflict):
        await catalog.run(organisations.add_key, key(owner.org_id, "other"), "digest")
    assert len(await organisations.keys(catalog)) == 1


async def test_the_first_organisation_and_its_key_come_together_or_not_at_all(catalog):
    owner = await tenant(catalog)
    await catalog.run(organisations.add_key, key(owner.org_id), "digest")
    first = OrganisationRow("org-2", "second", "{}", NOW)
    with pytest.raises(Conflict):
        await catalog.run(organisations.create_with_key, first, key("org-2", "other"), "digest")
    assert await organisations.find_organisation(catalog, "second") is None
    await catalog.run(organisations.create_with_key, first, key("org-2", "other"), "another digest")
    found = await organisations.find_key(catalog, "another digest", NOW)
    assert found is not None
    assert found.organisation == "second"


async def test_a_name_belongs_to_one_organisation(catalog):
    await tenant(catalog, "name")
    with pytest.raises(Conflict):
        await tenant(catalog, "name")
    assert [each.name for each in await organisations.all_of_them(catalog)] == ["name"]
    with pytest.raises(NotFound):
        await organisations.organisation(catalog, "unknown")


async def test_a_fact_stays_what_it_was_first(catalog):
    assert await catalog.run(organisations.remember_fact, "check", b"first") == b"first"
    assert await catalog.run(organisations.remember_fact, "check", b"second") == b"first"


async def test_a_given_up_variant_says_so(catalog):
    owner = await tenant(catalog)
    variant_id = await owner.variant()
    for crash in range(leases.CRASHES_BEFORE_GIVING_UP):
        await owner.queue(variant_id) if crash == 0 else None
        await catalog.run(leases.claim, "storer", LEASE_MS, NOW)
        await catalog.run(leases.reclaim, NOW, "storer")
    found = await catalog_variants.find_variant(catalog, variant_id)
    assert found is not None
    assert found.given_up
