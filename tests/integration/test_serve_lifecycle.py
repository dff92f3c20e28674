"""`mediavault serve` as a process: ready, served, drained, started again."""

import asyncio
import contextlib
import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fakes.callers import caller
from fakes.programs import Program, serve
from fakes.running import serving
from mediavault.platform.application import application
from mediavault.platform.faults import Fault
from mediavault.platform.sandbox import Sandbox


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
async def upstream(sandbox: Sandbox):
    """Settings of a vault whose upstream is the sandbox."""
    async with serving(application(sandbox)) as url:
        yield {"UPSTREAM_URL": url, "ORIGIN_ALLOW": url.removeprefix("http://")}


@contextlib.asynccontextmanager
async def slow_download(vault: Program, sandbox: Sandbox, *, size: int, rate: int):
    """A response whose head has come and whose body takes size / rate seconds."""
    photo = sandbox.add_media("aurora", type="photo", size_bytes=size)
    sandbox.faults.add(Fault(path=str(photo.id), bytes_per_second=rate))
    async with caller((await vault.ready())["api"]) as at:
        await at.connect()
        async with at.http.get((await at.see(photo.id))["url"]) as response:
            assert response.status == 200
            await response.content.readexactly(1)
            yield response


def events(program: Program) -> list[Any]:
    return [json.loads(line)["event"] for line in program.err.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_ready_is_the_only_line_and_a_signal_ends_it_with_0(tmp_path, number):
    async with serve(tmp_path / "data") as vault:
        ready = await vault.ready()
        assert ready.keys() == {"event", "api", "media"}
        assert ready["event"] == "ready"
        async with aiohttp.ClientSession() as http:
            for base, path, status in [(ready["api"], "/livez", 200), (ready["media"], "/v2/x", 403)]:
                async with http.get(base + path) as response:
                    assert response.status == status
                    assert "Server" not in response.headers
                    assert "Date" in response.headers
        ended = await vault.stop(number)
    assert (ended.code, ended.out.count("\n")) == (0, 1)
    assert events(vault)[-2:] == ["draining", "stopped"]
    assert "Traceback" not in ended.err
    assert not (tmp_path / "data" / "control.sock").exists()


async def test_counts_are_flushed_by_the_drain_and_seen_after_a_restart(tmp_path, sandbox, upstream):
    photo = sandbox.add_media("aurora", type="photo")
    async with serve(tmp_path / "data", **upstream) as vault:
        async with caller((await vault.ready())["api"]) as at:
            await at.connect()
            url = (await at.see(photo.id))["url"]
            for _ in range(3):
                await at.view(url)
            connection = at.connection
        assert (await vault.stop()).code == 0
    async with serve(tmp_path / "data", **upstream) as vault, caller((await vault.ready())["api"]) as at:
        at.connection = connection
        assert (await at.variant(photo.id))["accessCount"] == 3
        assert (await at.stored(photo.id))["sizeBytes"] == 100_000


async def test_a_download_in_flight_ends_within_the_drain_time(tmp_path, sandbox, upstream):
    async with serve(tmp_path / "data", DRAIN_SECONDS="10", **upstream) as vault:
        async with slow_download(vault, sandbox, size=400_000, rate=400_000) as response:
            vault.send(signal.SIGTERM)
            assert len(await response.content.read()) == 399_999
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", response.url.port)
        assert (await vault.ended()).code == 0


async def test_a_longer_download_is_cut_and_does_not_look_whole(tmp_path, sandbox, upstream):
    async with (
        serve(tmp_path / "data", DRAIN_SECONDS="0.3", **upstream) as vault,
        slow_download(vault, sandbox, size=8_000_000, rate=400_000) as response,
    ):
        began = asyncio.get_running_loop().time()
        vault.send(signal.SIGTERM)
        with pytest.raises(aiohttp.ClientError):
            await response.content.read()
        ended = await vault.ended()
        assert asyncio.get_running_loop().time() - began < 8
    assert ended.code == 0
    assert "Traceback" not in ended.err


async def test_a_second_interrupt_ends_a_drain_at_once(tmp_path, sandbox, upstream):
    async with (
        serve(tmp_path / "data", DRAIN_SECONDS="60", **upstream) as vault,
        slow_download(vault, sandbox, size=8_000_000, rate=100_000),
    ):
        vault.send(signal.SIGINT)
        async with asyncio.timeout(10):
            while "draining" not in vault.err:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.02)
        assert (await vault.stop(signal.SIGINT)).code == -signal.SIGINT


