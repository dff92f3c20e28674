"""A change of policy reaches what is being stored meanwhile, and is carried to its end whoever dies."""

from typing import Any

import pytest

from fakes.catalog_rows import NOW, Tenant, at_once, broken_invariants, bytes_of, row, rows, seen, shown, tenant
from fakes.stepped import stepped, waiting_for_a_lock
from fakes.vaults import until
from mediavault.catalog import configuration, limits, pins, policy_scan
from mediavault.catalog import connections as connection_rows
from mediavault.catalog import variants as catalog_variants
from mediavault.catalog.configuration import Change
from mediavault.catalog.database import Catalog, CatalogConfig, open_catalog
from mediavault.domain.lifecycle import Event
from mediavault.domain.policy import ASKED_FOR
from mediavault.domain.settings import SettingsOverrides
from mediavault.errors import CatalogUnavailable, LostRace
from mediavault.vault.configuring import ConnectionPatch, ConnectionVaultPlus, connection_changed, effective_settings
from mediavault.vault.policing import ABANDONED_AFTER_MS, Outcome, Policing, against_keeping_now

KEPT = "vault media are kept from view 1 on"


class Clock:
    """Now, until told otherwise."""

    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> int:
        return self.at


def policing(catalog: Catalog, clock: Clock | None = None) -> Policing:
    return Policing(catalog, lambda _: None, lambda: None, clock or Clock())


async def change(owner: Tenant, **settings: Any) -> Change:
    """Write settings as a PATCH does; nothing follows from them yet."""
    patch = ConnectionPatch(ConnectionVaultPlus(settings=SettingsOverrides(**settings)))
    return await owner.catalog.run(
        configuration.change_connection,
        owner.org_id,
        owner.connection_id,
        lambda before: connection_changed(before, patch),
        NOW,
    )


async def queue(owner: Tenant, reason: str, *variant_ids: str) -> None:
    assert await owner.catalog.run(catalog_variants.queue, variant_ids, reason, NOW) == len(variant_ids)


async def settle(owner: Tenant, claim: Any, content: str = "picture") -> Any:
    return await owner.catalog.run(policy_scan.settle, claim, bytes_of(content), against_keeping_now, NOW)


def did(outcome: Outcome) -> dict[str, int]:
    return {event.value: outcome.of(event).variants for event in Event if outcome.of(event).variants}


@pytest.mark.parametrize("wish", [KEPT, ASKED_FOR, "list 5 was synced"])
async def test_what_is_being_stored_when_policy_drops_its_type_is_never_stored(catalog: Catalog, wish: str):
    owner = await tenant(catalog)
    await queue(owner, wish, await owner.variant())
    claim = await owner.claim()
    await catalog.run(limits.reserve, claim, 1000, effective_settings, NOW)

    outcome = await policing(catalog).carry_out(owner.org_id, await change(owner, cache_images=False))

    assert did(outcome) == {"unqueued": 1}
    with pytest.raises(LostRace):
        await settle(owner, claim)
    variant = await row(catalog, "variants")
    assert (variant["status"], variant["attempts"], variant["decided_by"]) == (
        "edge_only",
        0,
        "image media are not kept",
    )
    assert (await row(catalog, "usage"))["reserved_bytes"] == 0
    assert await broken_invariants(catalog) == []


async def test_a_source_that_is_dropped_takes_back_policys_wish_and_not_a_persons(catalog: Catalog):
    owner = await tenant(catalog)
    await queue(owner, KEPT, await owner.variant("a"))
    first = await owner.claim()
    await queue(owner, ASKED_FOR, await owner.variant("b"))
    second = await owner.claim()

    outcome = await policing(catalog).carry_out(owner.org_id, await change(owner, auto_cache_vault=False))

    assert did(outcome) == {"unqueued": 1}
    with pytest.raises(LostRace):
        await settle(owner, first)
    assert await settle(owner, second) is None
    assert {each["status"] for each in await rows(catalog, "variants")} == {"edge_only", "stored"}
    assert await broken_invariants(catalog) == []


async def test_a_forecast_counts_what_is_being_stored(catalog: Catalog):
    owner = await tenant(catalog)
    await queue(owner, KEPT, await owner.variant())
    await owner.claim()
    before = await configuration.find_configured(catalog, owner.org_id, owner.connection_id)
    assert before is not None
    patch = ConnectionPatch(ConnectionVaultPlus(settings=SettingsOverrides(cache_images=False)))
    told = await policing(catalog).forecast(owner.org_id, Change(before, connection_changed(before, patch)))
    assert did(told) == {"unqueued": 1}


