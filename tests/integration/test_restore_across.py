"""Backups go from either engine to either: the same rows, the same answers, the same bytes, and clean to `verify`."""

import asyncio
import hashlib
from dataclasses import replace
from typing import Any

import pytest

from fakes.catalog_rows import broken_invariants, dump
from fakes.clean_vault import NOW, clean_vault
from fakes.kept_items import stored_full
from fakes.running import serving
from fakes.vaults import running_vault, until
from mediavault.catalog import snapshots
from mediavault.catalog.database import CatalogConfig, open_catalog
from mediavault.cli import backing_up, recovering
from mediavault.cli.backing_up import Wanted
from mediavault.cli.visiting import open_visit
from mediavault.platform.application import application
from mediavault.platform.sandbox import Sandbox
from mediavault.vault.integrity.verifying import Asked

ODD = "ü🦊 \\ \" ' % \t\r\n \u2028 \x7f"


@pytest.fixture(params=["sqlite to postgresql", "postgresql to sqlite", "postgresql to postgresql"])
def across(request, tmp_path):
    """The URLs of two databases: of a vault, and of the one that it is restored to."""
    server = request.getfixturevalue("postgres_database")
    before, _, after = request.param.partition(" to ")
    urls = [
        f"sqlite:///{tmp_path / folder / 'catalog.sqlite'}" if engine == "sqlite" else server
        for engine, folder in ((before, "data"), (after, "new"))
    ]
    if before == after:
        urls[1] = request.getfixturevalue("another_postgres_database")
    return urls


@pytest.fixture
async def another_postgres_database(postgres_url):
    from fakes import postgres

    url = await postgres.create_database(postgres_url)
    yield url
    await postgres.drop_database(postgres_url, url)


async def lived(vault):
    """Things of every kind; the connection."""
    connection = await vault.connect(clientReferenceId="client-7")
    ids = [
        (await stored_full(vault, connection, type=kind, size_bytes=20_000))[0] for kind in ("photo", "video", "audio")
    ]
    await vault.see(connection)
    await vault.call("PUT", f"/v2/vault-plus/media/{ids[0]}/pin", connection=connection, json={"reason": ODD})
    gone = await vault.call("DELETE", f"/v2/vault-plus/media/{ids[1]}", connection=connection)
    assert gone.status == 200, gone.body
    upstream = (await vault.see(connection, "/v2/access/vault/lists?limit=10"))["list"]
    list_id = next(each["id"] for each in upstream if each.get("hasMedia"))
    assert (await vault.call("PUT", f"/v2/vault-plus/lists/{list_id}/sync", connection=connection)).json["synced"]
    await vault.vault.counting.flush()

    async def idle():
        everything = await dump(vault.vault.foundation.catalog)
        return not [each for each in everything["variants"] if each["status"] in {"pending", "storing"}]

    await until(idle)
    return connection, list_id


async def answers(vault, connection, list_id):
    """What a caller is told, without the parts of URLs that are signed anew; and the bytes of what is stored."""
    told = {}
    for path in (
        "/v2/vault-plus/media?sort=createdAt_asc&limit=100",
        "/v2/vault-plus/media?status=removed",
        "/v2/vault-plus/stats",
        f"/v2/vault-plus/lists/{list_id}/media?limit=100",
        "/v2/vault-plus/lists",
        "/v2/account/connections",
    ):
        answer = await vault.call("GET", path, connection=connection)
        assert answer.status == 200, (path, answer.body)
        told[path] = without_urls(answer.json)
    items = (await vault.call("GET", "/v2/vault-plus/media?sort=createdAt_asc", connection=connection)).json["items"]
    stored_ones = [variant for item in items for variant in item["media"].values() if variant["status"] == "stored"]
    assert stored_ones
    told["bytes"] = []
    for variant in stored_ones:
        answer = await vault.ask("GET", variant["url"])
        assert answer.status == 200, answer.body
        told["bytes"].append((hashlib.sha256(answer.body).hexdigest(), answer.headers["etag"]))
    return told


def without_urls(given):
    if isinstance(given, dict):
        return {name: without_urls(value) for name, value in given.items() if name not in {"url", "nextCursor"}}
    return [without_urls(each) for each in given] if isinstance(given, list) else given


