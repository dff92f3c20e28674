"""A blob is found damaged while others move its variants: whoever is first, nothing refers to it afterwards."""

import asyncio
import itertools

import pytest

from fakes.catalog_rows import LEASE_MS, NOW, bring_to, broken_invariants, bytes_of, own_media_id, row, rows, tenant
from fakes.stepped import stepped, waiting_for_a_lock
from mediavault.catalog import blob_rows, damage, leases, restoring, transitions
from mediavault.domain.lifecycle import Event, Status
from mediavault.domain.settings import VaultSettings
from mediavault.errors import LostRace, MediaNotFound

WHY = "its bytes are missing"


def no_limit(_organisation, _overrides):
    return VaultSettings()


async def statuses(catalog):
    return sorted(each["status"] for each in await rows(catalog, "variants"))


async def test_a_damaged_blob_is_quarantined_and_everybody_who_had_it_waits_for_another(catalog):
    owner = await tenant(catalog)
    first = await owner.store("same", "1")
    await owner.store("same", "2")
    (live,) = await rows(catalog, "blobs", state="live")
    done = await catalog.run(damage.quarantine, live["id"], WHY, NOW + 5)
    assert len(done.refetched) == 2
    assert first.variant_id in done.refetched
    assert await statuses(catalog) == ["pending", "pending"]
    assert (await row(catalog, "blobs", id=live["id"]))["state"] == "quarantined"
    usage = await row(catalog, "usage")
    assert (usage["stored_count"], usage["stored_bytes"], usage["live_count"]) == (0, 0, 2)
    variant = await row(catalog, "variants", id=first.variant_id)
    assert (variant["last_error"], variant["run_at"], variant["attempts"]) == (WHY, NOW + 5, 0)
    assert [each["type"] for each in await rows(catalog, "outbox")][-2:] == ["vault.media.damaged"] * 2
    assert await broken_invariants(catalog) == []


async def test_a_blob_is_quarantined_once(catalog):
    owner = await tenant(catalog)
    await owner.store()
    (blob,) = await rows(catalog, "blobs")
    done = await asyncio.gather(*(catalog.run(damage.quarantine, blob["id"], WHY, NOW) for _ in range(4)))
    assert sum(each is not None for each in done) == 1
    assert await catalog.run(damage.quarantine, "no such blob", WHY, NOW) is None


async def test_the_same_bytes_stored_again_never_settle_onto_a_quarantined_blob(catalog):
    owner = await tenant(catalog)
    await owner.store("same", "1")
    (bad,) = await rows(catalog, "blobs")
    await catalog.run(damage.quarantine, bad["id"], WHY, NOW)
    claim = await owner.claim()
    blob_id = await catalog.run(blob_rows.settle, claim, bytes_of("same"), NOW)
    assert blob_id == claim.blob_id != bad["id"]
    assert await broken_invariants(catalog) == []


async def test_bytes_kept_for_an_undo_are_given_up_and_cannot_be_restored(catalog):
    owner = await tenant(catalog)
    variant_id, _ = await bring_to(owner, Status.REMOVED)
    (blob,) = await rows(catalog, "blobs")
    done = await catalog.run(damage.quarantine, blob["id"], WHY, NOW)
    assert (done.refetched, done.not_restorable) == ((), (variant_id,))
    assert await statuses(catalog) == ["removed"]
    given = (owner.org_id, owner.connection_id, own_media_id(owner), 0, no_limit, NOW)
    with pytest.raises(MediaNotFound):
        await catalog.run(restoring.restore_item, *given)
    assert await broken_invariants(catalog) == []


async def test_what_is_quarantined_is_neither_deleted_nor_forgotten_before_it_is_set_aside(catalog):
    owner = await tenant(catalog)
    await owner.store()
    (blob,) = await rows(catalog, "blobs")
    await catalog.run(damage.quarantine, blob["id"], WHY, NOW)
    assert await catalog.run(blob_rows.doomed, 10) == []
    await catalog.run(blob_rows.forget, blob["id"])
    assert await catalog.run(damage.quarantined) == [(blob["id"], owner.org_id)]
    await catalog.run(damage.forget, blob["id"])
    assert await rows(catalog, "blobs") == []


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_damage_races_with_a_removal_and_an_undo_in_any_order(catalog, order):
    owner = await tenant(catalog)
    await bring_to(owner, Status.STORED)
    (blob,) = await rows(catalog, "blobs")
    given = (owner.org_id, owner.connection_id, own_media_id(owner), 0, no_limit, NOW)

    async def restore():
        try:
            await catalog.run(restoring.restore_item, *given)
        except MediaNotFound:
            return

    works = [
        lambda: catalog.run(damage.quarantine, blob["id"], WHY, NOW),
        lambda: owner.remove(own_media_id(owner)),
        restore,
    ]
    await asyncio.gather(*(works[number]() for number in order))
    assert await broken_invariants(catalog) == []
    left = await rows(catalog, "blobs", id=blob["id"])
    assert [each["state"] for each in left] == ["quarantined"]


