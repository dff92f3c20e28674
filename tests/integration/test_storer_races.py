"""Removal, lost leases and sweeps beside a store: the row wins, and nothing half visible or superfluous stays."""

from pathlib import Path

from fakes.running import serving
from fakes.variants import Seen, see, view
from fakes.vaults import RunningVault, running_vault, until
from mediavault.catalog import blob_rows
from mediavault.domain.times import DAY
from mediavault.platform.application import application
from mediavault.platform.faults import Fault
from mediavault.platform.sandbox import Sandbox
from mediavault.storer.store_variant import StoreConfig
from mediavault.storer.sweeps import SweepConfig


def blobs(vault: RunningVault) -> list[Path]:
    return [path for path in (vault.vault.config.data / "blobs").rglob("*") if path.is_file()]


async def _idle(vault: RunningVault) -> bool:
    return not vault.vault.worker._stores and not vault.vault.filling._running


async def test_removal_in_the_middle_of_a_store_wins(tmp_path, database_url):
    async with running_vault(tmp_path / "data", database_url=database_url) as vault:
        connection = await vault.connect()
        seen = await see(vault, connection, size_bytes=400_000)
        armed = vault.sandbox.faults.add(Fault(path=seen.path, stall_at=200_000))
        await vault.ask("POST", seen.url)
        await seen.until_status("storing")
        await vault.call("DELETE", f"/v2/vault-plus/media/{seen.media.id}", connection=connection)
        armed.clear()
        await until(lambda: _idle(vault))
        assert (await seen.row()).status == "removed"
        await vault.vault.sweeps.sweep()
        assert blobs(vault) == []
        assert await vault.vault.foundation.catalog.run(blob_rows.doomed, 10) == []
        assert (await view(seen) or (0,))[0] == 404
        await vault.see(connection)  # it is still shown upstream, so it is seen again
        assert await view(seen) == (200, seen.sha256)
        await seen.until_status("stored")
        await vault.vault.sweeps.sweep()
        assert len(blobs(vault)) == 1


async def test_a_store_that_lost_its_lease_is_fenced(tmp_path, database_url):
    forgetful = StoreConfig(lease_ms=100, renew_every_seconds=1000, first_delay_ms=50, free_floor_bytes=1 << 20)
    sweeps = SweepConfig(every_seconds=0.05)
    async with running_vault(tmp_path / "data", database_url=database_url, store=forgetful, sweep=sweeps) as vault:
        seen = await see(vault, await vault.connect(), size_bytes=400_000)
        armed = vault.sandbox.faults.add(Fault(path=seen.path, stall_at=200_000))
        await vault.ask("POST", seen.url)

        async def claimed_twice() -> bool:
            return len(vault.vault.worker._stores) >= 2

        await until(claimed_twice)
        armed.clear()
        row = await seen.until_status("stored")
        assert row.sha256 == seen.sha256
        await until(lambda: _idle(vault))
        await vault.vault.sweeps.sweep()
        assert [path.name for path in blobs(vault)] == [row.blob_id]
        assert await view(seen) == (200, seen.sha256)
        assert seen.fetches == 1


async def test_bytes_go_when_their_undo_window_has_passed_and_no_sooner(tmp_path):
    async with running_vault(tmp_path / "data") as vault:
        connection = await vault.connect()
        gone, kept = [await see(vault, connection, seed=seed) for seed in (1, 2)]
        for seen in (gone, kept):
            await vault.ask("POST", seen.url)
            await seen.until_status("stored")
        await vault.call("DELETE", f"/v2/vault-plus/media/{gone.media.id}", connection=connection)
        sweeps = vault.vault.sweeps
        await sweeps.sweep()
        assert len(blobs(vault)) == 2
        real_now = sweeps._now
        sweeps._now = lambda: real_now() + 1 * DAY + 1
        await sweeps.sweep()
        assert [path.name for path in blobs(vault)] == [(await kept.row()).blob_id]
        assert await view(kept) == (200, kept.sha256)


async def test_a_blob_that_cannot_be_deleted_keeps_no_other_from_it(tmp_path):
    async with running_vault(tmp_path / "data", sweep=SweepConfig(every_seconds=1000, undo_window_ms=-1000)) as vault:
        connection = await vault.connect()
        several = [await see(vault, connection, seed=seed) for seed in range(3)]
        for seen in several:
            await vault.ask("POST", seen.url)
            await seen.until_status("stored")
        stuck = min(blobs(vault))
        stuck.unlink()
        stuck.mkdir()
        (stuck / "something").touch()
        for seen in several:
            await vault.call("DELETE", f"/v2/vault-plus/media/{seen.media.id}", connection=connection)
        await vault.vault.sweeps.sweep()
        assert blobs(vault) == [stuck / "something"]
        (stuck / "something").unlink()
        stuck.rmdir()
        await vault.vault.sweeps.sweep()
        assert await vault.vault.foundation.catalog.run(blob_rows.doomed, 10) == []


async def test_stops_in_the_middle_of_a_store_are_no_crashes_of_its_storer(tmp_path):
    sandbox = Sandbox()
    async with serving(application(sandbox)) as url:
        for restart in range(7):
            async with running_vault(tmp_path / "data", sandbox=sandbox, platform_url=url, drain_seconds=0.01) as vault:
                if restart == 0:
                    seen = await see(vault, await vault.connect(), size_bytes=400_000)
                    armed = sandbox.faults.add(Fault(path=seen.path, stall_at=200_000))
                    await vault.ask("POST", seen.url)
                again = Seen(vault, seen.connection, seen.media, seen.url)
                row = await again.until_status("storing")
                assert (row.attempts, row.last_error) == (0, None)
        armed.clear()
        async with running_vault(tmp_path / "data", sandbox=sandbox, platform_url=url) as vault:
            stored = await Seen(vault, seen.connection, seen.media, seen.url).until_status("stored")
            assert stored.sha256 == seen.sha256
