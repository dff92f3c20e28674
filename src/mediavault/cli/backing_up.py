"""What `mediavault backup create` does: the hold wherever the vault is, the copies in this process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mediavault.blobs.disk import DiskBlobs
from mediavault.blobs.places import open_storage
from mediavault.catalog import snapshots
from mediavault.catalog.database import CatalogConfig, sqlite_path
from mediavault.catalog.visiting import visit_catalog
from mediavault.cli.operators import Operator
from mediavault.cli.progress import At, shown
from mediavault.config import Config
from mediavault.errors import ConfigError, VaultError
from mediavault.foundation import Foundation, milliseconds
from mediavault.vault.portable import backup_folder
from mediavault.vault.portable.backing_up import RENEW_SECONDS, BackingUp, Copied, Hold, Holding, write_manifest
from mediavault.vault.portable.backup_folder import BackupFolder, Snapshot, make_durable, new_file


@dataclass(frozen=True)
class Wanted:
    """How a backup is to be made."""

    blobs: bool = True  #: copy their bytes too
    deep: bool = False  #: read those that an earlier backup brought
    master_key: bool = False  #: write the master key into it


class HoldOperator(Operator):
    """Holds the blobs of the running vault, or of the one that could start any moment."""

    async def hold(self, name: str | None = None) -> Hold:
        """Take a hold, or renew one. Raises Conflict."""

        async def directly(foundation: Foundation) -> Hold:
            return await Holding(foundation.catalog, milliseconds).hold(name)

        return await self._reach(Hold, "POST", "/backup/hold", {"name": name}, directly)

    async def release(self, name: str) -> None:
        """End a hold."""

        async def directly(foundation: Foundation) -> Hold:
            return await Holding(foundation.catalog, milliseconds).release(name)

        await self._reach(Hold, "POST", "/backup/hold", {"name": name, "release": True}, directly)


@asynccontextmanager
async def held(
    operator: HoldOperator, every_seconds: float = RENEW_SECONDS
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """No sweep deletes a blob while the block runs. Raises Conflict, in its middle, where the hold was lost.

    What it is given asks whether the hold lasted until now, also over a sleep of the machine. Raises Conflict.
    """
    hold = await operator.hold()
    renewal = asyncio.Lock()
    work = asyncio.current_task()
    lost: list[VaultError] = []

    async def confirm() -> None:
        nonlocal hold
        async with renewal:
            hold = await operator.hold(hold.name)

    async def renew() -> None:
        while True:
            await asyncio.sleep(every_seconds)
            try:
                await confirm()
            except VaultError as error:
                lost.append(error)
                if work is not None:
                    work.cancel()
                return

    renewing = asyncio.create_task(renew())
    try:
        yield confirm
    except asyncio.CancelledError:
        if lost:
            raise lost[0] from None
        raise
    finally:
        renewing.cancel()
        with suppress(asyncio.CancelledError):
            await renewing
        with suppress(VaultError):  # it ends by itself
            await operator.release(hold.name)


async def create(config: Config, to: Path, wanted: Wanted) -> tuple[Snapshot, Copied]:
    """Make a backup; it, and what was copied for it. Where it raises, no snapshot has its name."""
    if not config.data.is_dir():
        raise ConfigError(f"there is no data folder at {config.data}: name the vault's --data folder")
    folder = BackupFolder(to)
    folder.open()
    try:
        async with held(HoldOperator(config)) as confirm:
            return await _create(config, folder, wanted, confirm)
    finally:
        folder.close()


async def _create(
    config: Config, folder: BackupFolder, wanted: Wanted, confirm: Callable[[], Awaitable[None]]
) -> tuple[Snapshot, Copied]:
    now = milliseconds()
    place = folder.begin(now)
    await snapshots.take(config.catalog, place / backup_folder.CATALOG)
    snapshot = await visit_catalog(CatalogConfig(f"sqlite:///{(place / backup_folder.CATALOG).absolute()}"))
    try:
        target = DiskBlobs(folder.blobs) if wanted.blobs else None
        copying = BackingUp(snapshot, open_storage(config.blobs, config.storage), target, deep=wanted.deep)
        count, size_bytes = await copying.total()

        def at() -> At:
            return At(copying.copied.count, copying.copied.size_bytes, count, size_bytes)

        async with shown("backup", at):
            with new_file(place / backup_folder.BLOBS) as lines:
                await copying.run(lines)
                make_durable(lines)
        if wanted.master_key:
            _write_master_key(config, place / backup_folder.MASTER_KEY)
        await confirm()
        engine = "postgresql" if sqlite_path(config.catalog.url) is None else "sqlite"
        await write_manifest(place, snapshot, engine, copying.copied, now, blobs=wanted.blobs)
    finally:
        await snapshot.close()
    return Snapshot(folder.end(place)), copying.copied


def _write_master_key(config: Config, path: Path) -> None:
    if config.master_key is not None:
        keys = (config.master_key, *config.previous_master_keys)
        text = "".join(f"{key.hex()}\n" for key in keys)
    else:
        text = (config.data / "master.key").read_text(encoding="ascii")
    with new_file(path) as file:
        file.write(text.encode())
        make_durable(file)


async def planned(config: Config, to: Path, wanted: Wanted) -> dict[str, Any]:
    """What a backup would copy; nothing is written."""
    catalog = await visit_catalog(config.catalog)
    try:
        source = open_storage(config.blobs, config.storage)
        count, size_bytes = await BackingUp(catalog, source, None, deep=False).total()
    finally:
        await catalog.close()
    return {"dryRun": True, "to": str(to), "blobs": count if wanted.blobs else 0, "bytes": size_bytes}
