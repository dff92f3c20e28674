"""What `mediavault serve` refuses to start with: one clear line, an exit code, and nothing left behind."""

import socket
import sqlite3

import pytest

from fakes.programs import Ended, environment, run, serve
from mediavault.cli.servers import bind
from mediavault.cli.serving import start
from mediavault.config import read_config
from mediavault.errors import BlobUnavailable, ConfigError, WrongMasterKey

SERVE = ("serve", "--api-port", 0, "--media-port", 0)


def refused(ended: Ended, code: int, *said: str) -> None:
    """One line on stderr that says it, nothing on stdout."""
    assert (ended.code, ended.out) == (code, ""), ended.err
    assert "Traceback" not in ended.err
    last = ended.err.splitlines()[-1]
    assert last.startswith("mediavault: ")
    assert not [text for text in said if text not in last], last


async def test_a_second_process_on_the_same_folder(tmp_path):
    data = tmp_path / "data"
    async with serve(data) as first:
        await first.ready()
        refused(await run(*SERVE, "--data", data, cwd=tmp_path), 8, "another process holds", str(data))
        assert (data / "control.sock").exists()
        assert (await first.stop()).code == 0


async def test_a_port_that_is_in_use_leaves_no_port_bound_and_the_folder_untouched(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as found:
        port, free = taken.getsockname()[1], found.getsockname()[1]
        found.close()
        ended = await run("serve", "--data", "data", "--api-port", free, "--media-port", port, cwd=tmp_path)
        refused(ended, 8, f"127.0.0.1:{port} is in use")
    assert not (tmp_path / "data").exists()
    socket.create_server(("127.0.0.1", free)).close()


async def test_an_open_host_without_a_media_base_url(tmp_path):
    ended = await run(*SERVE, "--host", "0.0.0.0", cwd=tmp_path)  # noqa: S104 - that it is refused
    refused(ended, 2, "--host 0.0.0.0", "MEDIAVAULT_MEDIA_BASE_URL")


def test_an_address_that_is_not_of_this_machine():
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1:0 cannot be listened on"):
        bind("192.0.2.1", 0)


async def test_a_setting_that_does_not_exist(tmp_path):
    refused(await run(*SERVE, cwd=tmp_path, env=environment(MEDAI_BASE_URL="x")), 2, "MEDIAVAULT_MEDAI_BASE_URL is no")


async def test_a_wrong_master_key(tmp_path):
    async with serve(tmp_path / "data") as vault:
        await vault.ready()
        await vault.stop()
    env = environment(MASTER_KEY="ab" * 32)
    refused(await run(*SERVE, "--data", "data", cwd=tmp_path, env=env), 2, "master key does not open")


async def test_a_lost_master_key_is_not_replaced_by_a_new_one(tmp_path):
    config = read_config({}, data=tmp_path / "data", api_port=0, media_port=0)
    await (await start(config)).stop()
    key = config.data / "master.key"
    key.rename(tmp_path / "backup")
    with pytest.raises(WrongMasterKey, match=r"put .*master\.key back from your backup"):
        await start(config)
    assert not key.exists()
    (tmp_path / "backup").rename(key)
    await (await start(config)).stop()


async def test_a_newer_schema(tmp_path):
    async with serve(tmp_path / "data") as vault:
        await vault.ready()
        await vault.stop()
    with sqlite3.connect(tmp_path / "data" / "catalog.sqlite") as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    db.close()
    refused(await run(*SERVE, "--data", "data", cwd=tmp_path), 1, "9999 is newer than this program's")


async def test_a_database_that_does_not_answer_without_its_password_in_the_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    env = environment(DATABASE_URL=f"postgresql://vault:s3cret@127.0.0.1:{port}/vault")
    ended = await run(*SERVE, cwd=tmp_path, env=env)
    refused(ended, 7, "PostgreSQL")
    assert "s3cret" not in ended.err


@pytest.mark.postgres
async def test_a_wrong_password_is_not_repeated(tmp_path, postgres_url):
    server = postgres_url.rpartition("@")[2]
    env = environment(DATABASE_URL=f"postgresql://nobody:s3cret@{server}")
    ended = await run(*SERVE, cwd=tmp_path, env=env)
    assert ended.code in {1, 7}
    refused(ended, ended.code, "PostgreSQL")
    assert "s3cret" not in ended.err


async def test_a_part_that_fails_leaves_nothing_open_and_the_next_start_works(tmp_path, capsys):
    """Files in the way of folders, as root may write everywhere. A leak would be a warning, and that an error."""
    config = read_config({}, data=tmp_path / "data", api_port=0, media_port=0)
    for in_the_way, error, said in [
        (config.blobs, BlobUnavailable, "the folder of the blobs"),
        (config.data / "edge", ConfigError, "edge"),
        (config.data / "storer.id", ConfigError, "storer.id"),
        (config.data / "control.sock", ConfigError, "control.sock cannot be listened on"),
    ]:
        config.data.mkdir(exist_ok=True)
        in_the_way.mkdir() if in_the_way.suffix else in_the_way.touch()
        with pytest.raises(error, match=said):
            await start(config)
        in_the_way.rmdir() if in_the_way.suffix else in_the_way.unlink()
        # A key that was made is told, whatever fails after it.
        assert ("shown only now" in capsys.readouterr().err) is (in_the_way == config.blobs)
    await (await start(config)).stop()


async def test_a_log_level_that_does_not_exist_is_a_usage_error(tmp_path):
    ended = await run("--log-level", "loud", "platform", cwd=tmp_path)
    assert ended.code == 2
    assert "Traceback" not in ended.err
