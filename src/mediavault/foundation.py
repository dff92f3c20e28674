"""What stands before anything is served, and all that most commands need: the folder, the catalog, who may do what."""

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from mediavault.catalog.database import Catalog, open_catalog, sqlite_path
from mediavault.config import Config, Role
from mediavault.data_folder import DataFolder
from mediavault.domain.times import Now
from mediavault.errors import Conflict, WrongMasterKey
from mediavault.vault.authorising import Authorising, NewKey
from mediavault.vault.rekeying import Rekeying, check_master_key
from mediavault.vault.sealing import Sealer


def milliseconds() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Foundation:
    """What the command line needs too, without any server: the catalog, and who may do what."""

    folder: DataFolder
    catalog: Catalog
    sealer: Sealer
    rekeying: Rekeying
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
        folder.require_whole()
        ring, made = _master_keys(config, folder)
        catalog = await open_catalog(config.catalog)
        undo.push_async_callback(catalog.close)
        sealer = Sealer(*ring)
        await _check_master_key(catalog, sealer, folder, made=made)
        authorising = Authorising(catalog, now)
        first_key = await _first_key(config, authorising)
        undo.pop_all()
    new_master_key = str(config.data / "master.key") if made else None
    given = config.bootstrap_api_key is not None
    rekeying = Rekeying(catalog, sealer, ring, None if config.master_key else folder.keep_master_keys, now)
    return Foundation(folder, catalog, sealer, rekeying, authorising, first_key, given, new_master_key)


def _master_keys(config: Config, folder: DataFolder) -> tuple[tuple[bytes, ...], bool]:
    """The ring, and whether its key was made just now."""
    if config.master_key is None:
        return folder.master_keys()
    return (config.master_key, *config.previous_master_keys), False


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
