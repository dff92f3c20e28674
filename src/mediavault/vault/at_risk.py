"""At risk: what was seen but is not stored, soonest to be lost first, and why it is not stored."""

import base64
import re

from msgspec import UNSET, Struct, UnsetType

from mediavault.catalog import at_risk
from mediavault.catalog.connections import ConnectionRow
from mediavault.catalog.database import Catalog
from mediavault.catalog.variants import Variant
from mediavault.domain.lifecycle import Status
from mediavault.domain.times import SECOND, Now
from mediavault.errors import InvalidRequest
from mediavault.vault.storing import decision_for

#: No origin URL lives as long: the end of an open range.
_NEVER = 2**53
_POSITION = re.compile(r"([0-9]{1,15}):([0-9A-Za-z-]{1,40})", re.ASCII)


class RiskView(Struct, frozen=True, rename="camel"):
    """A variant that is lost when its origin URL dies."""

    media_id: str
    quality: str
    status: str
    expires_at: int
    seconds_left: int
    reason: str


class RiskPage(Struct, frozen=True, rename="camel"):
    """`GET /v2/vault-plus/at-risk`; no `nextCursor` on the last page."""

    items: list[RiskView]
    next_cursor: str | UnsetType = UNSET


class AtRisk:
    """Answers what is about to be lost."""

    def __init__(self, catalog: Catalog, now: Now) -> None:
        self._catalog = catalog
        self._now = now

    async def page(self, connection: ConnectionRow, limit: int, within: int | None, cursor: str | None) -> RiskPage:
        """A page of what still lives at the origin; `within` seconds, or at any time. Raises InvalidRequest."""
        now = self._now()
        after = (now, "~") if cursor is None else _position(cursor)  # "~" is after every id: dead now is dead
        until = _NEVER if within is None else now + within * SECOND
        found = await at_risk.page(
            self._catalog, connection.org_id, connection.id, after=after, until=until, at_most=limit + 1
        )
        page = RiskPage([_view(variant, now) for variant in found[:limit]])
        if len(found) <= limit:
            return page
        last = found[limit - 1]
        return RiskPage(page.items, _cursor(last.origin_expires_at, last.id))


def _view(variant: Variant, now: int) -> RiskView:
    left = max(variant.origin_expires_at - now, 0) // SECOND
    return RiskView(variant.media_id, variant.label, variant.status, variant.origin_expires_at, left, _reason(variant))


def _reason(variant: Variant) -> str:
    if variant.status == Status.STORING:
        return "it is being stored"
    if variant.status == Status.PENDING:
        return variant.last_error or "it waits for a storer"
    if variant.given_up and variant.last_error:
        return variant.last_error
    decision = decision_for(variant)
    if decision.keep and variant.kept_out is not None:
        return variant.kept_out
    return decision.rule


def _cursor(time: int, variant_id: str) -> str:
    return base64.urlsafe_b64encode(f"{time}:{variant_id}".encode()).decode().rstrip("=")


def _position(cursor: str) -> tuple[int, str]:
    """Where a cursor goes on. It carries no rights: every page is read inside the caller's connection."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode("ascii")
    except ValueError:
        text = ""
    found = _POSITION.fullmatch(text)
    if found is None or _cursor(int(found[1]), found[2]) != cursor:
        raise InvalidRequest("cursor is not one that an earlier page gave")
    return int(found[1]), found[2]
