"""Media that were seen but are not stored, by when their origin URLs die."""

from sqlalchemy import bindparam, or_, text

from mediavault.catalog.database import Catalog
from mediavault.catalog.tables import variants
from mediavault.catalog.variants import VARIANTS, Variant
from mediavault.domain.imported import WITHOUT_ORIGIN

_PAGE = (
    VARIANTS.where(
        variants.c.connection_id == bindparam("connection_id"),
        variants.c.org_id == bindparam("org_id"),
        *(variants.c.origin_key != none for none in sorted(WITHOUT_ORIGIN)),  # made here, or imported: at no risk
        # As the partial index has it, written out: a planner matches no parameters with it.
        text("variants.status IN ('edge_only', 'pending', 'storing')"),
        variants.c.origin_expires_at >= bindparam("after_time"),
        variants.c.origin_expires_at <= bindparam("until"),
        or_(variants.c.origin_expires_at > bindparam("after_time"), variants.c.id > bindparam("after_id")),
    )
    .order_by(variants.c.origin_expires_at, variants.c.id)
    .limit(bindparam("at_most"))
)


async def page(
    catalog: Catalog, org_id: str, connection_id: str, *, after: tuple[int, str], until: int, at_most: int
) -> list[Variant]:
    """Variants that are not stored whose URLs die after that `(time, id)` and not after `until`, soonest first."""
    values = {"org_id": org_id, "connection_id": connection_id, "until": until, "at_most": at_most}
    rows = await catalog.fetch_list(_PAGE, {**values, "after_time": after[0], "after_id": after[1]})
    return [Variant(*row) for row in rows]
