"""Holds: no blob that a living hold covers is ever on a list of those to delete, whoever races with whom."""

import asyncio

import pytest

from fakes.catalog_rows import NOW, rows, sql, tenant
from fakes.stepped import stepped
from fakes.vaults import until
from mediavault.catalog import blob_rows, damage, holds
from mediavault.catalog.database import CatalogConfig, open_catalog
from mediavault.errors import Conflict, InvalidRequest, LostRace
from mediavault.vault.portable.backing_up import HOLD_MS, Holding

ID, OTHER = "a" * 32, "b" * 32
LATER = NOW + 1_000


async def doomed_blob(catalog, owner, content="picture", media_id="100"):
    """A blob whose last reference has ended."""
    claim = await owner.store(content, media_id)
    await owner.remove(media_id)
    await catalog.run(blob_rows.release_retained, NOW + 1)
    return claim.blob_id


async def listed(catalog, now):
    return [blob_id for blob_id, _ in await catalog.run(blob_rows.doomed, 100, now)]


async def names(catalog):
    return [fact["name"] for fact in await rows(catalog, "installation")]


async def test_a_hold_covers_every_blob_until_it_ends_and_not_a_millisecond_longer(catalog):
    blob_id = await doomed_blob(catalog, await tenant(catalog))
    assert await listed(catalog, NOW) == [blob_id]
    name = await catalog.run(holds.take, ID, LATER, NOW)
    assert await listed(catalog, NOW) == await listed(catalog, LATER - 1) == []
    assert await listed(catalog, LATER) == [blob_id]
    await catalog.run(holds.release, name)
    assert await listed(catalog, NOW) == [blob_id]


async def test_a_hold_that_is_renewed_in_time_covers_on_and_one_that_ended_is_never_renewed(catalog):
    blob_id = await doomed_blob(catalog, await tenant(catalog))
    name = await catalog.run(holds.take, ID, LATER, NOW)
    renewed = await catalog.run(holds.renew, name, LATER + 1_000, LATER - 1)
    assert await listed(catalog, LATER) == []
    for lost, now in ((name, NOW), (renewed, LATER + 1_000), (holds.name_of(OTHER, LATER + 9_000), NOW)):
        with pytest.raises(LostRace):
            await catalog.run(holds.renew, lost, LATER + 9_000, now)
    assert await listed(catalog, LATER + 1_000) == [blob_id]


async def test_one_of_two_holds_is_enough(catalog):
    blob_id = await doomed_blob(catalog, await tenant(catalog))
    first = await catalog.run(holds.take, ID, LATER, NOW)
    second = await catalog.run(holds.take, OTHER, LATER + 5, NOW)
    await catalog.run(holds.release, first)
    assert await listed(catalog, NOW) == await listed(catalog, LATER + 4) == []
    await catalog.run(holds.release, second)
    assert await listed(catalog, NOW) == [blob_id]


async def test_ended_holds_are_forgotten_and_other_facts_are_let_alone(catalog):
    async def add(*facts):
        for fact in facts:
            await catalog.run(holds_like, fact)

    others = ["backup_hold", "backup_hold;", "backup_holds", "master_key_check", "~"]
    before = await names(catalog)
    await add(*others)
    ended = await catalog.run(holds.take, ID, NOW, NOW - 1)
    living = await catalog.run(holds.take, OTHER, LATER, NOW)
    assert sorted(await names(catalog)) == sorted([*before, *others, living])
    assert ended != living
    await catalog.run(holds.release_all)
    assert sorted(await names(catalog)) == sorted([*before, *others])
    blob_id = await doomed_blob(catalog, await tenant(catalog))
    assert await listed(catalog, NOW) == [blob_id]  # a fact that only looks like a hold holds nothing


def holds_like(name):
    from mediavault.catalog.operations import Do
    from mediavault.catalog.snapshots import _ADD_FACT

    yield Do(_ADD_FACT, {"name": name})


async def test_whoever_lost_a_hold_is_told_and_a_name_that_is_none_is_refused(catalog):
    now = NOW
    holding = Holding(catalog, lambda: now)
    taken = await holding.hold()
    now += HOLD_MS - 1
    taken = await holding.hold(taken.name)
    now += HOLD_MS
    with pytest.raises(Conflict, match="lost its hold"):
        await holding.hold(taken.name)
    for name in ("", "master_key", "backup_hold:1:a", taken.name + "\n", taken.name.replace(":", ";"), "restored:x"):
        with pytest.raises(InvalidRequest):
            await holding.hold(name)
        with pytest.raises(InvalidRequest):
            await holding.release(name)


