"""The only writer of `variants.status`.

Each call is one compare-and-set: it names the statuses the event may start from and, where the event belongs to a
leaseholder, the fence of its lease. Losing is not an error of the database but of the caller's timing: LostRace.
What hangs on a status moves with it, in the same transaction: the bytes' references, the media item's rollups, the
connection's usage, and the event.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sqlalchemy import Update, bindparam, func, literal, null, select, update

from mediavault.catalog import events, rollups, usage
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.references import release
from mediavault.catalog.tables import media, variants
from mediavault.domain.imported import WITHOUT_ORIGIN
from mediavault.domain.lifecycle import BY_LEASEHOLDER, LIVE, TRANSITIONS, Event, Status
from mediavault.domain.reasons import printable
from mediavault.errors import LostRace

#: What subscribers are told an event is; the contract calls a failure for good `failed`.
EVENT_TYPES = {event: f"vault.media.{event.value}" for event in Event} | {Event.GIVEN_UP: "vault.media.failed"}

#: Steps on the way of a wish that stands: `decided_by` goes on telling what wanted it.
_SAME_WISH = frozenset({Event.CLAIMED, Event.RELEASED, Event.STORED, Event.DAMAGED})

#: The media row is held too: of two variants of one item that move at once, the second sees the first's rollups.
_BEFORE = (
    select(
        variants.c.id,
        variants.c.org_id,
        variants.c.connection_id,
        variants.c.media_pk,
        media.c.media_id,
        variants.c.label,
        variants.c.status,
        variants.c.size_bytes,
        variants.c.reserved_bytes,
        variants.c.blob_id,
        variants.c.retained_blob_id,
        variants.c.origin_key,
    )
    .join_from(variants, media, media.c.id == variants.c.media_pk)
    .where(variants.c.id == bindparam("variant_id"))
    .with_for_update(key_share=True)
)


#: After these a variant lives at its origin; one that has none has nothing left to serve and is removed.
_ENDS_OF_A_WISH = frozenset({Event.GIVEN_UP, Event.UNQUEUED})
_DERIVED = (
    select(variants.c.id, variants.c.status, variants.c.size_bytes)
    .where(
        variants.c.derived_from == bindparam("of_variant"),
        variants.c.origin_key == "",
        variants.c.status != Status.REMOVED.value,
    )
    .order_by(variants.c.id)
    .with_for_update(key_share=True)
)


@dataclass(frozen=True)
class _Before:
    """A variant before its move, in the order of the statement's columns."""

    variant_id: str
    org_id: str
    connection_id: str
    media_pk: str
    media_id: str
    label: str
    status: str
    size_bytes: int
    reserved_bytes: int
    blob_id: str | None
    retained_blob_id: str | None
    origin_key: str  #: one of WITHOUT_ORIGIN where there is none: a derived thumbnail's is empty


@dataclass(frozen=True)
class Along:
    """A derived thumbnail that was removed with its original."""

    variant_id: str
    freed_bytes: int  #: where it was stored


@dataclass(frozen=True)
class Moved:
    """A variant after its move."""

    variant_id: str
    org_id: str
    connection_id: str
    status: Status
    fence: int
    along: tuple[Along, ...] = ()


def apply(
    variant_id: str,
    event: Event,
    *,
    at: int,
    fence: int | None = None,
    reason: str | None = None,
    superseded: bool = False,
    **columns: Any,
) -> Operation[Moved]:
    """Move a variant and all that hangs on it. `columns` are set with it. Raises LostRace.

    A stored variant lets go of the bytes retained from before its removal; a damaged one of its bad bytes. Rows are
    locked in the order of `row_locks`: whoever moves several holds them first. `superseded`: it is removed to be
    fetched anew, and its bytes stay until that is done.
    """
    if (event in BY_LEASEHOLDER) != (fence is not None):
        raise TypeError(f"{event} {'needs' if fence is None else 'takes no'} fence")
    rows = yield Do(_BEFORE, {"variant_id": variant_id})
    if not rows:
        raise LostRace(f"{variant_id} is not there to be {event}")
    before = _Before(*rows[0])
    values = {f"set_{name}": value for name, value in columns.items()}
    move = _move(event, frozenset(columns), superseded=superseded)
    because = None if reason is None else printable(reason)
    rows = yield Do(move, {"variant_id": variant_id, "at": at, "held_fence": fence, "because": because, **values})
    if not rows:
        raise LostRace(f"{variant_id} could not be {event}")
    moved = Moved(variant_id, before.org_id, before.connection_id, TRANSITIONS[event].target, rows[0][0])
    size_bytes = rows[0][1]
    is_over = before.origin_key in WITHOUT_ORIGIN and event in _ENDS_OF_A_WISH
    yield from rollups.refresh(before.media_pk)
    released = _released(before, event)
    if released is not None:
        yield from release(released)
    if is_over:  # its removal changes the usage, and the counter comes after that
        yield from usage.locked(before.connection_id)
    yield from _account(before, moved.status, size_bytes=size_bytes)
    yield from _tell(before, event, moved.status, size_bytes=size_bytes, reason=reason, at=at)
    if event is Event.REMOVED:
        return replace(moved, along=(yield from _remove_derived(variant_id, at=at, reason=reason)))
    if is_over:
        yield from apply(variant_id, Event.REMOVED, at=at, reason=reason)
    return moved


