"""Exporting: a connection's stored media as files with readable names, and what the vault knows of them as JSON.

It only reads, beside whoever serves: each item is as it was when the export came to it. No URL and no session is in it.
1. Every item is written down, and with it which file each stored variant becomes.
2. What an earlier run left is looked at; the files that are missing are written.
3. The documents are put in their places, `export.json` last: an export that has it is whole.
"""

import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mediavault import __version__
from mediavault.blobs.store import BlobStore, blob_key
from mediavault.catalog import exports
from mediavault.catalog.connections import ConnectionRow
from mediavault.catalog.database import Catalog
from mediavault.catalog.exports import ItemToExport, VariantToExport
from mediavault.domain import exported
from mediavault.domain.exported import (
    ExportedConnection,
    ExportedItem,
    ExportedList,
    ExportedMember,
    ExportedPin,
    ExportedUser,
    ExportedVariant,
    ExportHead,
)
from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType, Source
from mediavault.domain.settings import SettingsOverrides
from mediavault.domain.times import Now
from mediavault.errors import BlobCorrupt, BlobNotFound, NotFound
from mediavault.vault.configuring import effective_settings, parsed_overrides
from mediavault.vault.connecting import UserData
from mediavault.vault.portable.export_target import Target, Wanted

_README = """An export of media from mediavault (format "{format}", version {version}).

media/             the media, a folder a month: <first seen>_<media id>_<quality>.<type>
items.jsonl        a JSON document a line: an item, its variants, and the file of each that is here
lists.jsonl        the creator's lists; list-items.jsonl tells which item is in which
export.json        what this is, and the settings that held; written last: without it the export is not whole

Times are Unix milliseconds. Every file's size and SHA-256 stand in items.jsonl. `mediavault import` reads all of it.
"""


@dataclass
class Counted:
    """How far an export is."""

    items: int = 0
    variants: int = 0
    lists: int = 0
    files: int = 0  #: to be in the export
    bytes: int = 0
    done_files: int = 0
    done_bytes: int = 0
    kept_files: int = 0  #: of those done: were there already
    failed: dict[str, str] = field(default_factory=dict)  #: file to why it could not be exported


@dataclass(frozen=True)
class _File:
    """A variant whose bytes are exported."""

    variant_id: str
    org_id: str
    blob_id: str
    wanted: Wanted


