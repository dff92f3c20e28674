"""Everything a vault writes is its owner's alone, whatever the umask."""

import os
import stat
from pathlib import Path

import pytest

from fakes.vaults import KEY, running_vault


@pytest.fixture
def generous():
    """A process whose files are everybody's unless it says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> dict[str, str]:
    """What others may touch, with its mode."""
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in [folder, *folder.rglob("*")]}
    return {str(path.relative_to(folder)): f"{mode:04o}" for path, mode in modes.items() if mode & 0o077}


async def test_a_vault_that_serves_stores_and_stages_opens_nothing_to_others(tmp_path, generous):
    data = tmp_path / "data"
    async with running_vault(data) as vault:
        connection = await vault.connect()
        media, item = await vault.add(connection, type="photo")
        assert (await vault.ask("GET", item["media"]["full"]["url"])).status == 200
        await vault.until_stored(connection, media.id)
        assert (await vault.call("GET", "/v2/account/whoami", key=KEY)).status == 200
        names = {path.name for path in data.rglob("*")}
        assert {"control.sock", "master.key", "catalog.sqlite", "catalog.sqlite-wal", "edge", "blobs"} <= names
        assert any(path.is_file() for path in (data / "blobs").rglob("*"))
        assert open_to_others(data) == {}
    assert open_to_others(data) == {}


async def test_what_is_open_to_others_is_seen(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(0o640)
    tmp_path.chmod(0o700)
    assert open_to_others(tmp_path) == {"file": "0640"}
