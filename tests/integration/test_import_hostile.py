"""A hostile export meets a whole vault: a clear end, nothing stored that lies, nothing left behind."""

import json
import tarfile

import pytest

from fakes.catalog_rows import broken_invariants, rows
from fakes.exports import NAME, PICTURE, WHOLE, archive, documents, folder, item, other, packed, variant
from fakes.programs import environment, run
from fakes.vaults import running_vault
from mediavault.cli import importing
from mediavault.errors import InvalidRequest
from mediavault.vault.portable.import_run import ImportRun
from mediavault.vault.portable.import_source import Export
from mediavault.vault.portable.importing import Wish

SECOND = NAME.replace("100", "101")
OTHER = b"\xff\xd8\xff\xe0 another picture"
TWO = documents([item(), item("101", variants={"full": variant(OTHER, file=SECOND)})]) | {
    NAME: PICTURE,
    SECOND: OTHER,
}


def _a_link(path):
    path.rename(path.parents[3] / "elsewhere")
    path.symlink_to(path.parents[3] / "elsewhere")


def _gone(path):
    path.unlink()


def _longer(path):
    path.write_bytes(PICTURE * 2)


def _shorter(path):
    path.write_bytes(PICTURE[:-1])


def _another(path):
    path.write_bytes(PICTURE[:-1] + b"X")


@pytest.mark.parametrize("spoil", [_a_link, _gone, _longer, _shorter, _another])
@pytest.mark.parametrize("serving", [True, False])
async def test_a_file_that_is_another_after_the_check_is_refused_and_the_rest_is_taken(tmp_path, spoil, serving):
    path = folder(tmp_path, TWO)
    async with running_vault(tmp_path / "data") as vault:
        config, catalog = vault.vault.config, vault.vault.foundation.catalog
        if serving:
            took = await _taken(config, path, spoil)
            await _nothing_lies(catalog, tmp_path / "data", took)
    if not serving:
        took = await _taken(config, path, spoil)
        async with running_vault(tmp_path / "data") as vault:
            await _nothing_lies(vault.vault.foundation.catalog, tmp_path / "data", took)


async def _taken(config, path, spoil):
    export = Export(path)
    try:
        head = export.check().head
        spoil(path / NAME)
        async with importing._door(config) as door:
            running = ImportRun(export, door)
            await running.run(Wish(exported=head.connection))
            return running.took
    finally:
        export.close()


async def _nothing_lies(catalog, data, took):
    assert (list(took.refused), took.imported, took.limit) == (["100/full"], 1, None), took
    assert "does not answer" not in took.refused["100/full"]
    assert await broken_invariants(catalog) == []
    live = await rows(catalog, "blobs", state="live")
    stored = await rows(catalog, "variants", status="stored")
    assert [blob["size_bytes"] for blob in live] == [each["size_bytes"] for each in stored] == [len(OTHER)]
    (file,) = [path for path in (data / "blobs").glob("[!.]*/*/*") if path.read_bytes() == OTHER]
    assert file.stat().st_nlink == 1
    assert not list((data / "blobs" / ".staging").iterdir())


async def test_items_that_are_others_after_the_check_name_nothing_outside(tmp_path):
    """Whoever can write to the folder points the items at a file of the operator's, with its size and digest."""
    path = folder(tmp_path, WHOLE)
    (tmp_path / "secret.jpg").write_bytes(PICTURE)
    async with running_vault(tmp_path / "data") as vault:
        export = Export(path)
        try:
            head = export.check().head
            pointed = item(variants={"full": variant(file="../secret.jpg")})
            (path / "items.jsonl").write_text(json.dumps(pointed) + "\n")
            async with importing._door(vault.vault.config) as door:
                running = ImportRun(export, door)
                await running.run(Wish(exported=head.connection))
        finally:
            export.close()
        assert running.took.refused.keys() == {"100/full"}
        assert await rows(vault.vault.foundation.catalog, "variants", status="stored") == []


async def test_an_export_with_one_bad_thing_in_it_changes_nothing_at_all(tmp_path):
    async with running_vault(tmp_path / "data") as vault:
        catalog, config = vault.vault.foundation.catalog, vault.vault.config
        before = {table: await rows(catalog, table) for table in ("connections", "media", "variants", "blobs", "lists")}
        bad = archive(tmp_path, [*packed(TWO)[:-1], other("x", type=tarfile.SYMTYPE, linkname="/etc/passwd")])
        with pytest.raises(InvalidRequest, match="is no plain file"):
            await importing.run(config, bad, Wish(), dry_run=False)
        with pytest.raises(InvalidRequest, match="twice"):
            await importing.run(config, folder(tmp_path, TWO | documents([item(), item()])), Wish(), dry_run=False)
        assert before == {table: await rows(catalog, table) for table in before}


@pytest.mark.slow
async def test_the_command_says_in_one_line_what_is_wrong_and_ends_as_it_is_documented(tmp_path):
    new = ("--new", "--upstream", "http://127.0.0.1:1", "--data", tmp_path / "data", "--json")
    link = archive(tmp_path, [other(NAME, type=tarfile.LNKTYPE, linkname="/etc/passwd"), *packed(WHOLE)])
    deep = folder(tmp_path, WHOLE | {"items.jsonl": b"[" * 500_000})
    for source in (link, deep, tmp_path / "none", "/dev/zero"):
        ended = await run("import", source, *new, cwd=tmp_path, env=environment())
        assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1), ended.err
        assert json.loads(ended.err)["exitCode"] == 2
        assert not (tmp_path / "data").exists()
    good = folder(tmp_path, WHOLE)
    full = await run("import", good, *new, cwd=tmp_path, env=environment(FREE_FLOOR_BYTES=str(2**50)))
    assert (full.code, full.json["imported"], "free space" in full.json["limit"]) == (6, 0, True), full.err
    (good / NAME).write_bytes(bytes(len(PICTURE)))
    part = await run("import", good, *new, cwd=tmp_path, env=environment(FREE_FLOOR_BYTES="1000000"))
    assert (part.code, list(part.json["refused"])) == (3, ["100/full"]), part.err