class Exporting:
    """One export of one connection."""

    def __init__(self, catalog: Catalog, blobs: BlobStore, now: Now) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._now = now
        self._files: dict[str, _File] = {}
        self.counted = Counted()

    async def connection(self, connection_id: str) -> ConnectionRow:
        """The connection. Raises NotFound."""
        found = await exports.find_connection(self._catalog, connection_id)
        if found is None:
            raise NotFound(f"there is no connection {connection_id[:60]!r}: GET /v2/account/connections lists them")
        return found

    async def plan(self, connection: ConnectionRow, items: Path) -> None:
        """Write every item down, and note the files there are to be."""
        taken: set[str] = set()
        with _opened(items) as lines:
            async for item in exports.items(self._catalog, connection.org_id, connection.id):
                lines.write(_line(self._item(connection, item, taken)))
                self.counted.items += 1
                self.counted.variants += len(item.variants)

    async def carry_out(self, connection: ConnectionRow, target: Target) -> ExportHead:
        """The whole export. What cannot be read is left out, and told in `counted.failed`."""
        plan = target.spool(exported.ITEMS + ".plan")
        await self.plan(connection, plan)
        await self._write_media(target)
        self._write_items(plan, target.spool(exported.ITEMS))
        plan.unlink()
        await self._write_lists(connection, target)
        head = self._head(connection)
        readme = _README.format(format=exported.FORMAT, version=exported.VERSION)
        for name, text in (
            (exported.README, readme.encode()),
            (exported.HEAD, msgspec.json.format(msgspec.json.encode(head), indent=2)),
        ):
            with _opened(target.spool(name)) as file:
                file.write(text)
        await target.finish()
        return head

    async def _write_media(self, target: Target) -> None:
        wanted = {name: file.wanted for name, file in self._files.items()}
        there: set[str] = set()
        async for name in target.kept(wanted):
            there.add(name)
            self._count(wanted[name])
            self.counted.kept_files += 1
        for name, file in self._files.items():
            if name not in there:
                try:
                    await self._write(target, name, file)
                except (BlobNotFound, BlobCorrupt) as error:
                    self.counted.failed[name] = str(error)
                else:
                    self._count(file.wanted)

    def _count(self, wanted: Wanted) -> None:
        self.counted.done_files += 1
        self.counted.done_bytes += wanted[0]

    async def _write(self, target: Target, name: str, file: _File) -> None:
        try:
            await self._copy(target, name, file, file.blob_id)
        except BlobNotFound:  # moved to another place, or removed, since it was planned
            fresh = await exports.variant(self._catalog, file.variant_id)
            if fresh is None or fresh.blob_id is None or fresh.blob_id == file.blob_id:
                raise
            await self._copy(target, name, file, fresh.blob_id)

    async def _copy(self, target: Target, name: str, file: _File, blob_id: str) -> None:
        async with aclosing(self._blobs.read(blob_key(file.org_id, blob_id))) as chunks:
            await target.write(name, file.wanted, chunks)

    def _item(self, connection: ConnectionRow, item: ItemToExport, taken: set[str]) -> ExportedItem:
        pin = None if item.pinned_at is None else ExportedPin(item.pinned_at, item.pinned_until, item.pin_reason)
        return ExportedItem(
            id=item.media_id,
            type=MediaType(item.shown_type),
            upstream_type=MediaType(item.upstream_type),
            duration=item.duration,
            sources=[Source(source) for source in item.sources.split(",")],
            created_at=item.created_at,
            pin=pin,
            variants={
                variant.label: _variant(variant, self._file(connection, item, variant, taken))
                for variant in item.variants
            },
        )

    def _file(
        self, connection: ConnectionRow, item: ItemToExport, variant: VariantToExport, taken: set[str]
    ) -> str | None:
        """The file that a stored variant becomes; None for one that is not stored."""
        if variant.status != Status.STORED or variant.blob_id is None or variant.sha256 is None:
            return None
        name = exported.media_name(item.media_id, variant.label, variant.content_type, item.created_at, taken)
        wanted = (variant.size_bytes, variant.sha256, variant.created_at)
        self._files[name] = _File(variant.id, connection.org_id, variant.blob_id, wanted)
        self.counted.files += 1
        self.counted.bytes += variant.size_bytes
        return name

    def _write_items(self, plan: Path, final: Path) -> None:
        """The items as they were planned, without the files that could not be had."""
        with plan.open("rb") as lines, _opened(final) as file:
            for line in lines:
                item = exported.decoded(line, ExportedItem, "the plan")
                if any(variant.file in self.counted.failed for variant in item.variants.values()):
                    variants = {label: self._without_failed(variant) for label, variant in item.variants.items()}
                    line = _line(msgspec.structs.replace(item, variants=variants))
                file.write(line)

    def _without_failed(self, variant: ExportedVariant) -> ExportedVariant:
        error = self.counted.failed.get(variant.file or "")
        if error is None:
            return variant
        return msgspec.structs.replace(variant, file=None, sha256=None, error=error[: exported.LONGEST_REASON])

    async def _write_lists(self, connection: ConnectionRow, target: Target) -> None:
        lists = await exports.all_lists(self._catalog, connection.org_id, connection.id)
        self.counted.lists = len(lists)
        with _opened(target.spool(exported.LISTS)) as heads, _opened(target.spool(exported.MEMBERS)) as members:
            for pk, row in lists:
                each: Any = row
                heads.write(_line(ExportedList(*each)))
                async for member in _members(self._catalog, pk, each[0]):
                    members.write(_line(member))

    def _head(self, connection: ConnectionRow) -> ExportHead:
        counted = self.counted
        return ExportHead(
            format="mediavault-export",
            version=exported.VERSION,
            created_at=self._now(),
            program=f"mediavault {__version__}",
            connection=_connection(connection),
            items=counted.items,
            variants=counted.variants,
            files=counted.done_files,
            file_bytes=counted.done_bytes,
            lists=counted.lists,
        )


async def _members(catalog: Catalog, list_pk: str, list_id: str) -> AsyncIterator[ExportedMember]:
    async for row in exports.members(catalog, list_pk):
        values: Any = row
        yield ExportedMember(list_id, *values)


def _connection(row: ConnectionRow) -> ExportedConnection:
    user = msgspec.json.decode(row.user_data, type=UserData)
    return ExportedConnection(
        id=row.id,
        user=ExportedUser(row.upstream_user_id, user.name[:500], user.username[:500]),
        created_at=row.created_at,
        client_reference_id=row.client_reference_id,
        vault_plus_enabled=bool(row.vault_plus_enabled),
        settings=effective_settings(row.organisation_settings, row.settings_overrides),
        settings_overrides=_plain(parsed_overrides(row.settings_overrides)),
    )


def _plain(overrides: Any | None) -> Any:
    return None if overrides is None else msgspec.to_builtins(msgspec.convert(overrides, SettingsOverrides))


def _variant(variant: VariantToExport, file: str | None) -> ExportedVariant:
    return ExportedVariant(
        status=Status(variant.status),
        file=file,
        sha256=variant.sha256 if file is not None else None,
        size_bytes=variant.size_bytes,
        content_type=variant.content_type,
        access_count=variant.access_count,
        created_at=variant.created_at,
        expires_at=min(variant.expires_at, 253_402_300_799_999),
        stored_at=variant.stored_at,
        last_accessed_at=variant.last_accessed_at,
        derived=not variant.origin_key,
    )


def _opened(path: Path) -> Any:
    """A new file for writing, its owner's alone; what lies there is of an earlier run."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb")


def _line(document: Any) -> bytes:
    return msgspec.json.encode(document) + b"\n"
