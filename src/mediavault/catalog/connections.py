"""Connections: an upstream session of an organisation, and what is known of its user."""

from dataclasses import dataclass

from sqlalchemy import bindparam, null, select, update
from sqlalchemy.dialects.postgresql import insert  # both engines speak its ON CONFLICT

from mediavault.catalog import connection_events, usage
from mediavault.catalog.database import Catalog
from mediavault.catalog.operations import Do, Operation, Rows
from mediavault.catalog.tables import ConnectionState, connections, organisations
from mediavault.domain import event_types
from mediavault.errors import LostRace, NotFound


@dataclass(frozen=True)
class ConnectionRow:
    """A connection with the settings that hold for it."""

    id: str
    org_id: str
    state: str
    upstream_base_url: str
    upstream_user_id: str
    user_data: str  #: JSON
    permissions: str  #: JSON
    client_reference_id: str | None
    session: bytes  #: sealed cookie, user agent and upstream headers
    vault_plus_enabled: bool
    settings_overrides: str | None  #: JSON of SettingsOverrides
    created_at: int
    updated_at: int
    expired_at: int | None
    last_checked_at: int | None
    organisation_settings: str  #: JSON of OrganisationSettings


_OWN = (
    "id",
    "org_id",
    "state",
    "upstream_base_url",
    "upstream_user_id",
    "user_data",
    "permissions",
    "client_reference_id",
    "session",
    "vault_plus_enabled",
    "settings_overrides",
    "created_at",
    "updated_at",
    "expired_at",
    "last_checked_at",
)
#: How often a connection that ends while it is to be updated is made anew.
_TRIES = 3

_CONNECTIONS = (
    select(*(connections.c[name] for name in _OWN), organisations.c.settings)
    .join_from(connections, organisations, organisations.c.id == connections.c.org_id)
    .where(connections.c.org_id == bindparam("org_id"), connections.c.disconnected_at.is_(None))
)
_CONNECTION = _CONNECTIONS.where(connections.c.id == bindparam("connection_id"))
_ANY = (
    select(*(connections.c[name] for name in _OWN), organisations.c.settings)
    .join_from(connections, organisations, organisations.c.id == connections.c.org_id)
    .where(connections.c.id == bindparam("connection_id"), connections.c.disconnected_at.is_(None))
)
_OF_USER = _CONNECTIONS.where(
    connections.c.upstream_base_url == bindparam("upstream_base_url"),
    connections.c.upstream_user_id == bindparam("upstream_user_id"),
).with_for_update(of=connections, key_share=True)
_LISTED = (
    _CONNECTIONS.order_by(connections.c.created_at, connections.c.id)
    .limit(bindparam("at_most"))
    .offset(bindparam("offset"))
)
_LISTED_BY_STATE = _LISTED.where(connections.c.state == bindparam("state"))
_ADD = (
    insert(connections)
    .values(
        {connections.c[name]: bindparam(name) for name in _OWN if name != "expired_at"}
        | {connections.c.max_inflight: bindparam("max_inflight")}
        | {connections.c.served_at: 0, connections.c.paused_until: 0}
    )
    .on_conflict_do_nothing()
    .returning(connections.c.id)
)
_MINE = (
    connections.c.id == bindparam("connection_id"),
    connections.c.org_id == bindparam("of_org"),
    connections.c.disconnected_at.is_(None),
)
_REFRESH = (
    update(connections)
    .where(*_MINE)
    .values(
        session=bindparam("set_session"),
        user_data=bindparam("set_user_data"),
        permissions=bindparam("set_permissions"),
        client_reference_id=bindparam("set_client_reference_id"),
        state=ConnectionState.ACTIVE.value,
        expired_at=null(),
        last_checked_at=bindparam("now"),
        updated_at=bindparam("now"),
    )
    .returning(*(connections.c[name] for name in connection_events.TOLD))
)
_EXPIRE = (
    update(connections)
    .where(*_MINE, connections.c.state != ConnectionState.EXPIRED.value)
    .values(state=ConnectionState.EXPIRED.value, expired_at=bindparam("now"), updated_at=bindparam("now"))
    .returning(*(connections.c[name] for name in connection_events.TOLD))
)
#: By the upstream's refusal of one session: another one, given meanwhile, is innocent.
_EXPIRE_SESSION = _EXPIRE.where(connections.c.session == bindparam("held_session"))
_DISCONNECT = (
    update(connections)
    .where(*_MINE)
    .values(disconnected_at=bindparam("now"), updated_at=bindparam("now"), session=b"")
    .returning(connections.c.id)
)
_CONFIGURE = (
    update(connections)
    .where(*_MINE)
    .values(
        vault_plus_enabled=bindparam("set_enabled"),
        settings_overrides=bindparam("set_overrides"),
        updated_at=bindparam("now"),
    )
)


