"""Webhook endpoints: who is told of events. A secret is shown when it is made, and never again."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import UnsetType

from mediavault.catalog import notices, webhooks
from mediavault.catalog.database import Catalog
from mediavault.catalog.identifiers import new_id
from mediavault.catalog.tables import DeliveryState, EndpointState
from mediavault.catalog.webhooks import EndpointRow
from mediavault.domain import event_types, webhook_signing
from mediavault.domain.times import HOUR, Now
from mediavault.errors import AddressDenied, InvalidRequest, NotFound
from mediavault.origin.addresses import AllowList, check, check_url
from mediavault.vault.sealing import Sealer
from mediavault.vault.webhook_messages import (
    DeliveryView,
    EndpointChange,
    EndpointRequest,
    EndpointSecretView,
    EndpointView,
    delivery_view,
    view,
    with_secret,
)

MOST_ENDPOINTS = 20
MOST_OVERLAP_HOURS = 7 * 24
_KEY_BYTES = 32
_ENDPOINT_ID = re.compile(r"we_[0-9a-f]{32}", re.ASCII)
_DELIVERY_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_EVENT_ID = re.compile(r"evt_[0-9a-f]{32}", re.ASCII)
#: Visible ASCII without what some client reads as another host, and without credentials.
#: The scheme alone in any case: letters such as "k" have relatives outside ASCII, which would refuse them.
_URL = re.compile(r"(?i:https?)://[^\x00-\x20\x7f-\U0010ffff\\@#<>\"{}|^`]{1,2000}")

ENDPOINT_STATES = tuple(state.value for state in EndpointState)
DELIVERY_STATES = tuple(state.value for state in DeliveryState)


class Notifying:
    """Everything an organisation does with its endpoints."""

    def __init__(self, catalog: Catalog, sealer: Sealer, now: Now, allow: AllowList) -> None:
        self._catalog = catalog
        self._sealer = sealer
        self._now = now
        self._allow = allow

    async def create(self, org_id: str, request: EndpointRequest) -> EndpointSecretView:
        """Add an endpoint, told of what comes from now on. Raises InvalidRequest, LimitReached."""
        now, endpoint_id, secret = self._now(), f"we_{new_id(self._now())}", _new_secret()
        row = EndpointRow(
            id=endpoint_id,
            org_id=org_id,
            url=self._url(request.url),
            description=_description(request.description),
            event_types=_types(request.event_types),
            state=EndpointState.ENABLED.value,
            secret=self._sealer.seal(secret.encode(), secret_place(org_id, endpoint_id)),
            previous_secret=None,
            previous_secret_until=None,
            disabled_reason=None,
            cursor_seq=0,  # the present, set where it is known
            created_at=now,
            updated_at=now,
        )
        return with_secret(await self._catalog.run(webhooks.create, row, MOST_ENDPOINTS), secret, now)

    async def listed(self, org_id: str) -> list[EndpointView]:
        """Every endpoint, oldest first."""
        return [view(row, self._now()) for row in await webhooks.endpoints(self._catalog, org_id)]

    async def endpoint(self, org_id: str, endpoint_id: str) -> EndpointView:
        """One endpoint. Raises NotFound."""
        return view(await self._own(org_id, endpoint_id), self._now())

    async def change(self, org_id: str, endpoint_id: str, wanted: EndpointChange) -> EndpointView:
        """Change what is given. Raises InvalidRequest, NotFound."""
        changes: dict[str, Any] = {}
        if not isinstance(wanted.url, UnsetType):
            changes["url"] = self._url(wanted.url)
        if not isinstance(wanted.event_types, UnsetType):
            changes["event_types"] = _types(wanted.event_types)
        if not isinstance(wanted.description, UnsetType):
            changes["description"] = _description(wanted.description)
        if not isinstance(wanted.state, UnsetType):
            if wanted.state not in ENDPOINT_STATES:
                raise InvalidRequest(f"state must be one of {', '.join(ENDPOINT_STATES)}")
            changes["state"] = wanted.state
        now = self._now()
        return view(await self._catalog.run(webhooks.change, org_id, _endpoint_id(endpoint_id), changes, now), now)

    async def remove(self, org_id: str, endpoint_id: str) -> None:
        """Delete an endpoint and its log. Raises NotFound."""
        await self._catalog.run(webhooks.remove, org_id, _endpoint_id(endpoint_id))

    async def rotate(self, org_id: str, endpoint_id: str, overlap_hours: float) -> EndpointSecretView:
        """A new secret; the one before it signs too for so long. Raises InvalidRequest, NotFound, Conflict."""
        if not 0 <= overlap_hours <= MOST_OVERLAP_HOURS:
            raise InvalidRequest(f"overlapHours must be from 0 to {MOST_OVERLAP_HOURS}")
        before = await self._own(org_id, endpoint_id)
        now, secret = self._now(), _new_secret()
        previous = until = None
        if overlap_hours > 0:
            held = self._sealer.open(before.secret, secret_place(org_id, endpoint_id))
            previous = self._sealer.seal(held, previous_secret_place(org_id, endpoint_id))
            until = now + int(overlap_hours * HOUR)
        sealed = self._sealer.seal(secret.encode(), secret_place(org_id, endpoint_id))
        await self._catalog.run(webhooks.rotate, before, sealed, previous, until, now)
        return with_secret(replace(before, previous_secret_until=until, updated_at=now), secret, now)

    async def send_test(self, org_id: str, endpoint_id: str) -> DeliveryView:
        """Send an event of no consequence. Raises NotFound, Conflict."""
        row = await self._catalog.run(notices.send_test, org_id, _endpoint_id(endpoint_id), self._now())
        return delivery_view(row)

    async def log(
        self, org_id: str, endpoint_id: str, state: str | None, cursor: str | None, limit: int
    ) -> tuple[Sequence[DeliveryView], str | None]:
        """A page of an endpoint's deliveries, newest first, and the cursor of the next. Raises NotFound."""
        if state is not None and state not in DELIVERY_STATES:
            raise InvalidRequest(f"state must be one of {', '.join(DELIVERY_STATES)}")
        if cursor is not None and not _DELIVERY_ID.fullmatch(cursor):
            raise InvalidRequest("cursor is none of this vault's")
        await self._own(org_id, endpoint_id)
        rows = await notices.log(self._catalog, org_id, endpoint_id, state, cursor or notices.LAST, limit + 1)
        shown = rows[:limit]
        return [delivery_view(row) for row in shown], shown[-1].id if len(rows) > limit else None

    async def redeliver(self, org_id: str, delivery_id: str) -> DeliveryView:
        """Send a delivery again. Raises NotFound, Conflict."""
        if not _DELIVERY_ID.fullmatch(delivery_id):
            raise NotFound("Webhook delivery not found")
        endpoint_id = await notices.endpoint_of(self._catalog, org_id, delivery_id)
        if endpoint_id is None:
            raise NotFound("Webhook delivery not found")
        row = await self._catalog.run(notices.redeliver, org_id, endpoint_id, delivery_id, self._now())
        return delivery_view(row)

    async def replay(self, org_id: str, endpoint_id: str, event_id: str, *, and_later: bool) -> int:
        """Tell of a kept event again, or of it and all behind it; how many. Raises NotFound, Conflict."""
        endpoint_id = _endpoint_id(endpoint_id)
        if not _EVENT_ID.fullmatch(event_id):
            raise NotFound("Event not found")
        replay = notices.replay_from if and_later else notices.replay_one
        return await self._catalog.run(replay, org_id, endpoint_id, event_id, self._now())

    async def _own(self, org_id: str, endpoint_id: str) -> EndpointRow:
        row = await webhooks.find_endpoint(self._catalog, org_id, _endpoint_id(endpoint_id))
        if row is None:
            raise NotFound("Webhook endpoint not found")
        return row

    def _url(self, given: str) -> str:
        """A URL that may be dialled as far as it shows. Names are checked again where they are dialled."""
        try:
            parts = urlsplit(given)
            usable = bool(_URL.fullmatch(given) and parts.hostname and parts.port != 0)
        except ValueError:
            usable = False
        if not usable:
            raise InvalidRequest("url must be an http or https URL without credentials or fragment")
        host = parts.hostname or ""
        try:
            check_url(given)
            if _is_address(host):
                check(host, parts.port or (443 if parts.scheme.lower() == "https" else 80), self._allow)
        except AddressDenied as error:
            raise InvalidRequest(f"url: {error}") from None
        return given


