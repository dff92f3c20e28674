"""Deliveries: one row for each event an endpoint is to be told of, claimed by a sender, and settled by it.

Of one endpoint and connection only the oldest pending delivery is ever claimed, so the order holds over retries,
processes and crashes. `lease_until` is the lease and its fence: whoever claims later holds a later one.
"""

from dataclasses import dataclass

from sqlalchemy import and_, bindparam, delete, func, select, update

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
_heads = (
    select(
        webhook_deliveries.c.endpoint_id,
        webhook_deliveries.c.connection_id,
        func.min(webhook_deliveries.c.seq).label("seq"),
    )
    .where(_pending)
    .group_by(webhook_deliveries.c.endpoint_id, webhook_deliveries.c.connection_id)
    .subquery("heads")
)
_other = webhook_deliveries.alias("other")
_IN_FLIGHT = (
    select(func.count())
    .where(
        _other.c.endpoint_id == webhook_deliveries.c.endpoint_id,
        is_in(_other.c.state, DeliveryState.PENDING),
        _other.c.lease_until > 0,  # what the planner matches with the index of the leased
        _other.c.lease_until > bindparam("now"),
    )
    .scalar_subquery()
)
#: An event may have two deliveries to one endpoint, after a replay: the older one is the head.
_IS_SECOND = (
    select(_other.c.id)
    .where(
        _other.c.endpoint_id == webhook_deliveries.c.endpoint_id,
        _other.c.connection_id == webhook_deliveries.c.connection_id,
        _other.c.seq == webhook_deliveries.c.seq,
        _other.c.id < webhook_deliveries.c.id,
        is_in(_other.c.state, DeliveryState.PENDING),
    )
    .exists()
)
_NEXT = (
    select(*(webhook_deliveries.c[name] for name in _OWN), *(webhook_endpoints.c[name] for name in _THEIRS))
    .join_from(
        webhook_deliveries,
        _heads,
        and_(
            _heads.c.endpoint_id == webhook_deliveries.c.endpoint_id,
            _heads.c.connection_id == webhook_deliveries.c.connection_id,
            _heads.c.seq == webhook_deliveries.c.seq,
        ),
    )
    .join(webhook_endpoints, webhook_endpoints.c.id == webhook_deliveries.c.endpoint_id)
    .where(
        _pending,
        is_in(webhook_endpoints.c.state, EndpointState.ENABLED),
        webhook_deliveries.c.next_at <= bindparam("now"),
        webhook_deliveries.c.lease_until <= bindparam("now"),
        bindparam("at_once") > _IN_FLIGHT,
        ~_IS_SECOND,
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
    .limit(bindparam("at_most"))
)
_FORGET = delete(webhook_deliveries).where(webhook_deliveries.c.id.in_(_OLD)).returning(webhook_deliveries.c.id)


def claim(lease_ms: int, at_once: int, now: int) -> Operation[Claimed | None]:
    """Take the delivery that has been due for longest, of an endpoint to which fewer than `at_once` are being sent."""
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
