"""Webhook endpoints: who is told of an organisation's events, and how far each has been told.

An endpoint's `cursor_seq` is the number of the last event that became its delivery. Events are numbered without gaps in
the order of their commits, so nothing can appear behind a cursor.
"""

from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, null, select, update

from mediavault.catalog.database import Catalog
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.tables import EndpointState, organisations, webhook_deliveries, webhook_endpoints
from mediavault.errors import Conflict, LimitReached, NotFound


@dataclass(frozen=True)
class EndpointRow:
    """One endpoint. Its secrets are sealed, each for its own place."""

    id: str
    org_id: str
    url: str
    description: str | None
    event_types: str | None  #: JSON list; None means those that are told by default
    state: str
    secret: bytes
    previous_secret: bytes | None
    previous_secret_until: int | None
    disabled_reason: str | None
    cursor_seq: int
    created_at: int
    updated_at: int


_COLUMNS = tuple(webhook_endpoints.c[field.name] for field in fields(EndpointRow))
_MINE = (webhook_endpoints.c.id == bindparam("endpoint_id"), webhook_endpoints.c.org_id == bindparam("of_org"))
_ENDPOINT = select(*_COLUMNS).where(*_MINE)
_ENDPOINT_HELD = _ENDPOINT.with_for_update(key_share=True)
#: A delete waits for who inserts deliveries of the endpoint, and keeps out who would.
_ENDPOINT_TO_DELETE = _ENDPOINT.with_for_update()
_ENDPOINTS = (
    select(*_COLUMNS)
    .where(webhook_endpoints.c.org_id == bindparam("of_org"))
    .order_by(webhook_endpoints.c.created_at, webhook_endpoints.c.id)
)
_COUNT = select(func.count()).select_from(webhook_endpoints).where(webhook_endpoints.c.org_id == bindparam("of_org"))
#: Waits for whoever records an event now, so that "the present" is a committed number; makes creations queue up too.
_PRESENT = (
    select(organisations.c.event_seq).where(organisations.c.id == bindparam("of_org")).with_for_update(key_share=True)
)
_ADD = insert(webhook_endpoints).values({column: bindparam(column.name) for column in _COLUMNS})
_SET = (
    update(webhook_endpoints)
    .where(*_MINE)
    .values(
        url=bindparam("set_url"),
        description=bindparam("set_description"),
        event_types=bindparam("set_event_types"),
        state=bindparam("set_state"),
        disabled_reason=bindparam("set_disabled_reason"),
        cursor_seq=bindparam("set_cursor"),
        updated_at=bindparam("now"),
    )
)
_ROTATE = (
    update(webhook_endpoints)
    .where(*_MINE, webhook_endpoints.c.secret == bindparam("held_secret"))
    .values(
        secret=bindparam("set_secret"),
        previous_secret=bindparam("set_previous"),
        previous_secret_until=bindparam("set_until"),
        updated_at=bindparam("now"),
    )
    .returning(webhook_endpoints.c.id)
)
_FORGET_SECRETS = (
    update(webhook_endpoints)
    .where(webhook_endpoints.c.previous_secret_until <= bindparam("now"))
    .values(previous_secret=null(), previous_secret_until=null())
)
_DELETE_DELIVERIES = delete(webhook_deliveries).where(webhook_deliveries.c.endpoint_id == bindparam("endpoint_id"))
_DELETE = delete(webhook_endpoints).where(*_MINE)


async def find_endpoint(catalog: Catalog, org_id: str, endpoint_id: str) -> EndpointRow | None:
    """An endpoint of the organisation."""
    rows = await catalog.fetch(_ENDPOINT, {"of_org": org_id, "endpoint_id": endpoint_id})
    return EndpointRow(*rows[0]) if rows else None


async def endpoints(catalog: Catalog, org_id: str) -> list[EndpointRow]:
    """Every endpoint of the organisation, oldest first; there are few."""
    return [EndpointRow(*row) for row in await catalog.fetch(_ENDPOINTS, {"of_org": org_id})]


