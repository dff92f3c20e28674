"""Stores one claimed variant: locate the bytes, make them durable, settle. Intent, then bytes, then fact.

The bytes come from the edge cache's copy, or from the fill that runs, or from a fill started for it: whoever wants them
first, the origin is asked once.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mediavault.blobs.store import BlobStore, blob_key
from mediavault.catalog import derivations, leases, limits, transitions, usage
from mediavault.catalog import variants as catalog_variants
from mediavault.catalog.blob_rows import StoredBytes
from mediavault.catalog.database import Catalog
from mediavault.catalog.leases import Claim, Failure
from mediavault.catalog.variants import Variant
from mediavault.domain.cool_down import cool_down_ms
from mediavault.domain.imported import NO_ORIGIN
from mediavault.domain.lifecycle import Event, Status
from mediavault.domain.policy import Effect, Policy
from mediavault.domain.times import HOUR, MINUTE, SECOND, Now
from mediavault.edge.cache import EdgeCache
from mediavault.edge.digests import sha256_of_file
from mediavault.errors import (
    AddressDenied,
    BlobCorrupt,
    BlobError,
    BlobUnavailable,
    CatalogError,
    DiskFull,
    LimitReached,
    LostRace,
    OriginBusy,
    OriginCoolingDown,
    OriginError,
    OriginRefused,
    OriginUnavailable,
    RoomPromised,
    ThumbnailFailed,
    ThumbnailRefused,
    VaultError,
)
from mediavault.storer.derive import Derive
from mediavault.telemetry import Events, logger
from mediavault.vault.configuring import effective_settings
from mediavault.vault.fills.cooling import cooling_down
from mediavault.vault.fills.fill import Filled
from mediavault.vault.fills.filling import Filling
from mediavault.vault.policing import against_keeping_now


@dataclass(frozen=True)
class StoreConfig:
    """How long a store may take and how often it is tried."""

    lease_ms: int = 60 * SECOND
    renew_every_seconds: float = 20
    most_attempts: int = 10  #: failures that may pass, before it is given up
    most_thumbnail_attempts: int = 3  #: of making a thumbnail whose process was killed or broke
    first_delay_ms: int = 2 * SECOND  #: doubled at every attempt
    longest_delay_ms: int = 10 * MINUTE
    no_room_delay_ms: int = 30 * SECOND  #: after a full disk, which is no fault of the variant and costs no attempt
    promised_delay_ms: int = SECOND  #: after the limit's room was promised to other stores; costs no attempt either
    given_up_cool_down_ms: int = HOUR  #: viewers do not ask the origin again for so long
    free_floor_bytes: int = 1 << 30  #: nothing is stored while the blob store has less free space


class StoreVariant:
    """Runs one store. Made once by assembly."""

    def __init__(
        self,
        catalog: Catalog,
        blobs: BlobStore,
        edge: EdgeCache,
        filling: Filling,
        derive: Derive,
        now: Now,
        config: StoreConfig,
    ) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._edge = edge
        self._filling = filling
        self._derive = derive
        self._now = now
        self._config = config

    def has_room(self) -> bool:
        """Whether there is free space above the floor: without it nothing is claimed. Raises BlobUnavailable."""
        free_bytes = self._blobs.free_bytes()
        return free_bytes is None or free_bytes >= self._config.free_floor_bytes

    async def __call__(self, claim: Claim) -> None:
        """Carry a claim to its end; the claim is settled exactly once, or its lease was lost to somebody else."""
        renewal = asyncio.create_task(self._keep_lease(claim))
        variant: Variant | None = None
        try:
            variant = await self._claimed(claim)
            await self._check_limit(variant)
            if variant.is_derived:
                stored, against = await self._derive(claim, variant.id, self.has_room)
            elif not variant.has_origin:
                raise OriginRefused(NO_ORIGIN)
            else:
                stored = await self._from_edge(claim, variant) or await self._from_fill(claim, variant)
                judged = (against_keeping_now, self._derive.deriver, self._now())
                against = await self._catalog.run(derivations.settle_fetched, claim, stored, *judged)
        except LostRace:
            # Not left to the sweep alone: it may have dropped the intent's row before these bytes were there.
            await self._blobs.delete(blob_key(claim.org_id, claim.blob_id))
        except VaultError as error:
            await self._failed(claim, variant, error)
        except asyncio.CancelledError:
            await self._give_back(claim)
            raise
        else:
            await self._settled(claim, stored, against)
        finally:
            renewal.cancel()
            with suppress(asyncio.CancelledError):
                await renewal

    async def _settled(self, claim: Claim, stored: StoredBytes, against: Effect | None) -> None:
        """Stored bytes need no copy at the edge; those that policy turned away meanwhile are nobody's."""
        if against is None:
            self._edge.drop(claim.variant_id)
            logger().info(Events.STORED, variant_id=claim.variant_id, size_bytes=stored.size_bytes)
            return
        logger().info(Events.STORE_FAILED, variant_id=claim.variant_id, reason=against.reason)
        with suppress(BlobError):  # else the sweep deletes them
            await self._blobs.delete(blob_key(claim.org_id, claim.blob_id))

    async def _keep_lease(self, claim: Claim) -> None:
        """Renew until cancelled, or until the lease is lost: then the fence turns the settlement away."""
        while True:
            await asyncio.sleep(self._config.renew_every_seconds)
            try:
                await self._catalog.run(leases.renew, claim, self._now() + self._config.lease_ms)
            except LostRace:
                return
            except VaultError:  # the database may be back before the lease runs out
                logger().exception(Events.WORKER_FAILED, worker="lease")

    async def _claimed(self, claim: Claim) -> Variant:
        variant = await catalog_variants.find_variant(self._catalog, claim.variant_id)
        if variant is None or variant.status != Status.STORING:
            raise LostRace("it was removed, or its connection is gone")
        return variant

    async def _check_limit(self, variant: Variant) -> None:
        """Do not ask the origin for what would be refused whatever its size. Raises LimitReached."""
        settings = effective_settings(variant.organisation_settings, variant.settings_overrides)
        policy = Policy(settings, bool(variant.vault_plus_enabled))
        limit = settings.storage_limit_bytes
        if limit == 0 or policy.evicts_by != "block_new":
            return
        used = await usage.find(self._catalog, variant.connection_id)
        if used.stored_bytes + used.reserved_bytes >= limit:
            raise limits.limit_reached(policy)

    async def _from_edge(self, claim: Claim, variant: Variant) -> StoredBytes | None:
        """The edge cache's copy. None where it has none, loses it meanwhile, or had other bytes than it believed.

        One that is not younger than the variant's removal is of the bytes that were removed: another process, which
        cannot drop it, may have removed them because they changed upstream.
        """
        copy = self._edge.peek(claim.variant_id)
        if copy is None:
            return None
        if variant.removed_at is not None and copy.fetched_at <= variant.removed_at:
            self._edge.drop(claim.variant_id)
            return None
        filled = Filled(copy.size_bytes, copy.sha256, copy.checksum, copy.content_type, copy.version)
        try:
            with self._edge.reading(copy) as path:
                stored = await self._adopt(claim, path, filled)
                await self._verify(claim, stored)
        except BlobError as error:
            logger().warning(Events.STORE_FAILED, variant_id=claim.variant_id, reason=f"edge copy: {error}")
            self._edge.drop(claim.variant_id)
            return None
        return stored

    async def _verify(self, claim: Claim, stored: StoredBytes) -> None:
        """The edge cache syncs nothing, so a copy from before a power failure may be whole in size only."""
        blob = await self._blobs.measure(blob_key(claim.org_id, claim.blob_id))
        if blob.sha256 != stored.sha256:
            raise BlobCorrupt(f"the edge copy of {claim.variant_id} has another digest than when it was filled")

    async def _from_fill(self, claim: Claim, variant: Variant) -> StoredBytes:
        adopted: list[StoredBytes] = []
        if claim.attempts == 0 and variant.not_before > self._now():
            # Queued anew while the origin cools down after a viewer's or an earlier storer's try.
            raise cooling_down(variant.last_error, variant.not_before, self._now())

        async def adopt(path: Path, filled: Filled) -> None:
            adopted.append(await self._adopt(claim, path, filled))

        while not adopted:
            fill = self._filling.fill(variant, background=True)
            if not await fill.adopted(adopt):
                await fill.kept()  # too late for this file: it is about to be the edge cache's copy
                from_edge = await self._from_edge(claim, variant)
                if from_edge is not None:
                    return from_edge
        return adopted[0]

    async def _adopt(self, claim: Claim, path: Path, filled: Filled) -> StoredBytes:
        if not self.has_room():
            raise DiskFull("the blob store has less free space than the floor; free some, or lower the floor")
        sha256 = filled.sha256 or await self._sha256_of(path, filled)
        evicted = await self._catalog.run(limits.reserve, claim, filled.size_bytes, effective_settings, self._now())
        for variant_id in evicted.variant_ids:
            self._edge.drop(variant_id)
        try:
            await self._blobs.adopt(blob_key(claim.org_id, claim.blob_id), path, size_bytes=filled.size_bytes)
        except VaultError:
            self._edge.drop(claim.variant_id)  # a failed fsync may have lost pages of the copy too: they share an inode
            raise
        return StoredBytes(filled.size_bytes, sha256, filled.content_type, filled.version)

    async def _sha256_of(self, path: Path, filled: Filled) -> str:
        """Of what was not hashed when it came. Raises BlobCorrupt where these are other bytes than came then."""
        try:
            return await asyncio.to_thread(sha256_of_file, path, filled.size_bytes, filled.checksum)
        except OSError as error:
            raise BlobUnavailable(f"the edge copy of a store cannot be opened: {error.strerror}") from error

    async def _failed(self, claim: Claim, variant: Variant | None, error: VaultError) -> None:
        """Release for another try, or give up. A lost race means that somebody else has settled it."""
        logger().warning(
            Events.STORE_FAILED, variant_id=claim.variant_id, reason=str(error), attempts=claim.attempts + 1
        )
        now = self._now()
        with suppress(LostRace):
            if isinstance(error, LimitReached) and not isinstance(error, DiskFull | RoomPromised | OriginBusy):
                await self._catalog.run(limits.refuse, claim, str(error), now)
            else:
                await self._catalog.run(leases.fail, claim, self._failure(claim, variant, error, now), now)

    def _failure(self, claim: Claim, variant: Variant | None, error: VaultError, now: int) -> Failure:
        reason, attempts = str(error), claim.attempts + 1
        if (wait_ms := self._blameless_wait_ms(error)) is not None:
            return Failure(Event.RELEASED, reason, None, claim.attempts, run_at=now + wait_ms)
        tried_key = None if variant is None else variant.origin_key
        if isinstance(error, OriginError) and error.tried_key is not None:
            tried_key = error.tried_key  # a fresh URL, had on the way, failed too
        config = self._config
        most = config.most_thumbnail_attempts if isinstance(error, ThumbnailFailed) else config.most_attempts
        if isinstance(error, OriginRefused | AddressDenied | ThumbnailRefused) or attempts >= most:
            not_before = now + self._config.given_up_cool_down_ms
            return Failure(Event.GIVEN_UP, reason, tried_key, attempts, not_before=not_before)
        delay = min(self._config.first_delay_ms << min(attempts - 1, 20), self._config.longest_delay_ms)
        if isinstance(error, OriginUnavailable):
            delay = cool_down_ms(delay, error.retry_after, now, self._config.given_up_cool_down_ms)
        return Failure(Event.RELEASED, reason, tried_key, attempts, run_at=now + delay)

    def _blameless_wait_ms(self, error: VaultError) -> int | None:
        """The wait after what is no fault of the variant, and costs it no attempt; None after any other error."""
        match error:
            case DiskFull():
                return self._config.no_room_delay_ms
            case RoomPromised():
                return self._config.promised_delay_ms
            case OriginBusy() | OriginCoolingDown():
                return error.retry_after * SECOND
        return None

    async def _give_back(self, claim: Claim) -> None:
        """The vault is stopping: no failure of the variant, and no crash of its storer."""
        now = self._now()
        with suppress(LostRace, CatalogError):  # else the next start takes it back
            await self._catalog.run(
                transitions.apply,
                claim.variant_id,
                Event.RELEASED,
                at=now,
                fence=claim.fence,
                reason="the vault was stopped",
                run_at=now,
            )
