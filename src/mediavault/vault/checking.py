"""Checking: whether this process can do its work now."""

from mediavault.blobs.store import BlobStore
from mediavault.catalog import organisations
from mediavault.catalog.database import Catalog
from mediavault.errors import VaultError
from mediavault.vault.integrity.damaging import Damaging


class Readiness:
    """Asks everything the vault stands on, by using it."""

    def __init__(self, catalog: Catalog, blobs: BlobStore, damaging: Damaging) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._damaging = damaging

    async def __call__(self) -> dict[str, str]:
        """Each check's name with `ok` or the reason why not."""
        return {"database": await self._database(), "blobs": await self._blob_store()}

    async def _database(self) -> str:
        try:
            await organisations.all_of_them(self._catalog)
        except VaultError as error:
            return type(error).__name__
        return "ok"

    async def _blob_store(self) -> str:
        try:
            await self._blobs.check_writable()
            await self._damaging.require_places()
        except VaultError as error:
            return type(error).__name__
        return "ok"
