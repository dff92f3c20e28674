"""Making deliveries: from the outbox as events come, again by a replay, one more try by hand; and their log."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import msgspec
from sqlalchemy import bindparam, case, delete, func, insert, null, or_, select, update

from mediavault.catalog import outbox, webhooks
from mediavault.catalog.database import Catalog
from mediavault.catalog.identifiers import new_id
from mediavault.catalog.operations import Do, DoMany, Operation
from mediavault.catalog.outbox import EventRow
from mediavault.catalog.tables import (
    DeliveryState,
    EndpointState,
    is_in,
    organisations,
    webhook_deliveries,
    webhook_endpoints,
)
from mediavault.domain import event_types
from mediavault.errors import NotFound


@dataclass(frozen=True)
class DeliveryRow:
    """One delivery, as the log shows it."""

    id: str
    endpoint_id: str
    connection_id: str
    event_id: str
    type: str
    state: str
    attempts: int
    next_at: int
    last_status: int | None
    last_error: str | None
    delivered_at: int | None
    created_at: int


@dataclass(frozen=True)
class Ahead:
    """How many deliveries of one endpoint are made before they can be sent."""

    pending: int = 2000  #: where of each connection no more than `share` are counted
    share: int = 200
    in_all: int = 20_000  #: whosever they are


_BEHIND = (
    select(webhook_endpoints.c.id)
    .join_from(webhook_endpoints, organisations, organisations.c.id == webhook_endpoints.c.org_id)
    .where(
        is_in(webhook_endpoints.c.state, EndpointState.ENABLED),
        webhook_endpoints.c.cursor_seq < organisations.c.event_seq,
    )
    .order_by(webhook_endpoints.c.id)
)
_TO_FAN_OUT = (
    select(webhook_endpoints.c.org_id, webhook_endpoints.c.event_types, webhook_endpoints.c.cursor_seq)
    .where(webhook_endpoints.c.id == bindparam("endpoint_id"), is_in(webhook_endpoints.c.state, EndpointState.ENABLED))
    .with_for_update(skip_locked=True, key_share=True)
)
_OF_EACH = (
    select(func.count().label("count"))
    .where(
        webhook_deliveries.c.endpoint_id == bindparam("endpoint_id"),
        is_in(webhook_deliveries.c.state, DeliveryState.PENDING),
    )
    .group_by(webhook_deliveries.c.connection_id)
    .subquery("of_each")
)
_PENDING = select(
    func.coalesce(func.sum(_OF_EACH.c.count), 0),
    func.coalesce(
        func.sum(case((_OF_EACH.c.count > bindparam("share"), bindparam("share")), else_=_OF_EACH.c.count)), 0
    ),
)
_ADD = insert(webhook_deliveries).values({column: bindparam(column.name) for column in webhook_deliveries.c})
_MOVE_CURSOR = (
    update(webhook_endpoints)
    .where(webhook_endpoints.c.id == bindparam("endpoint_id"))
    .values(cursor_seq=bindparam("set_cursor"))
)
_COLUMNS = tuple(webhook_deliveries.c[field.name] for field in fields(DeliveryRow))
_MINE = (
    webhook_deliveries.c.endpoint_id == bindparam("endpoint_id"),
    webhook_deliveries.c.org_id == bindparam("of_org"),
)
_DELIVERY = select(*_COLUMNS).where(*_MINE, webhook_deliveries.c.id == bindparam("delivery_id"))
_ENDPOINT_OF = select(webhook_deliveries.c.endpoint_id).where(
    webhook_deliveries.c.id == bindparam("delivery_id"), webhook_deliveries.c.org_id == bindparam("of_org")
)
_LOG = (
    select(*_COLUMNS)
    .where(*_MINE, webhook_deliveries.c.id < bindparam("before"))
    .order_by(webhook_deliveries.c.id.desc())
    .limit(bindparam("at_most"))
)
_LOG_BY_STATE = _LOG.where(webhook_deliveries.c.state == bindparam("state"))
_PENDING_OF_EVENT = select(*_COLUMNS).where(
    *_MINE,
    webhook_deliveries.c.event_id == bindparam("event_id"),
    is_in(webhook_deliveries.c.state, DeliveryState.PENDING),
)
_AGAIN = (
    update(webhook_deliveries)
    .where(
        *_MINE,
        webhook_deliveries.c.id == bindparam("delivery_id"),
        # One that is being sent right now is left to its sender.
        or_(
            webhook_deliveries.c.state != DeliveryState.PENDING.value,
            webhook_deliveries.c.lease_until <= bindparam("now"),
        ),
    )
    .values(state=DeliveryState.PENDING.value, attempts=0, next_at=bindparam("now"), lease_until=0, delivered_at=null())
)
_WITHDRAW = delete(webhook_deliveries).where(
    *_MINE,
    is_in(webhook_deliveries.c.state, DeliveryState.PENDING),
    webhook_deliveries.c.seq >= bindparam("seq"),
    webhook_deliveries.c.lease_until <= bindparam("now"),
)
#: Behind every id there can be.
LAST = "g"


async def behind(catalog: Catalog) -> list[str]:
    """Endpoints that there are events for."""
    return [row[0] for row in await catalog.fetch_list(_BEHIND, {})]


def fan_out(endpoint_id: str, batch: int, ahead: Ahead, now: int) -> Operation[bool]:
    """Turn an endpoint's next events into deliveries and move its cursor, together. Whether there may be more.

    The outbox is the queue: an endpoint that does not take what it has been given gets no more for the time being.
    One connection alone does not make it so.
    """
    rows = yield Do(_TO_FAN_OUT, {"endpoint_id": endpoint_id})
    if not rows:  # deleted, disabled, or another process is at it
        return False
    org_id, wanted_types, cursor = rows[0]
    ((in_all, counted),) = yield Do(_PENDING, {"endpoint_id": endpoint_id, "share": ahead.share})
    if counted >= ahead.pending or in_all >= ahead.in_all:
        return False
    found = yield Do(outbox.AFTER, {"of_org": org_id, "after": cursor, "at_most": batch})
    if not found:
        return False
    wanted = event_types.BY_DEFAULT if wanted_types is None else frozenset(msgspec.json.decode(wanted_types))
    events = [EventRow(*row) for row in found]
    told = [_pending_row(org_id, endpoint_id, event, now) for event in events if event.type in wanted]
    if told:
        yield DoMany(_ADD, told)
    yield Do(_MOVE_CURSOR, {"endpoint_id": endpoint_id, "set_cursor": events[-1].seq})
    return len(events) == batch


def _pending_row(org_id: str, endpoint_id: str, event: EventRow, now: int, *, live: bool = True) -> dict[str, Any]:
    return {
        "id": new_id(now),
        "org_id": org_id,
        "endpoint_id": endpoint_id,
        "connection_id": event.connection_id,
        "seq": event.seq,
        "event_id": event.id,
        "type": event.type,
        "body": body(event, live=live).decode(),
        "state": DeliveryState.PENDING.value,
        "attempts": 0,
        "next_at": now,
        "lease_until": 0,
        "last_status": None,
        "last_error": None,
        "delivered_at": None,
        "created_at": now,
    }


def body(event: EventRow, *, live: bool = True) -> bytes:
    """What a receiver is sent (contract.md, "Webhooks")."""
    return msgspec.json.encode({"eventType": event.type, "live": live, "data": msgspec.Raw(event.data.encode())})


async def log(
    catalog: Catalog, org_id: str, endpoint_id: str, state: str | None, before: str, at_most: int
) -> Sequence[DeliveryRow]:
    """Deliveries of an endpoint, newest first, behind the delivery with the id `before`."""
    values = {"of_org": org_id, "endpoint_id": endpoint_id, "before": before, "at_most": at_most}
    if state is None:
        rows = await catalog.fetch_list(_LOG, values)
    else:
        rows = await catalog.fetch_list(_LOG_BY_STATE, values | {"state": state})
    return [DeliveryRow(*row) for row in rows]


async def endpoint_of(catalog: Catalog, org_id: str, delivery_id: str) -> str | None:
    """Whose delivery it is, within the organisation."""
    rows = await catalog.fetch(_ENDPOINT_OF, {"of_org": org_id, "delivery_id": delivery_id})
    return rows[0][0] if rows else None


def send_test(org_id: str, endpoint_id: str, now: int) -> Operation[DeliveryRow]:
    """A delivery of no event. It waits for no other. Raises NotFound, Conflict."""
    yield from webhooks.held_enabled(org_id, endpoint_id)
    data = msgspec.json.encode({"endpointId": endpoint_id, "message": "The vault can reach this endpoint."}).decode()
    event = EventRow(0, f"evt_{new_id(now)}", "", event_types.TEST, data, now)
    return (yield from _add(org_id, endpoint_id, event, now, live=False))


def _add(org_id: str, endpoint_id: str, event: EventRow, now: int, *, live: bool) -> Operation[DeliveryRow]:
    added = _pending_row(org_id, endpoint_id, event, now, live=live)
    yield Do(_ADD, added)
    return DeliveryRow(*(added[field.name] for field in fields(DeliveryRow)))


def redeliver(org_id: str, endpoint_id: str, delivery_id: str, now: int) -> Operation[DeliveryRow]:
    """Send a delivery again, with all its tries before it. Raises NotFound, Conflict."""
    yield from webhooks.held_enabled(org_id, endpoint_id)
    values = {"of_org": org_id, "endpoint_id": endpoint_id, "delivery_id": delivery_id}
    yield Do(_AGAIN, values | {"now": now})
    rows = yield Do(_DELIVERY, values)
    if not rows:
        raise NotFound("Webhook delivery not found")
    return DeliveryRow(*rows[0])


def replay_one(org_id: str, endpoint_id: str, event_id: str, now: int) -> Operation[int]:
    """Deliver one event, whatever types the endpoint is told of; how many. Raises NotFound, Conflict."""
    yield from webhooks.held_enabled(org_id, endpoint_id)
    event = yield from _event(org_id, event_id)
    values = {"of_org": org_id, "endpoint_id": endpoint_id, "event_id": event_id}
    if not (yield Do(_PENDING_OF_EVENT, values)):
        yield from _add(org_id, endpoint_id, event, now, live=True)
    return 1


def replay_from(org_id: str, endpoint_id: str, event_id: str, now: int) -> Operation[int]:
    """Let an endpoint be told anew from an event on; how many events it had been told of since.

    What waits to be sent is withdrawn: it comes again in its order. Raises NotFound, Conflict.
    """
    endpoint = yield from webhooks.held_enabled(org_id, endpoint_id)
    event = yield from _event(org_id, event_id)
    if event.seq > endpoint.cursor_seq:
        return 0
    yield Do(_WITHDRAW, {"of_org": org_id, "endpoint_id": endpoint_id, "seq": event.seq, "now": now})
    yield Do(_MOVE_CURSOR, {"endpoint_id": endpoint_id, "set_cursor": event.seq - 1})
    return endpoint.cursor_seq - event.seq + 1


def _event(org_id: str, event_id: str) -> Operation[EventRow]:
    rows = yield Do(outbox.BY_ID, {"of_org": org_id, "event_id": event_id})
    if not rows:
        raise NotFound("Event not found")
    return EventRow(*rows[0])
