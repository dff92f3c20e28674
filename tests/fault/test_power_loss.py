"""A power cut after any step of a store, a removal and their sweeps loses no stored byte; three mutants each would."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.catalog_rows import rows
from fakes.power_loss import Committed, Recorder, Rows, Verdict, every_crash
from fakes.vaults import RunningVault, running_vault
from mediavault.blobs import steps
from mediavault.storer.sweeps import SweepConfig

Mutant = Callable[[RunningVault, pytest.MonkeyPatch], None]


async def blob_rows(catalog: Any, root: Path) -> Rows:
    """Where each blob's bytes are to be; the digest of those that are relied on."""
    return {
        str(root / each["org_id"] / each["id"][-2:] / each["id"]): each["sha256"] if each["state"] == "live" else None
        for each in await rows(catalog, "blobs")
    }


def watch_commits(vault: RunningVault, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the recorder know the rows after every transaction."""
    catalog, root = vault.vault.foundation.catalog, vault.vault.config.blobs
    run = catalog.run

    async def watched(operation: Any, *arguments: Any, **options: Any) -> Any:
        result = await run(operation, *arguments, **options)
        recorder.events.append(Committed(await blob_rows(catalog, root)))
        return result

    monkeypatch.setattr(catalog, "run", watched)


async def lived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutate: Mutant | None = None) -> Verdict:
    """Every crash of a vault's life: its first start, two stores, a removal, and the sweep of what was removed."""
    recorder = Recorder(tmp_path)
    sweep = SweepConfig(every_seconds=1000, undo_window_ms=-1)
    with monkeypatch.context() as patched:
        recorder.record(patched)
        async with running_vault(tmp_path / "deep" / "data", sweep=sweep) as vault:
            watch_commits(vault, recorder, patched)
            if mutate:
                mutate(vault, patched)
            connection = await vault.connect()
            for seed in (1, 2):
                media, item = await vault.add(connection, size_bytes=20_000, seed=seed)
                assert (await vault.ask("POST", item["media"]["full"]["url"])).status == 202
                await vault.until_stored(connection, media.id)
            path = f"/v2/vault-plus/media/{media.id}"
            assert (await vault.call("DELETE", path, connection=connection)).status == 200
            await vault.vault.sweeps.sweep()
            assert len(await rows(vault.vault.foundation.catalog, "blobs")) == 1
    return every_crash(recorder)


def without_file_sync(_: RunningVault, patched: pytest.MonkeyPatch) -> None:
    patched.setattr(steps, "sync_file", lambda _: None)


def without_folder_sync(_: RunningVault, patched: pytest.MonkeyPatch) -> None:
    patched.setattr(steps, "sync_folder", lambda _: None)


def row_before_blob(vault: RunningVault, patched: pytest.MonkeyPatch) -> None:
    """What is to be adopted is adopted once it was settled, of a second name that outlives the edge's."""
    blobs, catalog = vault.vault.media.blobs, vault.vault.foundation.catalog
    adopt, run = blobs.adopt, catalog.run
    late: list[tuple[Any, Path, int]] = []

    async def promise(key: Any, path: Path, *, size_bytes: int) -> None:
        second = path.with_name(f"{path.name}.late")
        await asyncio.to_thread(second.hardlink_to, path)
        late.append((key, second, size_bytes))

    async def settled(operation: Any, *arguments: Any, **options: Any) -> Any:
        result = await run(operation, *arguments, **options)
        while operation.__name__ == "settle_fetched" and late:
            key, path, size_bytes = late.pop()
            await adopt(key, path, size_bytes=size_bytes)
            path.unlink()
        return result

    patched.setattr(blobs, "adopt", promise)
    patched.setattr(catalog, "run", settled)


def row_gone_before_the_bytes(vault: RunningVault, patched: pytest.MonkeyPatch) -> None:
    """The row of a blob is dropped first, then its bytes are deleted."""
    blobs, catalog = vault.vault.media.blobs, vault.vault.foundation.catalog
    delete, run = blobs.delete, catalog.run
    late: list[Any] = []

    async def promise(key: Any) -> None:
        late.append(key)

    async def forgotten(operation: Any, *arguments: Any, **options: Any) -> Any:
        result = await run(operation, *arguments, **options)
        while operation.__name__ == "forget" and late:
            await delete(late.pop())
        return result

    patched.setattr(blobs, "delete", promise)
    patched.setattr(catalog, "run", forgotten)


async def test_a_power_cut_at_any_moment_loses_no_stored_byte(tmp_path, monkeypatch, record_testsuite_property):
    verdict = await lived(tmp_path, monkeypatch)
    record_testsuite_property("power cuts", f"{verdict.moments} moments, {verdict.states} states")
    assert verdict.bad == []
    assert verdict.moments > 40
    assert verdict.states > 200


@pytest.mark.parametrize(
    ("mutate", "found"),
    [
        (without_file_sync, "is stored and has other bytes"),
        (without_folder_sync, "is stored and not there"),
        (row_before_blob, "is stored and not there"),
        (row_gone_before_the_bytes, "no row knows it"),
    ],
)
async def test_a_mutant_that_breaks_the_order_is_caught(tmp_path, monkeypatch, mutate, found):
    verdict = await lived(tmp_path, monkeypatch, mutate)
    assert any(found in each for each in verdict.bad), verdict
