"""Adding and syncing a list, as operations: decide, purge, observe, queue, and the new baseline with its event.

A list of ordinary size is done in one transaction. A very large one is done in parts, each idempotent, and its
baseline is written last: a crash in between leaves the old baseline, and the next sync finishes the work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import ClauseElement, bindparam, delete, update
from sqlalchemy.dialects.postgresql import insert  # both engines speak its ON CONFLICT

from mediavault.catalog import events, list_state, observations, removals, row_locks, variants
from mediavault.catalog.list_state import Entries, Entry, Held, Listed, ListOf
from mediavault.catalog.operations import Do, DoMany, Operation
from mediavault.catalog.tables import list_items, lists
from mediavault.domain import event_types
from mediavault.domain.list_sync import Known, Plan, reconcile
from mediavault.errors import LostRace

REASON_GONE = "gone from the list upstream"
REASON_CHANGED = "changed upstream"


@dataclass(frozen=True)
class Prepared:
    """A decision, and what it was made from."""

    held: Held
    plan: Plan
    baseline: int  #: how many media the last baseline had


@dataclass(frozen=True)
class Done:
    """What was changed."""

    removed_media: tuple[str, ...] = ()
    removed_variants: tuple[str, ...] = ()  #: of them and of updated media: their edge copies are to be dropped
    queued: int = 0  #: variants

    def and_(self, other: "Done") -> "Done":
        """Both together."""
        return Done(
            self.removed_media + other.removed_media,
            self.removed_variants + other.removed_variants,
            self.queued + other.queued,
        )


@dataclass(frozen=True)
class Naming:
    """What the upstream says of a list itself; None leaves what is on record."""

    name: str | None = None
    type: str | None = None


@dataclass(frozen=True)
class Part:
    """Some media of a decision."""

    listed: Mapping[str, Listed] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)


_KEEP = ("last_seen_at", "fingerprint")
_COLUMNS = ("list_pk", "media_pk", "org_id", "in_baseline", "fingerprint", "last_seen_at", "last_synced_at")
_ENTER = insert(list_items).values(
    {list_items.c[name]: bindparam(name) for name in (*_COLUMNS, "first_added_at", "last_added_at")}
)
_SYNCED_ITEM = _ENTER.on_conflict_do_update(
    index_elements=["list_pk", "media_pk"],
    set_={name: _ENTER.excluded[name] for name in (*_KEEP, "in_baseline", "last_synced_at")},
)
_ADDED_ITEM = _ENTER.on_conflict_do_update(
    index_elements=["list_pk", "media_pk"], set_={name: _ENTER.excluded[name] for name in _KEEP}
)
_ADDED_AGAIN = (
    update(list_items)
    .where(list_items.c.list_pk == bindparam("of_list"), list_items.c.media_pk == bindparam("of_media"))
    .values(last_added_at=bindparam("now"))
)
_LEAVE = delete(list_items).where(
    list_items.c.list_pk == bindparam("of_list"), list_items.c.media_pk == bindparam("of_media")
)
_NAME = (
    update(lists)
    .where(lists.c.id == bindparam("of_list"))
    .values(name=bindparam("set_name"), type=bindparam("set_type"))
)
_SYNCED = (
    update(lists)
    .where(lists.c.id == bindparam("of_list"))
    .values(baseline_at=bindparam("now"), last_synced_at=bindparam("now"))
)
_ADDED = update(lists).where(lists.c.id == bindparam("of_list")).values(last_added_at=bindparam("now"))


def prepare(of: ListOf, listed: Mapping[str, Listed], *, baseline_at: int | None, now: int) -> Operation[Prepared]:
    """Hold the list and decide. `baseline_at` is the one the reading began with; LostRace when it moved since."""
    held = yield from _held(of, baseline_at, now)
    on_record = yield from list_state.members(held.pk)
    concerned = sorted({*listed, *on_record})
    entries = yield from list_state.entries(of, concerned)
    known = _known(entries, listed, held, now)
    plan = reconcile(
        {media_id: item.fingerprint for media_id, item in listed.items()}, known, first=held.baseline_at is None
    )
    return Prepared(held, plan, sum(item.in_baseline for item in known.values()))


def _held(of: ListOf, baseline_at: int | None, now: int) -> Operation[Held]:
    held = yield from list_state.hold(of, now)
    if held.baseline_at != baseline_at:
        raise LostRace("the list was synced by somebody else meanwhile")
    return held


def _known(entries: Entries, listed: Mapping[str, Listed], held: Held, now: int) -> dict[str, Known]:
    nothing: frozenset[str] = frozenset()
    return {
        media_id: entry.known(held.pk, listed[media_id].wanted if media_id in listed else nothing, now)
        for media_id, entry in entries.items()
    }


def carry_out(of: ListOf, part: Part, *, baseline_at: int | None, reason: str, now: int) -> Operation[Done]:
    """Purge what is gone or changed, observe what is shown, queue what is wanted."""
    held = yield from _held(of, baseline_at, now)
    entries = yield from list_state.entries(of, sorted({*part.listed, *part.plan.removed}))
    seen = [item.media for item in part.listed.values() if item.media is not None]
    # What is new comes before anything is held, as for every observer: else two could wait for each other's rows.
    parts = yield from observations.add(of.org_id, of.connection_id, seen, now)
    yield from row_locks.hold_items([entry.pk for entry in entries.values()])
    changed = _changed(part, entries, held, now)
    done = yield from _purge(of, part, entries, changed, held, now)
    ids = yield from observations.refresh_as_it_is(of.org_id, of.connection_id, parts, now)
    wanted: list[str] = []
    for media_id, item in sorted(part.listed.items()):
        entry = entries.get(media_id)
        fresh = media_id in changed or entry is None or not entry.cached
        labels = entry.to_queue(item.wanted, fresh=fresh) if entry else sorted(item.wanted)
        wanted.extend(ids[(media_id, label)] for label in labels)
    queued = yield from variants.queue(wanted, reason, now)
    return replace(done, queued=queued)


def _changed(part: Part, entries: Entries, held: Held, now: int) -> set[str]:
    """Of the updated media those with another fingerprint: the bytes of a merely stale one are still right."""
    return {
        media_id
        for media_id in part.plan.updated
        if (entry := entries.get(media_id)) is not None
        and entry.known(held.pk, frozenset(), now).fingerprint not in {None, part.listed[media_id].fingerprint}
    }


def _purge(of: ListOf, part: Part, entries: Entries, changed: set[str], held: Held, now: int) -> Operation[Done]:
    """What is gone is asked about once more: since the decision somebody may have pinned it, or another list got it."""
    gone: list[str] = []
    freed: list[str] = []
    for media_id in sorted({*part.plan.removed, *changed}):
        known = entries[media_id].known(held.pk, frozenset(), now) if media_id in entries else Known()
        if media_id not in changed and (known.pinned or known.owned_elsewhere):
            continue
        item = (of.org_id, of.connection_id, media_id)
        if media_id in changed:
            shown = part.listed[media_id]
            removed = yield from removals.supersede(*item, shown.labels, shown.wanted, REASON_CHANGED, now)
        else:
            removed = yield from removals.remove_item(*item, REASON_GONE, now)
            gone += [media_id] if removed.variant_ids else []
        freed.extend(removed.variant_ids)
    return Done(tuple(gone), tuple(freed))


def sync_whole(
    of: ListOf, part: Part, naming: Naming, *, baseline_at: int | None, reason: str, now: int
) -> Operation[Done]:
    """A sync in one transaction."""
    done = yield from carry_out(of, part, baseline_at=baseline_at, reason=reason, now=now)
    removed = len(done.removed_media)
    yield from settle_sync(of, part, naming, removed, baseline_at=baseline_at, now=now)
    return done


def add_whole(
    of: ListOf, part: Part, naming: Naming, *, baseline_at: int | None, reason: str, now: int
) -> Operation[Done]:
    """An add in one transaction."""
    done = yield from carry_out(of, part, baseline_at=baseline_at, reason=reason, now=now)
    yield from settle_add(of, part, naming, now)
    return done


def counts(part: Part, removed: int) -> dict[str, int]:
    """What a sync answers and tells, in the contract's names."""
    plan = part.plan
    return {
        "seen": len(part.listed),
        "addedItems": len(plan.added),
        "updatedItems": len(plan.updated),
        "removedItems": removed,
        "unchangedItems": len(plan.unchanged),
        "adoptedItems": len(plan.adopted),
        "notStorableItems": len(plan.not_storable),
    }


