"""Moves of blobs as rows, on both engines: an intent that is kept, one transaction, and what is left behind."""

import pytest

from fakes.catalog_rows import NOW, Tenant, broken_invariants, bytes_of, dump, row, rows, tenant
from mediavault.catalog import blob_moves, blob_rows
from mediavault.catalog.blob_moves import Movable
from mediavault.catalog.database import Catalog
from mediavault.errors import LostRace

THERE = "s3://bucket"
LATER = NOW + 1000


async def moving(catalog: Catalog, owner: Tenant) -> Movable:
    """A stored blob whose copy is on its way under the id `copy`."""
    await owner.store("picture", "1")
    (blob,) = await blob_moves.movable(catalog, THERE, "", 10)
    await catalog.run(blob_moves.intend, blob, "copy", THERE, LATER, NOW)
    return blob


async def test_a_move_makes_everybody_refer_to_the_copy_and_dooms_the_old_one(catalog):
    owner = await tenant(catalog)
    await owner.store("picture", "1")
    await (await owner.connection("2")).store("picture", "1")
    blob = (await blob_moves.movable(catalog, THERE, "", 10))[0]
    await catalog.run(blob_moves.intend, blob, "copy", THERE, LATER, NOW)
    await catalog.run(blob_moves.settle, blob, "copy", LATER)
    assert {variant["blob_id"] for variant in await rows(catalog, "variants")} == {"copy"}
    copy, old = await row(catalog, "blobs", id="copy"), await row(catalog, "blobs", id=blob.id)
    assert (copy["state"], copy["refs"], copy["place"], copy["keep_until"]) == ("live", 2, THERE, None)
    assert (copy["sha256"], copy["size_bytes"]) == (blob.sha256, blob.size_bytes)
    assert (old["state"], old["refs"], old["keep_until"]) == ("doomed", 0, LATER)
    assert await blob_moves.movable(catalog, THERE, "", 10) == []
    assert await blob_moves.left(catalog, THERE) == (0, 0)
    assert await broken_invariants(catalog) == []


async def test_the_old_copy_is_kept_from_the_sweep_until_its_time(catalog):
    owner = await tenant(catalog)
    blob = await moving(catalog, owner)
    await catalog.run(blob_moves.settle, blob, "copy", LATER)
    assert await catalog.run(blob_rows.doomed, 10) == []
    assert await catalog.run(blob_moves.expire, LATER - 1) == 0
    assert await catalog.run(blob_moves.expire, LATER) == 1
    assert await catalog.run(blob_rows.doomed, 10) == [(blob.id, owner.org_id)]


async def test_the_intent_of_a_living_mover_is_no_dead_intent_and_that_of_a_killed_one_becomes_one(catalog):
    await moving(catalog, await tenant(catalog))
    assert await catalog.run(blob_rows.doom_dead_intents) == 0
    await catalog.run(blob_moves.renew, "copy", LATER + 1000)
    assert await catalog.run(blob_moves.expire, LATER) == 0
    assert await catalog.run(blob_moves.expire, LATER + 1000) == 1
    assert await catalog.run(blob_rows.doom_dead_intents) == 1
    assert (await row(catalog, "blobs", id="copy"))["state"] == "doomed"
    assert await broken_invariants(catalog) == []


async def test_a_mover_whose_intent_was_swept_changes_nothing(catalog):
    blob = await moving(catalog, await tenant(catalog))
    await catalog.run(blob_moves.expire, LATER)
    before = await dump(catalog)
    with pytest.raises(LostRace):
        await catalog.run(blob_moves.settle, blob, "copy", LATER)
    with pytest.raises(LostRace):
        await catalog.run(blob_moves.renew, "copy", LATER)
    assert await dump(catalog) == before


async def test_of_two_movers_the_second_changes_nothing(catalog):
    blob = await moving(catalog, await tenant(catalog))
    await catalog.run(blob_moves.intend, blob, "second", THERE, LATER, NOW)
    await catalog.run(blob_moves.settle, blob, "copy", LATER)
    with pytest.raises(LostRace):
        await catalog.run(blob_moves.settle, blob, "second", LATER)
    await catalog.run(blob_moves.abandon, "second")
    assert (await row(catalog, "blobs", id="second"))["state"] == "doomed"
    with pytest.raises(LostRace):
        await catalog.run(blob_moves.intend, blob, "third", THERE, LATER, NOW)
    assert await broken_invariants(catalog) == []


async def test_who_begins_to_refer_to_a_blob_while_it_is_copied_refers_to_the_copy(catalog):
    owner = await tenant(catalog)
    blob = await moving(catalog, owner)
    await (await owner.connection("2")).store("picture", "1")
    await catalog.run(blob_moves.settle, blob, "copy", LATER)
    assert {variant["blob_id"] for variant in await rows(catalog, "variants")} == {"copy"}
    assert await broken_invariants(catalog) == []


async def test_bytes_that_are_found_where_they_should_be_are_not_met_again(catalog):
    owner = await tenant(catalog)
    await owner.store("picture", "1")
    (blob,) = await blob_moves.movable(catalog, THERE, "", 10)
    assert await blob_moves.left(catalog, THERE) == (1, blob.size_bytes)
    assert blob.size_bytes == bytes_of("picture").size_bytes
    await catalog.run(blob_moves.say_place, blob.id, THERE)
    assert await blob_moves.movable(catalog, THERE, "", 10) == []
    assert len(await blob_moves.movable(catalog, "file:///back", "", 10)) == 1
