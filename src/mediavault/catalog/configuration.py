"""Settings where they are stored: changed under a lock, so that two changes at once lose nothing of each other.

Connections are locked before their organisation, as whoever moves a variant does.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy import bindparam, select, update

from mediavault.catalog import connections as connection_rows
from mediavault.catalog import policy_changes
from mediavault.catalog.database import Catalog
from mediavault.catalog.operations import Do, Operation, Row
from mediavault.catalog.tables import connections, organisations
from mediavault.errors import NotFound


@dataclass(frozen=True)
class Configured:
    """What is stored of a connection's settings and its organisation's."""

    connection_id: str
    enabled: bool
    overrides: str | None  #: JSON of SettingsOverrides
    organisation: str  #: JSON of OrganisationSettings


@dataclass(frozen=True)
class Change:
    """A connection's settings before and after."""

    before: Configured
    after: Configured
    note: str | None = None  #: of its consequences, to be finished when they are all done


#: From what is stored to what shall be. Pure: an operation may be driven again.
ChangeConnection = Callable[[Configured], Configured]
ChangeOrganisation = Callable[[str], str]
#: Whether anything follows from a change for the connection's media.
HasConsequences = Callable[[Change], bool]

_COLUMNS = (connections.c.id, connections.c.vault_plus_enabled, connections.c.settings_overrides)
_LIVING = (connections.c.org_id == bindparam("org_id"), connections.c.disconnected_at.is_(None))
_CONFIGURED = (
    select(*_COLUMNS, organisations.c.settings)
    .join_from(connections, organisations, organisations.c.id == connections.c.org_id)
    .where(*_LIVING)
    .order_by(connections.c.id)
)
_ONE = _CONFIGURED.where(connections.c.id == bindparam("connection_id"))
_LOCK_ONE = _ONE.with_for_update(of=connections, key_share=True)
_LOCK_ALL = select(*_COLUMNS).where(*_LIVING).order_by(connections.c.id).with_for_update(key_share=True)
_LOCK_ORGANISATION = (
    select(organisations.c.settings).where(organisations.c.id == bindparam("org_id")).with_for_update(key_share=True)
)
_SET_ORGANISATION = (
    update(organisations).where(organisations.c.id == bindparam("of_org")).values(settings=bindparam("set_settings"))
)


async def all_configured(catalog: Catalog, org_id: str) -> list[Configured]:
    """What every living connection of the organisation has."""
    return [_configured(row) for row in await catalog.fetch_list(_CONFIGURED, {"org_id": org_id})]


async def find_configured(catalog: Catalog, org_id: str, connection_id: str) -> Configured | None:
    """What a living connection of the organisation has."""
    rows = await catalog.fetch(_ONE, {"org_id": org_id, "connection_id": connection_id})
    return _configured(rows[0]) if rows else None


def configured(org_id: str, connection_id: str) -> Operation[Configured | None]:
    """What a living connection has, as the running transaction sees it."""
    rows = yield Do(_ONE, {"org_id": org_id, "connection_id": connection_id})
    return _configured(rows[0]) if rows else None


def _differs(change: Change) -> bool:
    return change.before != change.after


def change_connection(
    org_id: str,
    connection_id: str,
    change: ChangeConnection,
    now: int,
    has_consequences: HasConsequences = _differs,
) -> Operation[Change]:
    """Change a connection's settings, and note what is to follow. Raises NotFound."""
    yield Do(_LOCK_ONE, {"org_id": org_id, "connection_id": connection_id})
    # Asked again: of a row that was waited for, the lock shows the newest version, beside the old organisation's.
    before = yield from configured(org_id, connection_id)
    if before is None:
        raise NotFound("Connection not found")
    after = change(before)
    return (yield from _write(org_id, Change(before, after), has_consequences, now))


def change_organisation(
    org_id: str,
    change: ChangeOrganisation,
    change_connections: ChangeConnection,
    now: int,
    has_consequences: HasConsequences = _differs,
) -> Operation[tuple[str, list[Change]]]:
    """Change the defaults, and what follows from that in every connection: the defaults as they are now, the changes.

    `change_connections` is given each connection with the new defaults.
    """
    held = yield Do(_LOCK_ALL, {"org_id": org_id})
    stored = yield Do(_LOCK_ORGANISATION, {"org_id": org_id})
    if not stored:
        raise NotFound
    old: str = stored[0][0]
    new = change(old)
    yield Do(_SET_ORGANISATION, {"of_org": org_id, "set_settings": new})
    changes = []
    for row in held:
        before = Configured(row[0], bool(row[1]), row[2], old)
        after = change_connections(replace(before, organisation=new))
        changes.append((yield from _write(org_id, Change(before, after), has_consequences, now)))
    return new, changes


def _write(org_id: str, change: Change, has_consequences: HasConsequences, now: int) -> Operation[Change]:
    before, after = change.before, change.after
    if (before.enabled, before.overrides) != (after.enabled, after.overrides):
        yield from connection_rows.configure(
            org_id, before.connection_id, enabled=after.enabled, overrides=after.overrides, now=now
        )
    if not has_consequences(change):
        return change
    note = yield from policy_changes.begin(
        org_id,
        before.connection_id,
        enabled=before.enabled,
        overrides=before.overrides,
        organisation=before.organisation,
        now=now,
    )
    return replace(change, note=note)


def _configured(row: Row) -> Configured:
    connection_id, enabled, overrides, organisation = row
    return Configured(connection_id, bool(enabled), overrides, organisation)