async def test_what_lies_in_the_data_folder_is_its_owners_alone(tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    before = os.umask(0)  # the most careless one
    try:
        async with serve(data) as vault:
            await vault.ready()
            modes = {path.relative_to(data): path.lstat().st_mode for path in data.rglob("*")}
    finally:
        os.umask(before)
    assert {Path(name) for name in ("master.key", "catalog.sqlite", "control.sock", "lock")} < modes.keys()
    assert not {str(path): oct(mode) for path, mode in modes.items() if stat.S_IMODE(mode) & 0o077}


async def test_the_first_key_and_the_word_on_the_backup_are_shown_once(tmp_path):
    secret = ""
    for start in range(2):
        async with serve(tmp_path / "data", BOOTSTRAP_API_KEY="") as vault:
            async with caller((await vault.ready())["api"]) as at:
                told = [line for line in vault.err.splitlines() if "shown only now" in line]
                if start == 0:
                    secret = told[0].split()[-1]
                    assert "BACK IT UP" in vault.err
                else:
                    assert not told
                    assert "BACK IT UP" not in vault.err
                    assert secret not in vault.err
                assert (await at.call("GET", "/v2/account/whoami", key=secret))[0] == 200
            await vault.stop()
            assert secret not in vault.err.replace(f"shown only now: {secret}", "")


async def test_the_bootstrap_key_counts_at_the_first_start_only(tmp_path):
    first, later = "first-key-0123456789", "later-key-0123456789"
    for given in (first, later):
        async with serve(tmp_path / "data", BOOTSTRAP_API_KEY=given) as vault:
            async with caller((await vault.ready())["api"]) as at:
                assert (await at.call("GET", "/v2/account/whoami", key=first))[0] == 200
                assert (await at.call("GET", "/v2/account/whoami", key=later))[0] == 401
            assert given not in (await vault.stop()).err


async def test_a_start_that_is_interrupted_ends_in_order(tmp_path):
    """The database takes the connection and says nothing: the start would wait for a minute."""
    async with await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0) as silent:
        held: list[asyncio.StreamWriter] = []
        port = silent.sockets[0].getsockname()[1]
        async with serve(tmp_path / "data", DATABASE_URL=f"postgresql://v:s3cret@127.0.0.1:{port}/v") as vault:
            async with asyncio.timeout(20):
                while not held:  # noqa: ASYNC110 - another process connects
                    await asyncio.sleep(0.02)
            ended = await vault.stop()
        assert (ended.code, ended.out) == (0, "")
        assert "Traceback" not in ended.err
        assert "s3cret" not in ended.err
        for writer in held:
            writer.close()


async def test_a_folder_with_any_name_at_any_depth_serves_again_after_a_kill(tmp_path):
    data = tmp_path / "it's 100% a?b#c ünïcode" / ("deep" * 30)
    data.parent.mkdir()
    for number in (signal.SIGKILL, signal.SIGTERM):
        async with serve(data) as vault:
            await vault.ready()
            ended = await vault.stop(number)
        assert ended.code == (0 if number == signal.SIGTERM else -number)
        left = stat.S_ISSOCK((data / "control.sock").lstat().st_mode) if (data / "control.sock").exists() else False
        assert left is (number == signal.SIGKILL)
    assert (data / "catalog.sqlite").exists()