def settle_sync(
    of: ListOf, part: Part, naming: Naming, removed: int, *, baseline_at: int | None, now: int
) -> Operation[None]:
    """The new baseline and the event `vault.list.synced`: the last step."""
    held = yield from _held(of, baseline_at, now)
    # A second sync within the same millisecond must have a baseline of its own: it is what a reading is held against.
    at = max(now, (baseline_at or 0) + 1)
    on_record = yield from list_state.members(held.pk)
    entries = yield from list_state.entries(of, sorted({*part.listed, *on_record}))
    yield from _enter(of, held, entries, part, at, synced=True)
    left = [media_id for media_id in on_record if media_id not in part.listed]
    yield from _many(_LEAVE, [{"of_list": held.pk, "of_media": entries[media_id].pk} for media_id in left])
    yield from _name(held.pk, naming)
    yield Do(_SYNCED, {"of_list": held.pk, "now": at})
    told: dict[str, object] = {"connectionId": of.connection_id, "listId": of.list_id, **counts(part, removed)}
    yield from events.record(of.org_id, event_types.LIST_SYNCED, told, connection_id=of.connection_id, at=now)


def settle_add(of: ListOf, part: Part, naming: Naming, now: int) -> Operation[None]:
    """The media are in the list, without being its baseline: an add removes nothing, now or by a later sync."""
    held = yield from list_state.hold(of, now)
    entries = yield from list_state.entries(of, sorted(part.listed))
    yield from _enter(of, held, entries, part, now, synced=False)
    yield from _name(held.pk, naming)
    yield Do(_ADDED, {"of_list": held.pk, "now": now})


