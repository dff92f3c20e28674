"""A vault that stands still: nothing runs in it but what a test lets run, and it can be killed between any two steps.

Its doors are real, and so are its catalog, its disk and its upstream; its clock is the test's, and its random ids are
drawn from a seed. `crash` takes the image that kill -9 leaves on the disk, buries the old process apart from it, and
starts another on the image.
"""

import asyncio
import contextlib
import random
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import structlog
from starlette.types import Receive, Scope, Send

from fakes import postgres
from fakes.catalog_rows import rows
from fakes.clocks import Clock
from fakes.running import serving
from fakes.vaults import RunningVault, test_config
from fakes.viewing import Viewing
from mediavault.assembly import Vault, open_foundation, open_vault
from mediavault.catalog import identifiers, leases
from mediavault.cli.servers import Running, bind, url_of
from mediavault.cli.serving import _run_servers
from mediavault.config import Config
from mediavault.domain.times import DAY, MINUTE
from mediavault.edge.cache import EdgeConfig
from mediavault.origin.pacing import PaceConfig
from mediavault.platform.application import application
from mediavault.platform.faults import ArmedFault, Fault
from mediavault.platform.sandbox import Sandbox
from mediavault.storer.store_variant import StoreConfig
from mediavault.storer.sweeps import SweepConfig
from mediavault.storer.worker import WorkerConfig
from mediavault.vault.fills.config import FillConfig
from mediavault.vault.fills.fill import Fill
from mediavault.vault.fills.reminting import RemintConfig

FOREVER = 10**6  #: seconds that no story lasts
LEASE_MS = MINUTE
UNDO_MS = DAY
PATIENCE_SECONDS = 60
#: A moment of the past, so that what the disk says of its files is always later.
BEGIN = 1_750_000_000_000
_MEDIA_URL = "http://media.test"
#: What is on its way to a viewer has come by then.
_ON_ITS_WAY_SECONDS = 0.03


def configured(data: Path, platform_url: str, database_url: str | None) -> Config:
    """Nothing happens by the wall clock, and objects of some hundred KB are large."""
    config = test_config(
        data,
        platform_url,
        database_url=database_url,
        media_base_url=_MEDIA_URL,
        drain_seconds=0.01,
        edge=EdgeConfig(capacity_bytes=64 << 20, free_floor_bytes=0),
        store=StoreConfig(lease_ms=LEASE_MS, renew_every_seconds=FOREVER, first_delay_ms=5_000, free_floor_bytes=0),
        worker=WorkerConfig(stores_at_once=1, look_every_seconds=FOREVER),
        sweep=SweepConfig(every_seconds=FOREVER, undo_window_ms=UNDO_MS),
        pace=PaceConfig(calls_per_second=0),
        remint=RemintConfig(replay_again_ms=0, walk_again_ms=0),
        fill=FillConfig(
            fresh_ms=2 * DAY,
            stale_if_error_ms=DAY,
            patience_seconds=FOREVER,
            opening_bytes=8 << 10,
            small_object_bytes=50 << 10,
            rest_seconds=FOREVER,
            grace_seconds=FOREVER,
            most_resumes=2,
            resume_delay_seconds=0.001,
        ),
    )
    return replace(config, client=replace(config.client, read_timeout_seconds=FOREVER))


class _Door:
    """The platform's port: whoever's sandbox it leads to may change."""

    def __init__(self) -> None:
        self.application: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.application(scope, receive, send)


@dataclass
class Ground:
    """What all stories of a test share: a vault's folder and database as its first start left them, and a platform."""

    folder: Path
    server: str | None  #: the PostgreSQL server; None for SQLite
    platform_url: str
    door: _Door
    http: aiohttp.ClientSession
    first_database: str | None = None
    stories: int = 0

    @property
    def first_folder(self) -> Path:
        return self.folder / "first"

    async def database(self, like: str | None = None) -> str | None:
        """A new database that is a copy of that one, of the first one unless told; None on SQLite."""
        if self.server is None:
            return None
        template = urlsplit(like or self.first_database or "").path.removeprefix("/") or "template0"
        return await postgres.create_database(self.server, template=template)

    async def drop(self, database: str | None) -> None:
        """Drop a database."""
        if self.server and database:
            await postgres.drop_database(self.server, database)