def _remove_derived(variant_id: str, *, at: int, reason: str | None) -> Operation[tuple[Along, ...]]:
    """A derived thumbnail goes along with the variant that it was made of, unless upstream has one by now."""
    along: list[Along] = []
    for derived_id, status, size_bytes in (yield Do(_DERIVED, {"of_variant": variant_id})):
        because = "its original was removed" if reason is None else f"its original was removed: {reason}"
        yield from apply(derived_id, Event.REMOVED, at=at, reason=because)
        along.append(Along(derived_id, size_bytes if status == Status.STORED.value else 0))
    return tuple(along)


def _released(before: _Before, event: Event) -> str | None:
    """The blob the variant refers to no longer. A removed variant keeps its own for the undo window."""
    if event is Event.STORED:
        return before.retained_blob_id
    return before.blob_id if event is Event.DAMAGED else None


def _account(before: _Before, after: Status, *, size_bytes: int) -> Operation[None]:
    """What the move changes of the connection's usage. A reservation ends with the lease."""
    was_stored, is_stored = before.status == Status.STORED, after is Status.STORED
    held = before.reserved_bytes if before.status == Status.STORING else 0
    yield from usage.change(
        before.connection_id,
        live=(after in LIVE) - (Status(before.status) in LIVE),
        stored=is_stored - was_stored,
        stored_bytes=is_stored * size_bytes - was_stored * before.size_bytes,
        reserved_bytes=-held,
    )


def _tell(
    before: _Before, event: Event, after: Status, *, size_bytes: int, reason: str | None, at: int
) -> Operation[None]:
    data: dict[str, object] = {
        "connectionId": before.connection_id,
        "mediaId": before.media_id,
        "quality": before.label,
        "status": after.value,
        "sizeBytes": size_bytes,
        "reason": None if reason is None else printable(reason),
    }
    if not before.origin_key:
        data["derived"] = True
    yield from events.record(
        before.org_id,
        EVENT_TYPES[event],
        data,
        connection_id=before.connection_id,
        at=at,
        variant_id=before.variant_id,
    )


@cache
def _move(event: Event, columns: frozenset[str], *, superseded: bool) -> Update:
    transition = TRANSITIONS[event]
    sources = [literal(status.value) for status in sorted(transition.sources)]
    statement = update(variants).where(variants.c.id == bindparam("variant_id"), variants.c.status.in_(sources))
    if event in BY_LEASEHOLDER:
        statement = statement.where(variants.c.fence == bindparam("held_fence"))
    if event is Event.RESTORED:
        statement = statement.where(variants.c.retained_blob_id.is_not(None))
    statement = statement.values(status=transition.target.value, changed_at=bindparam("at"), **_lease(event))
    if event not in _SAME_WISH:
        statement = statement.values(decided_by=bindparam("because"))
    statement = statement.values({name: bindparam(f"set_{name}") for name in sorted(columns)})
    if event is Event.REMOVED:
        since = func.coalesce(variants.c.stored_at, variants.c.retained_stored_at) if superseded else null()
        statement = statement.values(retained_stored_at=since)
    return statement.values(_blob(event)).returning(variants.c.fence, variants.c.size_bytes)


def _lease(event: Event) -> dict[str, Any]:
    """A claim raises the fence; every other move ends the lease there may be, and its reservation."""
    if event is Event.CLAIMED:
        return {"fence": variants.c.fence + 1}
    return {"lease_holder": null(), "lease_expires_at": null(), "reserved_bytes": 0}


def _blob(event: Event) -> dict[str, Any]:
    """Where the bytes of a variant stand after the event: a removed one keeps them for the undo window.

    `removed_at` stays with the retained bytes when the variant is seen again, so that the window still ends.
    """
    if event is Event.REMOVED:
        return {
            "retained_blob_id": func.coalesce(variants.c.blob_id, variants.c.retained_blob_id),
            "blob_id": null(),
            "removed_at": bindparam("at"),
            "stored_at": null(),
        }
    if event is Event.RESTORED:
        return {
            "blob_id": variants.c.retained_blob_id,
            "retained_blob_id": null(),
            "retained_stored_at": null(),
            "removed_at": null(),
            "stored_at": bindparam("at"),
            "kept_out": null(),
        }
    if event is Event.DAMAGED:
        return {"blob_id": null(), "stored_at": null()}
    if event is Event.STORED:
        return {"retained_blob_id": null(), "retained_stored_at": null(), "removed_at": null()}
    return {}
