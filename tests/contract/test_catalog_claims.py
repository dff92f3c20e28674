"""Claims: whose turn it is, which variant, for how long, and what becomes of a storer that dies."""

import asyncio
from collections import Counter

import pytest
from sqlalchemy import bindparam, update

from fakes.catalog_rows import (
    HOUR,
    LEASE_MS,
    NOW,
    Tenant,
    broken_invariants,
    bytes_of,
    connect,
    dump,
    row,
    rows,
    seen,
    shown,
    tenant,
)
from mediavault.catalog import blob_rows, connections, leases, transitions
from mediavault.catalog.database import CatalogConfig, open_catalog
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.tables import connections as connections_table
from mediavault.domain.lifecycle import Event
from mediavault.errors import LostRace

LATER = NOW + LEASE_MS


async def claimed(owner: Tenant, now: int = NOW) -> str | None:
    claim = await owner.catalog.run(leases.claim, "storer", LEASE_MS, now)
    return None if claim is None else claim.variant_id


async def test_nothing_pending_is_nothing_to_claim(catalog):
    owner = await tenant(catalog)
    await owner.variant()
    before = await dump(catalog)
    assert await claimed(owner) is None
    assert await dump(catalog) == before


async def test_a_claim_holds_a_lease_and_has_its_intent(catalog):
    owner = await tenant(catalog)
    variant_id = await owner.variant()
    await owner.queue(variant_id)
    claim = await catalog.run(leases.claim, "storer-7", LEASE_MS, NOW)
    variant = await row(catalog, "variants")
    assert (variant["status"], variant["lease_holder"], variant["lease_expires_at"]) == ("storing", "storer-7", LATER)
    assert (claim.variant_id, claim.fence, claim.attempts) == (variant_id, variant["fence"], 0)
    assert await row(catalog, "blobs") == {
        "id": claim.blob_id,
        "org_id": owner.org_id,
        "state": "writing",
        "variant_id": variant_id,
        "fence": claim.fence,
        "sha256": None,
        "size_bytes": 0,
        "refs": 0,
        "created_at": NOW,
        "place": None,
        "keep_until": None,
    }
    assert await broken_invariants(catalog) == []


async def test_what_expires_first_at_the_origin_is_stored_first(catalog):
    owner = await tenant(catalog)
    ids = [await owner.variant(str(n), expires_at=NOW + expiry) for n, expiry in enumerate((300, 100, 200))]
    await owner.queue(*ids)
    assert [await claimed(owner) for _ in range(3)] == [ids[1], ids[2], ids[0]]


async def test_connections_take_turns(catalog):
    busy = await tenant(catalog)
    quiet = await busy.connection("2")
    for owner, count in ((busy, 4), (quiet, 2)):
        await owner.queue(*[await owner.variant(str(n)) for n in range(count)])
    served = []
    for moment in range(4):
        claim = await busy.claim(NOW + moment)
        served.append(claim.connection_id)
    assert served[0] != served[1]
    assert served[:2] == served[2:]


async def test_a_connection_has_no_more_in_flight_than_it_may(catalog):
    owner = await tenant(catalog, max_inflight=2)
    ids = [await owner.variant(str(n), expires_at=NOW + n) for n in range(3)]
    await owner.queue(*ids)
    first = await owner.claim()
    assert await claimed(owner) == ids[1]
    assert await claimed(owner) is None
    await catalog.run(transitions.apply, first.variant_id, Event.GIVEN_UP, at=NOW, fence=first.fence)
    assert await claimed(owner) == ids[2]


async def test_a_full_connection_does_not_stand_in_the_way_of_others(catalog):
    full = await tenant(catalog, max_inflight=1)
    await full.queue(*[await full.variant(str(n)) for n in range(3)])
    await full.claim()
    other = await full.connection("2")
    wanted = await other.variant()
    await other.queue(wanted)
    assert await claimed(full) == wanted


def pause(connection_id: str, until: int) -> Operation[None]:
    statement = update(connections_table).where(connections_table.c.id == bindparam("connection_id"))
    yield Do(statement.values(paused_until=bindparam("until")), {"connection_id": connection_id, "until": until})


async def test_a_paused_connection_waits(catalog):
    owner = await tenant(catalog)
    await owner.queue(await owner.variant())
    await catalog.run(pause, owner.connection_id, LATER)
    assert await claimed(owner, LATER - 1) is None
    assert await claimed(owner, LATER) is not None


async def test_a_disconnected_connection_is_never_served(catalog):
    owner = await tenant(catalog)
    await owner.queue(await owner.variant())
    await catalog.run(connections.disconnect, owner.org_id, owner.connection_id, NOW)
    assert await claimed(owner, LATER) is None


