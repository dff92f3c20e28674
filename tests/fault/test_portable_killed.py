"""kill -9 of the vault itself while it serves an import, and while a backup is taken of it."""

import asyncio
import contextlib
import hashlib
from dataclasses import replace

import msgspec
import pytest

from fakes.catalog_rows import broken_invariants, rows
from fakes.kept_items import served_digests, stored_full
from fakes.programs import environment, run, serve_process
from fakes.running import serving
from fakes.vaults import running_vault, until
from fakes.vaults import test_config as vault_config
from mediavault.cli import backing_up, control_socket, importing, recovering
from mediavault.cli.backing_up import Wanted
from mediavault.cli.importing import RemoteDoor
from mediavault.cli.visiting import open_export, open_visit
from mediavault.errors import UpstreamUnavailable
from mediavault.platform.application import application
from mediavault.platform.faults import Fault
from mediavault.platform.sandbox import Sandbox
from mediavault.storer.sweeps import SweepConfig
from mediavault.vault.integrity.verifying import Asked
from mediavault.vault.portable.backing_up import BackingUp
from mediavault.vault.portable.export_target import open_target
from mediavault.vault.portable.import_source import Export
from mediavault.vault.portable.importing import IMPORTED, Wish

MIB = 1 << 20
#: No sweep by itself; one that is asked for has no patience.
SWEPT = SweepConfig(every_seconds=1000, undo_window_ms=0, abandoned_after_seconds=-1)

pytestmark = pytest.mark.slow


@pytest.fixture
async def sandbox():
    """An upstream that outlives its vaults, and its URL."""
    made = Sandbox()
    async with serving(application(made)) as url:
        yield made, url


