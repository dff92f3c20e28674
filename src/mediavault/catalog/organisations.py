"""Organisations, their settings, and API keys (only hashes of them)."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import bindparam, case, or_, select, update
from sqlalchemy.dialects.postgresql import insert  # both engines speak its ON CONFLICT

from mediavault.catalog.database import Catalog
from mediavault.catalog.operations import Do, DoMany, Operation, Row
from mediavault.catalog.tables import api_keys, installation, organisations
from mediavault.errors import Conflict, NotFound


@dataclass(frozen=True)
class OrganisationRow:
    """A tenant."""

    id: str
    name: str
    settings: str  #: JSON of OrganisationSettings
    created_at: int


@dataclass(frozen=True)
class KeyRow:
    """An API key, without its secret."""

    id: str
    org_id: str
    organisation: str
    name: str | None
    prefix: str
    scopes: tuple[str, ...]
    created_at: int
    revoked_at: int | None
    expires_at: int | None = None
    last_used_at: int | None = None  #: behind by up to a flush of `vault/using.py`
    replaced_by: str | None = None  #: the key that a rotation made to take its place


_ORGANISATION = tuple(organisations.c[name] for name in ("id", "name", "settings", "created_at"))
_ORGANISATIONS = select(*_ORGANISATION).order_by(organisations.c.name)
_ORGANISATION_NAMED = select(*_ORGANISATION).where(organisations.c.name == bindparam("name"))
_ORGANISATION_OF = select(*_ORGANISATION).where(organisations.c.id == bindparam("org_id"))
_ADD_ORGANISATION = (
    insert(organisations)
    .values({column: bindparam(column.name) for column in _ORGANISATION} | {organisations.c.event_seq: 0})
    .on_conflict_do_nothing(index_elements=["name"])
    .returning(organisations.c.id)
)
_SET_SETTINGS = (
    update(organisations).where(organisations.c.id == bindparam("org_id")).values(settings=bindparam("set_settings"))
)
_KEY = (
    api_keys.c.id,
    api_keys.c.org_id,
    organisations.c.name,
    api_keys.c.name,
    api_keys.c.prefix,
    api_keys.c.scopes,
    api_keys.c.created_at,
    api_keys.c.revoked_at,
    api_keys.c.expires_at,
    api_keys.c.last_used_at,
    api_keys.c.replaced_by,
)
_KEYS = (
    select(*_KEY).join_from(api_keys, organisations, organisations.c.id == api_keys.c.org_id).order_by(api_keys.c.id)
)
_ALIVE = (
    api_keys.c.revoked_at.is_(None),
    or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > bindparam("now")),
)
_KEY_BY_DIGEST = _KEYS.where(api_keys.c.sha256 == bindparam("sha256"), *_ALIVE)
_KEY_BY_ID = _KEYS.where(api_keys.c.id == bindparam("key_id"), *_ALIVE)
_NEW_KEY = ("id", "org_id", "name", "prefix", "sha256", "scopes", "created_at", "expires_at")
_ADD_KEY = (
    insert(api_keys)
    .values({name: bindparam(name) for name in _NEW_KEY})
    .on_conflict_do_nothing(index_elements=["sha256"])
    .returning(api_keys.c.id)
)
_REVOKE = (
    update(api_keys)
    .where(api_keys.c.id == bindparam("key_id"), api_keys.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("now"))
    .returning(api_keys.c.id)
)
_REPLACE = (
    update(api_keys)
    .where(api_keys.c.id == bindparam("key_id"), *_ALIVE, api_keys.c.replaced_by.is_(None))
    .values(
        expires_at=case((api_keys.c.expires_at < bindparam("until"), api_keys.c.expires_at), else_=bindparam("until")),
        replaced_by=bindparam("new_id"),
    )
    .returning(api_keys.c.id)
)
_USED = (
    update(api_keys)
    .where(
        api_keys.c.id == bindparam("key_id"),
        or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < bindparam("used_at")),
    )
    .values(last_used_at=bindparam("used_at"))
)
_FACT = select(installation.c.content).where(installation.c.name == bindparam("name"))
_ADD_FACT = (
    insert(installation)
    .values(name=bindparam("name"), content=bindparam("content"))
    .on_conflict_do_nothing(index_elements=["name"])
)


def create(org_id: str, name: str, settings: str, now: int) -> Operation[OrganisationRow]:
    """Add an organisation. Raises Conflict for a name that is taken."""
    values = {"id": org_id, "name": name, "settings": settings, "created_at": now}
    if not (yield Do(_ADD_ORGANISATION, values)):
        raise Conflict(f"there is an organisation {name!r} already")
    return OrganisationRow(org_id, name, settings, now)


def create_with_key(organisation: OrganisationRow, key: KeyRow, sha256: str) -> Operation[None]:
    """Add an organisation and its first key: both or neither. Raises Conflict."""
    yield from create(organisation.id, organisation.name, organisation.settings, organisation.created_at)
    yield from add_key(key, sha256)


async def all_of_them(catalog: Catalog) -> list[OrganisationRow]:
    """Every organisation, by name."""
    return [OrganisationRow(*row) for row in await catalog.fetch_list(_ORGANISATIONS, {})]


async def organisation(catalog: Catalog, org_id: str) -> OrganisationRow:
    """One organisation. Raises NotFound."""
    rows = await catalog.fetch(_ORGANISATION_OF, {"org_id": org_id})
    if not rows:
        raise NotFound
    return OrganisationRow(*rows[0])


async def find_organisation(catalog: Catalog, name: str) -> OrganisationRow | None:
    """The organisation of that name."""
    rows = await catalog.fetch(_ORGANISATION_NAMED, {"name": name})
    return OrganisationRow(*rows[0]) if rows else None


def set_settings(org_id: str, settings: str) -> Operation[None]:
    """Replace an organisation's settings (JSON)."""
    yield Do(_SET_SETTINGS, {"org_id": org_id, "set_settings": settings})


