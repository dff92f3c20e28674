"""The only writer of `variants.status`.

Each call is one compare-and-set: it names the statuses the event may start from and, where the event belongs to a
leaseholder, the fence of its lease. Losing is not an error of the database but of the caller's timing: LostRace.
What hangs on a status moves with it, in the same transaction: the bytes' place, the media item's rollups, the
connection's usage, and the event.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Update, bindparam, func, literal, null, select, update

from mediavault.catalog import events, rollups, usage
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.tables import media, variants
from mediavault.domain.lifecycle import BY_LEASEHOLDER, LIVE, TRANSITIONS, Event, Status
from mediavault.errors import LostRace

#: What subscribers are told an event is; the contract calls a failure for good `failed`.
EVENT_TYPES = {event: f"vault.media.{event.value}" for event in Event} | {Event.GIVEN_UP: "vault.media.failed"}

_BEFORE = (
    select(
        variants.c.org_id,
        variants.c.connection_id,
        variants.c.media_pk,
        media.c.media_id,
        variants.c.label,
        variants.c.status,
        variants.c.size_bytes,
        variants.c.reserved_bytes,
    )
    .join_from(variants, media, media.c.id == variants.c.media_pk)
    .where(variants.c.id == bindparam("variant_id"))
    .with_for_update()
)


@dataclass(frozen=True)
class Moved:
    """A variant after its move."""

    variant_id: str
    org_id: str
    connection_id: str
    status: Status
    fence: int


def apply(
    variant_id: str, event: Event, *, at: int, fence: int | None = None, reason: str | None = None, **columns: Any
) -> Operation[Moved]:
    """Move a variant and everything that hangs on it. `columns` are set with it. Raises LostRace."""
    if (event in BY_LEASEHOLDER) != (fence is not None):
        raise TypeError(f"{event} {'needs' if fence is None else 'takes no'} fence")
    before = yield Do(_BEFORE, {"variant_id": variant_id})
    values = {f"set_{name}": value for name, value in columns.items()}
    move = _move(event, frozenset(columns))
    rows = yield Do(move, {"variant_id": variant_id, "at": at, "held_fence": fence, **values})
    if not before or not rows:
        raise LostRace(f"{variant_id} could not be {event}")
    org_id, connection_id, media_pk, media_id, label, status, size_before, reserved = before[0]
    new_fence, size_bytes = rows[0]
    target = TRANSITIONS[event].target
    yield from rollups.refresh(media_pk)
    yield from _account(connection_id, Status(status), target, size_before, size_bytes, reserved)
    data: dict[str, object] = {"connectionId": connection_id, "mediaId": media_id, "quality": label}
    data |= {"status": target.value, "sizeBytes": size_bytes, "reason": reason}
    yield from events.record(org_id, EVENT_TYPES[event], data, connection_id=connection_id, at=at)
    return Moved(variant_id, org_id, connection_id, target, new_fence)


def _account(
    connection_id: str, before: Status, after: Status, size_before: int, size_after: int, reserved: int
) -> Operation[None]:
    """What the move changes of the connection's usage. A reservation ends with the lease."""
    was_stored, is_stored = before is Status.STORED, after is Status.STORED
    yield from usage.change(
        connection_id,
        live=(after in LIVE) - (before in LIVE),
        stored=is_stored - was_stored,
        stored_bytes=is_stored * size_after - was_stored * size_before,
        reserved_bytes=-reserved,
    )


@cache
def _move(event: Event, columns: frozenset[str]) -> Update:
    transition = TRANSITIONS[event]
    sources = [literal(status.value) for status in sorted(transition.sources)]
    statement = update(variants).where(variants.c.id == bindparam("variant_id"), variants.c.status.in_(sources))
    if event in BY_LEASEHOLDER:
        statement = statement.where(variants.c.fence == bindparam("held_fence"))
    statement = statement.values(status=transition.target.value, changed_at=bindparam("at"), **_lease(event))
    statement = statement.values({name: bindparam(f"set_{name}") for name in sorted(columns)})
    return statement.values(_blob(event)).returning(variants.c.fence, variants.c.size_bytes)


def _lease(event: Event) -> dict[str, Any]:
    """A claim raises the fence; every other move ends the lease there may be, and its reservation."""
    if event is Event.CLAIMED:
        return {"fence": variants.c.fence + 1}
    return {"lease_holder": null(), "lease_expires_at": null(), "reserved_bytes": 0}


def _blob(event: Event) -> dict[str, Any]:
    """Where the bytes of a variant stand after the event: a removed one keeps them for the undo window."""
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
            "removed_at": null(),
            "stored_at": bindparam("at"),
        }
    if event is Event.DAMAGED:
        return {"blob_id": null(), "stored_at": null()}
    if event is Event.SEEN_AGAIN:
        return {"removed_at": null()}
    return {}
