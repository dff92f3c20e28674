"""What policy excludes is not kept: after a crash in the middle of a change, and when bytes come late."""

from typing import Any

import pytest

from fakes.running import serving
from fakes.variants import see
from fakes.vaults import RunningVault, running_vault, until
from mediavault.catalog import configuration, removals
from mediavault.domain.settings import SettingsOverrides
from mediavault.domain.times import MINUTE
from mediavault.platform.application import application
from mediavault.platform.faults import Fault
from mediavault.platform.sandbox import Sandbox
from mediavault.vault.configuring import ConnectionPatch, ConnectionVaultPlus, connection_changed


async def patch(vault: RunningVault, connection: str, **settings: Any) -> Any:
    path = f"/v2/account/connections/{connection}/settings"
    answer = await vault.call("PATCH", path, json={"vaultPlus": {"settings": settings}})
    assert answer.status == 200, answer.body
    return answer.json


async def idle(vault: RunningVault) -> bool:
    return not vault.vault.worker._stores and not vault.vault.filling._running


async def test_a_purge_that_a_crash_cut_short_is_finished_after_the_restart(tmp_path, database_url):
    sandbox = Sandbox()
    async with serving(application(sandbox)) as platform_url:
        where: dict[str, Any] = {"sandbox": sandbox, "platform_url": platform_url, "database_url": database_url}
        async with running_vault(tmp_path / "data", **where) as vault:
            connection = await vault.connect()
            photos = [await see(vault, connection, seed=seed) for seed in (1, 2)]
            for seen in photos:
                await vault.ask("POST", seen.url)
                await seen.until_status("stored")
            change = ConnectionPatch(ConnectionVaultPlus(settings=SettingsOverrides(cache_images=False)))
            catalog, now = vault.vault.foundation.catalog, vault.vault.now()
            await catalog.run(  # the settings are written, and nothing of what follows from them is done
                configuration.change_connection,
                (await photos[0].row()).org_id,
                connection,
                lambda before: connection_changed(before, change),
                now - 2 * MINUTE,
            )
            assert [(await seen.row()).status for seen in photos] == ["stored", "stored"]
        async with running_vault(tmp_path / "data", **where) as vault:

            async def purged() -> bool:
                status = await vault.call("GET", "/v2/vault-plus/status", connection=connection)
                return bool(status.json["storedCount"] == 0)

            await until(purged)
            for seen in photos:
                gone = await vault.call("GET", f"/v2/vault-plus/media/{seen.media.id}", connection=connection)
                assert gone.status == 404


@pytest.mark.parametrize("settings", [{"cacheImages": False}, {"imageQualities": ["thumb"]}])
async def test_a_store_under_way_is_not_finished_once_policy_excludes_it(tmp_path, database_url, settings):
    async with running_vault(tmp_path / "data", database_url=database_url) as vault:
        connection = await vault.connect()
        seen = await see(vault, connection, size_bytes=400_000)
        armed = vault.sandbox.faults.add(Fault(path=seen.path, stall_at=200_000))
        await vault.ask("POST", seen.url)
        await seen.until_status("storing")
        changed = await patch(vault, connection, **settings)
        assert "purgeResult" not in changed  # it was not stored
        assert (await seen.row()).status == "edge_only"
        armed.clear()
        await until(lambda: idle(vault))
        assert (await seen.row()).status == "edge_only"
        await vault.vault.sweeps.sweep()
        assert [path for path in (tmp_path / "data" / "blobs").rglob("*") if path.is_file()] == []
        await patch(vault, connection, cacheImages=True, imageQualities=["full"])
        assert (await vault.ask("POST", seen.url)).status == 202  # and it may be stored another time
        assert (await seen.until_status("stored")).sha256 == seen.sha256


async def test_an_edge_copy_from_before_a_removal_is_not_stored_again(vault):
    """Another process has removed it, because it changed upstream, and cannot drop this one's copy."""
    connection = await vault.connect()
    seen = await see(vault, connection)
    await vault.ask("HEAD", seen.url)
    await seen.until_idle()
    row = await seen.row()
    assert vault.vault.media.edge.find(row.id) is not None
    removed = [removals.remove_item, row.org_id, connection, row.media_id, "list 5 was synced", vault.vault.now()]
    await vault.vault.foundation.catalog.run(*removed)
    await vault.see(connection)
    await vault.ask("POST", seen.url)
    assert (await seen.until_status("stored")).sha256 == seen.sha256
    assert seen.fetches == 2
