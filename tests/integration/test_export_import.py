"""A connection's media as plain files, and back into another vault: equal but for the URLs, whatever cuts it short."""

import asyncio
import hashlib
import json
import shutil
import sqlite3
import tarfile
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from fakes.catalog_rows import broken_invariants, row, rows
from fakes.kept_items import stored_item
from fakes.programs import environment, program, run
from fakes.running import serving
from fakes.vaults import running_vault, until
from mediavault.cli import importing
from mediavault.cli.visiting import open_export
from mediavault.errors import Conflict, InvalidRequest, SessionNotProvided
from mediavault.platform.application import application
from mediavault.platform.sandbox import Sandbox
from mediavault.vault.portable.export_target import open_target
from mediavault.vault.portable.importing import Wish


async def exported(config, connection, to):
    """Export in this process: what was counted."""
    async with open_export(config) as exporting:
        target = open_target(to)
        try:
            await exporting.carry_out(await exporting.connection(connection), target)
        finally:
            target.close()
        return exporting.counted


def without_urls(item):
    shown = {label: {**variant, "url": None} for label, variant in item["media"].items()}
    return {**item, "media": shown}


async def digests(vault, item):
    found = {}
    for label, variant in item["media"].items():
        answer = await vault.ask("GET", variant["url"])
        assert answer.status == 200, answer.body
        found[label] = (hashlib.sha256(answer.body).hexdigest(), answer.headers["content-type"])
    return found


async def all_items(vault, connection):
    answer = await vault.call("GET", "/v2/vault-plus/media?sort=createdAt_asc", connection=connection)
    return answer.json["items"]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
async def an_export(tmp_path):
    """A folder with an export of three items, and the vault's configuration."""
    async with running_vault(tmp_path / "a") as vault:
        connection = await vault.connect()
        for n in range(3):
            await stored_item(vault, connection, type="photo", size_bytes=20_000 + n)
        await exported(vault.vault.config, connection, tmp_path / "export")
    return tmp_path / "export"


@pytest.mark.parametrize("form", ["folder", "archive.tar"])
async def test_what_is_exported_and_imported_is_the_same_but_for_its_urls(tmp_path, database_url, form):
    sandbox = Sandbox()
    async with serving(application(sandbox)) as platform_url:
        options: dict[str, Any] = {"sandbox": sandbox, "platform_url": platform_url}
        async with running_vault(tmp_path / "a", **options) as a:
            connection = await a.connect()
            for n, kind in enumerate(("photo", "video", "audio")):
                await stored_item(a, connection, type=kind, size_bytes=40_000 + n)
            await a.vault.counting.flush()
            await a.call(
                "PUT",
                f"/v2/vault-plus/media/{(await all_items(a, connection))[0]['id']}/pin",
                connection=connection,
                json={"reason": "best"},
            )
            first = await all_items(a, connection)
            counted = await exported(a.vault.config, connection, tmp_path / form)
            assert counted.failed == {}
            assert counted.files == counted.done_files == sum(len(item["media"]) for item in first)
            sent = {item["id"]: await digests(a, item) for item in first}
        async with running_vault(tmp_path / "b", database_url=database_url, **options) as b:
            done = await importing.run(b.vault.config, tmp_path / form, Wish(), dry_run=False)
            assert (done.took.imported, done.took.refused, done.took.limit) == (counted.files, {}, None)
            second = await all_items(b, done.connection_id)
            assert [without_urls(item) for item in second] == [without_urls(item) for item in first]
            assert {item["id"]: await digests(b, item) for item in second} == sent
            catalog = b.vault.foundation.catalog
            assert await broken_invariants(catalog) == []
            before = await rows(catalog, "outbox")
            again = await importing.run(b.vault.config, tmp_path / form, Wish(), dry_run=False)
            assert (again.connection_id, again.took.imported, again.took.present) == (
                done.connection_id,
                0,
                counted.files,
            )
            assert await rows(catalog, "outbox") == before


