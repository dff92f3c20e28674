"""One import of one export, from its check to its last list: what is wanted is handed over, what fails is told."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeVar

import msgspec

from mediavault.domain.exported import ExportedItem, ExportedList, ExportedMember
from mediavault.vault.portable.import_source import Export
from mediavault.vault.portable.importing import (
    BUSY,
    DIFFERENT,
    IMPORTED,
    LIMIT,
    PRESENT,
    REFUSED,
    WANTED,
    Into,
    Offer,
    Outcome,
    Wish,
)

T = TypeVar("T")

_AT_ONCE = 4
_ITEMS_AT_ONCE = 50
_MEMBERS_AT_ONCE = 100
_PAUSE_SECONDS = 2.0


class Door(Protocol):
    """The vault that takes an import: this process's own, or one behind its control socket."""

    async def begin(self, wish: Wish) -> Into:
        """The connection to import into."""
        ...

    async def offered(self, connection_id: str, offers: Sequence[Offer]) -> list[str]:
        """What is wanted of these."""
        ...

    async def store(self, connection_id: str, item: ExportedItem, label: str, body: AsyncIterator[bytes]) -> Outcome:
        """Take one variant."""
        ...

    async def add_lists(self, connection_id: str, given: Sequence[ExportedList]) -> None:
        """Take lists."""
        ...

    async def add_members(self, connection_id: str, given: Sequence[ExportedMember]) -> int:
        """Take memberships."""
        ...


@dataclass
class Took:
    """How far an import is."""

    items: int = 0
    imported: int = 0
    imported_bytes: int = 0
    present: int = 0
    looked_bytes: int = 0  #: of the files that were dealt with, however
    looked_files: int = 0
    members: int = 0
    different: list[str] = field(default_factory=list)  #: stored with other bytes, which stay: `item/quality`
    refused: dict[str, str] = field(default_factory=dict)  #: `item/quality` to why
    limit: str | None = None  #: why there was no room


class ImportRun:
    """Takes everything from an export that has been checked. `patience_seconds`: for what somebody else is storing."""

    def __init__(self, export: Export, door: Door, *, patience_seconds: float = 120) -> None:
        self._export = export
        self._door = door
        self._patience = patience_seconds
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._busy: list[tuple[ExportedItem, str]] = []
        self.took = Took()

    async def run(self, wish: Wish) -> Into:
        """All of it; or until the storage limit or the disk is full."""
        into = await self._door.begin(wish)
        for items in _batches(self._export.items(), _ITEMS_AT_ONCE):
            await self._take(into, [(item, label) for item in items for label in _with_files(item)])
            self.took.items += len(items)
            if self.took.limit is not None:
                return into
        await self._take_busy(into)
        await self._take_lists(into)
        return into

    async def look(self, connection_id: str) -> Took:
        """What an import would do; nothing is changed."""
        for items in _batches(self._export.items(), _ITEMS_AT_ONCE):
            pairs = [(item, label) for item in items for label in _with_files(item)]
            states = await self._offered(connection_id, pairs)
            for (item, label), state in zip(pairs, states, strict=True):
                self._count(item, label, Outcome(IMPORTED if state in {WANTED, BUSY} else state))
            self.took.items += len(items)
        return self.took

    async def _take(self, into: Into, pairs: Sequence[tuple[ExportedItem, str]]) -> None:
        states = await self._offered(into.connection_id, pairs)
        wanted = []
        for (item, label), state in zip(pairs, states, strict=True):
            if state == WANTED:
                wanted.append(self._store(into, item, label))
            else:
                self._count(item, label, Outcome(state))
        try:
            async with asyncio.TaskGroup() as group:
                for each in wanted:
                    group.create_task(each)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _offered(self, connection_id: str, pairs: Sequence[tuple[ExportedItem, str]]) -> list[str]:
        states: list[str] = []
        for some in _batches(iter(pairs), _MEMBERS_AT_ONCE):
            states += await self._door.offered(connection_id, [_offer(item, label) for item, label in some])
        return states

    async def _store(self, into: Into, item: ExportedItem, label: str) -> None:
        async with self._at_once:
            if self.took.limit is not None:
                return
            variant = item.variants[label]
            alone = msgspec.structs.replace(item, variants={label: variant})
            outcome = await self._door.store(into.connection_id, alone, label, self._export.read(variant.file or ""))
        self._count(item, label, outcome)

    def _count(self, item: ExportedItem, label: str, outcome: Outcome) -> None:
        took, name, size_bytes = self.took, f"{item.id}/{label}", item.variants[label].size_bytes
        match outcome.state:
            case state if state == IMPORTED:
                took.imported += 1
                took.imported_bytes += size_bytes
            case state if state == PRESENT:
                took.present += 1
            case state if state == DIFFERENT:
                took.different.append(name)
            case state if state == REFUSED:
                took.refused[name] = outcome.reason
            case state if state == LIMIT:
                took.limit = outcome.reason
                return
            case _:
                self._busy.append((item, label))
                return
        took.looked_files += 1
        took.looked_bytes += size_bytes

    async def _take_busy(self, into: Into) -> None:
        """What somebody else was storing: a storer, or an import that was killed and whose lease has to run out."""
        deadline = asyncio.get_running_loop().time() + self._patience
        while self._busy and self.took.limit is None:
            pairs, self._busy = self._busy, []
            await self._take(into, pairs)
            if self._busy and asyncio.get_running_loop().time() > deadline:
                self.took.refused |= {f"{item.id}/{label}": "somebody else is storing it" for item, label in self._busy}
                return
            if self._busy:
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _take_lists(self, into: Into) -> None:
        for lists in _batches(self._export.lists(), _MEMBERS_AT_ONCE):
            await self._door.add_lists(into.connection_id, lists)
        for members in _batches(self._export.members(), _MEMBERS_AT_ONCE):
            self.took.members += await self._door.add_members(into.connection_id, members)


def _with_files(item: ExportedItem) -> list[str]:
    return [label for label, variant in item.variants.items() if variant.file is not None]


def _offer(item: ExportedItem, label: str) -> Offer:
    variant = item.variants[label]
    return Offer(item.id, label, variant.sha256 or "", variant.size_bytes)


def _batches(given: Iterable[T], at_most: int) -> Iterator[list[T]]:
    left = iter(given)
    while batch := list(islice(left, at_most)):
        yield batch
