"""Exports as a stranger may make them: documents with any field changed, folders, and archives of raw parts."""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mediavault.errors import InvalidRequest
from mediavault.vault.configuring import effective_settings
from mediavault.vault.portable import tar_format
from mediavault.vault.portable.import_source import Export

PICTURE = b"\xff\xd8\xff\xe0 a picture"
NAME = "media/2026-01/2026-01-02_100_full.jpg"
AT = 1_767_312_000_000


def variant(content: bytes = PICTURE, **changes: Any) -> dict[str, Any]:
    """A stored variant as an export tells of it."""
    return {
        "status": "stored",
        "file": NAME,
        "sha256": hashlib.sha256(content).hexdigest(),
        "sizeBytes": len(content),
        "contentType": "image/jpeg",
        "accessCount": 3,
        "createdAt": AT,
        "expiresAt": AT + 1,
        "storedAt": AT,
        "lastAccessedAt": AT,
    } | changes


def item(media_id: Any = "100", **changes: Any) -> dict[str, Any]:
    """An item with one variant."""
    return {
        "id": media_id,
        "type": "image",
        "upstreamType": "image",
        "duration": None,
        "sources": ["vault"],
        "createdAt": AT,
        "pin": None,
        "variants": {"full": variant()},
    } | changes


def a_list(list_id: Any = "7", **changes: Any) -> dict[str, Any]:
    """A list."""
    return {"id": list_id, "name": "a", "type": None, "createdAt": AT, "lastAddedAt": None, "lastSyncedAt": None} | (
        changes
    )


def member(**changes: Any) -> dict[str, Any]:
    """The item in the list."""
    return {
        "listId": "7",
        "mediaId": "100",
        "firstAddedAt": AT,
        "lastAddedAt": AT,
        "lastSeenAt": AT,
        "lastSyncedAt": None,
    } | changes


def head(items: list[dict[str, Any]], lists: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """A head that counts right."""
    variants = [each for it in items for each in it["variants"].values()]
    files = [each for each in variants if each.get("file") is not None]
    return {
        "format": "mediavault-export",
        "version": 1,
        "createdAt": AT,
        "program": "mediavault 0",
        "connection": {
            "id": "conn_1",
            "user": {"id": "1", "name": "n", "username": "u"},
            "createdAt": AT,
            "clientReferenceId": None,
            "vaultPlusEnabled": True,
            "settings": SETTINGS,
            "settingsOverrides": None,
        },
        "items": len(items),
        "variants": len(variants),
        "files": len(files),
        "fileBytes": sum(each["sizeBytes"] for each in files if isinstance(each["sizeBytes"], int)),
        "lists": len(lists),
    } | changes


SETTINGS = msgspec.to_builtins(effective_settings("{}", None))


def documents(
    items: list[dict[str, Any]] | None = None,
    lists: list[dict[str, Any]] | None = None,
    members: list[dict[str, Any]] | None = None,
    **of_head: Any,
) -> dict[str, bytes]:
    """The documents of an export, the head last."""
    items, lists = [item()] if items is None else items, [a_list()] if lists is None else lists
    return {
        "items.jsonl": lines_of(items),
        "lists.jsonl": lines_of(lists),
        "list-items.jsonl": lines_of([member()] if members is None else members),
        "export.json": json.dumps(head(items, lists, **of_head)).encode(),
    }


def lines_of(given: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in given)


def folder(at: Path, files: dict[str, bytes]) -> Path:
    """An export as a folder."""
    for name, content in files.items():
        path = at / "export" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return at / "export"


def archive(at: Path, members: list[bytes]) -> Path:
    """An archive of these raw parts."""
    (at / "export.tar").write_bytes(b"".join(members))
    return at / "export.tar"


def part(name: str, content: bytes) -> bytes:
    """A file in an archive, as this program writes it."""
    return tar_format.header(name, len(content), 0) + content + bytes(-len(content) % 512)


def packed(files: dict[str, bytes]) -> list[bytes]:
    """All of them in an archive."""
    return [*(part(name, content) for name, content in files.items()), tar_format.END]


def other(name: str, content: bytes = b"", form: Any = tarfile.USTAR_FORMAT, **changes: Any) -> bytes:
    """A member of another kind, as another program writes it."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for attribute, value in changes.items():
        setattr(info, attribute, value)
    return info.tobuf(form, "utf-8", "surrogateescape") + content + bytes(-len(content) % 512)


def spoiled(block: bytes, at: int, content: bytes) -> bytes:
    """A header with other bytes, and a checksum that is right all the same."""
    changed = bytearray(block[:at] + content + block[at + len(content) :])
    changed[148:156] = b"        "
    changed[148:156] = b"%06o\0 " % sum(changed[:512])
    return bytes(changed)


@contextmanager
def opened(path: Path) -> Iterator[Export]:
    export = Export(path)
    try:
        yield export
    finally:
        export.close()


def check(path: Path) -> Any:
    with opened(path) as export:
        return export.check()


def refused(path: Path, match: str) -> None:
    """It is refused in a line of bearable length."""
    with pytest.raises(InvalidRequest, match=match) as caught:
        check(path)
    assert len(str(caught.value)) < 1_000


async def content_of(path: Path) -> bytes:
    with opened(path) as export:
        return b"".join([chunk async for chunk in export.read(NAME)])


#: An export that is as it should be.
WHOLE = documents() | {NAME: PICTURE}
