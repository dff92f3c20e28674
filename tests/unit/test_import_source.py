"""An export that a stranger made: whatever is wrong with it is said before anything of it is taken."""

import asyncio
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.exports import (
    AT,
    NAME,
    PICTURE,
    WHOLE,
    a_list,
    archive,
    check,
    content_of,
    documents,
    folder,
    item,
    lines_of,
    member,
    opened,
    packed,
    refused,
    variant,
)
from mediavault.domain.exported import LONGEST_LINE
from mediavault.errors import InvalidRequest


async def test_an_export_that_is_as_it_should_be_is_taken_as_a_folder_and_as_an_archive(tmp_path):
    for path in (folder(tmp_path, WHOLE), archive(tmp_path, packed(WHOLE))):
        expected = check(path)
        assert (expected.items, expected.files, expected.bytes) == (1, 1, len(PICTURE))
        assert await content_of(path) == PICTURE


OUTSIDE = [
    "../outside.jpg",
    "media/../../outside.jpg",
    "media/2026-01/../../../outside.jpg",
    "media/2026-01/..",
    "media/2026-01/.",
    "/etc/passwd",
    "//etc/passwd",
    "media\\2026-01\\a.jpg",
    "media/2026-01\\..\\a.jpg",
    "media/2026-01/a\0.jpg",
    "media/2026-01/a\n.jpg",
    "C:\\outside.jpg",
    "C:/outside.jpg",
    "media/2026-01/c:a.jpg",
    "media/2026-01/\u2024\u2024/a.jpg",  # one dot leaders
    "media/2026-01/\uff0e\uff0e\uff0fa.jpg",  # of full width
    "media\u2215a.jpg",  # division slash
    "media/\u0662\u0660\u0662\u0666-01/a.jpg",  # digits of another script
    "media/2026-01/\u0430.jpg",  # a Cyrillic letter
    "media/2026-01/" + "a" * 300 + ".jpg",
    "a" * 900_000,
    "media/2026-01/a/b.jpg",
    "media//2026-01/a.jpg",
    "./media/2026-01/a.jpg",
    "media/2026-01/-a.jpg",
    "media/2026-01/.part",
    "media/2026-01/a.jpg ",
    "media/2026-01/a.jpg.",
    "media/2026-01/a.jpg\n",
    "export.json",
    "items.jsonl",
    "",
]


@pytest.mark.parametrize("name", OUTSIDE, ids=range(len(OUTSIDE)))
async def test_a_name_that_no_export_has_is_refused_and_never_opened(tmp_path, name):
    (tmp_path / "outside.jpg").write_bytes(PICTURE)
    told = documents([item(variants={"full": variant(file=name)})])
    refused(folder(tmp_path, WHOLE | told), "which no export has|is not as the format says")
    refused(archive(tmp_path, packed(WHOLE | told)), "which no export has|is not as the format says")
    with opened(folder(tmp_path, WHOLE)) as export:  # and not by whoever changes the items after they were checked
        export.check()
        with pytest.raises(InvalidRequest):
            await anext(export.read(name))


def _link_to_file(export: Path) -> None:
    (export.parent / "elsewhere").write_bytes(PICTURE)
    (export / NAME).unlink()
    (export / NAME).symlink_to(export.parent / "elsewhere")


def _link_to_folder(export: Path) -> None:
    (export / "media").rename(export.parent / "elsewhere")
    (export / "media").symlink_to(export.parent / "elsewhere")


def _link_to_month(export: Path) -> None:
    month = (export / NAME).parent
    month.rename(export.parent / "elsewhere")
    month.symlink_to(export.parent / "elsewhere")


def _link_inside(export: Path) -> None:
    (export / NAME).rename(export / "media" / "real.jpg")
    (export / NAME).symlink_to("../real.jpg")


def _head_is_a_link(export: Path) -> None:
    (export / "export.json").rename(export.parent / "elsewhere")
    (export / "export.json").symlink_to(export.parent / "elsewhere")


def _items_are_a_link(export: Path) -> None:
    (export / "items.jsonl").unlink()
    (export / "items.jsonl").symlink_to("/dev/zero")


def _fifo(export: Path) -> None:
    (export / NAME).unlink()
    os.mkfifo(export / NAME)


def _fifo_for_items(export: Path) -> None:
    (export / "items.jsonl").unlink()
    os.mkfifo(export / "items.jsonl")


