"""Deliveries: one row for each event an endpoint is to be told of, claimed by a sender, and settled by it.

Of one endpoint and connection only the oldest pending delivery is ever claimed, so the order holds over retries,
processes and crashes. A connection's next delivery is due when the one before it is finished, so its connections take
turns: however much waits for one of them, the others are not behind it. `lease_until` is the lease and its fence:
whoever claims later holds a later one.
"""

from dataclasses import dataclass

from sqlalchemy import CTE, ColumnElement, bindparam, delete, func, literal_column, select, update

from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.tables import DeliveryState, EndpointState, is_in, webhook_deliveries, webhook_endpoints


@dataclass(frozen=True)
class Claimed:
    """A delivery this process may send now, and all it needs for that."""

    id: str
    org_id: str
    endpoint_id: str
    connection_id: str
    event_id: str
    body: str
    attempts: int  #: finished tries before this one
    url: str
    secret: bytes
    previous_secret: bytes | None
    previous_secret_until: int | None
    lease_until: int


@dataclass(frozen=True)
class Outcome:
    """What became of one try."""

    state: DeliveryState
    attempts: int
    next_at: int
    status: int | None = None  #: the receiver's HTTP status
    error: str | None = None
    delivered_at: int | None = None
    gone: bool = False  #: the receiver said that it wants nothing any more


_OWN = ("id", "org_id", "endpoint_id", "connection_id", "event_id", "body", "attempts")
_THEIRS = ("url", "secret", "previous_secret", "previous_secret_until")
_pending = is_in(webhook_deliveries.c.state, DeliveryState.PENDING)
_waits = webhook_deliveries.alias("waits")


def _waiting() -> CTE:
    """Endpoint by endpoint, the connections that have pending deliveries: one look into the index for each.

    Grouping the pending ones would read all of them for every claim.
    """

    def connections(endpoint_id: ColumnElement[str], *behind: ColumnElement[bool]) -> ColumnElement[str]:
        mine = (_waits.c.endpoint_id == endpoint_id, is_in(_waits.c.state, DeliveryState.PENDING))
        return select(func.min(_waits.c.connection_id)).where(*mine, *behind).scalar_subquery()

    first = select(
        webhook_endpoints.c.id.label("endpoint_id"), connections(webhook_endpoints.c.id).label("connection_id")
    ).where(is_in(webhook_endpoints.c.state, EndpointState.ENABLED))
    found = first.cte("waiting", recursive=True)
    behind = connections(found.c.endpoint_id, _waits.c.connection_id > found.c.connection_id)
    return found.union_all(select(found.c.endpoint_id, behind).where(found.c.connection_id.is_not(None)))