def secret_place(org_id: str, endpoint_id: str) -> tuple[str, ...]:
    """Where an endpoint's secret lies."""
    return ("webhook_endpoints", "secret", org_id, endpoint_id)


def previous_secret_place(org_id: str, endpoint_id: str) -> tuple[str, ...]:
    """Where the secret before it lies."""
    return ("webhook_endpoints", "previous_secret", org_id, endpoint_id)


def _new_secret() -> str:
    return webhook_signing.secret_text(secrets.token_bytes(_KEY_BYTES))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _endpoint_id(given: str) -> str:
    if not _ENDPOINT_ID.fullmatch(given):
        raise NotFound("Webhook endpoint not found")
    return given


def _types(given: list[str] | None) -> str | None:
    """The types as they are kept. Raises InvalidRequest for none at all and for unknown ones."""
    if given is None:
        return None
    unknown = sorted(set(given) - event_types.KNOWN)
    if unknown or not given:
        raise InvalidRequest(f"eventTypes must be some of {', '.join(sorted(event_types.KNOWN))}")
    return msgspec.json.encode(sorted(set(given))).decode()


def _description(given: str | None) -> str | None:
    if given is not None and (len(given) > 500 or not given.isprintable()):
        raise InvalidRequest("description is at most 500 printable characters")
    return given
