"""Importing: what the vault does with a part of an export. Each variant is a store of its own: intent, bytes, fact.

Whoever reads the export hands over what it says, and the bytes, a variant at a time; all of it is checked here too.
Nothing is taken by its word: not a size, not a digest, not a type. What is stored already stays, so that an import may
be repeated and cut off at any time; nothing is evicted for one.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from mediavault.blobs.store import Blob, BlobStore, blob_key
from mediavault.catalog import exports, imported_lists, imports, leases, limits, organisations
from mediavault.catalog.blob_rows import StoredBytes
from mediavault.catalog.connections import ConnectionRow
from mediavault.catalog.database import Catalog
from mediavault.catalog.identifiers import new_connection_id, new_id
from mediavault.catalog.imports import Known
from mediavault.catalog.leases import Claim
from mediavault.catalog.tables import ConnectionState
from mediavault.domain import exported
from mediavault.domain.exported import ExportedConnection, ExportedItem, ExportedList, ExportedMember, ExportedVariant
from mediavault.domain.lifecycle import Status
from mediavault.domain.times import SECOND, Now
from mediavault.edge.cache import EdgeCache
from mediavault.errors import (
    DiskFull,
    InvalidRequest,
    LimitReached,
    LostRace,
    NotFound,
    OriginRefused,
    VaultError,
)
from mediavault.telemetry import Events, logger
from mediavault.vault.configuring import effective_settings
from mediavault.vault.connecting import MAX_INFLIGHT, UserData, plain_base_url
from mediavault.vault.fills.media_start import verified_content_type

#: What became of a variant.
IMPORTED, PRESENT, DIFFERENT, BUSY, REFUSED, LIMIT, WANTED = (
    *("imported", "present", "different", "busy", "refused", "limit", "wanted"),
)
_SNIFFED = 1024


class Outcome(Struct, frozen=True):
    """What became of a variant, and why."""

    state: str
    reason: str = ""


class Wish(Struct, frozen=True, rename="camel"):
    """Which connection an import goes to: one that is there, or a new one of an organisation."""

    connection: str | None = None
    organisation: str | None = None
    upstream: str | None = None
    exported: ExportedConnection | None = None


class Into(Struct, frozen=True, rename="camel"):
    """Where an import goes."""

    connection_id: str
    organisation_id: str


class Offer(Struct, frozen=True, rename="camel"):
    """A variant that could be imported."""

    media_id: exported.MediaId
    label: exported.Label
    sha256: exported.Digest
    size_bytes: exported.Size


@dataclass(frozen=True)
class ImportConfig:
    """How an import holds what it works on."""

    lease_ms: int = 60 * SECOND
    renew_every_seconds: float = 20
    free_floor_bytes: int = 1 << 30  #: nothing is imported while the blob store has less free space


class Importing:
    """Takes parts of exports. `holder` is who holds the leases: a storer's id, which its next start knows for dead."""

    def __init__(
        self,
        catalog: Catalog,
        blobs: BlobStore,
        edge: EdgeCache | None,
        holder: str,
        default_upstream: str | None,
        now: Now,
        config: ImportConfig,
    ) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._edge = edge
        self._holder = holder
        self._default_upstream = default_upstream
        self._now = now
        self._config = config

    async def begin(self, wish: Wish) -> Into:
        """The connection to import into; made where that is wished. Raises NotFound, Conflict, InvalidRequest."""
        if wish.connection is not None:
            row = await self._connection(wish.connection)
            return Into(row.id, row.org_id)
        if wish.exported is None:
            raise InvalidRequest("a new connection needs what the export says of it")
        owner = await organisations.find_organisation(self._catalog, wish.organisation or "default")
        if owner is None:
            raise NotFound(
                f"there is no organisation {wish.organisation or 'default'!r}: `mediavault organisations list`"
            )
        row = self._new_connection(owner.id, owner.settings, wish, wish.exported)
        return Into(await self._catalog.run(imports.connection_for, row, MAX_INFLIGHT), row.org_id)

    def _new_connection(self, org_id: str, settings: str, wish: Wish, described: ExportedConnection) -> ConnectionRow:
        """Without a session. Where its upstream is comes from the operator, never from the export: a session that is
        imported later goes there."""
        upstream = wish.upstream or self._default_upstream
        if upstream is None:
            raise InvalidRequest("no upstream: give --upstream, or set MEDIAVAULT_UPSTREAM_URL")
        overrides = exported.overrides_of(described)
        user = described.user
        now = self._now()
        return ConnectionRow(
            id=new_connection_id(),
            org_id=org_id,
            state=ConnectionState.EXPIRED.value,
            upstream_base_url=plain_base_url(upstream),
            upstream_user_id=user.id,
            user_data=msgspec.json.encode(UserData(user.id, user.name, user.username, None)).decode(),
            permissions="[]",
            client_reference_id=described.client_reference_id,
            session=b"",
            vault_plus_enabled=described.vault_plus_enabled,
            settings_overrides=None if overrides is None else msgspec.json.encode(overrides).decode(),
            created_at=now,
            updated_at=now,
            expired_at=None,
            last_checked_at=None,
            organisation_settings=settings,
        )

    async def _connection(self, connection_id: str) -> ConnectionRow:
        found = await exports.find_connection(self._catalog, connection_id)
        if found is None:
            raise NotFound(f"there is no connection {connection_id[:60]!r}")
        return found

    async def offered(self, connection_id: str, offers: Sequence[Offer]) -> list[str]:
        """For each variant whether it is wanted, present, or stored with other bytes. Raises NotFound."""
        row = await self._connection(connection_id)
        ids = list(dict.fromkeys(offer.media_id for offer in offers))
        known = await imports.known(self._catalog, row.org_id, row.id, ids) if ids else {}
        return [_state(known.get((offer.media_id, offer.label)), offer.sha256, offer.size_bytes) for offer in offers]

    async def store(self, connection_id: str, item: ExportedItem, label: str, body: AsyncIterator[bytes]) -> Outcome:
        """Store one variant of an item. Raises NotFound, InvalidRequest, CatalogError, BlobError."""
        variant = item.variants.get(label)
        if variant is None or variant.sha256 is None:
            raise InvalidRequest("nothing is told of the variant's bytes")
        row = await self._connection(connection_id)
        now = self._now()
        until = now + self._config.lease_ms
        try:
            claimed = await self._catalog.run(imports.claim, row.org_id, row.id, item, label, self._holder, until, now)
        except LostRace as error:
            return Outcome(BUSY, str(error))
        if isinstance(claimed, Known):
            return Outcome(_state(claimed, variant.sha256, variant.size_bytes))
        renewal = asyncio.create_task(self._keep_lease(claimed.claim))
        try:
            return await self._carry_out(claimed, item, label, variant, body)
        finally:
            renewal.cancel()
            with suppress(asyncio.CancelledError):
                await renewal

    async def _carry_out(
        self,
        claimed: imports.Importing,
        item: ExportedItem,
        label: str,
        variant: ExportedVariant,
        body: AsyncIterator[bytes],
    ) -> Outcome:
        """From the intent to the fact, or back."""
        claim = claimed.claim
        try:
            stored = await self._written(claim, variant, body)
            await self._catalog.run(imports.settle, claim, stored, item, label, self._now())
        except LostRace as error:
            await self._blobs.delete(blob_key(claim.org_id, claim.blob_id))
            return Outcome(BUSY, str(error))
        except BaseException as error:
            with suppress(LostRace):
                await self._catalog.run(imports.withdraw, claimed, self._now())
            if isinstance(error, LimitReached):
                return Outcome(LIMIT, str(error))
            if isinstance(error, InvalidRequest | OriginRefused):
                return Outcome(REFUSED, str(error))
            raise
        if self._edge is not None:
            self._edge.drop(claim.variant_id)
        logger().info(Events.STORED, variant_id=claim.variant_id, size_bytes=stored.size_bytes, imported=True)
        return Outcome(IMPORTED)

    async def _written(self, claim: Claim, variant: ExportedVariant, body: AsyncIterator[bytes]) -> StoredBytes:
        free_bytes = self._blobs.free_bytes()
        if free_bytes is not None and free_bytes < self._config.free_floor_bytes + variant.size_bytes:
            raise DiskFull
        await self._catalog.run(limits.reserve_free, claim, variant.size_bytes, effective_settings)
        looked = _Look(variant.size_bytes)
        blob = await self._blobs.put(blob_key(claim.org_id, claim.blob_id), looked.through(body))
        try:
            content_type = looked.content_type(variant.content_type, blob, variant.sha256 or "")
        except BaseException:
            await self._blobs.delete(blob.key)
            raise
        return StoredBytes(blob.size_bytes, blob.sha256, content_type, new_id(self._now()))

    async def _keep_lease(self, claim: Claim) -> None:
        while True:
            await asyncio.sleep(self._config.renew_every_seconds)
            try:
                await self._catalog.run(leases.renew, claim, self._now() + self._config.lease_ms)
            except LostRace:
                return
            except VaultError:  # the database may be back before the lease runs out
                logger().exception(Events.WORKER_FAILED, worker="import")

    async def add_lists(self, connection_id: str, given: Sequence[ExportedList]) -> None:
        """Lists that are not cached yet. Raises NotFound."""
        row = await self._connection(connection_id)
        await self._catalog.run(imported_lists.add_lists, row.org_id, row.id, given, self._now())

    async def add_members(self, connection_id: str, given: Sequence[ExportedMember]) -> int:
        """What is in the lists, of the media that are known: how many. Raises NotFound."""
        row = await self._connection(connection_id)
        return await self._catalog.run(imported_lists.add_members, row.org_id, row.id, given)


