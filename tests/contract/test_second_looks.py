"""What two transactions do to each other between two questions of one of them, and bytes that must not go too soon."""

import asyncio
from dataclasses import replace

import msgspec
import pytest
from sqlalchemy import bindparam, text

from fakes.catalog_rows import NOW, bytes_of, seen, shown, tenant
from fakes.stepped import stepped, waiting_for_a_lock
from fakes.vaults import until
from mediavault.catalog import blob_rows, configuration, connections, list_changes, list_state, restoring
from mediavault.catalog import variants as catalog_variants
from mediavault.catalog.configuration import Change, Configured
from mediavault.catalog.database import CatalogConfig, open_catalog
from mediavault.catalog.list_changes import Naming, Part
from mediavault.catalog.list_state import Listed, ListOf
from mediavault.catalog.operations import Do
from mediavault.domain.list_sync import Plan
from mediavault.domain.times import DAY
from mediavault.vault.configuring import effective_settings
from mediavault.vault.policing import Policing

#: As a thumbnail is that was made anew of an original that was seen after it.
_DERIVE = text("UPDATE variants SET derived_from = :original, origin_key = '' WHERE id = :thumb").bindparams(
    bindparam("original"), bindparam("thumb")
)


@pytest.fixture
async def shared(postgres_database):
    opened = await open_catalog(CatalogConfig(postgres_database))
    yield opened
    await opened.close()


async def test_media_that_come_into_another_list_between_two_questions_are_no_error(shared, postgres_database):
    owner = await tenant(shared)
    ours, other = (ListOf(owner.org_id, owner.connection_id, list_id) for list_id in ("5", "6"))
    part = Part({"1": Listed("1", "f", seen("1", shown()), frozenset())}, Plan(added=("1",)))
    async with stepped(postgres_database, list_state.entries(ours, ["1"])) as looking:
        await looking.past("SELECT media.media_id, media.id")
        await shared.run(list_changes.sync_whole, other, part, Naming(), baseline_at=None, reason="synced", now=NOW)
        assert await looking.finish() == {}


async def test_a_connections_settings_are_changed_on_the_defaults_that_were_waited_for(shared, postgres_database):
    owner = await tenant(shared)
    defaults = configuration.change_organisation(owner.org_id, lambda _: '{"new":1}', lambda before: before, NOW)
    own = (owner.org_id, owner.connection_id, lambda before: replace(before, overrides='{"x":1}'), NOW)
    async with stepped(postgres_database, defaults) as organisation:
        await organisation.past("UPDATE organisations")
        changing = asyncio.create_task(shared.run(configuration.change_connection, *own))
        await until(lambda: waiting_for_a_lock(postgres_database))
        await organisation.finish()
        change = await changing
    assert (change.before.organisation, change.after.organisation) == ('{"new":1}', '{"new":1}')


async def test_old_bytes_of_what_is_fetched_anew_outlive_the_undo_window(catalog):
    owner = await tenant(catalog)
    claim = await owner.store(media_id="1")
    await owner.remove("1")
    await owner.observe(seen("1", shown(key="k2")))
    await owner.queue(claim.variant_id)
    assert await catalog.run(blob_rows.release_retained, NOW + DAY) == 0
    found = await catalog_variants.find_variant(catalog, claim.variant_id)
    assert found is not None
    assert found.has_older_bytes


async def test_a_limit_that_was_raised_meanwhile_evicts_nothing_more(catalog):
    owner = await tenant(catalog)
    await owner.store("a", "1")
    await owner.store("b", "2")
    low, high = (msgspec.json.encode({"storageLimitBytes": limit}).decode() for limit in (1, 10**9))
    before, after = (Configured(owner.connection_id, True, overrides, "{}") for overrides in (None, low))
    holds_now = {"enabled": True, "overrides": high, "now": NOW}
    await catalog.run(connections.configure, owner.org_id, owner.connection_id, **holds_now)
    policing = Policing(catalog, lambda _: None, lambda: None, lambda: NOW)
    outcome = await policing.carry_out(owner.org_id, Change(before, after))
    assert outcome.shares == {}


async def test_a_thumbnail_comes_back_with_its_original_that_was_seen_again(catalog):
    owner = await tenant(catalog)
    ids = {}
    for place, label in enumerate(("thumb", "full")):
        ids[label] = (await owner.observe(seen("1", shown(label)), now=NOW + place))["1", label]
        await owner.queue(ids[label])
        await catalog.run(blob_rows.settle, await owner.claim(), bytes_of(label), NOW)

    def derive():
        yield Do(_DERIVE, {"original": ids["full"], "thumb": ids["thumb"]})

    await catalog.run(derive)
    await owner.remove("1", now=NOW + 10)
    await owner.observe(seen("1", shown("full")), now=NOW + 11)
    restored = await catalog.run(
        restoring.restore_item, owner.org_id, owner.connection_id, "1", NOW, effective_settings, NOW + 12
    )
    found = [await catalog_variants.find_variant(catalog, each) for each in ids.values()]
    assert (restored.count, [each and each.status for each in found]) == (2, ["stored", "stored"])
