"""Organisations and API keys: who may do what. A key is shown once; only its digest is kept."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from mediavault.catalog import organisations
from mediavault.catalog.database import Catalog
from mediavault.catalog.identifiers import new_id
from mediavault.catalog.organisations import KeyRow, OrganisationRow
from mediavault.domain.settings import OrganisationSettings
from mediavault.domain.times import SECOND, Now
from mediavault.errors import InvalidRequest, NotFound, NotPermitted

DEFAULT_ORGANISATION = "default"

_KEY_PREFIX = "mv_"
_SHOWN_PREFIX_CHARACTERS = 8
#: A revoked key may still be taken for so long by a process that saw it alive.
REVOCATION_DELAY = 1 * SECOND
_MOST_REMEMBERED = 10_000
_SENDABLE = re.compile(r"[\x21-\x7e]{16,256}")


class Scope(StrEnum):
    """What a key is good for."""

    ACCOUNT = "ACCOUNT"  #: Vault+ and account routes
    ACCESS = "ACCESS"  #: the access gateway


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from."""

    key_id: str
    org_id: str
    organisation: str
    key_name: str | None
    scopes: frozenset[str]


@dataclass(frozen=True)
class NewKey:
    """A key that was just made: the only time its secret is seen."""

    id: str
    secret: str
    organisation: str
    scopes: tuple[str, ...]


class Authorising:
    """Makes and checks keys."""

    def __init__(self, catalog: Catalog, now: Now) -> None:
        self._catalog = catalog
        self._now = now
        self._seen: dict[str, tuple[Principal, int]] = {}

    async def principal(self, secret: str | None, scope: Scope) -> Principal:
        """Who holds this key. Raises NotPermitted for a missing, unknown, revoked or under-scoped one."""
        if not secret or len(secret) > 256:
            raise NotPermitted
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
        now = self._now()
        principal, seen_at = self._seen.get(digest, (None, 0))
        # A clock that was put back must not keep a key alive: neither may its age be negative.
        if principal is None or not 0 <= now - seen_at < REVOCATION_DELAY:
            principal = await self._looked_up(digest, now)
        if scope not in principal.scopes:
            raise NotPermitted
        return principal

    async def _looked_up(self, digest: str, asked_at: int) -> Principal:
        key = await organisations.find_key(self._catalog, digest)
        if key is None:
            self._seen.pop(digest, None)
            raise NotPermitted
        principal = Principal(key.id, key.org_id, key.organisation, key.name, frozenset(key.scopes))
        if len(self._seen) >= _MOST_REMEMBERED:
            self._seen.clear()
        self._seen[digest] = (principal, asked_at)  # not when the answer came: it may be older than that
        return principal

    async def create_organisation(self, name: str) -> OrganisationRow:
        """Add an organisation with default settings. Raises InvalidRequest, Conflict."""
        if not 1 <= len(name) <= 100 or not name.isprintable() or name != name.strip():
            raise InvalidRequest("an organisation's name is 1 to 100 printable characters")
        now = self._now()
        return await self._catalog.run(organisations.create, new_id(now), name, _default_settings(), now)

    async def organisations(self) -> list[OrganisationRow]:
        """Every organisation."""
        return await organisations.all_of_them(self._catalog)

    async def create_key(
        self, organisation: str, scopes: Sequence[str], *, name: str | None = None, secret: str | None = None
    ) -> NewKey:
        """Add a key; `secret` is made unless given. Raises NotFound, InvalidRequest."""
        wanted = _checked_scopes(scopes)
        owner = await organisations.find_organisation(self._catalog, organisation)
        if owner is None:
            raise NotFound(f"there is no organisation {organisation!r}")
        made, row = self._new_key(owner, wanted, name, secret)
        await self._catalog.run(organisations.add_key, row, _digest(made.secret))
        return made

    def _new_key(
        self, owner: OrganisationRow, scopes: tuple[str, ...], name: str | None, secret: str | None
    ) -> tuple[NewKey, KeyRow]:
        """A key and its row, not yet kept. Raises InvalidRequest."""
        if name is not None and not (len(name) <= 100 and name.isprintable()):
            raise InvalidRequest("a key's name is at most 100 printable characters")
        if secret is not None and not _SENDABLE.fullmatch(secret):
            raise InvalidRequest("a key is 16 to 256 visible ASCII characters: it is sent in a header")
        secret = secret or _KEY_PREFIX + secrets.token_urlsafe(32)
        now = self._now()
        shown = secret[:_SHOWN_PREFIX_CHARACTERS] if len(secret) >= 4 * _SHOWN_PREFIX_CHARACTERS else secret[:2]
        row = KeyRow(new_id(now), owner.id, owner.name, name, shown, scopes, now, None)
        return NewKey(row.id, secret, owner.name, scopes), row

    async def keys(self) -> list[KeyRow]:
        """Every key, without secrets."""
        return await organisations.keys(self._catalog)

    async def revoke_key(self, key_id: str) -> None:
        """End a key's life. Raises NotFound."""
        if not await self._catalog.run(organisations.revoke_key, key_id, self._now()):
            raise NotFound(f"there is no living key {key_id!r}")
        self._seen.clear()

    async def bootstrap(self, given_key: str | None) -> NewKey | None:
        """At the first start, make the default organisation and its first key with all scopes; else nothing.

        In one transaction: a crash must not leave a vault that nobody has a key for. Raises Conflict when another
        process was first.
        """
        if await organisations.all_of_them(self._catalog):
            return None
        now = self._now()
        first = OrganisationRow(new_id(now), DEFAULT_ORGANISATION, _default_settings(), now)
        made, row = self._new_key(first, tuple(Scope), "first key", given_key)
        await self._catalog.run(organisations.create_with_key, first, row, _digest(made.secret))
        return made


def _default_settings() -> str:
    return msgspec.json.encode(OrganisationSettings()).decode()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _checked_scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    unknown = sorted(set(scopes) - set(Scope))
    if unknown or not scopes:
        raise InvalidRequest(f"scopes are {', '.join(Scope)}; not {', '.join(unknown) or 'none'}")
    return tuple(scope.value for scope in Scope if scope in scopes)
