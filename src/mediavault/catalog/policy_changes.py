"""Changes of settings whose consequences are being carried out: what a crash leaves unfinished, a sweep takes up."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, insert, select, update

from mediavault.catalog.database import Catalog
from mediavault.catalog.identifiers import new_id
from mediavault.catalog.operations import Do, DoMany, Operation
from mediavault.catalog.tables import policy_changes

_AT_ONCE = 100


@dataclass(frozen=True)
class Unfinished:
    """A change nobody has worked on for a while, and what held for its connection before."""

    id: str
    org_id: str
    connection_id: str
    enabled: bool
    overrides: str | None
    organisation: str


_BEGIN = insert(policy_changes).values({column: bindparam(column.name) for column in policy_changes.c})
_RENEW = (
    update(policy_changes).where(policy_changes.c.id == bindparam("change_id")).values(worked_at=bindparam("set_at"))
)
_FINISH = delete(policy_changes).where(policy_changes.c.id == bindparam("change_id"))
_UNFINISHED = (
    select(
        policy_changes.c.id,
        policy_changes.c.org_id,
        policy_changes.c.connection_id,
        policy_changes.c.enabled_before,
        policy_changes.c.overrides_before,
        policy_changes.c.organisation_before,
    )
    .where(policy_changes.c.worked_at <= bindparam("before"))
    .order_by(policy_changes.c.worked_at, policy_changes.c.id)
    .limit(_AT_ONCE)
)
_TAKE = (
    update(policy_changes)
    .where(policy_changes.c.id == bindparam("change_id"), policy_changes.c.worked_at <= bindparam("before"))
    .values(worked_at=bindparam("set_at"))
    .returning(policy_changes.c.id)
)


def begin(
    org_id: str, connection_id: str, *, enabled: bool, overrides: str | None, organisation: str, now: int
) -> Operation[str]:
    """Note, in the transaction that writes the settings, that their consequences are to follow. The note's id."""
    change_id = new_id(now)
    yield Do(
        _BEGIN,
        {
            "id": change_id,
            "org_id": org_id,
            "connection_id": connection_id,
            "enabled_before": enabled,
            "overrides_before": overrides,
            "organisation_before": organisation,
            "worked_at": now,
        },
    )
    return change_id


def renew(change_ids: Sequence[str], now: int) -> Operation[None]:
    """Whoever carries them out is alive."""
    yield DoMany(_RENEW, [{"change_id": change_id, "set_at": now} for change_id in sorted(change_ids)])


def finish(change_id: str) -> Operation[None]:
    """All that followed from it is done."""
    yield Do(_FINISH, {"change_id": change_id})


async def unfinished(catalog: Catalog, before: int) -> list[Unfinished]:
    """Changes that nobody has worked on since then (Unix ms), those left longest first."""
    rows = await catalog.fetch_list(_UNFINISHED, {"before": before})
    return [Unfinished(row[0], row[1], row[2], bool(row[3]), row[4], row[5]) for row in rows]


def take(change_id: str, before: int, now: int) -> Operation[bool]:
    """Take an unfinished change over; False when somebody else did."""
    return bool((yield Do(_TAKE, {"change_id": change_id, "before": before, "set_at": now})))
