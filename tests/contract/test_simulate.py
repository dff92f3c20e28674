"""Asked before, and done: on both engines a forecast is what the change then does."""

import random

import pytest

from fakes.catalog_rows import NOW, Tenant, broken_invariants, bytes_of, rows, seen, shown, tenant
from mediavault.catalog import blob_rows, configuration, leases, pins
from mediavault.catalog.configuration import Change
from mediavault.catalog.database import Catalog
from mediavault.domain.lifecycle import Event
from mediavault.domain.settings import SettingsOverrides
from mediavault.domain.times import DAY
from mediavault.vault.configuring import ConnectionPatch, ConnectionVaultPlus, connection_changed
from mediavault.vault.policing import Outcome, Policing


async def filled(catalog: Catalog) -> Tenant:
    owner = await tenant(catalog)
    for number in range(12):
        variant_id = await owner.variant(f"m{number}", ("full", "thumb", "preview")[number % 3])
        await owner.queue(variant_id, now=NOW)
        claim = await catalog.run(leases.claim, "storer", 60_000, NOW)
        assert claim is not None
        await catalog.run(blob_rows.settle, claim, bytes_of(f"c{number}", 1000 + number), NOW + number)
    await catalog.run(pins.pin, owner.org_id, owner.connection_id, "m0", "mine", None, NOW)
    await owner.observe(seen("waiting", shown("full"), shown("thumb")))
    await owner.queue(await owner.variant("waiting"))
    return owner


def totals(outcome: Outcome) -> dict[object, tuple[int, int, int]]:
    return {rule: (s.variants, s.known_bytes, s.unknown_sizes) for rule, s in outcome.shares.items()}


@pytest.mark.parametrize("seed", range(6))
async def test_a_forecast_is_what_the_change_then_does(catalog: Catalog, seed: int):
    owner, chance = await filled(catalog), random.Random(seed)
    policing = Policing(catalog, lambda _: None, lambda: None, lambda: NOW + 3 * DAY)
    for _ in range(3):
        wanted = {
            "image_qualities": tuple(chance.sample(["thumb", "preview", "full"], chance.randint(0, 3))),
            "retention_days": chance.choice([0, 0, 5]),
            "min_access_count_vault": chance.choice([0, 1]),
            "storage_limit_bytes": chance.choice([0, 3000, 6000]),
            "storage_limit_purge_strategy": chance.choice(["purge_oldest", "purge_largest", "purge_smallest"]),
        }
        patch = ConnectionPatch(ConnectionVaultPlus(settings=SettingsOverrides(**wanted)))

        def changed(configured, patch=patch):
            return connection_changed(configured, patch)

        before = await configuration.find_configured(catalog, owner.org_id, owner.connection_id)
        assert before is not None
        told = await policing.forecast(owner.org_id, Change(before, changed(before)))
        done = await catalog.run(
            configuration.change_connection, owner.org_id, owner.connection_id, changed, NOW + 3 * DAY
        )
        did = await policing.carry_out(owner.org_id, done)
        assert totals(did) == totals(told)
    assert await broken_invariants(catalog) == []
    pinned = [
        each for each in await rows(catalog, "variants") if each["label"] == "full" and each["status"] == "stored"
    ]
    assert pinned, "the pinned one is spared"


async def test_retention_purges_at_once_what_is_past_it(catalog: Catalog):
    owner = await filled(catalog)
    policing = Policing(catalog, lambda _: None, lambda: None, lambda: NOW + 3 * DAY)
    patch = ConnectionPatch(ConnectionVaultPlus(settings=SettingsOverrides(retention_days=2)))
    change = await catalog.run(
        configuration.change_connection,
        owner.org_id,
        owner.connection_id,
        lambda configured: connection_changed(configured, patch),
        NOW,
    )
    removed = (await policing.carry_out(owner.org_id, change)).of(Event.REMOVED)
    assert (removed.variants, removed.known_bytes) == (11, sum(1000 + number for number in range(1, 12)))
