"""Organisations and API keys: who may do what. A key is shown once; only its digest is kept."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

import msgspec

from mediavault.catalog import organisations
from mediavault.catalog.database import Catalog
from mediavault.catalog.identifiers import new_id
from mediavault.catalog.organisations import KeyRow, OrganisationRow
from mediavault.domain.reasons import printable
from mediavault.domain.settings import OrganisationSettings
from mediavault.domain.times import DAY, MINUTE, SECOND, Now
from mediavault.errors import InvalidRequest, NotFound, NotPermitted
from mediavault.vault.using import KeyUses

DEFAULT_ORGANISATION = "default"

_KEY_PREFIX = "mv_"
_SHOWN_PREFIX_CHARACTERS = 8
#: A revoked key may still be taken for so long by a process that saw it alive.
REVOCATION_DELAY = 1 * SECOND
SHORTEST_LIFE, LONGEST_LIFE = MINUTE, 3650 * DAY
LONGEST_OVERLAP = 30 * DAY
_MOST_REMEMBERED = 10_000
#: Organisations that are named to who asked for one that is not there.
_MOST_NAMED = 5
_NEVER = 2**63 - 1
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


_UNSEEN: tuple[Principal | None, int, int] = (None, 0, 0)


@dataclass(frozen=True)
class NewKey:
    """A key that was just made: the only time its secret is seen."""

    id: str
    secret: str
    organisation: str
    scopes: tuple[str, ...]
    expires_at: int | None = None  #: Unix ms
    replaces: str | None = None  #: the key whose place it takes
    overlap_until: int | None = None  #: how long that one still lives


class Guesses(Protocol):
    """Counts the keys that are looked up although they were never seen alive."""

    def guess(self) -> None:
        """One is about to be looked up. Raises TooManyRequests."""

    def guessed_right(self) -> None:
        """It is a key: it does not count."""


class Authorising:
    """Makes and checks keys.

    A secret is looked up by its digest: what is compared on the way tells nobody how much of a guess was right, and a
    wrong, revoked or expired key takes the same way to the same answer.
    """

    def __init__(self, catalog: Catalog, now: Now) -> None:
        self._catalog = catalog
        self._now = now
        #: By digest, with when it was asked about, and when it expires.
        self._seen: dict[bytes, tuple[Principal, int, int]] = {}
        self.uses = KeyUses(catalog)

    async def principal(self, secret: str | None, scope: Scope, guesses: Guesses | None = None) -> Principal:
        """Who holds this key. Raises NotPermitted for a missing, unknown, revoked, expired or under-scoped one.

        `guesses` may refuse to look up a key that this process has not seen alive. Raises TooManyRequests then.
        """
        if not secret or len(secret) > 256:
            raise NotPermitted
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
        now = self._now()
        principal, seen_at, expires_at = self._seen.get(digest, _UNSEEN)
        # A clock that was put back must not keep a key alive: neither may its age be negative.
        if principal is None:
            if guesses is not None:
                guesses.guess()
            principal = await self._looked_up(digest, now)
            if guesses is not None:
                guesses.guessed_right()
        elif not 0 <= now - seen_at < REVOCATION_DELAY or now >= expires_at:
            principal = await self._looked_up(digest, now)
        if scope not in principal.scopes:
            raise NotPermitted
        self.uses.last[principal.key_id] = now
        return principal

    async def _looked_up(self, digest: bytes, asked_at: int) -> Principal:
        key = await organisations.find_key(self._catalog, digest.hex(), asked_at)
        if key is None:
            self._seen.pop(digest, None)
            raise NotPermitted
        principal = Principal(key.id, key.org_id, key.organisation, key.name, frozenset(key.scopes))
        if len(self._seen) >= _MOST_REMEMBERED:
            self._seen.clear()
        expires_at = _NEVER if key.expires_at is None else key.expires_at
        self._seen[digest] = (principal, asked_at, expires_at)  # not when the answer came: it may be older than that
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
        self,
        organisation: str,
        scopes: Sequence[str],
        *,
        name: str | None = None,
        secret: str | None = None,
        life: int | None = None,
    ) -> NewKey:
        """Add a key; `secret` is made unless given, `life` in ms is for ever unless given.

        Raises NotFound, InvalidRequest.
        """
        wanted = _checked_scopes(scopes)
        owner = await organisations.find_organisation(self._catalog, organisation)
        if owner is None:
            raise NotFound(await self._no_organisation(organisation))
        made, row = self._new_key(owner.id, owner.name, wanted, name, secret, life)
        await self._catalog.run(organisations.add_key, row, _digest(made.secret))
        return made

    async def _no_organisation(self, wanted: str) -> str:
        names = [each.name for each in await organisations.all_of_them(self._catalog)]
        known = ", ".join(map(repr, names[:_MOST_NAMED])) + (", …" if len(names) > _MOST_NAMED else "")
        return (
            f"there is no organisation {printable(wanted)[:200]!r}; there is {known or 'none yet'} "
            "(`mediavault organisations list` shows all, `mediavault organisations create NAME` makes one)"
        )

    async def rotate_key(self, key_id: str, *, overlap: int, life: int | None = None) -> NewKey:
        """A key with the same organisation, scopes and name; the old one lives `overlap` ms longer at most.

        Raises NotFound, InvalidRequest, and Conflict where another key takes its place already.
        """
        if not 0 <= overlap <= LONGEST_OVERLAP:
            raise InvalidRequest(f"an overlap is at most {LONGEST_OVERLAP // DAY} days")
        now = self._now()
        before = await organisations.find_key_by_id(self._catalog, key_id, now)
        if before is None:
            raise NotFound(f"there is no living key {key_id!r}")
        until = min(now + overlap, _NEVER if before.expires_at is None else before.expires_at)
        made, row = self._new_key(before.org_id, before.organisation, before.scopes, before.name, None, life)
        await self._catalog.run(organisations.rotate_key, before, until, row, _digest(made.secret), now)
        self._seen.clear()
        return replace(made, replaces=before.id, overlap_until=until)

    def _new_key(
        self,
        org_id: str,
        organisation: str,
        scopes: tuple[str, ...],
        name: str | None,
        secret: str | None,
        life: int | None = None,
    ) -> tuple[NewKey, KeyRow]:
        """A key and its row, not yet kept. Raises InvalidRequest."""
        if name is not None and not (len(name) <= 100 and name.isprintable()):
            raise InvalidRequest("a key's name is at most 100 printable characters")
        if secret is not None and not _SENDABLE.fullmatch(secret):
            raise InvalidRequest("a key is 16 to 256 visible ASCII characters: it is sent in a header")
        if life is not None and not SHORTEST_LIFE <= life <= LONGEST_LIFE:
            raise InvalidRequest(f"a key lives a minute to {LONGEST_LIFE // DAY} days, or without an end")
        secret = secret or _KEY_PREFIX + secrets.token_urlsafe(32)
        now = self._now()
        shown = secret[:_SHOWN_PREFIX_CHARACTERS] if len(secret) >= 4 * _SHOWN_PREFIX_CHARACTERS else secret[:2]
        expires_at = None if life is None else now + life
        row = KeyRow(new_id(now), org_id, organisation, name, shown, scopes, now, None, expires_at)
        return NewKey(row.id, secret, organisation, scopes, expires_at), row

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
        made, row = self._new_key(first.id, first.name, tuple(Scope), "first key", given_key)
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