class _Look:
    """Looks at bytes on their way: no more than announced, and what they begin with."""

    def __init__(self, size_bytes: int) -> None:
        self._announced = size_bytes
        self._begin = b""

    async def through(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same bytes. Raises InvalidRequest as soon as they are more than announced."""
        taken = 0
        async for chunk in body:
            taken += len(chunk)
            if taken > self._announced:
                raise InvalidRequest(f"it has more than the {self._announced} bytes that the export says")
            if len(self._begin) < _SNIFFED:
                self._begin += chunk[:_SNIFFED]
            yield chunk

    def content_type(self, told: str, blob: Blob, sha256: str) -> str:
        """What the bytes are. Raises InvalidRequest where they are not the export's, OriginRefused for a page."""
        if blob.size_bytes != self._announced:
            raise InvalidRequest(f"it has {blob.size_bytes} bytes, and the export says {self._announced}")
        if blob.sha256 != sha256:
            raise InvalidRequest("it has another digest than the export says")
        return verified_content_type(self._begin, told)


def _state(known: Known | None, sha256: str, size_bytes: int) -> str:
    if known is None or known.status not in {Status.STORED, Status.STORING}:
        return WANTED
    if known.status == Status.STORING:
        return BUSY
    return PRESENT if (known.sha256, known.size_bytes) == (sha256, size_bytes) else DIFFERENT