def _enter(of: ListOf, held: Held, entries: Entries, part: Part, at: int, *, synced: bool) -> Operation[None]:
    listed, added = part.listed, frozenset(part.plan.added)
    rows = [
        {
            "list_pk": held.pk,
            "media_pk": entries[media_id].pk,
            "org_id": of.org_id,
            "in_baseline": synced,
            "fingerprint": _fingerprint(listed[media_id], entries[media_id], renewed=synced or media_id in added),
            "first_added_at": at,
            "last_added_at": at,
            "last_seen_at": at,
            "last_synced_at": at if synced else None,
        }
        for media_id in sorted(listed)
        if media_id in entries
    ]
    yield from _many(_SYNCED_ITEM if synced else _ADDED_ITEM, rows)
    again = [{"of_list": held.pk, "of_media": entries[m].pk, "now": at} for m in sorted(added) if m in entries]
    yield from _many(_ADDED_AGAIN, again)


def _fingerprint(item: Listed, entry: Entry, *, renewed: bool) -> str:
    """The one to record. An add purges nothing, so it must not hide a change from the next sync."""
    latest = max(entry.lists, key=lambda row: row[3], default=None)
    recorded, shown = latest[2] if latest else "", item.fingerprint or ""
    return (shown or recorded) if renewed else (recorded or shown)


def _many(statement: ClauseElement, rows: Sequence[Mapping[str, object]]) -> Operation[None]:
    if rows:
        yield DoMany(statement, rows)


def _name(list_pk: str, naming: Naming) -> Operation[None]:
    if naming.name is not None or naming.type is not None:
        yield Do(_NAME, {"of_list": list_pk, "set_name": naming.name, "set_type": naming.type})
