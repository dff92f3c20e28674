"""The one place where objects meet. Read it to see what the vault is made of; nothing else constructs these."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mediavault.api.access import Gateway
from mediavault.api.account import Account
from mediavault.api.application import Application
from mediavault.api.control import Control
from mediavault.api.documentation import Documentation
from mediavault.api.event_stream import EventStream
from mediavault.api.explain import Explain
from mediavault.api.keeping import Keeping
from mediavault.api.limits import Limits
from mediavault.api.lists import Lists
from mediavault.api.media import Media
from mediavault.api.older import Older
from mediavault.api.settings import SettingsEndpoints
from mediavault.api.webhooks import Webhooks
from mediavault.blobs.places import check_storage, open_storage, places_of, presigned_url
from mediavault.blobs.store import BlobStore
from mediavault.catalog import leases
from mediavault.config import Config, Role
from mediavault.domain.signed_url import UrlSigner
from mediavault.domain.times import Now
from mediavault.edge.cache import EdgeCache
from mediavault.errors import VaultError
from mediavault.foundation import Foundation, milliseconds, open_foundation
from mediavault.origin.access_api import AccessApi
from mediavault.origin.client import GuardedClient
from mediavault.origin.pacing import Pacing
from mediavault.serving.media_host import MediaHost
from mediavault.serving.repeating import Repeating
from mediavault.storer.deliveries import Deliveries
from mediavault.storer.derive import Derive, Lacking
from mediavault.storer.scrub import Scrub
from mediavault.storer.store_variant import StoreVariant
from mediavault.storer.sweeps import Sweeps
from mediavault.storer.worker import Worker
from mediavault.telemetry import Events, logger
from mediavault.thumbnails.making import ThumbnailMaker
from mediavault.vault.access import Access
from mediavault.vault.at_risk import AtRisk
from mediavault.vault.checking import Readiness
from mediavault.vault.connecting import Connecting
from mediavault.vault.counting import Counting
from mediavault.vault.explaining import Explaining
from mediavault.vault.fills.cooling import CoolDowns
from mediavault.vault.fills.filling import Filling
from mediavault.vault.fills.relaying import Relaying
from mediavault.vault.fills.reminting import Reminting
from mediavault.vault.fills.revalidating import Revalidating
from mediavault.vault.fills.turns import Turns
from mediavault.vault.following import Following
from mediavault.vault.identifying import Identifying
from mediavault.vault.integrity.damaging import Damaging
from mediavault.vault.integrity.moving import Moving
from mediavault.vault.list_contents import ListContents
from mediavault.vault.list_reading import ListReader
from mediavault.vault.listing import Listing
from mediavault.vault.notifying import Notifying
from mediavault.vault.observing import Observing
from mediavault.vault.pinning import Pinning
from mediavault.vault.policing import Policing
from mediavault.vault.portable.backing_up import Holding
from mediavault.vault.portable.importing import ImportConfig, Importing
from mediavault.vault.reading import Reading
from mediavault.vault.removing import Removing
from mediavault.vault.restoring import Restoring
from mediavault.vault.sealing import Sealer
from mediavault.vault.simulating import Settings
from mediavault.vault.storing import Storing
from mediavault.vault.syncing import Syncing
from mediavault.vault.tending import Tending

__all__ = ["Foundation", "Vault", "milliseconds", "open_foundation", "open_vault"]


@dataclass
class Vault:
    """A vault that can be served: its applications, and its background work."""

    config: Config
    foundation: Foundation
    api: Application
    media: MediaHost
    control: Any
    moving: Moving
    counting: Counting
    filling: Filling
    tending: Tending
    syncing: Syncing
    worker: Worker
    sweeps: Sweeps
    lacking: Lacking
    scrub: Scrub
    deliveries: Deliveries
    stream: EventStream
    client: GuardedClient
    now: Now
    _counting: list[asyncio.Task[None]] = field(default_factory=list)
    _storing: list[asyncio.Task[None]] = field(default_factory=list)
    _tending: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        """Begin the background work of this process's role."""
        uses = self.foundation.authorising.uses
        self._tending = [asyncio.create_task(self.tending.run()), asyncio.create_task(uses.run())]
        if self.config.role in {Role.ALL, Role.MEDIA}:
            self._counting = [asyncio.create_task(self.counting.run())]
        if self.config.role in {Role.ALL, Role.STORER}:
            # This folder's storer is this process now, so what the folder's storer held is held by a dead one.
            holder = self.foundation.folder.storer_id()
            await self.foundation.catalog.run(leases.reclaim, self.now(), holder)
            self._storing = [asyncio.create_task(each.run()) for each in self._background()]

    def _background(self) -> tuple[Worker, Sweeps, Lacking, Scrub, Deliveries]:
        return self.worker, self.sweeps, self.lacking, self.scrub, self.deliveries

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
        await self.media.revalidating.drain()
        self.media.repeating.clear()
        await self.filling.drain()
        await _cancelled(self._tending)
        await self.tending.remember()
        await _cancelled(self._counting)
        try:
            await self.counting.flush()
            await self.foundation.authorising.uses.flush()
        except VaultError:
            logger().exception(Events.WORKER_FAILED, worker="counting")
        finally:
            await self.client.close()
            await self.foundation.close()


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _open_storage(
    config: Config, foundation: Foundation, now: Now
) -> tuple[BlobStore, EdgeCache, GuardedClient, str]:
    """What may refuse to open; the foundation is closed then."""
    # One process at a time may have an edge folder; roles that share the data folder have one each.
    edge_folder = "edge" if config.role is Role.ALL else f"edge-{config.role}"
    try:
        blobs = open_storage(config.blobs, config.storage)
        await check_storage(blobs)
        edge = EdgeCache.open(config.data / edge_folder, config.edge, now)
        holder = foundation.folder.storer_id()
        return blobs, edge, GuardedClient(config.client), holder  # the client last: it would have to be closed
    except BaseException:
        await foundation.close()
        raise


