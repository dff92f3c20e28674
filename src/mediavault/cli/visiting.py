"""A visit: the vault's rows and bytes, opened to be read beside whoever serves them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mediavault.blobs.places import open_storage, places_of, primary_of
from mediavault.blobs.store import BlobStore
from mediavault.catalog.database import Catalog
from mediavault.catalog.visiting import visit_catalog
from mediavault.config import Config
from mediavault.data_folder import DataFolder
from mediavault.domain.times import DAY, SECOND
from mediavault.errors import ConfigError
from mediavault.foundation import milliseconds
from mediavault.vault.integrity.verifying import VerifyConfig, Verifying
from mediavault.vault.portable.exporting import Exporting
from mediavault.vault.sealing import Sealer


@dataclass(frozen=True)
class Visit:
    """Who verifies, and what to close afterwards."""

    verifying: Verifying
    catalog: Catalog

    async def close(self) -> None:
        """Let go of the database."""
        await self.catalog.close()


@asynccontextmanager
async def open_export(config: Config) -> AsyncIterator[Exporting]:
    """Who exports. Raises as `open_visit` does."""
    catalog, blobs = await _opened(config)
    try:
        yield Exporting(catalog, blobs, milliseconds)
    finally:
        await catalog.close()


async def open_visit(config: Config) -> Visit:
    """Open without a lock. Raises ConfigError where there is no vault, CatalogUnavailable, BlobUnavailable."""
    sealer = Sealer(*_master_keys(config))
    catalog, blobs = await _opened(config)
    sweep = config.sweep
    settings = VerifyConfig(
        sweep_ms=int(sweep.every_seconds * SECOND),
        undo_window_ms=sweep.undo_window_ms,
        grace_ms=max(DAY, int(sweep.abandoned_after_seconds * SECOND)),
    )
    places = frozenset(places_of(blobs, config.blobs, config.storage))
    return Visit(Verifying(catalog, blobs, sealer, milliseconds, settings, places), catalog)


async def _opened(config: Config) -> tuple[Catalog, BlobStore]:
    primary = primary_of(config.blobs, config.storage)
    if isinstance(primary, Path) and not primary.is_dir():
        raise ConfigError(f"there is no folder of blobs at {primary}: is its disk mounted?")
    catalog = await visit_catalog(config.catalog)
    try:
        blobs = open_storage(config.blobs, config.storage)
    except BaseException:
        await catalog.close()
        raise
    return catalog, blobs


def _master_keys(config: Config) -> tuple[bytes, ...]:
    """The ring. A vault that has none yet is not given one here."""
    if config.master_key is not None:
        return (config.master_key, *config.previous_master_keys)
    if not (config.data / "master.key").exists():
        raise ConfigError(
            f"there is no master.key in {config.data}: put it back from your backup, or name the vault's --data folder"
        )
    return DataFolder(config.data).master_keys()[0]