@pytest.mark.parametrize(
    ("wish", "pinned"), [(KEPT, False), ("list 5 was added", False), (ASKED_FOR, False), (KEPT, True)]
)
async def test_what_was_queued_by_settings_of_before_is_turned_away_when_it_comes(
    catalog: Catalog, wish: str, pinned: bool
):
    owner = await tenant(catalog)
    variant_id = await owner.variant()
    await change(owner, image_qualities=("thumb",))  # and whoever queues has read what held before
    if pinned:
        await catalog.run(pins.pin, owner.org_id, owner.connection_id, "100", "mine", None, NOW)
    await queue(owner, wish, variant_id)

    against = await settle(owner, await owner.claim())

    variant = await row(catalog, "variants")
    if pinned or wish == ASKED_FOR:
        assert (against, variant["status"]) == (None, "stored")
    else:
        assert (against.reason, variant["status"]) == ("image quality full is not kept", "edge_only")
        assert (variant["attempts"], variant["blob_id"], variant["decided_by"]) == (0, None, against.reason)
    assert await broken_invariants(catalog) == []


async def test_a_settlement_of_a_connection_that_is_gone_or_of_a_stale_fence_is_a_lost_race(catalog: Catalog):
    owner = await tenant(catalog)
    await owner.queue(await owner.variant("a"))
    claim = await owner.claim()
    await owner.remove("a")
    with pytest.raises(LostRace):
        await settle(owner, claim)
    await owner.queue(await owner.variant("b"))
    claim = await owner.claim()
    await catalog.run(connection_rows.disconnect, owner.org_id, owner.connection_id, NOW)
    with pytest.raises(LostRace):
        await settle(owner, claim)
    assert await rows(catalog, "variants", status="stored") == []


@pytest.mark.parametrize("committed", [False, True])
async def test_a_settlement_that_read_the_settings_of_before_is_purged_by_the_change(
    postgres_database: str, committed: bool
):
    """The settlement is between reading the settings and its commit when the change is written."""
    catalog = await open_catalog(CatalogConfig(postgres_database))
    owner = await tenant(catalog)
    await queue(owner, KEPT, await owner.variant())
    claim = await owner.claim()
    operation = policy_scan.settle(claim, bytes_of("picture"), against_keeping_now, NOW)
    async with stepped(postgres_database, operation) as settling:
        await settling.before("SELECT blobs.id")
        changed = await change(owner, cache_images=False)
        if committed:
            await settling.finish()
            outcome = await policing(catalog).carry_out(owner.org_id, changed)
        else:

            async def finish() -> None:
                await until(lambda: waiting_for_a_lock(postgres_database))
                await settling.finish()

            outcome, _ = await at_once(lambda: policing(catalog).carry_out(owner.org_id, changed), finish)
    assert did(outcome) == {"removed": 1}
    assert (await row(catalog, "variants"))["status"] == "removed"
    assert await broken_invariants(catalog) == []
    await catalog.close()


async def test_stores_and_changes_at_once_leave_nothing_stored_that_policy_excludes(catalog: Catalog):
    owner = await tenant(catalog, max_inflight=30)
    await queue(owner, KEPT, *[await owner.variant(str(number)) for number in range(30)])
    claims = [await owner.claim() for _ in range(30)]

    async def exclude() -> None:
        await policing(catalog).carry_out(owner.org_id, await change(owner, cache_images=False))

    works = [lambda claim=claim: settle(owner, claim, claim.variant_id) for claim in claims]
    ended = await at_once(*works[:15], exclude, *works[15:])

    assert [each for each in ended if isinstance(each, Exception) and not isinstance(each, LostRace)] == []
    assert {each["status"] for each in await rows(catalog, "variants")} <= {"edge_only", "removed"}
    assert await broken_invariants(catalog) == []


async def test_a_change_leaves_a_note_until_all_that_follows_is_done(catalog: Catalog):
    owner = await tenant(catalog)
    await owner.store()
    changed = await change(owner, cache_images=False)
    assert (await row(catalog, "policy_changes"))["id"] == changed.note
    await policing(catalog).carry_out(owner.org_id, changed)
    assert await rows(catalog, "policy_changes") == []
    assert (await change(owner, cache_images=False)).note is None  # nothing is another


async def test_what_a_dead_process_had_begun_is_carried_out_with_the_settings_of_now(catalog: Catalog):
    owner, clock = await tenant(catalog), Clock()
    await owner.store("one", "a")
    await owner.store("two", "b")
    await owner.observe(seen("c", shown("thumb"), source="posts"))
    await change(owner, image_qualities=("thumb",), auto_cache_posts=True, min_access_count_posts=0)  # and it died

    clock.at += ABANDONED_AFTER_MS - 1
    assert await policing(catalog, clock).resume() == 0  # it may be alive
    clock.at += 1
    resumed = await at_once(*[policing(catalog, clock).resume] * 3)

    assert sum(resumed) == 1
    media = {each["id"]: each["media_id"] for each in await rows(catalog, "media")}
    found = {media[each["media_pk"]]: each["status"] for each in await rows(catalog, "variants")}
    assert found == {"a": "removed", "b": "removed", "c": "pending"}
    assert await rows(catalog, "policy_changes") == []
    assert await broken_invariants(catalog) == []


