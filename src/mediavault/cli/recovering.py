"""What `mediavault backup verify`, `restore` and `prune` do."""

from dataclasses import dataclass
from pathlib import Path

from mediavault.blobs.disk import DiskBlobs
from mediavault.blobs.places import open_storage
from mediavault.catalog import schema, snapshots
from mediavault.catalog.database import CatalogConfig, open_catalog, sqlite_path
from mediavault.catalog.visiting import visit_catalog
from mediavault.cli.progress import At, shown
from mediavault.config import Config
from mediavault.data_folder import DataFolder, parse_master_keys, write_new
from mediavault.errors import CatalogError, ConfigError, Conflict
from mediavault.foundation import milliseconds
from mediavault.vault.portable import backup_folder
from mediavault.vault.portable.backup_folder import BackupFolder, Snapshot
from mediavault.vault.portable.pruning import Keep, Plan, Pruned, Pruning
from mediavault.vault.portable.recovering import Checking, Fault, Looked, Recovering
from mediavault.vault.rekeying import check_master_key
from mediavault.vault.sealing import Sealer


@dataclass(frozen=True)
class Restored:
    """What a restore did."""

    snapshot: Snapshot
    looked: Looked
    stores: int  #: that were under way, and wait for a storer again
    has_master_key: bool


async def check(folder: Path, name: str, *, deep: bool) -> tuple[Snapshot, Looked]:
    """Look at a snapshot. Raises NotFound, InvalidRequest where there is none to look at, Conflict during a prune."""
    backups = BackupFolder(folder)
    with backups.reading():
        snapshot = backups.snapshot(name)
        checking = Checking(snapshot, DiskBlobs(backups.blobs), deep=deep)
        looked = checking.looked
        await checking.check_files()
        if not looked.faults:
            await _check_rows(checking, snapshot)
        async with shown("verify", lambda: At(looked.blobs, looked.bytes, looked.count, looked.size_bytes)):
            await checking.check_blobs()
    return snapshot, looked


async def _check_rows(checking: Checking, snapshot: Snapshot) -> None:
    """Older schemas are brought up to date when they are restored; what their rows say is not asked before."""
    try:
        catalog = await visit_catalog(CatalogConfig(f"sqlite:///{snapshot.catalog.absolute()}"))
    except ConfigError as error:
        if snapshot.manifest.database_schema == schema.head():
            checking.looked.faults.append(Fault("catalog_schema", str(error)))
        return
    try:
        await checking.check_rows(catalog)
    except CatalogError as error:
        checking.looked.faults.append(Fault("catalog_damaged", str(error)))
    finally:
        await catalog.close()


async def restore(
    config: Config, folder: Path, name: str, master_key_file: Path | None, *, disable_webhooks: bool
) -> Restored:
    """Make a vault of a snapshot. Raises Conflict where there is one already, InvalidRequest for a spoiled snapshot."""
    backups = BackupFolder(folder)
    with backups.reading():
        return await _restore(config, backups, backups.snapshot(name), master_key_file, disable_webhooks)


async def _restore(
    config: Config, backups: BackupFolder, snapshot: Snapshot, master_key_file: Path | None, disable_webhooks: bool
) -> Restored:
    await _require_whole(snapshot)
    keys = _master_keys(config, snapshot, master_key_file)
    data = DataFolder(config.data)
    data.lock("all")
    try:
        _require_no_catalog(config)
        data.begin_restore(snapshot.name)
        stores = await _bring_catalog(config, snapshot, keys, disable_webhooks=disable_webhooks)
        looked = await _bring_blobs(config, backups, snapshot)
        if keys and config.master_key is None and not (config.data / "master.key").exists():
            write_new(config.data / "master.key", "".join(f"{key.hex()}\n" for key in keys))
        data.end_restore()
    finally:
        data.release()
    return Restored(snapshot, looked, stores, bool(keys))


async def _require_whole(snapshot: Snapshot) -> None:
    """Before anything is written: the catalog is the one that was backed up. Blobs are looked at one by one later."""
    checking = Checking(snapshot, DiskBlobs(snapshot.folder.parent.parent / "blobs"), deep=False)
    await checking.check_files()
    if checking.looked.faults:
        fault = checking.looked.faults[0]
        raise ConfigError(f"the snapshot {snapshot.name} is spoiled ({fault.text}): restore another one")


def _master_keys(config: Config, snapshot: Snapshot, given: Path | None) -> tuple[bytes, ...]:
    """Those of the settings, of the file that was named, or of the snapshot; none where nobody has one at hand."""
    if config.master_key is not None:
        return (config.master_key, *config.previous_master_keys)
    path = given or snapshot.folder / backup_folder.MASTER_KEY
    if given is None and not path.exists():
        return ()
    try:
        return parse_master_keys(path.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the master key cannot be read from {path}: {error}") from None


def _require_no_catalog(config: Config) -> None:
    """A catalog outside of the data folder is nobody's to overwrite."""
    path = sqlite_path(config.catalog.url)
    if path is not None and path.exists() and path.parent != config.data:
        raise Conflict(f"there is a catalog at {path} already: restore where there is none")


async def _bring_blobs(config: Config, backups: BackupFolder, snapshot: Snapshot) -> Looked:
    source = DiskBlobs(backups.blobs) if snapshot.manifest.blobs.included else None
    recovering = Recovering(snapshot, source, open_storage(config.blobs, config.storage))
    looked = recovering.looked
    async with shown("restore", lambda: At(looked.blobs, looked.bytes, looked.count, looked.size_bytes)):
        await recovering.run()
    if source is None and looked.faults:
        raise ConfigError(
            f"the snapshot was taken without blobs, and {len(looked.faults)} of them are not in the vault's store: "
            "name the store that has them (MEDIAVAULT_BLOBS_URL)"
        )
    return looked


async def _bring_catalog(config: Config, snapshot: Snapshot, keys: tuple[bytes, ...], *, disable_webhooks: bool) -> int:
    """The catalog, put in order; and opened with the master key, where there is one. Raises WrongMasterKey."""
    await snapshots.restore(config.catalog, snapshot.catalog, snapshot.name)
    catalog = await open_catalog(config.catalog)
    try:
        if keys:
            await check_master_key(catalog, Sealer(*keys))
        return await snapshots.finish(
            catalog,
            snapshot.name,
            milliseconds(),
            other_places=snapshot.manifest.blobs.included,
            disable_webhooks=disable_webhooks,
        )
    finally:
        await catalog.close()


async def prune(folder: Path, keep: Keep, *, dry_run: bool) -> tuple[Plan, Pruned]:
    """Keep these snapshots of a folder alone. Raises NotFound, InvalidRequest, Conflict while it is used."""
    backups = BackupFolder(folder)
    with backups.alone():
        pruning = Pruning(backups, DiskBlobs(backups.blobs))
        pruned = pruning.pruned
        plan = pruning.plan(keep, milliseconds())
        async with shown("prune", lambda: At(pruned.blobs, pruned.bytes, pruned.doomed, pruned.bytes)):
            await pruning.run(plan, dry_run=dry_run)
    return plan, pruned
