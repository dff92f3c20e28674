"""Adding and syncing a creator's upstream lists: read whole, decided as a whole, one at a time for each list."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from mediavault.catalog import list_changes, list_state
from mediavault.catalog.connections import ConnectionRow
from mediavault.catalog.database import Catalog
from mediavault.catalog.list_changes import Done, Naming, Part, Prepared
from mediavault.catalog.list_state import Listed, ListOf
from mediavault.domain.list_sync import Brake, Plan
from mediavault.domain.times import Now
from mediavault.edge.cache import EdgeCache
from mediavault.errors import CatalogUnavailable, Conflict, HeldBack, LostRace, UpstreamUnavailable, VaultError
from mediavault.telemetry import Events, logger
from mediavault.vault.list_reading import ListReader, Reading

#: How often a list is read anew when another process syncs it meanwhile.
_TRIES = 3


@dataclass(frozen=True)
class ListConfig:
    """Bounds of a sync."""

    brake: Brake = field(default_factory=Brake)
    most_media: int = 50_000  #: a list with more is refused: it is held in memory
    longest_read_seconds: float = 900  #: an upstream that drips entries would hold the list for days
    media_a_transaction: int = 500  #: a larger list is done in parts


class SyncResult(Struct, frozen=True, rename="camel"):
    """`PUT /v2/vault-plus/lists/{listId}/sync`."""

    synced: bool
    list_id: str
    seen: int
    added_items: int
    updated_items: int
    removed_items: int
    unchanged_items: int
    adopted_items: int
    not_storable_items: int


class AddResult(Struct, frozen=True, rename="camel"):
    """`PUT /v2/vault-plus/lists/{listId}/add`."""

    added: bool
    list_id: str
    seen: int
    added_items: int
    unchanged_items: int
    not_storable_items: int


class Started(Struct, frozen=True, rename="camel"):
    """An add that runs in the background."""

    queued: bool
    list_id: str
    estimated_items: int | UnsetType = UNSET


_Verb = Literal["add", "sync"]


@dataclass(frozen=True)
class _Run:
    verb: _Verb
    confirmed: bool
    task: asyncio.Task[Any]


class Syncing:
    """The adds and syncs of this process. `wake` tells its storer that there is work."""

    def __init__(
        self,
        catalog: Catalog,
        reader: ListReader,
        edge: EdgeCache,
        wake: Callable[[], None],
        now: Now,
        config: ListConfig,
    ) -> None:
        self._catalog = catalog
        self._reader = reader
        self._edge = edge
        self._wake = wake
        self._now = now
        self._config = config
        self._running: dict[tuple[str, str], _Run] = {}

    async def sync(self, connection: ConnectionRow, list_id: str, *, confirm: bool = False) -> SyncResult:
        """Make the vault follow the list; a sync that runs already is joined. A caller who leaves cancels nothing.

        Raises HeldBack, Conflict, NotFound, SessionExpired, SessionNotProvided, TooManyRequests, UpstreamError.
        """
        _check_enabled(connection)
        while True:
            run = await self._joined(connection, list_id, "sync", confirmed=confirm)
            try:
                return await _outcome(run.task)  # type: ignore[no-any-return]
            except HeldBack:
                if not confirm or run.confirmed:
                    raise

    async def add(self, connection: ConnectionRow, list_id: str) -> AddResult:
        """Cache what is new in the list and remove nothing. Joins and raises as `sync`, without HeldBack."""
        _check_enabled(connection)
        run = await self._joined(connection, list_id, "add")
        return await _outcome(run.task)  # type: ignore[no-any-return]

    async def start_add(self, connection: ConnectionRow, list_id: str) -> Started:
        """Begin an add and answer at once, with the upstream's own count. Raises as `add` for what shows at once."""
        _check_enabled(connection)
        await self._reader.check(connection, list_id)
        described = await self._reader.described(connection, list_id)
        await self._joined(connection, list_id, "add")
        estimate = described.estimated_items
        return Started(True, list_id, UNSET if estimate is None else estimate)

    async def drain(self) -> None:
        """Stop what runs: nothing is half-done, and the next sync does it."""
        tasks = [run.task for run in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _joined(self, connection: ConnectionRow, list_id: str, verb: _Verb, *, confirmed: bool = False) -> _Run:
        """The run of this verb for the list: the one there is, or a new one once the other verb is done."""
        key = (connection.id, list_id)
        while (run := self._running.get(key)) is not None and not run.task.done():
            if run.verb == verb:
                return run
            await asyncio.wait({run.task})
        if verb == "sync":
            work: Coroutine[Any, Any, Any] = self._sync(connection, list_id, confirmed=confirmed)
        else:
            work = self._add(connection, list_id)
        run = self._running[key] = _Run(verb, confirmed, asyncio.create_task(work))
        run.task.add_done_callback(lambda task: self._ended(key, task))
        return run

    def _ended(self, key: tuple[str, str], task: asyncio.Task[Any]) -> None:
        """Nobody may be waiting for it any more."""
        if self._running[key].task is task:
            del self._running[key]
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, VaultError):
            logger().error(Events.WORKER_FAILED, worker="lists", exc_info=error)

    async def _sync(self, connection: ConnectionRow, list_id: str, *, confirmed: bool) -> SyncResult:
        of = _list_of(connection, list_id)
        for _ in range(_TRIES):
            try:
                return await self._sync_once(connection, of, confirmed=confirmed)
            except LostRace:
                continue
        raise Conflict("the list is being synced by others at the same time")

    async def _sync_once(self, connection: ConnectionRow, of: ListOf, *, confirmed: bool) -> SyncResult:
        baseline_at = await self._catalog.run(list_state.baseline_at, of)
        reading = await self._read(connection, of)
        prepared = await self._prepared(of, reading.listed, baseline_at)
        if prepared.plan.removed and reading.pages > 1:
            # Entries that move from a page to one that was read already are missed: gone is what two readings miss.
            reading.listed |= (await self._read(connection, of)).listed
            prepared = await self._prepared(of, reading.listed, baseline_at)
        self._brake(of, prepared, len(reading.listed), confirmed=confirmed)
        naming = (await self._reader.described(connection, of.list_id)).naming
        part = Part(reading.listed, prepared.plan)
        done = await self._carried_out(of, part, naming, baseline_at)
        counted = list_changes.counts(part, len(done.removed_media))
        return SyncResult(
            synced=True,
            list_id=of.list_id,
            seen=counted["seen"],
            added_items=counted["addedItems"],
            updated_items=counted["updatedItems"],
            removed_items=counted["removedItems"],
            unchanged_items=counted["unchangedItems"],
            adopted_items=counted["adoptedItems"],
            not_storable_items=counted["notStorableItems"],
        )

    async def _read(self, connection: ConnectionRow, of: ListOf) -> Reading:
        try:
            async with asyncio.timeout(self._config.longest_read_seconds):
                return await self._reader.read(connection, of.list_id, self._config.most_media)
        except TimeoutError:
            raise UpstreamUnavailable("the upstream shows the list too slowly to read it whole") from None

    async def _prepared(self, of: ListOf, listed: Mapping[str, Listed], baseline_at: int | None) -> Prepared:
        return await self._catalog.run(list_changes.prepare, of, listed, baseline_at=baseline_at, now=self._now())

    def _brake(self, of: ListOf, prepared: Prepared, seen: int, *, confirmed: bool) -> None:
        removals = len(prepared.plan.removed)
        if confirmed or not self._config.brake.holds(removals, prepared.baseline):
            return
        raise HeldBack(
            f"This sync would remove {removals} of the {prepared.baseline} media of its last one."
            " If the list is meant to be so, ask again with confirm=true",
            details={
                "listId": of.list_id,
                "seen": seen,
                "baselineItems": prepared.baseline,
                "wouldRemoveItems": removals,
                "wouldAddItems": len(prepared.plan.added),
                "wouldUpdateItems": len(prepared.plan.updated),
            },
        )

    async def _carried_out(self, of: ListOf, part: Part, naming: Naming, baseline_at: int | None) -> Done:
        guard: dict[str, Any] = {"baseline_at": baseline_at, "reason": f"list {of.list_id} was synced"}
        if len(part.listed) + len(part.plan.removed) <= self._config.media_a_transaction:
            done = await self._catalog.run(list_changes.sync_whole, of, part, naming, **guard, now=self._now())
            return self._took_effect(done)
        done = await self._in_parts(of, part, guard)
        removed = len(done.removed_media)
        await self._catalog.run(
            list_changes.settle_sync, of, part, naming, removed, baseline_at=baseline_at, now=self._now()
        )
        return done

    async def _in_parts(self, of: ListOf, part: Part, guard: Mapping[str, Any]) -> Done:
        done = Done()
        for piece in _pieces(part, self._config.media_a_transaction):
            run = await self._catalog.run(list_changes.carry_out, of, piece, **guard, now=self._now())
            done = done.and_(self._took_effect(run))
        return done

    def _took_effect(self, done: Done) -> Done:
        """Old copies are dropped before the storer hears of the work: they hold what was removed or has changed."""
        for variant_id in done.removed_variants:
            self._edge.drop(variant_id)
        if done.queued:
            self._wake()
        return done

    async def _add(self, connection: ConnectionRow, list_id: str) -> AddResult:
        of = _list_of(connection, list_id)
        for _ in range(_TRIES):
            try:
                return await self._add_once(connection, of)
            except LostRace:
                continue
        raise Conflict("the list is being synced by others at the same time")

    async def _add_once(self, connection: ConnectionRow, of: ListOf) -> AddResult:
        baseline_at = await self._catalog.run(list_state.baseline_at, of)
        reading = await self._read(connection, of)
        plan = (await self._prepared(of, reading.listed, baseline_at)).plan
        known = (*plan.unchanged, *plan.adopted, *plan.updated)
        part = Part(reading.listed, Plan(added=plan.added, unchanged=known, not_storable=plan.not_storable))
        naming = (await self._reader.described(connection, of.list_id)).naming
        guard: dict[str, Any] = {"baseline_at": baseline_at, "reason": f"list {of.list_id} was added"}
        if len(part.listed) <= self._config.media_a_transaction:
            done = await self._catalog.run(list_changes.add_whole, of, part, naming, **guard, now=self._now())
            self._took_effect(done)
        else:
            await self._in_parts(of, part, guard)
            await self._catalog.run(list_changes.settle_add, of, part, naming, self._now())
        return AddResult(True, of.list_id, len(part.listed), len(plan.added), len(known), len(plan.not_storable))


def _list_of(connection: ConnectionRow, list_id: str) -> ListOf:
    return ListOf(connection.org_id, connection.id, list_id)


def _check_enabled(connection: ConnectionRow) -> None:
    if not connection.vault_plus_enabled:
        raise Conflict("Vault+ is off for this connection: turn it on in the connection's settings")


def _pieces(part: Part, size: int) -> list[Part]:
    """The same in parts of at most so many media; what is to be removed comes last."""
    shown, gone, pieces = list(part.listed.items()), part.plan.removed, []
    for start in range(0, len(shown), size):
        pieces.append(Part(dict(shown[start : start + size]), replace(part.plan, removed=())))
    for start in range(0, len(gone), size):
        pieces.append(Part({}, Plan(removed=gone[start : start + size])))
    return pieces


async def _outcome(task: asyncio.Task[Any]) -> Any:
    """What a run ends with. It goes on when whoever waits is cancelled."""
    await asyncio.wait({task})
    if task.cancelled():
        raise CatalogUnavailable("the vault is stopping")
    return task.result()
