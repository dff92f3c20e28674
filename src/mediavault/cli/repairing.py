"""`mediavault verify --repair`: what is bad is quarantined, by the vault that runs, else directly. Never a delete."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import msgspec

from mediavault.blobs.places import open_storage, places_of
from mediavault.blobs.store import BlobStore, blob_key
from mediavault.catalog.database import sqlite_path
from mediavault.catalog.verification_places import ABANDONED_MOVE
from mediavault.cli.operators import Operator
from mediavault.cli.serving import tell_secrets
from mediavault.config import Config
from mediavault.domain.findings import Finding
from mediavault.edge.cache import EdgeCache
from mediavault.errors import NotFound
from mediavault.foundation import Foundation, milliseconds, open_foundation
from mediavault.vault.integrity.damaging import Damaging

_DAMAGED = frozenset({"blob_missing", "blob_no_file", "blob_size", "blob_digest"})
_ORPHAN = "orphan_blob"
_REPAIRABLE = _DAMAGED | {_ORPHAN, ABANDONED_MOVE}


class Examined(msgspec.Struct, rename="camel"):
    """What became of one blob."""

    blob_id: str
    quarantined: bool


def repairable(findings: Sequence[Finding]) -> list[Finding]:
    """Those of which the bytes can be set aside."""
    return [finding for finding in findings if finding.code in _REPAIRABLE and finding.blob is not None]


async def repair(config: Config, findings: Sequence[Finding]) -> list[str]:
    """Set aside; the blobs that were. Raises DataFolderLocked where another process but no vault holds the folder."""
    blobs = open_storage(config.blobs, config.storage)
    operator = RepairOperator(config, blobs)
    done: list[str] = []
    for finding in repairable(findings):
        blob_id = finding.blob or ""
        if finding.code == _ORPHAN:
            # No row has this id, and none will: ids are never given twice.
            is_done = await blobs.set_aside(blob_key(finding.organisation or "", blob_id))
        else:
            is_done = await operator.quarantine(blob_id)
        if is_done:
            done.append(blob_id)
    return done


class RepairOperator(Operator):
    """Has a blob examined and quarantined by the running vault, or does it where none runs."""

    timeout = aiohttp.ClientTimeout(total=None)  # the vault reads the whole blob once more

    def __init__(self, config: Config, blobs: BlobStore) -> None:
        super().__init__(config)
        self._here = config
        self._blobs = blobs

    async def quarantine(self, blob_id: str) -> bool:
        """Whether it was bad, and was quarantined now."""

        async def directly(foundation: Any) -> Examined:
            return Examined(blob_id, await self._damaging(foundation).examine(blob_id))

        try:
            return (await self._reach(Examined, "POST", f"/damage/{blob_id}", None, directly)).quarantined
        except NotFound:  # removed meanwhile
            return False

    def _damaging(self, foundation: Foundation) -> Damaging:
        """On SQLite this process holds the folder now, and its edge cache; on PostgreSQL each role has its own."""
        edge = None
        if sqlite_path(self._here.catalog.url) is not None:
            edge = EdgeCache.open(self._here.data / "edge", self._here.edge, milliseconds)
        places = frozenset(places_of(self._blobs, self._here.blobs, self._here.storage))
        return Damaging(foundation.catalog, self._blobs, edge, lambda: None, milliseconds, places)

    async def _opened(self, directly: Callable[[Any], Awaitable[Any]]) -> Any:
        foundation = await open_foundation(self._here, visiting=True)
        try:
            tell_secrets(foundation)
            return await directly(foundation)
        finally:
            await foundation.close()