def _socket(export: Path) -> None:
    (export / NAME).unlink()
    here = Path.cwd()
    os.chdir((export / NAME).parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind((export / NAME).name)
    finally:
        os.chdir(here)


def _folder_for_file(export: Path) -> None:
    (export / NAME).unlink()
    (export / NAME).mkdir()


def _file_for_folder(export: Path) -> None:
    (export / "media").rename(export / "other")
    (export / "media").write_bytes(PICTURE)


def _dangling(export: Path) -> None:
    (export / NAME).unlink()
    (export / NAME).symlink_to("nowhere")


def _circle(export: Path) -> None:
    (export / NAME).unlink()
    (export / NAME).symlink_to((export / NAME).name)


def _missing(export: Path) -> None:
    (export / NAME).unlink()


NO_PLAIN_FILES: list[Callable[[Path], None]] = [
    _link_to_file,
    _link_to_folder,
    _link_to_month,
    _link_inside,
    _head_is_a_link,
    _items_are_a_link,
    _fifo,
    _fifo_for_items,
    _socket,
    _folder_for_file,
    _file_for_folder,
    _dangling,
    _circle,
    _missing,
]


@pytest.mark.parametrize("spoil", NO_PLAIN_FILES)
def test_what_is_no_plain_file_in_a_folder_is_refused(tmp_path, spoil):
    export = folder(tmp_path, WHOLE)
    check(export)
    spoil(export)
    refused(export, "is no plain file in the export")


@pytest.mark.parametrize("spoil", [_link_to_file, _link_to_folder, _fifo, _missing])
async def test_what_is_no_plain_file_any_more_when_its_bytes_are_taken_is_refused(tmp_path, spoil):
    export = folder(tmp_path, WHOLE)
    with opened(export) as source:
        source.check()
        spoil(export)
        with pytest.raises(InvalidRequest, match="no plain file"):
            await asyncio.wait_for(anext(source.read(NAME)), 5)


async def test_a_file_that_shrinks_while_it_is_read_ends_where_it_ends(tmp_path):
    big = b"\xff\xd8\xff" + bytes(3 << 20)
    export = folder(tmp_path, documents([item(variants={"full": variant(big)})]) | {NAME: big})
    with opened(export) as source:
        source.check()
        chunks = source.read(NAME)
        taken = len(await anext(chunks))
        os.truncate(export / NAME, 2 << 20)
        taken += sum([len(chunk) async for chunk in chunks])
    assert taken == 2 << 20


@pytest.mark.parametrize("size_bytes", [0, 1, len(PICTURE) - 1, len(PICTURE) + 1, 2**53])
def test_a_size_that_is_not_the_files_is_refused(tmp_path, size_bytes):
    told = documents([item(variants={"full": variant(sizeBytes=size_bytes)})])
    refused(folder(tmp_path, WHOLE | told), "the export says")
    refused(archive(tmp_path, packed(WHOLE | told)), "the export says")


BAD_VARIANTS: list[dict[str, Any]] = [
    {"sizeBytes": -1},
    {"sizeBytes": 2**53 + 1},
    {"sizeBytes": 2**63},
    {"sizeBytes": 10**400},
    {"sizeBytes": 1.5},
    {"sizeBytes": "20"},
    {"sizeBytes": True},
    {"sizeBytes": None},
    {"sha256": None},
    {"sha256": ""},
    {"sha256": "z" * 64},
    {"sha256": "A" * 64},
    {"sha256": "a" * 63},
    {"sha256": "a" * 65},
    {"sha256": "a" * 64 + "\n"},
    {"sha256": "\uff41" * 64},
    {"status": "melted"},
    {"status": "STORED"},
    {"status": "edge_only"},
    {"status": "removed"},
    {"status": None},
    {"accessCount": -1},
    {"accessCount": 2**63},
    {"createdAt": -1},
    {"createdAt": 2**63},
    {"createdAt": 253_402_300_800_000},
    {"expiresAt": -(2**63) - 1},
    {"storedAt": -1},
    {"lastAccessedAt": None},
    {"contentType": "a" * 256},
    {"contentType": "image/\0jpeg"},
    {"error": "e" * 501},
    {"file": 7},
    {"file": ["a"]},
    {"derived": "yes"},
]
BAD_ITEMS: list[dict[str, Any]] = [
    {"id": ""},
    {"id": "a" * 65},
    {"id": "../a"},
    {"id": "a/b"},
    {"id": "a\0"},
    {"id": "a\n"},
    {"id": "\u0661"},
    {"id": 100},
    {"id": None},
    {"type": "hologram"},
    {"upstreamType": "hologram"},
    {"duration": -1},
    {"duration": 1e10},
    {"duration": "1"},
    {"sources": []},
    {"sources": ["vault"] * 5},
    {"sources": ["elsewhere"]},
    {"createdAt": 10**30},
    {"pin": {"pinnedAt": -1, "until": None, "reason": None}},
    {"pin": {"pinnedAt": 1, "until": None, "reason": "r" * 501}},
    {"pin": {"pinnedAt": 1, "until": None, "reason": "\0"}},
    {"variants": {"": variant()}},
    {"variants": {"../full": variant()}},
    {"variants": {"a" * 33: variant()}},
    {"variants": {"full\n": variant()}},
    {"variants": {str(n): variant(file=None, sha256=None) for n in range(201)}},
    {"variants": [variant()]},
    *({"variants": {"full": variant(**bad)}} for bad in BAD_VARIANTS),
]


@pytest.mark.parametrize("bad", BAD_ITEMS, ids=range(len(BAD_ITEMS)))
def test_an_item_that_is_not_of_the_format_is_refused(tmp_path, bad):
    good = item()
    told = documents() | {"items.jsonl": lines_of([good | bad])}
    refused(folder(tmp_path, WHOLE | told), "items.jsonl is not as the format says|100/full has a file, and is not")


@pytest.mark.parametrize("name", ["items.jsonl", "lists.jsonl", "list-items.jsonl", "export.json"])
def test_a_bomb_of_json_is_refused(tmp_path, name):
    good = WHOLE[name].strip()
    deep = b'"x":' + b"[" * 400_000 + b"]" * 400_000
    bombs = {
        "deep": b"[" * 500_000,
        "deep in a field that nobody asked for": good[:-1] + b"," + deep + b"}",
        "long": good[:-1] + b',"x":"' + b"a" * LONGEST_LINE + b'"}',
        "no end": b"a" * (3 << 20),
        "spaces": b" " * (3 << 20) + good,
        "no UTF-8": good.replace(b'"', b'"\xff', 1),
        "UTF-16": good.decode().encode("utf-16"),
        "a mark before it": b"\xef\xbb\xbf" + good,
        "half a surrogate": good.replace(b'"n"', b'"\\ud800"')
        .replace(b'"a"', b'"\\ud800"')
        .replace(b'"100"', b'"\\ud8"'),
        "NaN": good.replace(str(AT).encode(), b"NaN"),
        "a huge exponent": good.replace(str(AT).encode(), b"1e999999"),
        "a huge number": good.replace(str(AT).encode(), b"9" * 100_000),
        "a null": b"null",
        "an array": b"[" + good + b"]",
        "two on a line": good + good,
        "nothing on a line": b"\n\n",
        "half": good[: len(good) // 2],
    }
    for content in bombs.values():
        refused(folder(tmp_path, WHOLE | {name: content + b"\n"}), f"{name} is (not as the format says|longer than)")


def test_an_item_a_file_or_a_list_that_is_there_twice_is_refused(tmp_path):
    none = {"full": variant(file=None, sha256=None)}
    refused(folder(tmp_path, WHOLE | documents([item(), item(variants=none)])), "the item '100' is twice")
    two = [item(), item("101", variants={"full": variant()})]
    refused(folder(tmp_path, WHOLE | documents(two)), "is twice")
    cased = [item(), item("101", variants={"full": variant(file=NAME.replace("full", "FULL"))})]
    refused(folder(tmp_path, WHOLE | documents(cased) | {NAME.replace("full", "FULL"): PICTURE}), "is twice")
    refused(folder(tmp_path, WHOLE | documents(lists=[a_list(), a_list()])), "the list '7' is twice")


@pytest.mark.parametrize("bad", [{"id": ""}, {"id": "a\0"}, {"id": "a" * 201}, {"name": "\0"}, {"name": "n" * 501}])
def test_a_list_that_no_database_takes_is_refused(tmp_path, bad):
    refused(folder(tmp_path, WHOLE | documents(lists=[a_list(**bad)])), "lists.jsonl is not as the format says")


def test_a_membership_of_a_list_that_is_not_there_is_refused(tmp_path):
    refused(folder(tmp_path, WHOLE | documents(members=[member(listId="8")])), "which is not there")
    refused(folder(tmp_path, WHOLE | documents(members=[member(mediaId="../1")])), "is not as the format says")


@pytest.mark.parametrize("count", ["items", "variants", "files", "fileBytes", "lists"])
def test_documents_that_were_cut_short_are_noticed(tmp_path, count):
    whole = json.loads(WHOLE["export.json"])
    refused(
        folder(tmp_path, WHOLE | {"export.json": json.dumps(whole | {count: whole[count] + 1}).encode()}),
        "is not whole",
    )


def test_another_version_is_said_also_where_it_has_another_shape(tmp_path):
    refused(folder(tmp_path, WHOLE | documents(version=2)), "of version 2, and this program reads version 1")
    newer = b'{"format": "mediavault-export", "version": 3}'
    refused(folder(tmp_path, WHOLE | {"export.json": newer}), "of version 3")
    for bad in ({"format": "zip"}, {"version": "1"}, {"version": True}, {"version": 10**30}, {"items": -1}):
        spoilt = json.dumps(json.loads(WHOLE["export.json"]) | bad).encode()
        refused(folder(tmp_path, WHOLE | {"export.json": spoilt}), "export.json is not as the format says|of version")


def test_settings_that_are_none_are_refused(tmp_path):
    good = json.loads(WHOLE["export.json"])
    nested: Any = 1
    for _ in range(500):
        nested = [nested]
    bad_ones: list[Any] = [[], "x", *({"storageLimitBytes": bytes_} for bytes_ in (-1, 2**70, nested))]
    for bad in bad_ones:
        spoilt = good | {"connection": good["connection"] | {"settingsOverrides": bad}}
        refused(folder(tmp_path, WHOLE | {"export.json": json.dumps(spoilt).encode()}), "settingsOverrides")