async def test_an_export_can_be_read_without_any_vault_and_has_no_secret_in_it(tmp_path):
    async with running_vault(tmp_path / "a") as vault:
        connection = await vault.connect()
        media = await stored_item(vault, connection, type="photo", size_bytes=12_345)
        seen, _ = await vault.add(connection, type="photo", size_bytes=2_000)
        await exported(vault.vault.config, connection, tmp_path / "e")
        (secret,) = await rows(vault.vault.foundation.catalog, "connections")
    items = {item["id"]: item for item in lines(tmp_path / "e" / "items.jsonl")}
    full = items[str(media.id)]["variants"]["full"]
    content = (tmp_path / "e" / full["file"]).read_bytes()
    assert full["file"].startswith("media/")
    assert f"_{media.id}_full.jpg" in full["file"]
    assert hashlib.sha256(content).hexdigest() == full["sha256"] == media.renditions["full"].content.sha256()
    assert {variant["file"] for variant in items[str(seen.id)]["variants"].values()} == {None}
    everything = b"".join(path.read_bytes() for path in (tmp_path / "e").glob("*.json*"))
    for canary in (b"http://", b"https://", b"cookie", b"sess", bytes(secret["session"])[:12]):
        assert canary not in everything.lower()
    head = json.loads((tmp_path / "e" / "export.json").read_text())
    assert (head["format"], head["version"], head["connection"]["id"]) == ("mediavault-export", 1, connection)


async def test_a_second_export_keeps_what_is_whole_and_writes_what_is_not(tmp_path):
    async with running_vault(tmp_path / "a") as vault:
        connection, config = await vault.connect(), vault.vault.config
        for n in range(3):
            await stored_item(vault, connection, type="photo", size_bytes=6_000 + n)
        counted = await exported(config, connection, tmp_path / "e")
        files = sorted((tmp_path / "e" / "media").rglob("*.*"))
        assert (counted.kept_files, len(files)) == (0, counted.files)
        untouched = {path: path.stat().st_ino for path in files[1:]}
        files[0].write_bytes(b"z" * files[0].stat().st_size)
        (tmp_path / "e" / "export.json").rename(tmp_path / "e" / ".unfinished")  # as if it had been cut off
        again = await exported(config, connection, tmp_path / "e")
        assert (again.done_files, again.kept_files) == (counted.files, counted.files - 1)
        assert {path: path.stat().st_ino for path in files[1:]} == untouched
        by_file = {
            v["file"]: v["sha256"] for i in lines(tmp_path / "e" / "items.jsonl") for v in i["variants"].values()
        }
        assert hashlib.sha256(files[0].read_bytes()).hexdigest() == by_file[str(files[0].relative_to(tmp_path / "e"))]


async def test_an_archive_that_was_cut_off_is_gone_on_with(tmp_path):
    async with running_vault(tmp_path / "a") as vault:
        connection, config = await vault.connect(), vault.vault.config
        for n in range(4):
            await stored_item(vault, connection, type="photo", size_bytes=30_000 + n)
        whole = tmp_path / "e.tar"
        counted = await exported(config, connection, whole)
        content = whole.read_bytes()
        for cut in (1, 511, 40_000, len(content) - 2_000):
            whole.unlink()
            (tmp_path / "e.tar.partial").write_bytes(content[:cut])
            again = await exported(config, connection, whole)
            assert again.done_files == counted.files
            assert (again.kept_files > 0) == (cut >= 40_000)
            with tarfile.open(whole) as archive:
                names = archive.getnames()
                assert len(names) == len(set(names)) == counted.files + 5
                first = archive.extractfile(names[0])
                assert first is not None
                assert first.read()
        assert not (tmp_path / "e.tar.partial").exists()


async def test_a_damaged_blob_is_left_out_and_told(tmp_path):
    async with running_vault(tmp_path / "a") as vault:
        connection = await vault.connect()
        await stored_item(vault, connection, type="photo", size_bytes=7_000)
        blobs = [p for p in (tmp_path / "a" / "blobs").glob("[!.]*/*/*") if p.stat().st_size == 7_000]
        blobs[0].write_bytes(b"q" * 7_000)
        counted = await exported(vault.vault.config, connection, tmp_path / "e")
    assert len(counted.failed) == 1
    (item,) = lines(tmp_path / "e" / "items.jsonl")
    failed = [variant for variant in item["variants"].values() if "error" in variant]
    assert [(variant["file"], variant["sha256"]) for variant in failed] == [(None, None)]
    assert not any(name in counted.failed for name in (str(p) for p in (tmp_path / "e").rglob("*")))


