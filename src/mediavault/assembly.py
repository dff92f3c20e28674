"""The one place where objects meet. Read it to see what the vault is made of; nothing else constructs these."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from mediavault.api.access import Gateway
from mediavault.api.account import Account
from mediavault.api.application import Application
from mediavault.api.control import Control
from mediavault.api.documentation import Documentation
from mediavault.api.event_stream import EventStream
from mediavault.api.explain import Explain
from mediavault.api.keeping import Keeping
from mediavault.api.lists import Lists
from mediavault.api.media import Media
from mediavault.api.older import Older
from mediavault.api.settings import SettingsEndpoints
from mediavault.api.webhooks import Webhooks
from mediavault.blobs.disk import DiskBlobs
from mediavault.catalog import leases
from mediavault.catalog.database import Catalog, open_catalog, sqlite_path
from mediavault.config import Config, Role
from mediavault.data_folder import DataFolder
from mediavault.domain.signed_url import UrlSigner
from mediavault.domain.times import Now
from mediavault.edge.cache import EdgeCache
from mediavault.errors import Conflict, VaultError, WrongMasterKey
from mediavault.origin.access_api import AccessApi
from mediavault.origin.client import GuardedClient
from mediavault.origin.pacing import Pacing
from mediavault.serving.media_host import MediaHost
from mediavault.storer.deliveries import Deliveries
from mediavault.storer.store_variant import StoreVariant
from mediavault.storer.sweeps import Sweeps
from mediavault.storer.worker import Worker
from mediavault.telemetry import Events, logger
from mediavault.vault.access import Access
from mediavault.vault.at_risk import AtRisk
from mediavault.vault.authorising import Authorising, NewKey
from mediavault.vault.checking import Readiness
from mediavault.vault.connecting import Connecting
from mediavault.vault.counting import Counting
from mediavault.vault.explaining import Explaining
from mediavault.vault.filling import Filling
from mediavault.vault.following import Following
from mediavault.vault.identifying import Identifying
from mediavault.vault.list_contents import ListContents
from mediavault.vault.list_reading import ListReader
from mediavault.vault.listing import Listing
from mediavault.vault.notifying import Notifying
from mediavault.vault.observing import Observing
from mediavault.vault.pinning import Pinning
from mediavault.vault.policing import Policing
from mediavault.vault.reading import Reading
from mediavault.vault.removing import Removing
from mediavault.vault.restoring import Restoring
from mediavault.vault.sealing import Sealer, check_master_key
from mediavault.vault.simulating import Settings
from mediavault.vault.storing import Storing
from mediavault.vault.syncing import Syncing


def milliseconds() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Foundation:
    """What the command line needs too, without any server: the catalog, and who may do what."""

    folder: DataFolder
    catalog: Catalog
    sealer: Sealer
    authorising: Authorising
    #: Made just now, at the first start: the only time its secret is known.
    first_key: NewKey | None
    #: Whether the first key's secret was given, and is known to whoever gave it.
    first_key_given: bool
    #: Where a master key was made just now.
    new_master_key: str | None

    async def close(self) -> None:
        """Let go of the database, then of the folder."""
        await self.catalog.close()
        self.folder.release()


async def open_foundation(config: Config, now: Now = milliseconds, *, visiting: bool = False) -> Foundation:
    """Lock the data folder, open the catalog, check the master key. Raises ConfigError, CatalogError.

    A visitor serves nothing: it shares the folder with every process that shares its catalog.
    """
    async with AsyncExitStack() as undo:
        folder = DataFolder(config.data)
        undo.callback(folder.release)
        if visiting and sqlite_path(config.catalog.url) is None:
            folder.visit()
        else:
            folder.lock(config.role)
        master_key, made = (config.master_key, False) if config.master_key else folder.master_key()
        catalog = await open_catalog(config.catalog)
        undo.push_async_callback(catalog.close)
        sealer = Sealer(master_key)
        await _check_master_key(catalog, sealer, folder, made=made)
        authorising = Authorising(catalog, now)
        first_key = await _first_key(config, authorising)
        undo.pop_all()
    new_master_key = str(config.data / "master.key") if made else None
    given = config.bootstrap_api_key is not None
    return Foundation(folder, catalog, sealer, authorising, first_key, given, new_master_key)


async def _check_master_key(catalog: Catalog, sealer: Sealer, folder: DataFolder, *, made: bool) -> None:
    try:
        await check_master_key(catalog, sealer)
    except WrongMasterKey:
        if not made:
            raise
        folder.forget_master_key()
        raise WrongMasterKey(
            f"the master key of this vault is missing: put {folder.path / 'master.key'} back from your backup"
        ) from None


async def _first_key(config: Config, authorising: Authorising) -> NewKey | None:
    """Made by whoever has the API: the other roles may know nothing of the key that was given to it."""
    if config.role not in {Role.ALL, Role.API}:
        return None
    try:
        return await authorising.bootstrap(config.bootstrap_api_key)
    except Conflict:  # another process on this catalog is making it now
        return None


@dataclass
class Vault:
    """A vault that can be served: its applications, and its background work."""

    config: Config
    foundation: Foundation
    api: Application
    media: MediaHost
    control: Any
    counting: Counting
    filling: Filling
    syncing: Syncing
    worker: Worker
    sweeps: Sweeps
    deliveries: Deliveries
    stream: EventStream
    client: GuardedClient
    now: Now
    _counting: list[asyncio.Task[None]] = field(default_factory=list)
    _storing: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        """Begin the background work of this process's role."""
        if self.config.role in {Role.ALL, Role.MEDIA}:
            self._counting = [asyncio.create_task(self.counting.run())]
        if self.config.role in {Role.ALL, Role.STORER}:
            # This folder's storer is this process now, so what the folder's storer held is held by a dead one.
            holder = self.foundation.folder.storer_id()
            await self.foundation.catalog.run(leases.reclaim, self.now(), holder)
            self._storing = [asyncio.create_task(each.run()) for each in (self.worker, self.sweeps, self.deliveries)]

    async def drain(self) -> None:
        """No new claims, no sweeps; stores and deliveries under way may end within the drain time.

        Media are served all the while; event streams end.
        """
        self.stream.end()
        await _cancelled(self._storing)
        seconds = self.config.drain_seconds
        await asyncio.gather(self.worker.drain(seconds), self.deliveries.drain(seconds))

    async def stop(self) -> None:
        """Drain, cut the fills, flush the counts last. Nothing may be served any more."""
        await self.drain()
        await self.syncing.drain()
        await self.filling.drain()
        await _cancelled(self._counting)
        try:
            await self.counting.flush()
        except VaultError:
            logger().exception(Events.WORKER_FAILED, worker="counting")
        finally:
            await self.client.close()
            await self.foundation.close()


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _edge_folder(role: Role) -> str:
    """One process at a time may have an edge folder; roles that share the data folder have one each."""
    return "edge" if role is Role.ALL else f"edge-{role}"


