"""Secrets at rest: each must open with the master key, and only in its own place."""

from collections.abc import AsyncGenerator

from mediavault.catalog import sealed
from mediavault.catalog.database import Catalog
from mediavault.domain.findings import Finding
from mediavault.errors import WrongMasterKey
from mediavault.vault.sealed_places import SEALED, SealedPlaces
from mediavault.vault.sealing import Sealer

_PAGE = 1000
_READABLE = frozenset(range(0x20, 0x7F))
#: What an id of a table is of, where findings have a field for it; and what brings a secret of it back.
_KINDS = {"connections": "connection", "variants": "variant"}
_REMEDIES = {
    "connections": "import the session again",
    "variants": "let upstream show the media again",
    "webhook_endpoints": "rotate the endpoint's secret",
    "installation": "put the vault's master key back from your backup",
}


async def unopened(catalog: Catalog, sealer: Sealer, *, origin_urls: bool) -> list[Finding]:
    """What lies in the clear, or does not open in its place; the many `origin_urls` only when asked."""
    columns = [each for each in SEALED if origin_urls or each.column is not sealed.ORIGIN_URLS]
    return [finding for column in columns async for finding in _unopened(catalog, sealer, column)]


async def _unopened(catalog: Catalog, sealer: Sealer, places: SealedPlaces) -> AsyncGenerator[Finding, None]:
    after, table = "", places.column.table
    while page := await sealed.all_after(catalog, places.column, after, _PAGE):
        after = page[-1].id
        for row in page:
            try:
                sealer.open(row.sealed, places.place(row))
            except WrongMasterKey:
                in_the_clear = _READABLE.issuperset(row.sealed)
                yield Finding(
                    12,
                    f"{places.column.column}_{'in_the_clear' if in_the_clear else 'unopened'}",
                    f"{places} lies in the clear"
                    if in_the_clear
                    else f"{places} does not open with the master key in its place",
                    _REMEDIES.get(table, "put the catalog back from a backup"),
                    **{_KINDS.get(table, "subject"): row.id},
                )
