"""The master keys of a vault: whether they are the right ones, their rotation, and the end of one.

A rotation puts a new key before the others, which seals and signs from then on, and seals every stored secret again
with it, a page at a time. Each ciphertext says which key it needs, so a rotation that was cut short goes on by being
begun again. A key that does no longer seal goes when no ciphertext needs it and the URLs it signed have expired; until
then the catalog names it, and no process starts without it.
"""

import asyncio
import secrets
from collections.abc import Callable

import msgspec

from mediavault.catalog import organisations, sealed
from mediavault.catalog.database import Catalog
from mediavault.catalog.sealed import MASTER_KEY_CHECK, SealedRow
from mediavault.domain.times import DAY, HOUR, Now, iso8601
from mediavault.errors import Conflict, InvalidRequest, WrongMasterKey
from mediavault.vault.sealed_places import SEALED, SealedPlaces, fact_place
from mediavault.vault.sealing import MASTER_KEY_BYTES, MasterKey, Sealer

KeepKeys = Callable[[tuple[bytes, ...], tuple[bytes, ...]], None]

#: A signed URL lives no longer: the longest `presignedUrlTtlSeconds`, rounded up by a quarter of it.
LONGEST_URL_LIFE = 7 * DAY * 5 // 4 + HOUR
_PAGE = 200
_PAGES_AT_ONCE = 20
_IN_USE = "master_key:"  #: the fact of a key that ciphertexts may need: sealed with it, so that it can be checked
_LEFT = "master_key_left:"  #: since when it seals and signs nothing more


class KeyView(msgspec.Struct, frozen=True, rename="camel"):
    """What may be shown of a master key."""

    id: str
    current: bool
    needed: bool  #: a stored secret was sealed with it
    left_at: int | None  #: since when it seals nothing more (Unix ms), as far as a rotation noted it


class Progress(msgspec.Struct, frozen=True, rename="camel"):
    """How far a walk over all secrets came."""

    resealed: int
    unopened: list[str]  #: what opens with no key in its place, which stays as it is: `table.column id`
    cursor: str | None  #: where to go on; None at the end


async def check_master_key(catalog: Catalog, sealer: Sealer) -> None:
    """Raise WrongMasterKey unless every key this vault's secrets need was given; a new vault takes its own."""
    await _note_use(catalog, sealer, MASTER_KEY_CHECK)  # the first of processes that start at once decides
    facts = await sealed.facts(catalog)
    for name, content in facts.items():
        if not name.startswith(_LEFT):
            _check(sealer, name, content)
    await _note_use(catalog, sealer, _IN_USE + sealer.current.id)  # only now: a key that is refused leaves no trace
    if _LEFT + sealer.current.id in facts:  # it is back
        await catalog.run(sealed.forget_facts, [_LEFT + sealer.current.id])


async def _note_use(catalog: Catalog, sealer: Sealer, name: str) -> None:
    given = sealer.seal(b"mediavault", fact_place(name))
    _check(sealer, name, await catalog.run(organisations.remember_fact, name, given))


def _check(sealer: Sealer, name: str, content: bytes) -> None:
    try:
        sealer.open(content, fact_place(name))
    except WrongMasterKey:
        if name == MASTER_KEY_CHECK:
            raise WrongMasterKey from None
        raise WrongMasterKey(
            f"this vault may still need the master key {name.removeprefix(_IN_USE)}: give it too, behind the current "
            "one (MEDIAVAULT_PREVIOUS_MASTER_KEYS, or a further line of master.key), until `mediavault master-key "
            "rotate` and `retire` have ended its use"
        ) from None


async def needed_keys(catalog: Catalog) -> list[str]:
    """The ids of the master keys that the secrets in a catalog may need."""
    return sorted(name.removeprefix(_IN_USE) for name in await sealed.facts(catalog) if name.startswith(_IN_USE))