@contextlib.asynccontextmanager
async def prepared(folder: Path, server: str | None) -> AsyncIterator[Ground]:
    """The ground of one test on one engine."""
    door = _Door()
    async with serving(door) as platform_url, aiohttp.ClientSession() as http:
        ground = Ground(folder, server, platform_url, door, http)
        database = await ground.database()
        foundation = await open_foundation(configured(ground.first_folder, platform_url, database), Clock(BEGIN))
        await foundation.close()
        ground.first_database = database
        try:
            yield ground
        finally:
            await ground.drop(database)


class _Seeded:
    """Randomness for ids that is the same in every run of a story."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.randbits, self.choice = chance.getrandbits, chance.choice


@dataclass
class _Doors:
    """Where a vault of this process is reached."""

    vault: Vault
    api_url: str


@dataclass
class Stage:
    """The vault of one story."""

    ground: Ground
    sandbox: Sandbox
    clock: Clock
    data: Path
    database: str | None
    viewings: list[Viewing] = field(default_factory=list)  #: under way
    stalls: list[ArmedFault] = field(default_factory=list)
    lives: int = 0
    storing: "asyncio.Task[None] | None" = None
    running: Running | None = None
    caller: RunningVault = field(init=False)
    media_url: str = ""

    @property
    def vault(self) -> Vault:
        return self.caller.vault  # type: ignore[no-any-return]

    async def start(self) -> None:
        """A process starts, as `serve` does; its background work is left to the test."""
        config = configured(self.data, self.ground.platform_url, self.database)
        listeners = {name: bind("127.0.0.1", 0) for name in ("api", "media")}
        vault = await open_vault(config, await open_foundation(config, self.clock), self.clock)
        await vault.foundation.catalog.run(leases.reclaim, self.clock(), vault.foundation.folder.storer_id())
        self.running = _run_servers(vault, listeners)
        await self.running.started()
        self.media_url = url_of(listeners["media"])
        doors: Any = _Doors(vault, url_of(listeners["api"]))
        self.caller = RunningVault(doors, self.sandbox, self.ground.platform_url, self.ground.http)
        self.lives += 1

    async def stop(self) -> None:
        """The process stops as it should, or what is left of a killed one is put away."""
        await self.end_storing()
        if self.running is not None:
            running, self.running = self.running, None
            await asyncio.gather(running.stop(), self.vault.drain())
            await self.vault.stop()
        await self.finish_viewings()

    async def restart(self) -> None:
        """Stop as one should, and start again."""
        await self.stop()
        await self.start()

    async def crash(self) -> None:
        """kill -9, and another start on what is on the disk."""
        buried, image = self.data, self.data.with_name(f"{self.data.name}-{self.lives}")
        database = self.database
        if database is not None:
            await _shut(self.ground.server or "", database)
            self.database = await self.ground.database(like=database)
        _copy_image(buried, image)
        self.data = image
        await self.stop()
        shutil.rmtree(buried)
        await self.ground.drop(database)
        await self.start()

    async def close(self) -> None:
        """The story is over."""
        self.release()
        await self.stop()
        await self.ground.drop(self.database)
        shutil.rmtree(self.data)

    # -- what is let run --

    async def store(self) -> None:
        """Let the storer run until it has nothing to do, or its origin keeps it waiting."""
        if self.storing is None:
            self.storing = asyncio.create_task(self.vault.worker.run())
        await self.settle()
        if not self.is_storing:
            await self.end_storing()

    @property
    def is_storing(self) -> bool:
        """Whether a store is under way, which the origin keeps waiting."""
        return bool(self.vault.worker._stores)

    async def end_storing(self) -> None:
        """No new claims; a store that runs goes on."""
        storing, self.storing = self.storing, None
        if storing is not None:
            storing.cancel()
            await asyncio.gather(storing, return_exceptions=True)

    async def view(self, variant_id: str, method: str, headers: Mapping[str, str]) -> Viewing:
        """A viewer's request, to its end or until the origin keeps it waiting."""
        token = self.vault.media.signer.sign_variant(variant_id, ttl_seconds=3600, now=self.clock())
        viewing = Viewing(self.ground.http, method, self.media_url + urlsplit(token).path, dict(headers))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await viewing.ended_within(0.002):
                fill = self.vault.filling.running(variant_id)
                stalled = fill is not None and self.is_stalled(fill) and viewing.is_waiting
                if stalled and not await viewing.ended_within(_ON_ITS_WAY_SECONDS):
                    self.viewings.append(viewing)
                    return viewing
        await self.settle()
        return viewing

    def stall(self, fault: Fault) -> None:
        """The next answer that matches stops in its middle until `release`."""
        self.stalls.append(self.sandbox.faults.add(fault))

    def release(self) -> None:
        """What is stalled goes on, and every other fault ends."""
        self.stalls.clear()
        self.sandbox.faults.clear()

    async def finish_viewings(self) -> None:
        """Wait for the viewers that were kept waiting."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            for viewing in self.viewings:
                await viewing.ended()

    # -- quiet --

    async def settle(self) -> None:
        """Until nothing moves but what the test keeps waiting."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await self._is_quiet():  # noqa: ASYNC110  # much must come to rest, and nothing tells of all
                await asyncio.sleep(0.002)

    def is_stalled(self, fill: Fill) -> bool:
        """Whether all that the fill waits for is kept back by the origin, and what came before it is here."""
        stops = set(self._stops())
        return bool(fill.streams) and all(stream.position in stops for stream in fill.streams)

    def _stops(self) -> Iterator[int]:
        """Up to which byte of its object each answer came that is kept back: one that was resumed begins later."""
        for stall in self.stalls:
            for record in self.sandbox.log.records(stall.fault.path) if stall.hits and not stall.cleared else ():
                if stall.fault.stall_at is not None and record.bytes_sent == stall.fault.stall_at:
                    yield (_first_byte(record.range) if record.status == 206 else 0) + record.bytes_sent

    async def _is_quiet(self) -> bool:
        filling = self.vault.filling
        fills = list(filling._running.values())
        if len(filling._leaders) != len(fills) or self.vault.media.revalidating._running:
            return False
        if not all(self.is_stalled(fill) or _is_left_alone(fill) for fill in fills):
            return False
        return self.storing is None or await self._storer_rests(fills)

    async def _storer_rests(self, fills: list[Fill]) -> bool:
        if self.vault.worker._stores:
            return any(fill.awaited and self.is_stalled(fill) for fill in fills)
        if self.vault.worker._work.is_set():
            return False
        variants = await rows(self.vault.foundation.catalog, "variants")
        due = [each for each in variants if each["status"] == "pending" and each["run_at"] <= self.clock()]
        return not due and all(each["status"] != "storing" for each in variants)


