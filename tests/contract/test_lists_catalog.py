"""Lists in the catalog, on both engines: what a sync leaves in the rows, and what two of them at once do."""

import msgspec
import pytest

from fakes.catalog_rows import HOUR, NOW, at_once, broken_invariants, dump, seen, shown, tenant
from mediavault.catalog import list_changes, list_state, lists, pins
from mediavault.catalog.list_changes import Naming, Part
from mediavault.catalog.list_state import Listed, ListOf
from mediavault.domain.list_sync import Plan
from mediavault.errors import LostRace


def listed(*media_ids, print_="f1", key="k1", expires_at=NOW + HOUR, wanted=("full",)):
    """Media as the upstream's list shows them."""
    return {
        media_id: Listed(media_id, print_, seen(media_id, shown(key=key, expires_at=expires_at)), frozenset(wanted))
        for media_id in media_ids
    }


class Follower:
    """A tenant that syncs lists."""

    def __init__(self, owner):
        self.owner, self.catalog = owner, owner.catalog

    def of(self, list_id):
        return ListOf(self.owner.org_id, self.owner.connection_id, list_id)

    async def baseline(self, list_id="5"):
        return await self.catalog.run(list_state.baseline_at, self.of(list_id))

    async def sync(self, shown_media, list_id="5", now=NOW, naming=None):
        """`(plan, done)` of a sync."""
        of, before = self.of(list_id), await self.baseline(list_id)
        prepared = await self.catalog.run(list_changes.prepare, of, shown_media, baseline_at=before, now=now)
        part = Part(shown_media, prepared.plan)
        done = await self.catalog.run(
            list_changes.sync_whole, of, part, naming or Naming(), baseline_at=before, reason="synced", now=now
        )
        return prepared.plan, done

    async def statuses(self):
        everything = await dump(self.catalog)
        names = {item["id"]: item["media_id"] for item in everything["media"]}
        return {names[variant["media_pk"]]: variant["status"] for variant in everything["variants"]}


@pytest.fixture
async def follower(catalog):
    return Follower(await tenant(catalog))


async def test_a_first_sync_sets_the_baseline_and_queues_what_is_wanted(follower):
    plan, done = await follower.sync(listed("1", "2"), naming=Naming("Best", "custom"))
    assert (set(plan.added), done.queued, done.removed_media) == ({"1", "2"}, 2, ())
    assert await follower.statuses() == {"1": "pending", "2": "pending"}
    (row,) = await lists.cached_lists(follower.catalog, follower.owner.org_id, follower.owner.connection_id, 10, 0)
    assert (row.list_id, row.name, row.type, row.last_synced_at) == ("5", "Best", "custom", NOW)
    assert (row.item_count, row.baseline_count, row.cached_count) == (2, 2, 2)
    assert await broken_invariants(follower.catalog) == []


async def test_a_sync_tells_one_event_with_its_counts(follower):
    await follower.sync(listed("1", "2"))
    await follower.sync(listed("1"), now=NOW + 1)
    told = [row for row in (await dump(follower.catalog))["outbox"] if row["type"] == "vault.list.synced"]
    data = [msgspec.json.decode(row["data"]) for row in sorted(told, key=lambda row: row["seq"])]
    assert [(each["seen"], each["addedItems"], each["removedItems"]) for each in data] == [(2, 2, 0), (1, 0, 1)]
    assert {each["listId"] for each in data} == {"5"}
    assert await broken_invariants(follower.catalog) == []


async def test_what_left_is_purged_unless_another_list_has_it_or_it_is_pinned(follower):
    await follower.sync(listed("1", "2", "3", "4"))
    await follower.sync(listed("2"), list_id="6")
    pinned = (follower.owner.org_id, follower.owner.connection_id, "3", "keep", None, NOW)
    await follower.catalog.run(pins.pin, *pinned)
    plan, done = await follower.sync(listed("1"), now=NOW + 1)
    assert (plan.removed, set(plan.kept), done.removed_media) == (("4",), {"2", "3"}, ("4",))
    assert (await follower.statuses())["4"] == "removed"
    assert await broken_invariants(follower.catalog) == []


