"""What upstream changed keeps its old bytes until new ones are stored, however that goes: on both engines."""

from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from fakes.catalog_rows import HOUR, NOW, Tenant, broken_invariants, bytes_of, row, seen, shown, tenant
from mediavault.catalog import blob_rows, connections, leases, pins, removals, superseded
from mediavault.catalog import variants as catalog_variants
from mediavault.catalog.database import Catalog, CatalogConfig, open_catalog
from mediavault.catalog.list_changes import REASON_CHANGED
from mediavault.catalog.operations import Do, Operation
from mediavault.domain.lifecycle import Event
from mediavault.vault.configuring import effective_settings

DAY = 24 * HOUR
WINDOW = NOW + 2 * DAY


async def changed_and_given_up(catalog: Catalog) -> tuple[Tenant, str]:
    """A stored variant that upstream changed, and whose new bytes could not be had."""
    owner = await tenant(catalog)
    variant_id = (await owner.store("old", "1")).variant_id
    item = (owner.org_id, owner.connection_id, "1")
    await catalog.run(removals.supersede, *item, {"full"}, {"full"}, REASON_CHANGED, NOW + 1)
    await owner.observe(seen("1", shown(key="k2")))
    await owner.queue(variant_id)
    failure = leases.Failure(Event.GIVEN_UP, "gone", "full-k2", 1)
    await catalog.run(leases.fail, await owner.claim(), failure, NOW + 2)
    return owner, variant_id


async def let_go(owner: Tenant, now: int = WINDOW) -> None:
    """What a sweep does with them."""
    for org_id, connection_id in await superseded.with_superseded(owner.catalog):
        after = ""
        while after := await owner.catalog.run(
            superseded.let_go, org_id, connection_id, after, effective_settings, now
        ):
            continue
    await owner.catalog.run(blob_rows.release_retained, now - DAY)
    assert await broken_invariants(owner.catalog) == []


async def has_old_bytes(catalog: Catalog, variant_id: str) -> bool:
    found = await catalog_variants.find_variant(catalog, variant_id)
    assert found is not None
    return found.has_older_bytes


async def configure(owner: Tenant, *, enabled: bool = True, **settings: Any) -> None:
    overrides = msgspec.json.encode(settings).decode()
    mine = (owner.org_id, owner.connection_id)
    await owner.catalog.run(connections.configure, *mine, enabled=enabled, overrides=overrides, now=NOW)


def _make_older() -> Operation[None]:
    """The schema as it was before there was such a mark."""
    yield Do(text("DROP INDEX ix_variants_superseded"))
    yield Do(text("ALTER TABLE variants DROP COLUMN retained_stored_at"))
    yield Do(text("UPDATE alembic_version SET version_num = '0003'"))


async def test_they_outlive_the_undo_window_a_failure_and_a_new_url(catalog):
    owner, variant_id = await changed_and_given_up(catalog)
    await let_go(owner)
    assert await has_old_bytes(catalog, variant_id)
    await owner.observe(seen("1", shown(key="k3")))  # the failure was the old URL's: nothing is given up any more
    assert (await row(catalog, "variants"))["attempts"] == 0
    await let_go(owner)
    assert await has_old_bytes(catalog, variant_id)

    await owner.queue(variant_id)
    await catalog.run(blob_rows.settle, await owner.claim(), bytes_of("new"), WINDOW)
    after = await row(catalog, "variants")
    assert (after["retained_blob_id"], after["retained_stored_at"], after["version"]) == (None, None, "version-new")
    assert await broken_invariants(catalog) == []


async def test_another_change_upstream_keeps_them_still(catalog):
    owner, variant_id = await changed_and_given_up(catalog)
    item = (owner.org_id, owner.connection_id, "1")
    await catalog.run(removals.supersede, *item, {"full"}, {"full"}, REASON_CHANGED, NOW + 3)
    await owner.observe(seen("1", shown(key="k3")))
    await let_go(owner)
    assert (await row(catalog, "variants"))["retained_stored_at"] == NOW
    assert await has_old_bytes(catalog, variant_id)


async def test_whoever_deletes_the_item_deletes_them_behind_the_undo_window(catalog):
    owner, variant_id = await changed_and_given_up(catalog)
    await owner.remove("1", now=WINDOW)
    await owner.observe(seen("1", shown(key="k3")))
    await let_go(owner, WINDOW + DAY - 1)
    assert (await row(catalog, "variants"))["retained_blob_id"] is not None
    await let_go(owner, WINDOW + DAY)
    assert not await has_old_bytes(catalog, variant_id)


@pytest.mark.parametrize("ended_by", [{"retentionDays": 2}, {"accessExpiryDays": 2}, {"cacheImages": False}])
async def test_policy_ends_them_as_if_they_were_stored(catalog, ended_by):
    owner, variant_id = await changed_and_given_up(catalog)
    await configure(owner, enabled=False, **ended_by)
    await let_go(owner)
    assert await has_old_bytes(catalog, variant_id)
    await configure(owner, **ended_by)
    await catalog.run(pins.pin, owner.org_id, owner.connection_id, "1", "evidence", None, NOW)
    await let_go(owner)
    assert await has_old_bytes(catalog, variant_id)
    await catalog.run(pins.unpin, owner.org_id, owner.connection_id, "1")
    await let_go(owner)
    assert not await has_old_bytes(catalog, variant_id)


async def test_an_older_vaults_bytes_of_what_could_not_be_fetched_anew_are_kept_from_the_migration_on(database_url):
    catalog = await open_catalog(CatalogConfig(database_url))
    owner, variant_id = await changed_and_given_up(catalog)
    await catalog.run(_make_older)
    await catalog.close()
    catalog = await open_catalog(CatalogConfig(database_url))
    try:
        owner = Tenant(catalog, owner.org_id, owner.connection_id)
        await let_go(owner)
        assert await has_old_bytes(catalog, variant_id)
    finally:
        await catalog.close()


async def test_what_nothing_would_fetch_anew_stays_stored(catalog):
    """Upstream does not show it any more, or policy does not want it and a person did."""
    owner = await tenant(catalog)
    variant_id = (await owner.store("old", "1")).variant_id
    item = (owner.org_id, owner.connection_id, "1")
    for shown_labels, wanted in (({"preview"}, {"full"}), ({"full"}, set[str]())):
        removed = await catalog.run(removals.supersede, *item, shown_labels, wanted, REASON_CHANGED, NOW + 1)
        assert removed.variant_ids == ()
    assert (await row(catalog, "variants"))["status"] == "stored"
    assert (await catalog.run(removals.supersede, *item, {"full"}, {"full"}, REASON_CHANGED, NOW + 1)).variant_ids == (
        variant_id,
    )