async def test_damage_races_with_stores_of_the_same_bytes(catalog):
    """Eight storers settle the same content while its blob is quarantined: none of them ends with the bad one."""
    owner = await tenant(catalog, max_inflight=16)
    await owner.store("same", "0")
    (bad,) = await rows(catalog, "blobs")
    claims = []
    for number in range(1, 9):
        await owner.queue(await owner.variant(str(number)))
        claims.append(await owner.claim())
    settling = [catalog.run(blob_rows.settle, claim, bytes_of("same"), NOW) for claim in claims]
    await asyncio.gather(*settling[:4], catalog.run(damage.quarantine, bad["id"], WHY, NOW), *settling[4:])
    assert await broken_invariants(catalog) == []
    assert bad["id"] not in {each["blob_id"] for each in await rows(catalog, "variants")}
    assert (await row(catalog, "blobs", id=bad["id"]))["state"] == "quarantined"


async def test_damage_and_a_lease_of_a_variant_that_keeps_older_bytes(catalog):
    """It is being fetched anew while the bytes from before its removal rot: the store goes on."""
    owner = await tenant(catalog)
    variant_id, _ = await bring_to(owner, Status.REMOVED, "old")
    (blob,) = await rows(catalog, "blobs")
    await owner.variant(own_media_id(owner))
    await owner.queue(variant_id)
    claim = await owner.claim()
    await catalog.run(damage.quarantine, blob["id"], WHY, NOW)
    await catalog.run(leases.renew, claim, NOW + LEASE_MS)
    await catalog.run(blob_rows.settle, claim, bytes_of("new"), NOW)
    assert await statuses(catalog) == ["stored"]
    assert await broken_invariants(catalog) == []


async def test_only_what_is_stored_can_be_damaged(catalog):
    owner = await tenant(catalog)
    variant_id = await owner.variant()
    with pytest.raises(LostRace):
        await catalog.run(transitions.apply, variant_id, Event.DAMAGED, at=NOW)


@pytest.mark.postgres
async def test_a_dedupe_that_holds_the_blob_first_is_found_and_taken_along(postgres_database):
    """The quarantine waits for the store that settles onto the blob, and then finds its variant too."""
    from mediavault.catalog.database import CatalogConfig, open_catalog

    catalog = await open_catalog(CatalogConfig(postgres_database))
    try:
        owner = await tenant(catalog)
        await owner.store("same", "1")
        (bad,) = await rows(catalog, "blobs")
        await owner.queue(await owner.variant("2"))
        claim = await owner.claim()
        async with stepped(postgres_database, blob_rows.settle(claim, bytes_of("same"), NOW)) as settling:
            await settling.past("UPDATE blobs SET refs")
            quarantining = asyncio.create_task(catalog.run(damage.quarantine, bad["id"], WHY, NOW))
            while not await waiting_for_a_lock(postgres_database):  # noqa: ASYNC110 - the server's state is awaited
                await asyncio.sleep(0.01)
            await settling.finish()
        done = await quarantining
        assert done is not None
        assert len(done.refetched) == 2
        assert await statuses(catalog) == ["pending", "pending"]
        assert await broken_invariants(catalog) == []
    finally:
        await catalog.close()


@pytest.mark.postgres
async def test_a_dedupe_that_comes_second_finds_the_blob_gone_and_keeps_its_own(postgres_database):
    from mediavault.catalog.database import CatalogConfig, open_catalog

    catalog = await open_catalog(CatalogConfig(postgres_database))
    try:
        owner = await tenant(catalog)
        await owner.store("same", "1")
        (bad,) = await rows(catalog, "blobs")
        await owner.queue(await owner.variant("2"))
        claim = await owner.claim()
        async with stepped(postgres_database, damage.quarantine(bad["id"], WHY, NOW)) as quarantining:
            await quarantining.past("UPDATE blobs SET state")
            settling = asyncio.create_task(catalog.run(blob_rows.settle, claim, bytes_of("same"), NOW))
            while not await waiting_for_a_lock(postgres_database):  # noqa: ASYNC110 - the server's state is awaited
                await asyncio.sleep(0.01)
            await quarantining.finish()
        assert await settling == claim.blob_id
        assert await statuses(catalog) == ["pending", "stored"]
        assert await broken_invariants(catalog) == []
    finally:
        await catalog.close()
