"""A cold herd on one object over four media processes: what each of them may ask of the origin, and what is kept."""

import asyncio
import contextlib
import hashlib
import socket
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fakes.callers import Caller, caller
from fakes.catalog_rows import broken_invariants, rows
from fakes.programs import environment, program
from fakes.running import serving
from fakes.vaults import KEY
from mediavault.catalog.database import CatalogConfig, open_catalog
from mediavault.platform.application import application
from mediavault.platform.faults import Fault
from mediavault.platform.sandbox import Sandbox

PROCESSES = 4
VIEWERS = 1_000
SIZE = 256 << 10
Seen = tuple[int, str]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@pytest.fixture
def settings(tmp_path: Path, postgres_database: str) -> dict[str, str]:
    """Of every process of one vault."""
    return {
        "DATABASE_URL": postgres_database,
        "BLOBS_URL": f"file://{tmp_path}/blobs",
        "MASTER_KEY": "5a" * 32,
        "MEDIA_BASE_URL": "http://127.0.0.1:1",
        "BOOTSTRAP_API_KEY": KEY,
        "FREE_FLOOR_BYTES": "1000000",
    }


async def view(port: int, path: str) -> Seen:
    """Status and digest of one GET on a connection of its own, read to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        digest = hashlib.sha256()
        while chunk := await reader.read(1 << 18):
            digest.update(chunk)
        return int(head.split(b" ")[1]), digest.hexdigest()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def stored_again(at: Caller, media_id: int, ports: list[int], path: str) -> set[Seen]:
    """What each process gives once the object is stored."""
    await at.stored(media_id)
    return set(await asyncio.gather(*(view(port, path) for port in ports)))


@pytest.mark.slow
async def test_a_cold_herd_over_four_processes_is_one_fetch_each_at_most_and_one_blob(tmp_path, settings):
    sandbox = Sandbox()
    async with serving(application(sandbox)) as upstream, contextlib.AsyncExitStack() as stack:
        env = environment(**settings, UPSTREAM_URL=upstream, ORIGIN_ALLOW=upstream.removeprefix("http://"))

        async def start(role: str, data: str, port: int) -> dict[str, str]:
            arguments = ("serve", "--role", role, "--data", data, "--api-port", 0, "--media-port", port)
            ready: dict[str, str] = await (
                await stack.enter_async_context(program(*arguments, cwd=tmp_path, env=env))
            ).ready()
            return ready

        ports = [free_port() for _ in range(PROCESSES)]
        api = await start("api", "api", 0)
        await asyncio.gather(start("storer", "storer", 0), *(start("media", f"media-{port}", port) for port in ports))
        at = await stack.enter_async_context(caller(api["api"]))
        await at.connect()
        photo = sandbox.add_media("aurora", type="photo", size_bytes=SIZE)
        content, origin = photo.renditions["full"].content, photo.renditions["full"].path
        path = urlsplit((await at.see(photo.id))["url"]).path
        slow = sandbox.faults.add(Fault(path=origin, bytes_per_second=SIZE // 2))  # the herd is there before its end
        herd = await asyncio.gather(*(view(ports[number % PROCESSES], path) for number in range(VIEWERS)))
        slow.clear()

        assert Counter(herd) == {(200, content.sha256()): VIEWERS}
        assert await stored_again(at, photo.id, ports, path) == {(200, content.sha256())}
        # Each media process has a cache of its own, and so has the storer, which may have none of theirs.
        assert 1 <= len(sandbox.log.records(origin)) <= PROCESSES + 1
        catalog = await open_catalog(CatalogConfig(settings["DATABASE_URL"]))
        stack.push_async_callback(catalog.close)
        (blob,) = await rows(catalog, "blobs")
        assert (blob["state"], blob["sha256"], blob["size_bytes"]) == ("live", content.sha256(), SIZE)
        files = [each for each in (tmp_path / "blobs").rglob("*") if each.is_file()]
        assert [each.read_bytes() for each in files] == [content.read(0, SIZE)]
        assert await broken_invariants(catalog) == []