async def test_a_vault_that_moves_to_another_engine_answers_as_before_and_is_clean(tmp_path, across):
    sandbox = Sandbox()
    async with serving(application(sandbox)) as platform_url:
        options: dict[str, Any] = {"sandbox": sandbox, "platform_url": platform_url}
        async with running_vault(tmp_path / "data", database_url=across[0], **options) as vault:
            connection, list_id = await lived(vault)
            first = await answers(vault, connection, list_id)
            config = vault.vault.config
            await backing_up.create(config, tmp_path / "b", Wanted(master_key=True))
        new = replace(
            config,
            data=tmp_path / "new",
            blobs=tmp_path / "new" / "blobs",
            catalog=replace(config.catalog, url=across[1]),
        )
        done = await recovering.restore(new, tmp_path / "b", "latest", None, disable_webhooks=False)
        assert (done.looked.faults, done.has_master_key) == ([], True)
        visit = await open_visit(new)
        try:
            report = await visit.verifying.verify(Asked(deep=True))
        finally:
            await visit.close()
        assert [(each.code, each.subject) for each in report.findings] == []
        assert report.blobs == len(first["bytes"]) + 1  # those of what was removed wait for the undo
        async with running_vault(tmp_path / "new", database_url=across[1], **options) as vault:
            assert await answers(vault, connection, list_id) == first
            assert await broken_invariants(vault.vault.foundation.catalog) == []
            await stored_full(vault, connection, type="photo", size_bytes=9_000)


@pytest.mark.parametrize("number", [1200])
async def test_thousands_of_rows_are_the_same_on_the_other_engine_and_back_again(tmp_path, across, number):
    (tmp_path / "data").mkdir()
    filled = await clean_vault(across[0], tmp_path, number, 3)
    before = await dump(filled.catalog)
    await filled.catalog.close()
    assert len(before["variants"]) == number
    await snapshots.take(CatalogConfig(across[0]), tmp_path / "there.sqlite")
    assert snapshots.faults(tmp_path / "there.sqlite") == []
    (tmp_path / "new").mkdir()
    await snapshots.restore(CatalogConfig(across[1]), tmp_path / "there.sqlite", "there")
    assert await dumped(across[1]) == before
    await snapshots.take(CatalogConfig(across[1]), tmp_path / "back.sqlite")
    await snapshots.restore(CatalogConfig(f"sqlite:///{tmp_path / 'back'}"), tmp_path / "back.sqlite", "back")
    assert await dumped(f"sqlite:///{tmp_path / 'back'}") == before
    opened = await open_catalog(CatalogConfig(across[1]))
    assert await snapshots.finish(opened, "there", NOW, other_places=True, disable_webhooks=False) > 0
    assert await broken_invariants(opened) == []
    await opened.close()


async def dumped(url):
    catalog = await open_catalog(CatalogConfig(url))
    try:
        everything = await dump(catalog)
    finally:
        await catalog.close()
    everything["installation"] = [fact for fact in everything["installation"] if "restored:" not in fact["name"]]
    return everything


async def test_no_cursor_of_one_batch_is_left_to_end_while_the_next_is_written(
    tmp_path, postgres_database, monkeypatch
):
    """Whichever thread let go of it would reset the statement that another one is using."""
    (tmp_path / "data").mkdir()
    filled = await clean_vault(postgres_database, tmp_path, 60, 3)
    before = await dump(filled.catalog)
    await filled.catalog.close()
    left = []

    async def in_thread(function, *arguments):
        given = await asyncio.get_running_loop().run_in_executor(None, function, *arguments)
        left.append(given)
        return given

    monkeypatch.setattr(snapshots, "_BATCH", 5)
    monkeypatch.setattr(asyncio, "to_thread", in_thread)
    await snapshots.take(CatalogConfig(postgres_database), tmp_path / "there.sqlite")
    monkeypatch.undo()
    assert len(left) > 12
    assert set(left) == {None}
    await snapshots.restore(CatalogConfig(f"sqlite:///{tmp_path / 'back'}"), tmp_path / "there.sqlite", "there")
    assert await dumped(f"sqlite:///{tmp_path / 'back'}") == before