_waiting_connections = _waiting()
#: The oldest pending delivery of each; an event may have two after a replay, and the older one of those is the head.
_heads = (
    select(
        select(_waits.c.id)
        .where(
            _waits.c.endpoint_id == _waiting_connections.c.endpoint_id,
            _waits.c.connection_id == _waiting_connections.c.connection_id,
            is_in(_waits.c.state, DeliveryState.PENDING),
        )
        .order_by(_waits.c.seq, _waits.c.id)
        .limit(1)
        .scalar_subquery()
        .label("id")
    )
    .where(_waiting_connections.c.connection_id.is_not(None))
    .subquery("heads")
)
_other = webhook_deliveries.alias("other")
_IN_FLIGHT = (
    select(func.count())
    .where(
        _other.c.endpoint_id == webhook_deliveries.c.endpoint_id,
        is_in(_other.c.state, DeliveryState.PENDING),
        _other.c.lease_until > literal_column("0"),  # what the planner matches with the index of the leased
        _other.c.lease_until > bindparam("now"),
    )
    .scalar_subquery()
)
_NEXT = (
    select(*(webhook_deliveries.c[name] for name in _OWN), *(webhook_endpoints.c[name] for name in _THEIRS))
    .join_from(webhook_deliveries, _heads, _heads.c.id == webhook_deliveries.c.id)
    .join(webhook_endpoints, webhook_endpoints.c.id == webhook_deliveries.c.endpoint_id)
    .where(
        _pending,
        is_in(webhook_endpoints.c.state, EndpointState.ENABLED),
        webhook_deliveries.c.next_at <= bindparam("now"),
        webhook_deliveries.c.lease_until <= bindparam("now"),
        bindparam("at_once") > _IN_FLIGHT,
    )
    .order_by(webhook_deliveries.c.next_at, webhook_deliveries.c.id)
    .limit(1)
    .with_for_update(of=webhook_deliveries, skip_locked=True, key_share=True)
)
_LEASE = (
    update(webhook_deliveries)
    .where(webhook_deliveries.c.id == bindparam("delivery_id"))
    .values(lease_until=bindparam("until"))
)
_HELD = (
    webhook_deliveries.c.id == bindparam("delivery_id"),
    _pending,
    webhook_deliveries.c.lease_until == bindparam("held_lease"),
)
_SETTLE = (
    update(webhook_deliveries)
    .where(*_HELD)
    .values(
        state=bindparam("set_state"),
        attempts=bindparam("set_attempts"),
        next_at=bindparam("set_next_at"),
        last_status=bindparam("set_last_status"),
        last_error=bindparam("set_last_error"),
        delivered_at=bindparam("set_delivered_at"),
        lease_until=0,
    )
    .returning(webhook_deliveries.c.id)
)
#: Whoever becomes the head of its connection has its turn behind the connections that were not served meanwhile.
_END_TURN = (
    update(webhook_deliveries)
    .where(
        webhook_deliveries.c.id
        == select(_waits.c.id)
        .where(
            _waits.c.endpoint_id == bindparam("endpoint_id"),
            _waits.c.connection_id == bindparam("of_connection"),
            is_in(_waits.c.state, DeliveryState.PENDING),
        )
        .order_by(_waits.c.seq, _waits.c.id)
        .limit(1)
        .scalar_subquery(),
        webhook_deliveries.c.next_at < bindparam("now"),
    )
    .values(next_at=bindparam("now"))
)
_RELEASE = update(webhook_deliveries).where(*_HELD).values(lease_until=0)
_RELEASE_ALL = update(webhook_deliveries).where(_pending, webhook_deliveries.c.lease_until > 0).values(lease_until=0)
_DISABLE = (
    update(webhook_endpoints)
    .where(webhook_endpoints.c.id == bindparam("endpoint_id"), is_in(webhook_endpoints.c.state, EndpointState.ENABLED))
    .values(state=EndpointState.DISABLED.value, disabled_reason=bindparam("set_reason"), updated_at=bindparam("now"))
)
_OLD = (
    select(webhook_deliveries.c.id)
    .where(~_pending, webhook_deliveries.c.created_at < bindparam("before"))
    .order_by(webhook_deliveries.c.created_at)
    .limit(bindparam("at_most"))
)
_FORGET = delete(webhook_deliveries).where(webhook_deliveries.c.id.in_(_OLD)).returning(webhook_deliveries.c.id)


def claim(lease_ms: int, at_once: int, now: int) -> Operation[Claimed | None]:
    """Take the head of a connection that has been due for longest, of an endpoint that is sent fewer than `at_once`."""
    rows = yield Do(_NEXT, {"now": now, "at_once": at_once})
    if not rows:
        return None
    until = now + lease_ms
    yield Do(_LEASE, {"delivery_id": rows[0][0], "until": until})
    return Claimed(*(*rows[0], until))


def settle(claimed: Claimed, outcome: Outcome, now: int) -> Operation[bool]:
    """Write down what became of a try; False when the lease was lost meanwhile, and nothing is written."""
    if outcome.gone:  # the endpoint before its deliveries, as everybody locks them
        reason = "the receiver answered 410"
        yield Do(_DISABLE, {"endpoint_id": claimed.endpoint_id, "set_reason": reason, "now": now})
    rows = yield Do(
        _SETTLE,
        {
            "delivery_id": claimed.id,
            "held_lease": claimed.lease_until,
            "set_state": outcome.state.value,
            "set_attempts": outcome.attempts,
            "set_next_at": outcome.next_at,
            "set_last_status": outcome.status,
            "set_last_error": outcome.error,
            "set_delivered_at": outcome.delivered_at,
        },
    )
    if rows and outcome.state is not DeliveryState.PENDING:
        turn = {"endpoint_id": claimed.endpoint_id, "of_connection": claimed.connection_id, "now": now}
        yield Do(_END_TURN, turn)
    return bool(rows)


def release(claimed: Claimed) -> Operation[None]:
    """Give a delivery back untried: the process ends."""
    yield Do(_RELEASE, {"delivery_id": claimed.id, "held_lease": claimed.lease_until})


def release_all() -> Operation[None]:
    """Give back what a dead process held. Only for a catalog that no other process can use."""
    yield Do(_RELEASE_ALL)


def forget(before: int, at_most: int) -> Operation[int]:
    """Delete finished deliveries made before that time; how many."""
    return len((yield Do(_FORGET, {"before": before, "at_most": at_most})))
