"""API, media host and storer as processes of their own: one PostgreSQL, one folder of blobs, one master key."""

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

from fakes.callers import Caller, caller
from fakes.programs import Program, environment, program, run
from fakes.running import serving
from fakes.vaults import KEY, until
from mediavault.platform.application import application
from mediavault.platform.faults import Fault
from mediavault.platform.sandbox import Sandbox

pytestmark = pytest.mark.postgres


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class Roles:
    """The processes of one vault."""

    def __init__(self, folder: Path, upstream: str, database: str, stack: contextlib.AsyncExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.media_port = free_port()
        self.settings = {
            "DATABASE_URL": database,
            "BLOBS_URL": f"file://{folder}/blobs",
            "MASTER_KEY": "5a" * 32,
            "MEDIA_BASE_URL": f"http://127.0.0.1:{self.media_port}",
            "UPSTREAM_URL": upstream,
            "ORIGIN_ALLOW": upstream.removeprefix("http://"),
            "BOOTSTRAP_API_KEY": KEY,
            "FREE_FLOOR_BYTES": "1000000",
        }

    @property
    def env(self) -> dict[str, str]:
        return environment(**self.settings)

    async def start(self, role: str, data: str) -> Program:
        arguments = ("serve", "--role", role, "--data", data, "--api-port", 0, "--media-port", self.media_port)
        return await self._stack.enter_async_context(program(*arguments, cwd=self._folder, env=self.env))

    async def start_all(self, *folders: str) -> tuple[Program, Program, Program, Any]:
        """All three at once, on an empty database; the API's ready line."""
        roles = ("api", "media", "storer")
        started = [await self.start(role, data) for role, data in zip(roles, folders, strict=True)]
        api, media, storer = [await each.ready() for each in started]
        assert (api["media"], media["api"]) == (None, None)
        assert (storer["api"], storer["media"]) == (None, None)
        assert media["media"] == self.settings["MEDIA_BASE_URL"]
        return started[0], started[1], started[2], api


@pytest.fixture
async def sandbox():
    return Sandbox()


@pytest.fixture
async def roles(tmp_path, sandbox, postgres_database):
    async with serving(application(sandbox)) as upstream, contextlib.AsyncExitStack() as stack:
        yield Roles(tmp_path, upstream, postgres_database, stack)


async def store_one(sandbox: Sandbox, at: Caller) -> Any:
    photo = sandbox.add_media("aurora", type="photo")
    await at.view((await at.see(photo.id))["url"])
    assert (await at.stored(photo.id))["accessCount"] == 1
    return photo


@pytest.mark.slow
@pytest.mark.parametrize("folders", [("shared", "shared", "shared"), ("one", "two", "three")])
async def test_three_processes_are_one_vault(tmp_path, sandbox, roles, folders):
    *programs, ready = await roles.start_all(*folders)
    async with caller(ready["api"]) as at:
        await at.connect()
        photo = await store_one(sandbox, at)
        variant = await at.variant(photo.id)
        assert variant["url"].startswith(roles.settings["MEDIA_BASE_URL"])
        deleted = await at.ok("DELETE", f"/v2/vault-plus/media/{photo.id}")
        assert deleted["freedBytes"] == variant["sizeBytes"]
        async with at.http.get(variant["url"]) as response:
            assert response.status == 404
    made = await run("keys", "create", "--data", folders[0], "--json", cwd=tmp_path, env=roles.env)
    assert made.code == 0, made.err
    apart = await run("keys", "list", "--json", "--data", "elsewhere", cwd=tmp_path, env=roles.env)
    assert [key["id"] for key in apart.json][-1] == made.json["id"]
    for each in programs:
        ended = await each.stop()
        assert ended.code == 0
        assert "Traceback" not in ended.err


@pytest.mark.slow
async def test_what_a_killed_storer_held_is_stored_by_the_next_and_a_running_ones_leases_are_left_alone(sandbox, roles):
    api, _, storer, ready = await roles.start_all("shared", "shared", "shared")
    photo = sandbox.add_media("aurora", type="photo", size_bytes=200_000)
    async with caller(ready["api"]) as at:
        await at.connect()
        url = (await at.see(photo.id))["url"]
        stalled = sandbox.faults.add(Fault(path=str(photo.id), stall_at=100_000))
        async with at.http.post(url) as response:
            assert response.status == 202

        async def status(wanted: str) -> bool:
            return bool((await at.variant(photo.id))["status"] == wanted)

        await until(lambda: status("storing"))
        await until(lambda: asyncio.sleep(0, stalled.hits == 1))

        assert (await api.stop()).code == 0
        at.api = (await (await roles.start("api", "shared")).ready())["api"]
        assert await status("storing")  # another role's start is no proof that the storer is dead

        storer.process.kill()
        await storer.ended()
        sandbox.faults.clear()
        await (await roles.start("storer", "shared")).ready()
        assert (await at.stored(photo.id))["sizeBytes"] == 200_000
        assert stalled.hits == 1


@pytest.mark.slow
async def test_two_of_a_role_may_not_share_a_folder(tmp_path, roles):
    storer = await roles.start("storer", "shared")
    await storer.ready()
    second = await (await roles.start("storer", "shared")).ended()
    assert second.code == 8
    assert "another process holds" in second.err
    alone = await run("serve", "--data", "shared", cwd=tmp_path, env=environment())
    assert alone.code == 8