async def test_what_a_snapshot_refers_to_outlives_every_sweep_that_races_with_its_hold(catalog):
    """Stores, removals, sweeps and backups at once; each snapshot's blobs are there as long as its hold lasts."""
    owner, over, deleted = await tenant(catalog), asyncio.Event(), set[str]()

    async def churn():
        number = 0
        while not over.is_set():
            number += 1
            await owner.store(f"content {number % 3}", str(number))
            if number > 3:
                await owner.remove(str(number - 3))
            await catalog.run(blob_rows.release_retained, NOW + 1)

    async def sweep():
        while not over.is_set():
            for blob_id in await listed(catalog, NOW):
                deleted.add(blob_id)  # its bytes go here, outside of any transaction
                await asyncio.sleep(0)
                await catalog.run(blob_rows.forget, blob_id)
            await asyncio.sleep(0)

    async def back_up(hold_id):
        gone = 0
        for _ in range(10):
            name = await catalog.run(holds.take, hold_id, LATER, NOW)
            blobs = {blob.id for blob in await damage.live_blobs(catalog, "", 1_000)}
            gone += len(blobs & deleted)
            for _ in range(5):
                await asyncio.sleep(0)
                gone += len(blobs & deleted)
                name = await catalog.run(holds.renew, name, LATER, NOW)
            assert not blobs & deleted
            await catalog.run(holds.release, name)
            before = len(deleted)

            async def others_had_a_turn(before=before):
                return len(deleted) > before or len(await names(catalog)) > facts

            await until(others_had_a_turn)
        return gone

    facts = len(await names(catalog))
    async with asyncio.TaskGroup() as group:
        for work in (churn(), sweep(), sweep()):
            group.create_task(work)
        found = await asyncio.gather(back_up(ID), back_up(OTHER))
        over.set()
    assert set(found) == {0}
    assert deleted


@pytest.mark.postgres
async def test_a_list_of_doomed_blobs_that_is_older_than_a_hold_has_none_of_its_snapshot(postgres_database):
    """The list is taken, the hold is committed, the snapshot is read, and only then are the list's blobs deleted."""
    catalog = await open_catalog(CatalogConfig(postgres_database))
    try:
        owner = await tenant(catalog)
        old = await doomed_blob(catalog, owner, "old", "1")
        live = await owner.store("new", "2")
        async with stepped(postgres_database, blob_rows.doomed(100, NOW)) as sweeping:
            await sweeping.past("SELECT blobs.id")
            await catalog.run(holds.take, ID, LATER, NOW)
            again = await owner.store("old", "3")  # the same bytes as those that are about to go
            snapshot = {blob.id for blob in await damage.live_blobs(catalog, "", 100)}
            await owner.remove("2")
            await catalog.run(blob_rows.release_retained, NOW + 1)
            doomed = {blob_id for blob_id, _ in await sweeping.finish()}
        assert (doomed, snapshot) == ({old}, {live.blob_id, again.blob_id})
        assert again.blob_id != old
        assert await listed(catalog, NOW) == []
    finally:
        await catalog.close()


@pytest.mark.postgres
async def test_a_hold_that_is_not_committed_yet_covers_nothing_and_needs_no_snapshot(postgres_database):
    catalog = await open_catalog(CatalogConfig(postgres_database))
    try:
        owner = await tenant(catalog)
        blob_id = await doomed_blob(catalog, owner)
        async with stepped(postgres_database, holds.take(ID, LATER, NOW)) as taking:
            await taking.past("INSERT INTO installation")
            assert await listed(catalog, NOW) == [blob_id]
            await taking.finish()
        assert await listed(catalog, NOW) == []
        assert blob_id not in {blob.id for blob in await damage.live_blobs(catalog, "", 100)}
        name = holds.name_of(ID, LATER)
        async with stepped(postgres_database, holds.renew(name, LATER + 5, NOW)) as renewing:
            await renewing.past("DELETE FROM installation")  # between the two names there is no gap
            assert await listed(catalog, NOW) == []
            await renewing.finish()
        assert await sql(catalog, "SELECT name FROM installation WHERE name LIKE 'backup_hold%'") == [
            (holds.name_of(ID, LATER + 5),)
        ]
    finally:
        await catalog.close()