async def open_vault(config: Config, foundation: Foundation, now: Now = milliseconds) -> Vault:
    """Build a vault on its foundation, which is closed when that fails; nothing runs yet.

    `config.media_base_url` must be known by now, where the role signs or serves URLs.
    """
    catalog, sealer, authorising = foundation.catalog, foundation.sealer, foundation.authorising
    try:
        blobs = DiskBlobs(config.blobs)
        edge = EdgeCache.open(config.data / _edge_folder(config.role), config.edge, now)
        holder = foundation.folder.storer_id()
        client = GuardedClient(config.client)
    except BaseException:
        await foundation.close()
        raise
    signer = UrlSigner(config.media_base_url or "", sealer.url_keys, sealer.url_key_id)
    access_api = AccessApi(client, Pacing(config.pace))
    filling = Filling(catalog, edge, client, sealer, now, config.fill)
    store = StoreVariant(catalog, blobs, edge, filling, now, config.store)
    worker = Worker(catalog, store, now, holder=holder, lease_ms=config.store.lease_ms, config=config.worker)
    storing = Storing(catalog, now, worker.wake)
    counting = Counting(catalog, storing, now)
    removing = Removing(catalog, edge, now)
    connecting = Connecting(catalog, access_api, sealer, removing, now, config.upstream_url)
    access = Access(connecting, access_api, Observing(catalog, sealer, signer, now))
    account = Account(authorising, connecting)
    reading = Reading(catalog, signer, now)
    listing = Listing(catalog, reading)
    media = Media(authorising, connecting, reading, listing, removing)
    documentation = Documentation(config.media_base_url)
    reader = ListReader(connecting, access_api, sealer, now)
    syncing = Syncing(catalog, reader, edge, worker.wake, now, config.lists)
    lists = Lists(authorising, connecting, ListContents(catalog, reading), syncing)
    older = Older(authorising, connecting, reading, listing, removing, Identifying(catalog), syncing)
    restoring = Restoring(catalog, edge, now, config.sweep.undo_window_ms)
    keeping = Keeping(authorising, connecting, restoring, Pinning(catalog, now), AtRisk(catalog, now))
    # The ids of older paths come last.
    routes = [*keeping.routes(), *account.routes(), *documentation.routes(), *lists.routes(), *older.routes()]
    settings = Settings(catalog, Policing(catalog, edge.drop, worker.wake, now), now)
    explain = Explain(authorising, connecting, Explaining(catalog, config.sweep.undo_window_ms, now))
    routes = [*SettingsEndpoints(authorising, settings).routes(), *explain.routes(), *routes]
    stream = EventStream(authorising, Following(catalog))
    webhooks = Webhooks(authorising, Notifying(catalog, sealer, now, config.client.allow)).routes()
    routes = [*webhooks, *stream.routes(), *routes]
    readiness = Readiness(catalog, blobs)
    return Vault(
        config=config,
        foundation=foundation,
        api=Application(media, Gateway(authorising, access), routes, readiness),
        media=MediaHost(catalog, blobs, edge, filling, storing, counting, client, signer, sealer, now),
        control=Control(authorising).application(),
        counting=counting,
        filling=filling,
        syncing=syncing,
        worker=worker,
        sweeps=Sweeps(catalog, blobs, edge, now, config.sweep),
        deliveries=Deliveries(catalog, client, sealer, now, config.deliveries),
        stream=stream,
        client=client,
        now=now,
    )
