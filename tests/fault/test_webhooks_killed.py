"""kill -9 of a process in the middle of a delivery: somebody else delivers it."""

import shutil
from pathlib import Path

import pytest

from fakes.programs import serve_process
from fakes.receivers import receiving
from fakes.running import serving
from fakes.told import ENDPOINTS, QUICK, another_vault
from mediavault.assembly import milliseconds
from mediavault.platform.application import application
from mediavault.platform.sandbox import Sandbox
from mediavault.storer.deliveries import DeliveryConfig


def heir_folder(folder: Path, *, shared: bool) -> Path:
    """Who takes over: on SQLite the next process of the same folder, on PostgreSQL one with a folder of its own."""
    if not shared:
        return folder
    other = folder.with_name("other")
    other.mkdir(mode=0o700)
    shutil.copy2(folder / "master.key", other / "master.key")
    return other


@pytest.mark.slow
async def test_what_a_killed_sender_held_is_delivered_by_another(tmp_path: Path, database_url: str):
    folder, sandbox, shared = tmp_path / "data", Sandbox(), database_url.startswith("postgres")
    async with receiving() as receiver, serving(application(sandbox)) as url:
        receiver.quick.clear()
        allow = receiver.url.removeprefix("http://")
        async with serve_process(folder, sandbox, url, database_url=database_url, allow=allow) as (process, vault):
            made = await vault.call("POST", ENDPOINTS, json={"url": receiver.url + "/hook"})
            assert made.status == 200, made.body
            await vault.connect()
            (cut,) = await receiver.until(1)
            await process.kill()
        receiver.quick.set()
        # Nobody can give back a lease of a shared catalog: it has to run out, and this clock says that it has.
        lease_ms = DeliveryConfig().lease_ms if shared else 0
        heir = heir_folder(folder, shared=shared)
        later = {"now": lambda: milliseconds() + lease_ms, "deliveries": QUICK, "database_url": database_url}
        async with another_vault(heir, sandbox, url, receiver, name="heir", **later):
            _, delivered = await receiver.until(2)
        assert delivered.headers["user-agent"] == "heir"
        assert delivered.headers["svix-id"] == cut.headers["svix-id"]
        assert delivered.body == cut.body
        assert len(receiver.received) == 2