async def test_what_is_not_due_waits_and_what_is_due_does_not_wait_for_it(catalog):
    owner = await tenant(catalog)
    early = await owner.variant("1", expires_at=NOW + 1)
    await owner.queue(early, now=LATER)
    due = await owner.variant("2", expires_at=NOW + HOUR)
    await owner.queue(due)
    assert await claimed(owner) == due
    assert await claimed(owner, LATER - 1) is None
    assert await claimed(owner, LATER) == early


async def test_a_lease_is_renewed_by_its_holder_alone(catalog):
    owner = await tenant(catalog)
    await owner.queue(await owner.variant())
    claim = await owner.claim()
    await catalog.run(leases.renew, claim, LATER + 1)
    assert await catalog.run(leases.reclaim, LATER) == 0
    assert await catalog.run(leases.reclaim, LATER + 1) == 1
    before = await dump(catalog)
    with pytest.raises(LostRace):
        await catalog.run(leases.renew, claim, LATER + HOUR)
    assert await dump(catalog) == before


async def test_what_a_dead_storer_held_is_claimed_again_at_no_cost_of_an_attempt(catalog):
    owner = await tenant(catalog)
    variant_id = await owner.variant()
    await owner.queue(variant_id)
    first = await owner.claim()
    assert await catalog.run(leases.reclaim, LATER - 1) == 0
    assert await catalog.run(leases.reclaim, LATER) == 1
    assert await broken_invariants(catalog) == []
    second = await owner.claim(LATER)
    assert (second.variant_id, second.attempts, second.fence > first.fence) == (variant_id, 0, True)
    with pytest.raises(LostRace):
        await catalog.run(blob_rows.settle, first, bytes_of("late"), LATER)
    await catalog.run(blob_rows.settle, second, bytes_of("in time"), LATER)
    assert (await row(catalog, "variants"))["version"] == "version-in time"
    assert await broken_invariants(catalog) == []


async def test_a_holder_known_to_be_dead_loses_its_leases_at_once_and_no_other_does(catalog):
    owner = await tenant(catalog)
    await owner.queue(*[await owner.variant(str(n)) for n in range(3)])
    for holder in ("dead", "alive", "dead"):
        await owner.claim(holder=holder)
    assert await catalog.run(leases.reclaim, NOW, "dead") == 2
    assert [each["lease_holder"] for each in await rows(catalog, "variants", status="storing")] == ["alive"]


async def test_a_variant_that_outlives_too_many_storers_is_the_poison(catalog):
    owner = await tenant(catalog)
    await owner.queue(await owner.variant())
    for crash in range(leases.CRASHES_BEFORE_GIVING_UP):
        assert (await row(catalog, "variants"))["crashes"] == crash
        await owner.claim(NOW + crash)
        await catalog.run(leases.reclaim, NOW, "storer-1")
    variant = await row(catalog, "variants")
    assert (variant["status"], variant["attempts"]) == ("edge_only", 1)
    assert "died 5 times" in variant["last_error"]
    assert (await rows(catalog, "outbox"))[-1]["type"] == "vault.media.failed"


async def test_a_success_forgives_the_crashes(catalog):
    owner = await tenant(catalog)
    await owner.queue(await owner.variant())
    await owner.claim()
    await catalog.run(leases.reclaim, NOW, "storer-1")
    await catalog.run(blob_rows.settle, await owner.claim(), bytes_of("x"), NOW)
    assert (await row(catalog, "variants"))["crashes"] == 0


async def test_concurrent_claimers_never_claim_one_twice(catalog, database_url):
    """Eight at once, on PostgreSQL through two pools, until nothing is left; the caps hold all the while."""
    variants, connections_of_it = 240, 6
    owner = await tenant(catalog, max_inflight=variants)
    owners = [owner] + [
        Tenant(catalog, owner.org_id, await connect(catalog, owner.org_id, f"more {n}", max_inflight=variants))
        for n in range(connections_of_it - 1)
    ]
    for each in owners:
        items = [seen(str(n), shown()) for n in range(variants // connections_of_it)]
        ids = await each.observe(*items)
        assert await each.queue(*ids.values()) == len(ids)
    second = await open_catalog(CatalogConfig(database_url)) if catalog.shared else catalog

    async def claim_all(through, name: str) -> list[str]:
        mine: list[str] = []
        while len(taken) < variants:
            claim = await through.run(leases.claim, name, LEASE_MS, NOW + len(taken))
            if claim is not None:
                mine.append(claim.variant_id)
                taken.append(claim.variant_id)
        return mine

    taken: list[str] = []
    async with asyncio.timeout(60):
        await asyncio.gather(*(claim_all((catalog, second)[n % 2], f"storer-{n}") for n in range(8)))
    if second is not catalog:
        await second.close()
    assert Counter(taken).most_common(1)[0][1] == 1
    assert len(taken) == variants
    assert {variant["fence"] for variant in await rows(catalog, "variants")} == {1}
    assert await broken_invariants(catalog) == []
