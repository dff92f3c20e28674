"""Every writer locks rows in one order: however they meet on PostgreSQL, none is the victim of a deadlock."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fakes.catalog_rows import NOW, Tenant, broken_invariants, bytes_of, rows, seen, shown, tenant
from fakes.stepped import stepped, waiting_for_a_lock
from fakes.vaults import until
from mediavault.catalog import (
    blob_rows,
    derivations,
    leases,
    limits,
    list_changes,
    observations,
    policy_scan,
    removals,
    restoring,
    retention,
    transitions,
    variants,
)
from mediavault.catalog.blob_rows import StoredBytes
from mediavault.catalog.database import Catalog, CatalogConfig, open_catalog
from mediavault.catalog.derivations import Deriver
from mediavault.catalog.list_state import Listed, ListOf
from mediavault.catalog.operations import Operation
from mediavault.catalog.variants import Views
from mediavault.domain.lifecycle import Event
from mediavault.domain.list_sync import Plan
from mediavault.domain.policy import Effect, Rule
from mediavault.domain.settings import VaultSettings
from mediavault.errors import LimitReached, LostRace, MediaNotFound, ThumbnailFailed

pytestmark = pytest.mark.postgres

LIMIT = 6_000
ROUNDS = 12


@pytest.fixture
async def shared(postgres_database: str) -> AsyncIterator[Catalog]:
    opened = await open_catalog(CatalogConfig(postgres_database, pool_size=12))
    yield opened
    await opened.close()


class Counted:
    """Runs operations, and counts how often one was driven again: the victims of deadlocks are."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.again: Counter[str] = Counter()

    async def run(self, operation: Callable[..., Operation[Any]], *args: Any, **kwargs: Any) -> Any:
        runs = 0

        def driven() -> Operation[Any]:
            nonlocal runs
            runs += 1
            return (yield from operation(*args, **kwargs))

        try:
            return await self._catalog.run(driven)
        except (LostRace, LimitReached, MediaNotFound, ThumbnailFailed):
            return None
        finally:
            self.again[operation.__name__] += runs - 1


async def test_a_queue_of_several_and_a_settle_never_wait_for_each_other(shared, postgres_database):
    owner = await tenant(shared)
    first, second = await owner.variant("1"), await owner.variant("2")
    await owner.queue(second)
    claim = await owner.claim()
    counted = Counted(shared)
    async with stepped(postgres_database, variants.queue([first, second], "wanted", NOW)) as queueing:
        await queueing.past("UPDATE organisations")  # the counter is held, and the next variant is wanted
        settling = asyncio.create_task(counted.run(blob_rows.settle, claim, bytes_of("picture"), NOW))
        await until(lambda: waiting_for_a_lock(postgres_database))
        assert await queueing.finish() == 1
    assert await settling is not None
    assert counted.again.total() == 0
    assert await broken_invariants(shared) == []


async def test_room_for_one_store_and_a_settle_of_another_never_wait_for_each_other(shared, postgres_database):
    """Whoever evicts holds the usage row; what it would have to wait for is not taken behind that."""
    owner = await tenant(shared)
    held = await owner.store("old", "1")
    await owner.queue(await owner.variant("2"))
    claim = await owner.claim()
    fold = _limited(1_500)
    counted = Counted(shared)
    damaging = _damaged_slowly(held.variant_id)
    async with stepped(postgres_database, damaging) as moving:
        await moving.past("SELECT variants.id, variants.org_id")  # the variant and its media are held
        reserving = asyncio.create_task(counted.run(limits.reserve, claim, 1_000, fold, NOW))
        await until(lambda: waiting_for_a_lock(postgres_database))
        await moving.finish()
    evicted = await reserving
    assert evicted.variant_ids == ()  # what had been chosen waits to be fetched again: there is room
    assert counted.again.total() == 0
    assert await broken_invariants(shared) == []


def _damaged_slowly(variant_id: str) -> Operation[object]:
    return transitions.apply(variant_id, Event.DAMAGED, at=NOW, reason="bad", run_at=NOW)


def _limited(limit: int) -> Callable[..., VaultSettings]:
    settings = VaultSettings(storage_limit_bytes=limit, retention_days=1)
    return lambda _organisation, _overrides: settings