def create(row: EndpointRow, at_most: int) -> Operation[EndpointRow]:
    """Add an endpoint; it is told of what comes from now on. Raises LimitReached."""
    present = yield from _present(row.org_id)
    (count,) = (yield Do(_COUNT, {"of_org": row.org_id}))[0]
    if count >= at_most:
        raise LimitReached(f"an organisation has at most {at_most} webhook endpoints")
    values = {field.name: getattr(row, field.name) for field in fields(row)} | {"cursor_seq": present}
    yield Do(_ADD, values)
    return EndpointRow(**values)


def _present(org_id: str) -> Operation[int]:
    rows = yield Do(_PRESENT, {"of_org": org_id})
    number: int = rows[0][0]
    return number


def change(org_id: str, endpoint_id: str, changes: dict[str, Any], now: int) -> Operation[EndpointRow]:
    """Set some of url, description, event_types and state. One that is enabled again is told of what comes from now on.

    Raises NotFound.
    """
    # The organisation first, as whoever records an event holds it: two orders would be a deadlock.
    present = yield from _present(org_id)
    before = yield from held(org_id, endpoint_id)
    wanted = {name: changes.get(name, getattr(before, name)) for name in ("url", "description", "event_types", "state")}
    reason, cursor = before.disabled_reason, before.cursor_seq
    if wanted["state"] != before.state:
        is_enabled = wanted["state"] == EndpointState.ENABLED.value
        reason, cursor = (None, present) if is_enabled else ("disabled by its owner", cursor)
    yield Do(
        _SET,
        {f"set_{name}": value for name, value in wanted.items()}
        | {"set_disabled_reason": reason, "set_cursor": cursor}
        | {"of_org": org_id, "endpoint_id": endpoint_id, "now": now},
    )
    rows = yield Do(_ENDPOINT, {"of_org": org_id, "endpoint_id": endpoint_id})
    return EndpointRow(*rows[0])


def held(org_id: str, endpoint_id: str) -> Operation[EndpointRow]:
    """The endpoint, locked until the transaction's end. Raises NotFound."""
    rows = yield Do(_ENDPOINT_HELD, {"of_org": org_id, "endpoint_id": endpoint_id})
    if not rows:
        raise NotFound("Webhook endpoint not found")
    return EndpointRow(*rows[0])


def held_enabled(org_id: str, endpoint_id: str) -> Operation[EndpointRow]:
    """The same, for what makes no sense while nothing is sent. Raises NotFound, Conflict."""
    row = yield from held(org_id, endpoint_id)
    if row.state != EndpointState.ENABLED.value:
        raise Conflict("the webhook endpoint is disabled; enable it first")
    return row


def rotate(before: EndpointRow, secret: bytes, previous: bytes | None, until: int | None, now: int) -> Operation[None]:
    """Replace the secret; the previous one signs too until then. Raises Conflict when another rotation was first."""
    rows = yield Do(
        _ROTATE,
        {
            "of_org": before.org_id,
            "endpoint_id": before.id,
            "held_secret": before.secret,
            "set_secret": secret,
            "set_previous": previous,
            "set_until": until,
            "now": now,
        },
    )
    if not rows:
        raise Conflict("the secret is being rotated by somebody else, or the endpoint is gone")


def forget_previous_secrets(now: int) -> Operation[None]:
    """A secret that signs nothing any more is not kept."""
    yield Do(_FORGET_SECRETS, {"now": now})


def remove(org_id: str, endpoint_id: str) -> Operation[None]:
    """Delete an endpoint and its deliveries. Raises NotFound."""
    values = {"of_org": org_id, "endpoint_id": endpoint_id}
    if not (yield Do(_ENDPOINT_TO_DELETE, values)):
        raise NotFound("Webhook endpoint not found")
    yield Do(_DELETE_DELIVERIES, values)
    yield Do(_DELETE, values)