def import_config(config: Config) -> ImportConfig:
    """An import is a store: it leaves as much room, and holds its leases as long."""
    return ImportConfig(lease_ms=config.store.lease_ms, free_floor_bytes=config.store.free_floor_bytes)


@dataclass(frozen=True)
class _Verbs:
    """What the API does."""

    access: Access
    connecting: Connecting
    reading: Reading
    removing: Removing
    restoring: Restoring
    syncing: Syncing
    settings: Settings
    explaining: Explaining


def _api(
    config: Config, foundation: Foundation, verbs: _Verbs, stream: EventStream, readiness: Readiness, now: Now
) -> Application:
    catalog, authorising, connecting = foundation.catalog, foundation.authorising, verbs.connecting
    reading, syncing = verbs.reading, verbs.syncing
    listing = Listing(catalog, reading)
    # In the order in which they are tried: the ids of older paths come last.
    endpoints: tuple[Any, ...] = (
        Webhooks(authorising, Notifying(catalog, foundation.sealer, now, config.client.allow)),
        stream,
        SettingsEndpoints(authorising, verbs.settings),
        Explain(authorising, connecting, verbs.explaining),
        Keeping(authorising, connecting, verbs.restoring, Pinning(catalog, now), AtRisk(catalog, now)),
        Account(authorising, connecting),
        Documentation(config.media_base_url),
        Lists(authorising, connecting, ListContents(catalog, reading), syncing),
        Older(authorising, connecting, reading, listing, verbs.removing, Identifying(catalog), syncing),
    )
    return Application(
        Media(authorising, connecting, reading, listing, verbs.removing),
        Gateway(authorising, verbs.access),
        [route for each in endpoints for route in each.routes()],
        readiness,
        Limits(config.limits, now),
    )


def _signer(config: Config, sealer: Sealer) -> UrlSigner:
    """Signs with the sealer's keys, also after they were rotated."""
    signer = UrlSigner(config.media_base_url or "", sealer.url_keys, sealer.url_key_id)
    sealer.follow(lambda: signer.use(sealer.url_keys, sealer.url_key_id))
    return signer