async def test_a_change_that_was_taken_back_before_it_is_taken_up_removes_nothing(catalog: Catalog):
    owner, clock = await tenant(catalog), Clock()
    await owner.store()
    await change(owner, cache_images=False)
    await change(owner, cache_images=True)
    clock.at += ABANDONED_AFTER_MS
    assert await policing(catalog, clock).resume() == 2
    assert (await row(catalog, "variants"))["status"] == "stored"
    assert await rows(catalog, "policy_changes") == []


async def test_an_unfinished_change_of_a_disconnected_connection_is_forgotten(catalog: Catalog):
    owner, clock = await tenant(catalog), Clock()
    await owner.store()
    await change(owner, cache_images=False)
    await catalog.run(connection_rows.disconnect, owner.org_id, owner.connection_id, NOW)
    clock.at += ABANDONED_AFTER_MS
    assert await policing(catalog, clock).resume() == 0
    assert await rows(catalog, "policy_changes") == []


async def test_whoever_carries_out_a_long_change_is_not_taken_for_dead(catalog: Catalog):
    owner, clock = await tenant(catalog), Clock()
    for number in range(3):
        await owner.store(f"c{number}", f"m{number}")
    changed, resumed = await change(owner, cache_images=False, storage_limit_bytes=1), []

    class Slow:
        """Passes on to the catalog; each enactment takes most of the time after which a process counts as dead."""

        def __getattr__(self, name: str) -> Any:
            return getattr(catalog, name)

        async def run(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
            if operation in {policy_scan.enact, limits.shrink}:
                clock.at += ABANDONED_AFTER_MS * 3 // 4
                resumed.append(await policing(catalog, clock).resume())
            return await catalog.run(operation, *args, **kwargs)

    slow: Any = Slow()
    outcome = await policing(slow, clock).carry_out(owner.org_id, changed)
    assert did(outcome) == {"removed": 3}
    assert len(resumed) > 1
    assert sum(resumed) == 0


async def test_connections_that_wait_for_their_turn_are_not_taken_for_abandoned(catalog: Catalog):
    owner, clock = await tenant(catalog), Clock()
    owners = [owner, *[await owner.connection(str(number)) for number in range(2, 5)]]
    changes = []
    for number, each in enumerate(owners):
        await each.store(f"c{number}", f"m{number}")
        changes.append(await change(each, cache_images=False))
    resumed = []

    class Slow:
        """Passes on to the catalog; every enactment takes a while."""

        def __getattr__(self, name: str) -> Any:
            return getattr(catalog, name)

        async def run(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
            if operation is policy_scan.enact:
                clock.at += ABANDONED_AFTER_MS // 2
                resumed.append(await policing(catalog, clock).resume())
            return await catalog.run(operation, *args, **kwargs)

    slow: Any = Slow()
    outcomes = await policing(slow, clock).carry_out_all(owner.org_id, changes)
    assert [did(outcome) for outcome in outcomes] == [{"removed": 1}] * 4
    assert resumed == [0] * 4
    assert await rows(catalog, "policy_changes") == []


async def test_a_change_that_cannot_be_carried_out_keeps_no_other_from_it(catalog: Catalog):
    owner, clock = await tenant(catalog), Clock()
    other = await owner.connection("2")
    await owner.store()
    await other.store("other", "200")
    await change(owner, cache_images=False)
    await change(other, cache_images=False)
    clock.at += ABANDONED_AFTER_MS

    class Failing:
        """Passes on to the catalog, which is unavailable for one connection's enactment."""

        def __getattr__(self, name: str) -> Any:
            return getattr(catalog, name)

        async def run(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
            if operation is policy_scan.enact and args[1] == owner.connection_id:
                raise CatalogUnavailable("it does not answer")
            return await catalog.run(operation, *args, **kwargs)

    failing: Any = Failing()
    assert await policing(failing, clock).resume() == 1
    assert [each["connection_id"] for each in await rows(catalog, "policy_changes")] == [owner.connection_id]
    clock.at += ABANDONED_AFTER_MS
    assert await policing(catalog, clock).resume() == 1
    assert {each["status"] for each in await rows(catalog, "variants")} == {"removed"}