class Rekeying:
    """Rotates master keys. `keep` makes a ring durable in place of another; None where keys come from outside."""

    def __init__(
        self, catalog: Catalog, sealer: Sealer, ring: tuple[bytes, ...], keep: KeepKeys | None, now: Now
    ) -> None:
        self._catalog = catalog
        self._sealer = sealer
        self._ring = ring
        self._keep = keep
        self._now = now
        self._changing = asyncio.Lock()  # of two changes at once, one would forget the other's key

    async def keys(self) -> list[KeyView]:
        """The ring, the current key first."""
        facts = await sealed.facts(self._catalog)
        return [await self._view(key, facts) for key in self._sealer.keys]

    async def _view(self, key: MasterKey, facts: dict[str, bytes]) -> KeyView:
        left = facts.get(_LEFT + key.id)
        is_current = key is self._sealer.current
        needed = is_current or await self._is_needed(key)
        return KeyView(key.id, is_current, needed, None if left is None else int(left))

    async def _is_needed(self, key: MasterKey) -> bool:
        for places in SEALED:
            if await sealed.is_any_sealed_so(self._catalog, places.column, key.prefix):
                return True
        return False

    async def rotate(self) -> list[KeyView]:
        """Seal with a new key from now on; where some secret is not sealed with the current one yet, that is the one.

        Raises Conflict where keys are given from outside and there is none to rotate to.
        """
        async with self._changing:
            return await self._rotate()

    async def _rotate(self) -> list[KeyView]:
        if not await self._is_all_current():
            return await self.keys()
        if self._keep is None:
            if len(self._sealer.keys) == 1:
                raise Conflict(
                    "the master key is given from outside: put a new one (mediavault master-key generate) before it, "
                    "the old one into MEDIAVAULT_PREVIOUS_MASTER_KEYS, restart, and rotate again"
                )
            await self._note_end_of_use()
            return await self.keys()
        ring = (self._new_key(), *self._ring)
        self._keep(self._ring, ring)  # before anything is sealed with it
        await _note_use(self._catalog, Sealer(*ring), _IN_USE + MasterKey(ring[0]).id)
        self._use(ring)
        return await self.keys()

    def _new_key(self) -> bytes:
        taken = {key.url_key_id for key in self._sealer.keys}
        while True:
            made = secrets.token_bytes(MASTER_KEY_BYTES)
            if MasterKey(made).url_key_id not in taken:
                Sealer(made, *self._ring)  # refuses a ring that has grown too long
                return made

    def _use(self, ring: tuple[bytes, ...]) -> None:
        self._sealer.use(*ring)
        self._ring = ring

    async def _is_all_current(self) -> bool:
        prefix = self._sealer.current.prefix
        for places in SEALED:
            if await sealed.sealed_otherwise(self._catalog, places.column, prefix, "", 1):
                return False
        return True

    async def reseal(self, cursor: str | None) -> Progress:
        """Seal some pages of secrets again with the current key. Raises InvalidRequest."""
        position, after = _position(cursor)
        resealed, unopened = 0, []
        for _ in range(_PAGES_AT_ONCE):
            places, prefix = SEALED[position], self._sealer.current.prefix
            rows = await sealed.sealed_otherwise(self._catalog, places.column, prefix, after, _PAGE)
            anew = [(row, new) for row in rows if (new := self._anew(places, row)) is not None]
            if anew:
                await self._catalog.run(sealed.replace, places.column, anew)
            done = {row.id for row, _ in anew}
            resealed += len(done)
            unopened += [f"{places} {row.id}" for row in rows if row.id not in done]
            position, after = (position, rows[-1].id) if len(rows) == _PAGE else (position + 1, "")
            if position == len(SEALED):
                await self._note_end_of_use()
                return Progress(resealed, unopened, None)
        return Progress(resealed, unopened, f"{position}:{after}")

    def _anew(self, places: SealedPlaces, row: SealedRow) -> bytes | None:
        """The row's secret under the current key; None for what does not open where it lies."""
        place = places.place(row)
        try:
            return self._sealer.seal(self._sealer.open(row.sealed, place), place)
        except WrongMasterKey:
            return None

    async def _note_end_of_use(self) -> None:
        left = str(self._now()).encode()
        for key in self._sealer.keys[1:]:
            await self._catalog.run(organisations.remember_fact, _LEFT + key.id, left)

    async def retire(self, *, at_once: bool) -> list[KeyView]:
        """Let the previous keys go. Raises Conflict while one of them is needed.

        `at_once` does not wait for the URLs that were signed with them: those are refused from now on.
        """
        async with self._changing:
            return await self._retire(at_once=at_once)

    async def _retire(self, *, at_once: bool) -> list[KeyView]:
        previous = [view for view in await self.keys() if not view.current]
        if not await self._is_all_current():
            raise Conflict("stored secrets still need a previous master key: run `mediavault master-key rotate`")
        for view in previous:
            if view.left_at is None:
                raise Conflict("a previous master key was not rotated away: run `mediavault master-key rotate`")
            until = view.left_at + LONGEST_URL_LIFE
            if self._now() < until and not at_once:
                raise Conflict(
                    f"URLs signed with the master key {view.id} may live until {iso8601(until)}: retire it then, "
                    "or with --now, which ends them"
                )
        names = [fact + view.id for view in previous for fact in (_IN_USE, _LEFT)]
        await self._catalog.run(sealed.forget_facts, names)
        if self._keep is not None:
            self._keep(self._ring, self._ring[:1])
            self._use(self._ring[:1])
        return previous


def _position(cursor: str | None) -> tuple[int, str]:
    """Raises InvalidRequest."""
    if cursor is None:
        return 0, ""
    number, _, after = cursor.partition(":")
    if not (number.isascii() and number.isdigit() and len(number) <= 2 and int(number) < len(SEALED)):
        raise InvalidRequest("cursor is none of this walk's")
    return int(number), after
