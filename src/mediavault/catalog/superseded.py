"""Superseded bytes: media changed upstream, and what is stored of them stays until what they are now is stored.

They serve meanwhile, however long that takes and however often it fails: they may be the only copy.
`retained_stored_at` marks them, and says since when they were stored. They end with the new bytes, with a removal by
whoever it is, whose undo window then begins, or here: when policy would remove them if they were stored still.
"""

from sqlalchemy import bindparam, null, select, update

from mediavault.catalog import row_locks
from mediavault.catalog.database import Catalog
from mediavault.catalog.limits import Fold, find_policy
from mediavault.catalog.operations import Do, DoMany, Operation, Row
from mediavault.catalog.tables import connections, media, variants
from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType, Source
from mediavault.domain.policy import Facts, Policy, ending, unsuitable

_BATCH = 500

_WITH_SOME = (
    select(variants.c.org_id, variants.c.connection_id)
    .join_from(variants, connections, connections.c.id == variants.c.connection_id)
    .where(variants.c.retained_stored_at.is_not(None), connections.c.vault_plus_enabled.is_(True))
    .distinct()
)
_SOME = (
    select(
        variants.c.id,
        variants.c.retained_stored_at,
        variants.c.last_accessed_at,
        media.c.type,
        variants.c.label,
        media.c.sources,
        variants.c.access_count,
        media.c.pinned_at,
        media.c.pinned_until,
    )
    .join_from(variants, media, media.c.id == variants.c.media_pk)
    .where(
        variants.c.connection_id == bindparam("connection_id"),
        variants.c.org_id == bindparam("org_id"),
        variants.c.retained_stored_at.is_not(None),
        variants.c.status != Status.REMOVED.value,
        variants.c.id > bindparam("after"),
    )
    .order_by(variants.c.id)
    .limit(_BATCH)
)
_LET_GO = update(variants).where(variants.c.id == bindparam("variant_id")).values(retained_stored_at=null())


async def with_superseded(catalog: Catalog) -> list[tuple[str, str]]:
    """`(organisation, connection)` of those with Vault+ on that have such bytes."""
    return [(row[0], row[1]) for row in await catalog.fetch_list(_WITH_SOME, {})]


def let_go(org_id: str, connection_id: str, after: str, fold: Fold, now: int) -> Operation[str]:
    """Let the undo window have what policy would remove, of a batch behind that id; the batch's last id, or nothing.

    Asked again once all is held: a pin or a store may have been quicker.
    """
    policy = yield from find_policy(org_id, connection_id, fold)
    batch = {"org_id": org_id, "connection_id": connection_id, "after": after}
    found = yield Do(_SOME, batch)
    over = {row[0] for row in found if _is_over(policy, row, now)}
    if over:
        yield from row_locks.hold(over)
        policy = yield from find_policy(org_id, connection_id, fold)
        still = [row[0] for row in (yield Do(_SOME, batch)) if row[0] in over and _is_over(policy, row, now)]
        if still:
            yield DoMany(_LET_GO, [{"variant_id": variant_id} for variant_id in still])
    return str(found[-1][0]) if found else ""


def _is_over(policy: Policy, row: Row, now: int) -> bool:
    _, stored_at, viewed_at, media_type, label, sources, access_count, pinned_at, pinned_until = row
    if not policy.enabled or (pinned_at is not None and (pinned_until is None or pinned_until > now)):
        return False
    facts = Facts(MediaType(media_type), label, [Source(source) for source in sources.split(",")], access_count)
    end = ending(policy.settings, stored_at, viewed_at)
    return unsuitable(policy.settings, facts) is not None or (end is not None and end.at <= now)