def _first_byte(asked: str | None) -> int:
    """Of a Range that names it, as a fill's does."""
    return int((asked or "bytes=0-").removeprefix("bytes=").partition("-")[0])


def _is_left_alone(fill: Fill) -> bool:
    """Whether it only keeps parts for readers who may come."""
    return not fill.streams and fill.is_idle


async def _shut(server: str, database: str) -> None:
    """Nobody writes to a database any more; it can be copied as it is."""
    name = urlsplit(database).path.removeprefix("/")
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        left = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1"
        while await connection.fetchval(left, name):  # noqa: ASYNC110  # the server tells it in a view only
            await asyncio.sleep(0.002)
    finally:
        await connection.close()


def _copy_image(source: Path, target: Path) -> None:
    """What a killed process leaves: its files as they are, without its sockets and its shared memory."""

    def transient(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if name.endswith("-shm") or (Path(folder) / name).is_socket()]

    shutil.copytree(source, target, ignore=transient)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing is logged: what goes wrong in a story goes wrong on purpose, and a buried process complains for long."""
    before = structlog.get_config()
    structlog.configure(processors=[_say_nothing])
    try:
        yield
    finally:
        structlog.configure(**before)


def _say_nothing(*_: Any) -> Any:
    raise structlog.DropEvent


@contextlib.contextmanager
def seeded_ids(seed: int) -> Iterator[None]:
    """Ids that order what has the same time are the same in every run: which of two is claimed or evicted first."""
    place = vars(identifiers)
    real, place["secrets"] = place["secrets"], _Seeded(seed)
    try:
        yield
    finally:
        place["secrets"] = real


async def new_stage(ground: Ground) -> Stage:
    """A vault after its first start, serving."""
    ground.stories += 1
    clock = Clock(BEGIN)
    sandbox = Sandbox(now=lambda: clock.now / 1000)
    ground.door.application = application(sandbox)
    data = ground.folder / f"story-{ground.stories}"
    _copy_image(ground.first_folder, data)
    stage = Stage(ground, sandbox, clock, data, await ground.database())
    await stage.start()
    return stage