async def test_imported_media_have_no_origin_and_are_never_asked_for(tmp_path, an_export):
    """At no risk, explained as imported; damaged ones are removed instead of being fetched; upstream may show them."""
    async with running_vault(tmp_path / "b") as vault:
        done = await importing.run(vault.vault.config, an_export, Wish(), dry_run=False)
        connection = done.connection_id
        assert connection is not None
        item = (await all_items(vault, connection))[0]
        explained = await vault.call("GET", f"/v2/vault-plus/media/{item['id']}/explain", connection=connection)
        told = explained.json["variants"]["full"]
        assert (told["status"], told["reason"], told["next"]["code"]) == ("stored", "imported from an export", "kept")
        risk = await vault.call("GET", "/v2/vault-plus/at-risk", connection=connection)
        assert risk.json["items"] == []
        catalog = vault.vault.foundation.catalog
        variant = await row(catalog, "variants", label="full", media_pk=(await _media(catalog, item["id"]))["id"])
        assert await vault.vault.media.damaging.quarantine(await _live(catalog, variant["blob_id"]), "flipped")
        await until(lambda: rows(catalog, "variants", id=variant["id"], status="removed"))
        assert "import it again" in (await row(catalog, "variants", id=variant["id"]))["last_error"]
        again = await importing.run(vault.vault.config, an_export, Wish(), dry_run=False)
        assert again.took.imported == 1
        assert await digests(vault, await vault.item(connection, item["id"]))
        assert await broken_invariants(catalog) == []


async def _media(catalog, media_id):
    return await row(catalog, "media", media_id=media_id)


async def _live(catalog, blob_id):
    from mediavault.catalog import damage

    return await damage.live_blob(catalog, blob_id)


async def test_a_connection_that_an_import_made_has_no_session_until_one_is_imported(tmp_path, an_export):
    async with running_vault(tmp_path / "b") as vault:
        done = await importing.run(vault.vault.config, an_export, Wish(), dry_run=False)
        refused = await vault.call("GET", "/v2/access/vault/media?limit=1", connection=done.connection_id)
        assert (refused.status, refused.json["type"]) == (401, "SESSION_NOT_PROVIDED")
        assert refused.json["message"] != SessionNotProvided.__doc__
        stored_before = await all_items(vault, done.connection_id)
        assert await vault.connect() == done.connection_id  # the same upstream user
        await vault.see(done.connection_id)
        after = {item["id"]: item for item in await all_items(vault, done.connection_id)}
        assert all(after[item["id"]]["media"]["full"]["status"] == "stored" for item in stored_before)
        with pytest.raises(Conflict, match=done.connection_id):
            await importing.run(vault.vault.config, an_export, Wish(), dry_run=False)


async def test_what_the_vault_has_stored_already_is_kept_and_what_it_only_saw_is_taken(tmp_path):
    sandbox = Sandbox()
    async with serving(application(sandbox)) as platform_url:
        options: dict[str, Any] = {"sandbox": sandbox, "platform_url": platform_url}
        async with running_vault(tmp_path / "a", **options) as a:
            connection = await a.connect()
            same, other = [await stored_item(a, connection, type="photo", size_bytes=8_000 + n) for n in range(2)]
            await exported(a.vault.config, connection, tmp_path / "e")
        async with running_vault(tmp_path / "b", **options) as b:
            connection = await b.connect()
            await b.see(connection)
            item = await b.item(connection, same.id)
            await b.ask("POST", item["media"]["full"]["url"])
            await b.until_stored(connection, same.id)
            wish = Wish(connection=connection)
            catalog = b.vault.foundation.catalog
            dry = await importing.run(b.vault.config, tmp_path / "e", wish, dry_run=True)
            done = await importing.run(b.vault.config, tmp_path / "e", wish, dry_run=False)
            assert (dry.took.imported, dry.took.present) == (done.took.imported, done.took.present)
            assert done.took.present >= 1
            kept = await row(catalog, "variants", label="full", media_pk=(await _media(catalog, str(other.id)))["id"])
            assert (kept["status"], kept["origin_key"] != "imported") == ("stored", True)
            assert await broken_invariants(catalog) == []
            spoil = next((tmp_path / "e" / "media").rglob(f"*{other.id}_full*"))
            _respell(tmp_path / "e", spoil, b"\xff\xd8\xff other bytes")
            third = await importing.run(b.vault.config, tmp_path / "e", wish, dry_run=False)
            assert third.took.different == [f"{other.id}/full"]
            assert (await digests(b, await b.item(connection, other.id)))["full"][0] == other.renditions[
                "full"
            ].content.sha256()


def _respell(export, path, content):
    """Give a file of an export other bytes, and say so in its items."""
    name, old = str(path.relative_to(export)), path.stat().st_size
    items = lines(export / "items.jsonl")
    for item in items:
        for variant in item["variants"].values():
            if variant["file"] == name:
                assert variant["sizeBytes"] == old
                variant |= {"sizeBytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    head = json.loads((export / "export.json").read_text())
    head["fileBytes"] += len(content) - old
    (export / "export.json").write_text(json.dumps(head))
    path.write_bytes(content)
    (export / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))