async def find_connection(catalog: Catalog, org_id: str, connection_id: str) -> ConnectionRow | None:
    """A connection of the organisation."""
    return _first(await catalog.fetch(_CONNECTION, {"org_id": org_id, "connection_id": connection_id}))


async def of_any_organisation(catalog: Catalog, connection_id: str) -> ConnectionRow | None:
    """A living connection, whosever it is: for the operator, and nobody else."""
    return _first(await catalog.fetch(_ANY, {"connection_id": connection_id}))


async def listed(catalog: Catalog, org_id: str, state: str | None, limit: int, offset: int) -> list[ConnectionRow]:
    """Connections in the order of their making, from `offset` on."""
    values = {"org_id": org_id, "at_most": limit, "offset": offset}
    if state is None:
        rows = await catalog.fetch_list(_LISTED, values)
    else:
        rows = await catalog.fetch_list(_LISTED_BY_STATE, values | {"state": state})
    return [ConnectionRow(*row) for row in rows]


def _first(rows: Rows) -> ConnectionRow | None:
    return ConnectionRow(*rows[0]) if rows else None


def save(row: ConnectionRow, max_inflight: int) -> Operation[str]:
    """Add a connection, or give the user's living one this session. The id that holds it. Raises LostRace."""
    for _ in range(_TRIES):
        if (yield from add(row, max_inflight)):
            return row.id
        existing = yield from of_user(row.org_id, row.upstream_base_url, row.upstream_user_id)
        if existing is not None:
            yield from refresh(existing, row)
            return existing.id
    raise LostRace("the connection is being made and ended by others at the same time")


def of_user(org_id: str, base_url: str, user_id: str) -> Operation[ConnectionRow | None]:
    """The organisation's living connection of an upstream user, held."""
    user = {"org_id": org_id, "upstream_base_url": base_url, "upstream_user_id": user_id}
    return _first((yield Do(_OF_USER, user)))


def add(row: ConnectionRow, max_inflight: int) -> Operation[bool]:
    """Add a connection, unless the upstream user has a living one. Whether it was added."""
    values = {name: getattr(row, name) for name in _OWN}
    if not (yield Do(_ADD, values | {"max_inflight": max_inflight})):
        return False
    yield from usage.begin(row.org_id, row.id)
    told = [getattr(row, name) for name in connection_events.TOLD]
    yield from connection_events.record(event_types.CONNECTION_CREATED, told, row.updated_at)
    return True


def refresh(existing: ConnectionRow, row: ConnectionRow) -> Operation[None]:
    """A connection's new session; it is active again."""
    rows = yield Do(
        _REFRESH,
        {
            "connection_id": existing.id,
            "of_org": existing.org_id,
            "set_session": row.session,
            "set_user_data": row.user_data,
            "set_permissions": row.permissions,
            "set_client_reference_id": (
                row.client_reference_id if row.client_reference_id is not None else existing.client_reference_id
            ),
            "now": row.updated_at,
        },
    )
    for told in rows:
        yield from connection_events.record(event_types.CONNECTION_UPDATED, told, row.updated_at)


def expire(org_id: str, connection_id: str, now: int, session: bytes | None = None) -> Operation[None]:
    """The owner said so, or the upstream refused that session (sealed, as it was read)."""
    values = {"connection_id": connection_id, "of_org": org_id, "now": now}
    asked = Do(_EXPIRE, values) if session is None else Do(_EXPIRE_SESSION, values | {"held_session": session})
    for told in (yield asked):
        yield from connection_events.record(event_types.CONNECTION_EXPIRED, told, now)


def disconnect(org_id: str, connection_id: str, now: int) -> Operation[None]:
    """End a connection and forget its session; its media are the caller's to remove. Raises NotFound."""
    rows = yield Do(_DISCONNECT, {"connection_id": connection_id, "of_org": org_id, "now": now})
    if not rows:
        raise NotFound("No such connection")


def configure(org_id: str, connection_id: str, *, enabled: bool, overrides: str | None, now: int) -> Operation[None]:
    """Set whether Vault+ is on, and the overrides (JSON; None clears them)."""
    yield Do(
        _CONFIGURE,
        {
            "connection_id": connection_id,
            "of_org": org_id,
            "set_enabled": enabled,
            "set_overrides": overrides,
            "now": now,
        },
    )