async def assert_nothing_is_half(vault, data):
    """After a sweep the rows keep their promises, and the folder has the bytes of live blobs and no others."""
    await vault.vault.sweeps.sweep()
    catalog = vault.vault.foundation.catalog
    assert await broken_invariants(catalog) == []
    blobs = await rows(catalog, "blobs")
    assert {each["state"] for each in blobs} == {"live"}
    files = [path for path in (data / "blobs").rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == sorted(each["id"] for each in blobs)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert digests == {each["id"]: each["sha256"] for each in blobs}


async def found_by_verify(config):
    visit = await open_visit(config)
    try:
        return (await visit.verifying.verify(Asked(deep=True))).findings
    finally:
        await visit.close()


@pytest.fixture
async def an_export(tmp_path, sandbox):
    """An export of four items; the digests of their `full`."""
    made, url = sandbox
    async with running_vault(tmp_path / "a", sandbox=made, platform_url=url) as a:
        connection = await a.connect()
        before = dict([await stored_full(a, connection, type="photo", size_bytes=3 * MIB + n) for n in range(4)])
        async with open_export(a.vault.config) as exporting:
            with contextlib.closing(open_target(tmp_path / "e")) as target:
                await exporting.carry_out(await exporting.connection(connection), target)
    return tmp_path / "e", before


async def test_a_vault_killed_in_the_middle_of_an_import_has_nothing_half_and_the_import_goes_on(
    tmp_path, database_url, sandbox, an_export
):
    """One variant is stored, two are on their way; and the command says that it is to be run again."""
    (made, url), (source, before), data = sandbox, an_export, tmp_path / "b"
    options = {"sandbox": made, "platform_url": url, "database_url": database_url}
    async with (
        serve_process(data, made, url, database_url=database_url) as (process, vault),
        RemoteDoor(control_socket.path_of(data)) as door,
        contextlib.AsyncExitStack() as stack,
    ):
        export = stack.enter_context(contextlib.closing(Export(source)))
        into = await door.begin(Wish(exported=export.check().head.connection))
        first, *others = list(export.items())
        name = str(first.variants["full"].file)
        alone = msgspec.structs.replace(first, variants={"full": first.variants["full"]})
        whole = await door.store(into.connection_id, alone, "full", export.read(name))
        assert whole.state == IMPORTED
        stores = [asyncio.create_task(half_sent(door, into, export, item)) for item in others[:2]]

        async def halfway():
            sizes = [path.stat().st_size for path in (data / "blobs" / ".staging").iterdir()]
            return len([size for size in sizes if size >= MIB]) == 2

        await until(halfway)
        await process.kill()
        for ended in await asyncio.gather(*stores, return_exceptions=True):
            assert isinstance(ended, UpstreamUnavailable)
            assert "run the import again" in str(ended)
    command = ("import", source, "--new", "--upstream", url, "--data", data, "--json")
    async with serve_process(data, made, url, database_url=database_url):
        again = await run(*command, cwd=tmp_path, env=environment(DATABASE_URL=database_url))
        assert (again.code, again.json["refused"], again.json["connection"]) == (0, {}, into.connection_id), again.err
        assert again.json["present"] == 1
    async with running_vault(data, sweep=SWEPT, **options) as vault:
        assert await served_digests(vault, into.connection_id) == before
        await assert_nothing_is_half(vault, data)
        config = vault.vault.config
    assert await found_by_verify(config) == []


async def half_sent(door, into, export, item):
    """Begin to hand a variant over, and never end."""

    async def body():
        taken = 0
        async for chunk in export.read(str(item.variants["full"].file)):
            yield chunk
            taken += len(chunk)
            if taken >= 2 * MIB:
                await asyncio.Event().wait()

    alone = msgspec.structs.replace(item, variants={"full": item.variants["full"]})
    return await door.store(into.connection_id, alone, "full", body())


@pytest.mark.parametrize("after_tries", [3])
async def test_a_vault_killed_again_and_again_takes_an_import_in_the_end(tmp_path, sandbox, an_export, after_tries):
    """The command as people use it, while the vault dies whenever one more variant is stored."""
    (made, url), (source, before), data = sandbox, an_export, tmp_path / "b"
    connections = set()
    for number in range(after_tries):
        async with serve_process(data, made, url) as (process, vault):
            config = vault_config(data, url)
            importing_ = asyncio.create_task(importing.run(config, source, Wish(upstream=url), dry_run=False))

            async def one_more(least=number + 1):
                return len(list((data / "blobs").glob("[!.]*/*/*"))) >= least

            await until(one_more)
            await process.kill()
            with contextlib.suppress(UpstreamUnavailable):  # it may have ended by itself in the socket's absence
                connections.add((await importing_).connection_id)
    async with running_vault(data, sandbox=made, platform_url=url) as vault:
        done = await importing.run(vault.vault.config, source, Wish(), dry_run=False)
        assert connections <= {done.connection_id}
        assert done.took.refused == {}
        assert await served_digests(vault, done.connection_id) == before
    async with running_vault(data, sandbox=made, platform_url=url, sweep=SWEPT) as vault:  # nobody writes now
        await assert_nothing_is_half(vault, data)


class Gate:
    """Holds a backup at its first blob until it is let on."""

    def __init__(self, monkeypatch):
        self.reached, self.open = asyncio.Event(), asyncio.Event()
        carry = BackingUp._carry

        async def carried(backing, target, blob):
            self.reached.set()
            await self.open.wait()
            await carry(backing, target, blob)

        monkeypatch.setattr(BackingUp, "_carry", carried)


@pytest.mark.parametrize("then", ["stays dead", "is started again"])
async def test_a_backup_of_a_vault_that_is_killed_meanwhile_is_whole(
    tmp_path, database_url, postgres_database_if_needed, sandbox, monkeypatch, then
):
    """Its hold outlives the vault: what is deleted after the restart is kept until it is copied."""
    (made, url), data, gate = sandbox, tmp_path / "data", Gate(monkeypatch)
    options = {"sandbox": made, "platform_url": url, "database_url": database_url}
    config = vault_config(data, url, database_url=database_url)
    async with serve_process(data, made, url, database_url=database_url) as (process, vault):
        connection = await vault.connect()
        before = dict([await stored_full(vault, connection, type="photo", size_bytes=40_000 + n) for n in range(5)])
        late, item = await vault.add(connection, type="photo", size_bytes=2 * MIB)
        stalled = made.faults.add(Fault(path=late.renditions["full"].path, stall_at=MIB))
        await vault.ask("POST", item["media"]["full"]["url"])

        async def storing():
            return (await vault.item(connection, late.id))["media"]["full"]["status"] == "storing"

        await until(storing)
        backup = asyncio.create_task(backing_up.create(config, tmp_path / "b", Wanted(master_key=True)))
        await gate.reached.wait()
        await process.kill()
    stalled.clear()
    if then == "stays dead":
        gate.open.set()
        _, copied = await backup
    else:
        async with running_vault(data, sweep=SWEPT, **options) as vault:
            for media_id in before:
                await vault.call("DELETE", f"/v2/vault-plus/media/{media_id}", connection=connection)
            await vault.vault.sweeps.sweep()
            gate.open.set()
            _, copied = await backup
            await vault.until_stored(connection, late.id)
            assert await served_digests(vault, connection) == {str(late.id): late.renditions["full"].content.sha256()}
            await assert_nothing_is_half(vault, data)
    assert copied.missing == {}
    assert copied.count >= len(before)
    _, looked = await recovering.check(tmp_path / "b", "latest", deep=True)
    assert looked.faults == []
    new = tmp_path / "new"
    target = postgres_database_if_needed or f"sqlite:///{new / 'catalog.sqlite'}"
    restored = replace(config, data=new, blobs=new / "blobs", catalog=replace(config.catalog, url=target))
    done = await recovering.restore(restored, tmp_path / "b", "latest", None, disable_webhooks=False)
    assert (done.looked.faults, done.stores) == ([], 1)
    assert await found_by_verify(restored) == []
    async with running_vault(new, sandbox=made, platform_url=url, database_url=target, sweep=SWEPT) as vault:
        await vault.until_stored(connection, late.id)
        after = await served_digests(vault, connection)
        assert before.items() <= after.items()
        await assert_nothing_is_half(vault, new)


@pytest.fixture
def postgres_database_if_needed(request, database_url):
    """Another empty database, where the vault's own is on PostgreSQL."""
    return request.getfixturevalue("postgres_database") if database_url.startswith("postgres") else None