async def test_bytes_that_are_not_as_told_are_refused_and_leave_nothing(tmp_path, an_export):
    files = sorted((an_export / "media").rglob("*_full*"))
    files[0].write_bytes(b"w" * files[0].stat().st_size)  # another digest
    _respell(an_export, files[1], b"<!DOCTYPE html><script>alert(1)</script>")  # a page that calls itself a picture
    async with running_vault(tmp_path / "b") as vault:
        done = await importing.run(vault.vault.config, an_export, Wish(), dry_run=False)
        assert sorted(reason.split(" ")[0] for reason in done.took.refused.values()) == ["it", "the"]
        assert done.took.imported >= 1
        catalog = vault.vault.foundation.catalog
        assert await broken_invariants(catalog) == []
        await vault.vault.sweeps.sweep()
        live = await rows(catalog, "blobs")
        assert all(blob["state"] == "live" for blob in live)
        assert len(list((tmp_path / "b" / "blobs").glob("[!.]*/*/*"))) == len(live)
        assert not list((tmp_path / "b" / "blobs" / ".staging").iterdir())


async def test_the_storage_limit_is_kept_to_and_nothing_is_evicted_for_an_import(tmp_path, an_export):
    head = json.loads((an_export / "export.json").read_text())
    total = sum(v["sizeBytes"] for i in lines(an_export / "items.jsonl") for v in i["variants"].values() if v["file"])
    head["connection"]["settingsOverrides"] = {"storageLimitBytes": total - 1}
    (an_export / "export.json").write_text(json.dumps(head))
    async with running_vault(tmp_path / "b") as vault:
        done = await importing.run(vault.vault.config, an_export, Wish(), dry_run=False)
        assert done.took.limit is not None
        assert "storage limit" in done.took.limit
        catalog = vault.vault.foundation.catalog
        (usage,) = await rows(catalog, "usage")
        assert 0 < usage["stored_bytes"] <= total - 1
        assert usage["reserved_bytes"] == 0
        removed = [event for event in await rows(catalog, "outbox") if "evicted" in event["data"]]
        assert removed == []
        patch = {"vaultPlus": {"settings": None}}
        await vault.call("PATCH", f"/v2/account/connections/{done.connection_id}/settings", json=patch)
        again = await importing.run(vault.vault.config, an_export, Wish(), dry_run=False)
        assert again.took.limit is None
        assert again.took.imported + done.took.imported == done.took.present + len(
            [v for i in lines(an_export / "items.jsonl") for v in i["variants"].values() if v["file"]]
        )


async def test_an_import_without_a_running_vault_is_the_same(tmp_path, an_export):
    async with running_vault(tmp_path / "b") as vault:
        config = vault.vault.config
    done = await importing.run(config, an_export, Wish(), dry_run=False)
    assert done.took.refused == {}
    async with running_vault(tmp_path / "b") as vault:
        for item in await all_items(vault, done.connection_id):
            assert await digests(vault, item)


async def test_where_a_later_session_goes_is_never_told_by_the_export(tmp_path, an_export):
    async with running_vault(tmp_path / "b") as vault:
        config = replace(vault.vault.config, upstream_url=None)
        with pytest.raises(InvalidRequest, match="must be an http"):
            await importing.run(vault.vault.config, an_export, Wish(upstream="file:///etc"), dry_run=False)
    with pytest.raises(InvalidRequest, match="no upstream"):
        await importing.run(config, an_export, Wish(), dry_run=False)


async def test_lists_and_what_is_in_them_come_along_without_their_baseline(tmp_path):
    sandbox = Sandbox()
    async with serving(application(sandbox)) as platform_url:
        options: dict[str, Any] = {"sandbox": sandbox, "platform_url": platform_url}
        async with running_vault(tmp_path / "a", **options) as a:
            connection = await a.connect()
            upstream = (await a.see(connection, "/v2/access/vault/lists?limit=10"))["list"]
            list_id = next(each["id"] for each in upstream if each.get("hasMedia"))
            answer = await a.call("PUT", f"/v2/vault-plus/lists/{list_id}/sync", connection=connection)
            assert answer.json["synced"], answer.body
            before = (await a.call("GET", f"/v2/vault-plus/lists/{list_id}/media", connection=connection)).json
            await until(lambda: _none_waiting(a))
            await exported(a.vault.config, connection, tmp_path / "e")
        async with running_vault(tmp_path / "b", **options) as b:
            done = await importing.run(b.vault.config, tmp_path / "e", Wish(), dry_run=False)
            after = await b.call("GET", f"/v2/vault-plus/lists/{list_id}/media", connection=done.connection_id)
            kept = ("mediaId", "firstAddedAt", "lastAddedAt", "lastSeenAt", "lastSyncedAt")
            assert [{name: item[name] for name in kept} for item in after.json["items"]] == [
                {name: item[name] for name in kept} for item in before["items"]
            ]
            assert not any(member["in_baseline"] for member in await rows(b.vault.foundation.catalog, "list_items"))


