"""Two operations at once on PostgreSQL, interleaved at the statement where it hurts (READ COMMITTED)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import pytest

from fakes.catalog_rows import LEASE_MS, NOW, broken_invariants, bytes_of, row, rows, seen, shown, tenant
from fakes.stepped import stepped, waiting_for_a_lock
from fakes.vaults import until
from mediavault.catalog import blob_rows, leases, observations, organisations, references, removals, transitions
from mediavault.catalog.database import Catalog, CatalogConfig, open_catalog
from mediavault.domain.lifecycle import Event
from mediavault.errors import LostRace

pytestmark = pytest.mark.postgres
T = TypeVar("T")


@pytest.fixture
async def shared(postgres_database: str) -> AsyncIterator[Catalog]:
    opened = await open_catalog(CatalogConfig(postgres_database))
    yield opened
    await opened.close()


@contextlib.asynccontextmanager
async def blocked(url: str, coroutine: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """The coroutine as a task that waits for a lock by now."""
    task = asyncio.create_task(coroutine)
    await until(lambda: waiting_for_a_lock(url))
    assert not task.done()
    yield task
    await asyncio.wait_for(task, 20)


async def test_a_reference_taken_while_the_last_one_ends_is_counted(shared, postgres_database):
    owner = await tenant(shared)
    stored = await owner.store("same")
    await owner.queue(await owner.variant("200"))
    claim = await owner.claim()
    async with stepped(postgres_database, blob_rows.settle(claim, bytes_of("same"), NOW)) as settling:
        await settling.past("UPDATE blobs SET refs")
        async with blocked(postgres_database, shared.run(references.release, stored.blob_id)):
            assert await settling.finish() == stored.blob_id
    assert (await row(shared, "blobs", id=stored.blob_id))["refs"] == 1  # two were taken, one was let go


async def test_bytes_whose_last_reference_ends_meanwhile_are_not_shared(shared, postgres_database):
    owner = await tenant(shared)
    await owner.store("same")
    await owner.remove()
    await owner.queue(await owner.variant("200"))
    claim = await owner.claim()
    async with stepped(postgres_database, blob_rows.release_retained(NOW)) as releasing:
        await releasing.past("UPDATE blobs")
        settle = shared.run(blob_rows.settle, claim, bytes_of("same"), NOW)
        async with blocked(postgres_database, settle) as settling:
            await releasing.finish()
    assert settling.result() == claim.blob_id
    assert await broken_invariants(shared) == []


async def test_two_stores_of_the_same_new_bytes_both_settle(shared, postgres_database):
    owner = await tenant(shared)
    await owner.queue(await owner.variant("1"), await owner.variant("2"))
    first, second = await owner.claim(), await owner.claim()
    async with stepped(postgres_database, blob_rows.settle(first, bytes_of("same"), NOW)) as settling:
        await settling.past("UPDATE blobs")
        await shared.run(blob_rows.settle, second, bytes_of("same"), NOW)
        await settling.finish()
    assert await broken_invariants(shared) == []
    assert {variant["status"] for variant in await rows(shared, "variants")} == {"stored"}


async def test_a_removal_that_waits_for_a_store_retains_what_was_stored(shared, postgres_database):
    owner = await tenant(shared)
    await owner.queue(await owner.variant())
    claim = await owner.claim()
    async with stepped(postgres_database, blob_rows.settle(claim, bytes_of("picture"), NOW)) as settling:
        await settling.past("UPDATE variants")
        async with blocked(postgres_database, owner.remove()) as removing:
            await settling.finish()
    assert removing.result() == removals.Removed((claim.variant_id,), 1000)
    assert (await row(shared, "variants"))["retained_blob_id"] == claim.blob_id
    assert await broken_invariants(shared) == []


async def test_a_store_that_waits_for_a_removal_loses_and_leaves_its_intent_alone(shared, postgres_database):
    owner = await tenant(shared)
    await owner.queue(await owner.variant())
    claim = await owner.claim()
    removal = removals.remove_item(owner.org_id, owner.connection_id, "100", "deleted", NOW)
    async with stepped(postgres_database, removal) as removing:
        await removing.past("UPDATE variants")
        settle = lost(shared.run(blob_rows.settle, claim, bytes_of("picture"), NOW))
        async with blocked(postgres_database, settle):
            await removing.finish()
    assert (await row(shared, "blobs"))["state"] == "writing"
    assert await shared.run(blob_rows.doom_dead_intents) == 1
    assert await broken_invariants(shared) == []


async def lost(coroutine: Coroutine[Any, Any, object]) -> None:
    with pytest.raises(LostRace):
        await coroutine


async def test_two_observers_that_bring_back_the_same_media_both_get_their_answer(shared, postgres_database):
    owner = await tenant(shared)
    variant_id = await owner.variant()
    await owner.remove()
    mine = observations.observe(owner.org_id, owner.connection_id, [seen()], NOW)
    async with stepped(postgres_database, mine) as observing:
        await observing.before("SELECT variants.id, variants.media_pk")
        assert await owner.observe(seen()) == {("100", "full"): variant_id}
        assert await observing.finish() == {("100", "full"): variant_id}
    told = [each["type"] for each in await rows(shared, "outbox") if each["variant_id"] == variant_id]
    assert told == ["vault.media.removed", "vault.media.seen_again"]


async def test_two_observers_that_add_a_source_each_lose_none(shared, postgres_database):
    owner = await tenant(shared)
    await owner.observe(seen(source="vault"))
    mine = observations.observe(owner.org_id, owner.connection_id, [seen(source="posts")], NOW)
    async with stepped(postgres_database, mine) as observing:
        await observing.past("SELECT media.media_id, media.id")
        await owner.observe(seen(source="messages"))
        await observing.finish()
    assert (await row(shared, "media"))["sources"] == "vault,messages,posts"


async def test_two_observers_of_the_same_new_media_make_one_row_each(shared, postgres_database):
    owner = await tenant(shared)
    answer = [seen(str(number), shown("full"), shown("thumb")) for number in range(30)]
    mine = observations.observe(owner.org_id, owner.connection_id, answer, NOW)
    async with stepped(postgres_database, mine) as observing:
        await observing.past("INSERT INTO media")
        async with blocked(postgres_database, owner.observe(*reversed(answer))) as theirs:
            ids = await observing.finish()
    assert theirs.result() == ids
    assert len(await rows(shared, "media")) == 30
    assert {variant["id"] for variant in await rows(shared, "variants")} == set(ids.values())
    assert len(ids) == 60


async def test_a_claim_neither_waits_for_an_observer_nor_passes_its_connection_by(shared, postgres_database):
    owner = await tenant(shared)
    await owner.queue(await owner.variant())
    mine = observations.observe(owner.org_id, owner.connection_id, [seen("new")], NOW)
    async with stepped(postgres_database, mine) as observing:
        await observing.past("INSERT INTO media")  # its foreign key holds the connection's row
        assert await asyncio.wait_for(shared.run(leases.claim, "storer", LEASE_MS, NOW), 5) is not None
        await observing.finish()


async def test_a_claim_looks_again_for_room_when_it_has_the_connection(shared, postgres_database):
    """Between choosing and taking, another storer's claim may have filled the connection."""
    owner = await tenant(shared, max_inflight=1)
    first, second = await owner.variant("1"), await owner.variant("2")
    await owner.queue(first, second)
    async with stepped(postgres_database, leases.claim("mine", LEASE_MS, NOW)) as claiming:
        await claiming.past("SELECT connections.id")
        await shared.run(
            transitions.apply, first, Event.CLAIMED, at=NOW, lease_holder="other", lease_expires_at=NOW + LEASE_MS
        )
        assert await claiming.finish() is None


async def test_of_two_that_make_the_same_organisation_one_is_told(shared):
    async def make() -> object:
        return await shared.run(organisations.create, f"org {object()}", "default", "{}", NOW)

    outcomes = await asyncio.gather(*(make() for _ in range(6)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == [*["Conflict"] * 5, "OrganisationRow"]


async def test_of_many_that_remember_a_fact_at_once_all_get_the_same(shared):
    facts = await asyncio.gather(
        *(shared.run(organisations.remember_fact, "check", f"by {n}".encode()) for n in range(8))
    )
    assert len(set(facts)) == 1