def add_key(key: KeyRow, sha256: str) -> Operation[None]:
    """Add an API key by its digest. Raises Conflict for a secret that is in use or was revoked."""
    added = yield Do(
        _ADD_KEY,
        {
            "id": key.id,
            "org_id": key.org_id,
            "name": key.name,
            "prefix": key.prefix,
            "sha256": sha256,
            "scopes": ",".join(key.scopes),
            "created_at": key.created_at,
            "expires_at": key.expires_at,
        },
    )
    if not added:
        raise Conflict("there is a key with this secret already")


def revoke_key(key_id: str, now: int) -> Operation[bool]:
    """End a key's life; whether it was alive."""
    rows = yield Do(_REVOKE, {"key_id": key_id, "now": now})
    return bool(rows)


def rotate_key(before: KeyRow, until: int, after: KeyRow, sha256: str, now: int) -> Operation[None]:
    """Add a key that takes the place of one, which ends then at the latest. Raises Conflict."""
    values = {"key_id": before.id, "until": until, "new_id": after.id, "now": now}
    if not (yield Do(_REPLACE, values)):
        raise Conflict(f"the key {before.id} has ended, or another key takes its place already")
    yield from add_key(after, sha256)


def note_uses(uses: Mapping[str, int]) -> Operation[None]:
    """When each key was last used, unless a later use is known; in the order of the ids, as rows are locked."""
    yield DoMany(_USED, [{"key_id": key_id, "used_at": uses[key_id]} for key_id in sorted(uses)])


async def find_key(catalog: Catalog, sha256: str, now: int) -> KeyRow | None:
    """The living key with that digest. A wrong secret, a revoked and an expired key are all the same: none."""
    rows = await catalog.fetch(_KEY_BY_DIGEST, {"sha256": sha256, "now": now})
    return _key(rows[0]) if rows else None


async def find_key_by_id(catalog: Catalog, key_id: str, now: int) -> KeyRow | None:
    """The living key of that id."""
    rows = await catalog.fetch(_KEY_BY_ID, {"key_id": key_id, "now": now})
    return _key(rows[0]) if rows else None


async def keys(catalog: Catalog) -> list[KeyRow]:
    """Every key, revoked ones too, oldest first."""
    return [_key(row) for row in await catalog.fetch_list(_KEYS, {})]


def _key(row: Row) -> KeyRow:
    key_id, org_id, organisation_name, name, prefix, scopes, *times = row
    return KeyRow(key_id, org_id, organisation_name, name, prefix, tuple(filter(None, scopes.split(","))), *times)


def remember_fact(name: str, content: bytes) -> Operation[bytes]:
    """The installation's fact of that name; `content` becomes it when there is none."""
    yield Do(_ADD_FACT, {"name": name, "content": content})
    rows = yield Do(_FACT, {"name": name})
    return bytes(rows[0][0])