async def _none_waiting(vault):
    waiting = await rows(vault.vault.foundation.catalog, "variants")
    return not [variant for variant in waiting if variant["status"] in {"pending", "storing"}]


@pytest.mark.slow
async def test_an_import_that_is_killed_at_any_moment_is_gone_on_with(tmp_path):
    """Both ends: the command is killed while the vault serves, then the vault itself in the middle of an import."""
    async with running_vault(tmp_path / "a") as a:
        connection = await a.connect()
        for n in range(6):
            await stored_item(a, connection, type="photo", size_bytes=1_500_000 + n)
        counted = await exported(a.vault.config, connection, tmp_path / "e")
    command = (
        "import",
        tmp_path / "e",
        "--new",
        "--upstream",
        "http://127.0.0.1:1",
        "--data",
        tmp_path / "b",
        "--json",
    )
    env = environment(FREE_FLOOR_BYTES="1000000")
    async with running_vault(tmp_path / "b") as b:
        for count in (1, 3):
            async with program(*command, cwd=tmp_path, env=env) as killed:
                await until(partial(_stored_or_more, b, count))
                await killed.kill()
    async with program(*command, cwd=tmp_path, env=env) as killed:  # by itself now, with its leases
        await until(lambda: _at_work(tmp_path / "b"))
        await killed.kill()
    ended = await run(*command, cwd=tmp_path, env=env)
    assert (ended.code, ended.json["refused"]) == (0, {}), ended.err
    assert ended.json["imported"] + ended.json["present"] == counted.files
    async with running_vault(tmp_path / "b") as b:
        assert await broken_invariants(b.vault.foundation.catalog) == []
        for item in await all_items(b, ended.json["connection"]):
            assert await digests(b, item)


async def _stored_or_more(vault, count):
    return len(await rows(vault.vault.foundation.catalog, "variants", status="stored")) >= count


async def _at_work(data):
    """Whether some variant is leased, or all is over: asked beside the process that works."""
    found = sqlite3.connect(f"file:{data / 'catalog.sqlite'}?mode=ro", uri=True)
    try:
        states = [status for (status,) in found.execute("SELECT status FROM variants")]
    finally:
        found.close()
    await asyncio.sleep(0)
    return "storing" in states or states.count("stored") >= 6


@pytest.mark.slow
async def test_the_commands_say_what_they_did(tmp_path):
    async with running_vault(tmp_path / "a") as a:
        connection = await a.connect()
        await stored_item(a, connection, type="photo", size_bytes=4_000)
        data, to = tmp_path / "a", tmp_path / "e"
        env = environment(FREE_FLOOR_BYTES="1000000", UPSTREAM_URL="http://127.0.0.1:1")
        dry = await run("export", connection, "--to", to, "--data", data, "--dry-run", cwd=tmp_path, env=env)
        assert (dry.code, "would export 1 items" in dry.out, to.exists()) == (0, True, False), dry.err
        done = await run("export", connection, "--to", to, "--data", data, "--json", cwd=tmp_path, env=env)
        assert (done.code, done.json["items"], done.json["failed"]) == (0, 1, {}), done.err
        unknown = await run("export", "conn_none", "--to", to, "--data", data, "--json", cwd=tmp_path, env=env)
        assert (unknown.code, json.loads(unknown.err.splitlines()[-1])["exitCode"]) == (5, 5)
    shutil.rmtree(tmp_path / "a")
    into = await run("import", to, "--data", tmp_path / "b", "--new", cwd=tmp_path, env=env)
    assert (into.code, "imported into conn_" in into.out) == (0, True), into.err
    both = await run("import", to, "--data", tmp_path / "b", cwd=tmp_path, env=env)
    assert (both.code, "either --connection ID or --new" in both.err) == (2, True)