async def test_whatever_meets_on_the_same_media_nobody_is_the_victim_of_a_deadlock(shared):
    owner = await tenant(shared, max_inflight=1000)
    media_ids = [str(number) for number in range(8)]
    for media_id in media_ids:  # in another order than their variants' labels come, so that ids and items are mixed
        await owner.observe(seen(media_id, shown("full")))
    for media_id in reversed(media_ids):
        await owner.observe(seen(media_id, shown("full"), shown("preview")))
    counted = Counted(shared)
    await asyncio.gather(*(_worker(owner, counted, media_ids, random.Random(number)) for number in range(10)))
    assert counted.again.total() == 0, counted.again
    assert await broken_invariants(shared) == []


async def _worker(owner: Tenant, counted: Counted, media_ids: list[str], chance: random.Random) -> None:
    """Anything that writes several rows, again and again, in an order of its own."""
    ids = await _variant_ids(owner)
    org_id, connection_id, fold = owner.org_id, owner.connection_id, _limited(LIMIT)
    for turn in range(1, ROUNDS + 1):
        some = chance.sample(ids, 4)
        media_id, now = chance.choice(media_ids), NOW + turn
        key = f"k{chance.randrange(3)}"
        shown_now = [
            seen(each, shown("full", key=key), shown("preview", key=key))
            for each in chance.sample([*media_ids, f"new-{chance.randrange(6)}"], 4)
        ]
        deeds: list[tuple[Any, ...]] = [
            (variants.queue, some, "wanted", now),
            (observations.observe, org_id, connection_id, shown_now, now),
            (removals.remove_item, org_id, connection_id, media_id, "deleted", now),
            (removals.remove_some, org_id, connection_id, "purged", now),
            (retention.expire_some, org_id, connection_id, fold, now + 2 * 86_400_000),
            (restoring.restore_item, org_id, connection_id, media_id, 0, fold, now),
            (variants.count_views, [Views(each, 1, now) for each in some]),
            (policy_scan.enact, org_id, connection_id, some, _any_effects(chance), now),
            (_list_part, owner, chance, media_ids, key, now),
            (leases.reclaim, now + 3_600_000),
            (limits.shrink, org_id, connection_id, _limited(chance.choice([1_000, LIMIT])), now, 3),
            (blob_rows.release_retained, now),
        ]
        weights = [6, 3, 1, 1, 1, 2, 2, 2, 3, 1, 1, 1]
        await counted.run(*chance.choices(deeds, weights)[0])
        claim = await counted.run(leases.claim, "storer", 60_000, now)
        if claim is not None:
            await counted.run(limits.reserve, claim, 1_000, fold, now)
            await _settle(owner, counted, claim, bytes_of(f"content {chance.randrange(5)}"), now)


async def _settle(owner: Tenant, counted: Counted, claim: leases.Claim, stored: StoredBytes, now: int) -> None:
    """As a storer does: what has an origin was fetched, a thumbnail was derived."""
    (variant,) = await rows(owner.catalog, "variants", id=claim.variant_id)
    if variant["origin_key"]:
        await counted.run(derivations.settle_fetched, claim, stored, _nothing_against, _DERIVER, now)
        return
    for original in (await derivations.originals(owner.catalog, claim.variant_id, _DERIVER.makeable))[:1]:
        await counted.run(derivations.settle_derived, claim, stored, original, _nothing_against, now)


def _nothing_against(_configured: object, _standing: object) -> None:
    return None


_DERIVER = Deriver({"image/jpeg"}, lambda _configured, _facts: True)
_EFFECTS = (Event.REMOVED, Event.UNQUEUED, Event.QUEUED)


def _any_effects(chance: random.Random) -> Any:
    """A policy that wants something else of each variant."""
    return lambda _configured, _standing: Effect(chance.choice(_EFFECTS), Rule.TYPE, "another policy")


def _list_part(owner: Tenant, chance: random.Random, media_ids: list[str], key: str, now: int) -> Operation[object]:
    """A list with known media, some of them changed, and with new ones, as a gateway may be seeing them too."""
    of = ListOf(owner.org_id, owner.connection_id, "7")
    names = [*chance.sample(media_ids, 3), f"new-{chance.randrange(6)}"]
    listed = {
        name: Listed(name, f"print {key}", seen(name, shown("full", key=key)), frozenset({"full"})) for name in names
    }
    part = list_changes.Part(listed, Plan(updated=tuple(names[:2]), added=(names[-1],)))
    return list_changes.add_whole(of, part, list_changes.Naming(), baseline_at=None, reason="listed", now=now)


async def _variant_ids(owner: Tenant) -> list[str]:
    return [each["id"] for each in await rows(owner.catalog, "variants")]
