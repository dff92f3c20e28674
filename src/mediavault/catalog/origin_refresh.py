"""Fresh origin URLs for variants that are known: nothing is added, and nothing that was removed comes back.

An observation through the gateway means that somebody looked; a refresh is the vault's own look, and tells it no more
than where the bytes it knows of lie now.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, select, update

from mediavault.catalog.database import Catalog
from mediavault.catalog.observations import REFRESHED
from mediavault.catalog.operations import DoMany, Operation
from mediavault.catalog.padding import AT_ONCE, is_among, padded
from mediavault.catalog.tables import media, variants
from mediavault.domain.lifecycle import Status

#: Media items that are looked up at once.
LARGEST_LOOK = AT_ONCE

_ORIGIN = select(variants.c.origin_key, variants.c.observed_path).where(
    variants.c.id == bindparam("variant_id"), variants.c.status != Status.REMOVED.value
)
_LIVE = (
    select(media.c.media_id, variants.c.label, variants.c.id, variants.c.origin_key)
    .join_from(variants, media, media.c.id == variants.c.media_pk)
    .where(
        media.c.org_id == bindparam("org_id"),
        media.c.connection_id == bindparam("connection_id"),
        is_among(media.c.media_id),
        variants.c.status != Status.REMOVED.value,
    )
)
_REFRESH = (
    update(variants)
    .where(
        variants.c.id == bindparam("variant_id"),
        variants.c.origin_key == bindparam("of_key"),
        variants.c.status != Status.REMOVED.value,
    )
    .values(REFRESHED)
)


@dataclass(frozen=True)
class Origin:
    """Where a live variant's bytes lie, and which answer showed it."""

    key: str
    observed_path: str


@dataclass(frozen=True)
class LiveOrigin:
    """A live variant as an upstream answer names it."""

    media_id: str
    label: str
    variant_id: str
    key: str


@dataclass(frozen=True)
class FreshOrigin:
    """A URL that an upstream answer showed instead of the one of `of_key`."""

    variant_id: str
    of_key: str
    url: bytes  #: sealed
    key: str
    expires_at: int  #: Unix ms
    observed_path: str


async def find_origin(catalog: Catalog, variant_id: str) -> Origin | None:
    """Where a variant lies; None where it is not there, or removed."""
    rows = await catalog.fetch(_ORIGIN, {"variant_id": variant_id})
    return Origin(*rows[0]) if rows else None


async def live(catalog: Catalog, org_id: str, connection_id: str, media_ids: Sequence[str]) -> list[LiveOrigin]:
    """The live variants of at most LARGEST_LOOK media items."""
    if not media_ids:
        return []
    values = {"org_id": org_id, "connection_id": connection_id, **padded(media_ids)}
    return [LiveOrigin(*row) for row in await catalog.fetch_list(_LIVE, values)]


def refresh(fresh: Sequence[FreshOrigin], now: int) -> Operation[None]:
    """Record fresh URLs; what was seen or removed in the meantime keeps what it has."""
    rows = [
        {
            "variant_id": each.variant_id,
            "of_key": each.of_key,
            "set_url": each.url,
            "set_key": each.key,
            "set_expires_at": each.expires_at,
            "set_path": each.observed_path,
            "now": now,
        }
        for each in sorted(fresh, key=lambda each: each.variant_id)
    ]
    if rows:
        yield DoMany(_REFRESH, rows)