def _fetching(
    config: Config, foundation: Foundation, edge: EdgeCache, client: GuardedClient, reminting: Reminting, now: Now
) -> tuple[Filling, Revalidating, Relaying]:
    """Who asks origins for media: in turn with each other, and minding what failed for any of them."""
    catalog, sealer = foundation.catalog, foundation.sealer
    turns, cool_downs = Turns(config.turns), CoolDowns(catalog, now, config.fill)
    return (
        Filling(catalog, edge, client, sealer, reminting, turns, cool_downs, now, config.fill),
        Revalidating(edge, client, turns, sealer, reminting, cool_downs, now, config.fill),
        Relaying(client, turns, sealer, reminting, cool_downs, now),
    )


async def open_vault(config: Config, foundation: Foundation, now: Now = milliseconds) -> Vault:
    """Build a vault on its foundation, which is closed when that fails; nothing runs yet.

    `config.media_base_url` must be known by now, where the role signs or serves URLs.
    """
    catalog, sealer, authorising = foundation.catalog, foundation.sealer, foundation.authorising
    blobs, edge, client, holder = await _open_storage(config, foundation, now)
    signer = _signer(config, sealer)
    access_api = AccessApi(client, Pacing(config.pace))
    removing = Removing(catalog, edge, now)
    connecting = Connecting(catalog, access_api, sealer, removing, now, config.upstream_url)
    reminting = Reminting(catalog, connecting, access_api, sealer, now, config.remint)
    filling, revalidating, relaying = _fetching(config, foundation, edge, client, reminting, now)
    derive = Derive(catalog, blobs, ThumbnailMaker(config.thumbnails), now)
    store = StoreVariant(catalog, blobs, edge, filling, derive, now, config.store)
    worker = Worker(catalog, store, now, holder=holder, lease_ms=config.store.lease_ms, config=config.worker)
    storing = Storing(catalog, now, worker.wake)
    elsewhere = partial(presigned_url, blobs) if config.storage.redirect else None
    places = places_of(blobs, config.blobs, config.storage)
    moving = Moving(catalog, blobs, places, now)
    damaging = Damaging(catalog, blobs, edge, worker.wake, now, frozenset(places))
    counting = Counting(catalog, storing, now)
    reading = Reading(catalog, signer, now)
    reader = ListReader(connecting, access_api, sealer, now)
    syncing = Syncing(catalog, reader, edge, worker.wake, now, config.lists)
    settings = Settings(catalog, Policing(catalog, edge.drop, worker.wake, now), now)
    explaining = Explaining(catalog, config.sweep.undo_window_ms, derive.maker, now)
    restoring = Restoring(catalog, edge, now, config.sweep.undo_window_ms)
    stream = EventStream(authorising, Following(catalog), config.stream)
    access = Access(connecting, access_api, Observing(catalog, sealer, signer, now))
    verbs = _Verbs(access, connecting, reading, removing, restoring, syncing, settings, explaining)
    return Vault(
        config=config,
        foundation=foundation,
        api=_api(config, foundation, verbs, stream, Readiness(catalog, blobs, damaging), now),
        media=MediaHost(
            *(catalog, blobs, edge, filling, revalidating, storing, counting, relaying, signer, now),
            damaging=damaging,
            repeating=Repeating(catalog),
            elsewhere=elsewhere,
        ),
        control=Control(
            *(authorising, damaging, moving, foundation.rekeying, Holding(catalog, now)),
            importing=Importing(catalog, blobs, edge, holder, config.upstream_url, now, import_config(config)),
        ).application(),
        moving=moving,
        counting=counting,
        filling=filling,
        tending=Tending(edge, config.tend),
        syncing=syncing,
        worker=worker,
        sweeps=Sweeps(catalog, blobs, edge, settings.policing.resume, now, config.sweep),
        lacking=Lacking(catalog, derive.deriver, worker.wake, now, config.sweep.every_seconds),
        scrub=Scrub(catalog, blobs, damaging, now, config.scrub),
        deliveries=Deliveries(catalog, client, sealer, now, config.deliveries),
        stream=stream,
        client=client,
        now=now,
    )