async def test_a_pin_that_came_after_the_decision_still_protects(follower):
    await follower.sync(listed("1", "2"))
    before = await follower.baseline()
    of = follower.of("5")
    prepared = await follower.catalog.run(list_changes.prepare, of, listed("1"), baseline_at=before, now=NOW + 1)
    assert prepared.plan.removed == ("2",)
    await follower.catalog.run(
        pins.pin, follower.owner.org_id, follower.owner.connection_id, "2", "keep", None, NOW + 1
    )
    part = Part(listed("1"), prepared.plan)
    done = await follower.catalog.run(
        list_changes.carry_out, of, part, baseline_at=before, reason="synced", now=NOW + 1
    )
    assert done.removed_media == ()
    assert (await follower.statuses())["2"] == "pending"


async def test_a_changed_item_keeps_its_old_bytes_until_the_new_are_stored(follower):
    claim = await follower.owner.store("old", "1")
    await follower.sync(listed("1"))
    plan, done = await follower.sync(listed("1", print_="f2"), now=NOW + 1)
    assert (plan.updated, done.queued, done.removed_media) == (("1",), 1, ())
    (variant,) = (await dump(follower.catalog))["variants"]
    assert (variant["status"], variant["blob_id"], variant["retained_blob_id"]) == ("pending", None, claim.blob_id)
    await follower.owner.claim(NOW + 2)
    assert await broken_invariants(follower.catalog) == []


async def test_a_change_that_one_list_showed_is_none_for_the_next_list(follower):
    await follower.sync(listed("1"))
    await follower.sync(listed("1"), list_id="6")
    assert (await follower.sync(listed("1", print_="f2"), now=NOW + 1))[0].updated == ("1",)
    assert (await follower.sync(listed("1", print_="f2"), list_id="6", now=NOW + 2))[0].unchanged == ("1",)


async def test_a_wanted_item_whose_url_died_before_it_was_stored_is_stale(follower):
    await follower.sync(listed("1"))
    plan, done = await follower.sync(listed("1", key="k2", expires_at=NOW + 9 * HOUR), now=NOW + 2 * HOUR)
    assert (plan.updated, done.removed_variants) == (("1",), ())
    (variant,) = (await dump(follower.catalog))["variants"]
    assert (variant["status"], variant["origin_expires_at"]) == ("pending", NOW + 9 * HOUR)


async def test_only_wanted_labels_are_queued(follower):
    _, done = await follower.sync(listed("1", wanted=()))
    assert done.queued == 0
    assert await follower.statuses() == {"1": "edge_only"}


async def test_media_that_show_no_url_are_in_the_list_once_they_are_known_and_are_never_purged_for_it(follower):
    await follower.sync(listed("1"))
    hidden = {"1": Listed("1", None, None), "2": Listed("2", None, None)}
    plan, done = await follower.sync(hidden, now=NOW + 1)
    assert (plan.unchanged, plan.not_storable, done.removed_media) == (("1",), ("2",), ())
    assert (await follower.sync(listed("1"), now=NOW + 2))[0].unchanged == ("1",)


async def test_of_two_processes_that_read_the_same_baseline_one_must_read_again(follower):
    await follower.sync(listed("1", "2"))
    of, before = follower.of("5"), await follower.baseline()

    def syncing(media):
        part = Part(media, Plan(unchanged=tuple(media)))
        return lambda: follower.catalog.run(
            list_changes.sync_whole, of, part, Naming(), baseline_at=before, reason="synced", now=NOW
        )

    outcomes = await at_once(syncing(listed("1", "2")), syncing(listed("1", "2")))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Done", "LostRace"]
    assert await follower.baseline() == NOW + 1
    assert await broken_invariants(follower.catalog) == []


async def test_two_processes_that_sync_a_new_list_at_once_make_one(follower):
    async def sync():
        return await follower.sync(listed("1", "2"))

    outcomes = await at_once(sync, sync)
    assert all(isinstance(outcome, LostRace | tuple) for outcome in outcomes)
    everything = await dump(follower.catalog)
    assert (len(everything["lists"]), len(everything["list_items"])) == (1, 2)
    assert await broken_invariants(follower.catalog) == []


async def test_lists_of_another_connection_own_nothing_here(follower):
    other = Follower(await follower.owner.connection("2"))
    await other.sync(listed("1", "2"))
    await follower.sync(listed("1", "2"))
    _, done = await follower.sync(listed("1"), now=NOW + 1)
    assert done.removed_media == ("2",)
    kept = await lists.cached_lists(other.catalog, other.owner.org_id, other.owner.connection_id, 10, 0)
    assert kept[0].cached_count == 2
