"""Webhook endpoints and their deliveries as they are asked for and answered."""

import msgspec
from msgspec import UNSET, UnsetType

from mediavault.catalog.notices import DeliveryRow
from mediavault.catalog.tables import DeliveryState
from mediavault.catalog.webhooks import EndpointRow
from mediavault.domain.times import iso8601


class EndpointView(msgspec.Struct, frozen=True, rename="camel"):
    """An endpoint as its owner sees it."""

    id: str
    url: str
    description: str | None
    event_types: list[str] | None  #: None: those that are told by default
    state: str
    disabled_reason: str | None
    previous_secret_until: str | None  #: until when the secret before this one signs too
    created_at: str
    updated_at: str


class EndpointSecretView(EndpointView, frozen=True, rename="camel"):
    """The same at the moment when its secret is made."""

    secret: str


class DeliveryView(msgspec.Struct, frozen=True, rename="camel"):
    """A line of the delivery log."""

    id: str
    endpoint_id: str
    event_id: str
    event_type: str
    connection_id: str | None
    state: str
    attempts: int
    next_attempt_at: str | None
    last_status: int | None
    last_error: str | None
    delivered_at: str | None
    created_at: str


class EndpointRequest(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /v2/webhooks/endpoints`."""

    url: str
    event_types: list[str] | None = None
    description: str | None = None


class EndpointChange(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `PATCH /v2/webhooks/endpoints/{id}`: what is left out stays as it is."""

    url: str | UnsetType = UNSET
    event_types: list[str] | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    state: str | UnsetType = UNSET


def view(row: EndpointRow, now: int) -> EndpointView:
    """An endpoint without its secrets."""
    until = row.previous_secret_until
    return EndpointView(
        id=row.id,
        url=row.url,
        description=row.description,
        event_types=None if row.event_types is None else msgspec.json.decode(row.event_types),
        state=row.state,
        disabled_reason=row.disabled_reason,
        previous_secret_until=None if until is None or until <= now else iso8601(until),
        created_at=iso8601(row.created_at),
        updated_at=iso8601(row.updated_at),
    )


def with_secret(row: EndpointRow, secret: str, now: int) -> EndpointSecretView:
    """An endpoint with the secret it has just been given."""
    shown = msgspec.structs.asdict(view(row, now))
    return EndpointSecretView(**shown, secret=secret)


def delivery_view(row: DeliveryRow) -> DeliveryView:
    """A delivery as the log shows it."""
    is_pending = row.state == DeliveryState.PENDING.value
    return DeliveryView(
        id=row.id,
        endpoint_id=row.endpoint_id,
        event_id=row.event_id,
        event_type=row.type,
        connection_id=row.connection_id or None,
        state=row.state,
        attempts=row.attempts,
        next_attempt_at=iso8601(row.next_at) if is_pending else None,
        last_status=row.last_status,
        last_error=row.last_error,
        delivered_at=None if row.delivered_at is None else iso8601(row.delivered_at),
        created_at=iso8601(row.created_at),
    )
