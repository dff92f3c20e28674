"""A vault's work in processes that die quickly and start quickly: `python -m fakes.killable SOCKET`.

A process that has imported the vault forks one child for each connection it accepts. The child opens the vault it is
told of, says which thread does what, waits for the word, and plays one scene on one thread per kind of work, so the
n-th system call of a thread is the same one every time. It ends without putting anything in order.
"""

import asyncio
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import text

from fakes.s3_faulty import CREDENTIALS
from fakes.vaults import test_config
from mediavault.assembly import Vault, milliseconds, open_foundation, open_vault
from mediavault.blobs import steps
from mediavault.blobs.places import StorageConfig
from mediavault.blobs.s3 import S3Blobs
from mediavault.blobs.s3_config import S3Place
from mediavault.catalog import connections, leases
from mediavault.catalog.postgres import PostgresCatalog
from mediavault.catalog.sqlite import SqliteCatalog
from mediavault.config import Config
from mediavault.domain.times import DAY, HOUR
from mediavault.edge.staging import Staging
from mediavault.errors import BlobUnavailable, MediaNotFound, NotFound, VaultError
from mediavault.storer.store_variant import StoreConfig
from mediavault.storer.sweeps import SweepConfig
from mediavault.storer.worker import WorkerConfig
from mediavault.vault.removing import Removing
from mediavault.vault.restoring import Restoring

_UNSETTLED = text("SELECT count(*) FROM variants WHERE status IN ('pending', 'storing')")
MEDIA_URL = "http://127.0.0.1:1"
Scene = Callable[[Vault, Any], Awaitable[None]]
#: How far this process's clock is ahead, ms: some of a scene's work begins when time has passed.
_AHEAD = [0]


async def store(vault: Vault, job: Any) -> None:
    """Store everything that is pending."""
    working = asyncio.create_task(vault.worker.run())
    try:
        while await _unsettled(vault):
            await asyncio.sleep(0.05)
            if job.get("reclaims"):  # the part of the sweep that a fault in the middle of a store waits for
                await vault.foundation.catalog.run(leases.reclaim, vault.now())
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await vault.worker.drain(5)


async def remove(vault: Vault, job: Any) -> None:
    """Remove an item, and its bytes too."""
    removing = Removing(vault.foundation.catalog, vault.media.edge, vault.now)
    with suppress(MediaNotFound):  # a scene that goes on after a failure may have removed it
        await removing.remove(job["org_id"], job["connection"], job["stored"])
    await vault.sweeps.sweep()


async def restore(vault: Vault, job: Any) -> None:
    """Bring a removed item back, and sweep."""
    restoring = Restoring(vault.foundation.catalog, vault.media.edge, vault.now, DAY)
    connection = await connections.find_connection(vault.foundation.catalog, job["org_id"], job["connection"])
    assert connection is not None
    with suppress(MediaNotFound):  # as above
        await restoring.restore(connection, job["removed"])
    await vault.sweeps.sweep()


async def sweep(vault: Vault, job: Any) -> None:
    """Take a dead claim's intent back, delete what its store had written, and what lies in staging."""
    await vault.sweeps.sweep()


async def quarantine(vault: Vault, job: Any) -> None:
    """Find a stored blob damaged, set it aside and store its variant again."""
    with suppress(NotFound):  # as above
        await vault.media.damaging.examine(job["damaged"])
    await store(vault, job)


async def move(vault: Vault, job: Any) -> None:
    """Move every blob to where blobs belong now, and delete the old copies when their time is over."""
    turn = await vault.moving.turn(job["to"], "", 60)
    if turn.left:
        raise BlobUnavailable(f"not moved: {turn.failed}")
    _AHEAD[0] += HOUR
    await vault.sweeps.sweep()


SCENES: dict[str, Scene] = {
    "store": store,
    "remove": remove,
    "restore": restore,
    "sweep": sweep,
    "quarantine": quarantine,
    "move": move,
    "move to a bucket": move,
}


async def _unsettled(vault: Vault) -> bool:
    rows = await vault.foundation.catalog.fetch(_UNSETTLED, {})
    return bool(rows[0][0])


def configured(job: Any) -> Config:
    """The vault of a job: quick to try again, and with its background work where the scene wants it."""
    return test_config(
        Path(job["data"]),
        job["platform_url"],
        database_url=job["database_url"],
        media_base_url=MEDIA_URL,
        store=StoreConfig(
            first_delay_ms=20, no_room_delay_ms=20, free_floor_bytes=0, lease_ms=job.get("lease_ms", 60_000)
        ),
        worker=WorkerConfig(stores_at_once=1, look_every_seconds=0.02),
        sweep=SweepConfig(undo_window_ms=job.get("undo_window_ms", DAY), abandoned_after_seconds=-1),
        **moving_places(Path(job["data"]), job["scene"], job.get("bucket")),
    )


def moving_places(data: Path, scene: str, endpoint: str | None) -> dict[str, Any]:
    """Where blobs belong, and where they lay before, in the scenes that move them; nothing for the others."""
    if not scene.startswith("move"):
        return {}
    if endpoint is None:
        return {"blobs": data / "moved", "storage": StorageConfig(previous=data / "blobs")}
    place = S3Place("bucket", "pre", endpoint, path_style=True)
    return {"storage": StorageConfig(place, previous=data / "blobs", credentials=CREDENTIALS)}


def now() -> int:
    """This process's clock, Unix ms."""
    return milliseconds() + _AHEAD[0]


class Channel:
    """JSON lines to and from whoever started this child."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rw", encoding="utf-8")

    def say(self, **what: Any) -> None:
        self._file.write(json.dumps(what) + "\n")
        self._file.flush()

    def hear(self) -> Any:
        return json.loads(self._file.readline())


async def play(channel: Channel) -> None:
    """One scene, from its job to its end."""
    job = channel.hear()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1, "disk"))
    threads = {"loop": threading.get_native_id(), "disk": await asyncio.to_thread(threading.get_native_id)}
    if job["scene"] == "first start":  # its work is to open what other scenes find open
        _ready(channel, job, threads)
        foundation = await open_foundation(configured(job), milliseconds)
        await open_vault(configured(job), foundation)
    else:
        config = configured(job)
        vault = await open_vault(config, await open_foundation(config, now), now)
        catalog = vault.foundation.catalog
        if isinstance(catalog, SqliteCatalog):
            threads["catalog"] = catalog._writer.native_id or 0
        _ready(channel, job, threads)
        await _persist(SCENES[job["scene"]], vault, job)
    channel.say(event="done")


async def _persist(scene: Scene, vault: Vault, job: Any) -> None:
    """A failure that the vault reports is no end: whoever wants something asks again."""
    for _ in range(10):
        try:
            await scene(vault, job)
        except VaultError:
            await asyncio.sleep(0.02)
        else:
            return
    raise AssertionError(f"{job['scene']} fails again and again")


def _ready(channel: Channel, job: Any, threads: dict[str, int]) -> None:
    channel.say(event="ready", pid=os.getpid(), threads=threads)
    assert channel.hear() == "go"
    fail_point = job.get("fail_point")
    if fail_point and fail_point["at"] == "start":
        end(fail_point)
    elif fail_point:
        arm(fail_point)


def arm(fail_point: Any) -> None:
    """Die, or stand still, before or after the n-th time that a step of the store protocol or a transaction comes."""
    room, _, name = fail_point["at"].partition(".")
    if room == "catalog":
        for engine in (SqliteCatalog, PostgresCatalog):
            _around_operation(engine, name, fail_point)
    elif room == "bucket":
        _around_request(name, fail_point)
    else:
        owner: Any = {"steps": steps, "staging": Staging}[room]
        setattr(owner, name, _around(getattr(owner, name), fail_point))


def _around(step: Callable[..., Any], fail_point: Any) -> Callable[..., Any]:
    left = [fail_point["nth"]]

    def reached(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and fail_point["side"] == "before":
            end(fail_point)
        result = step(*arguments, **options)
        if left[0] == 0 and fail_point["side"] == "after":
            end(fail_point)
        return result

    return reached


def _around_operation(engine: Any, name: str, fail_point: Any) -> None:
    run, left = engine.run, [fail_point["nth"]]

    async def reached(self: Any, operation: Any, *arguments: Any, **options: Any) -> Any:
        if operation.__name__ == name:
            left[0] -= 1
            if left[0] == 0 and fail_point["side"] == "before":
                end(fail_point)
        result = await run(self, operation, *arguments, **options)
        if operation.__name__ == name and left[0] == 0 and fail_point["side"] == "after":
            left[0] = -1
            end(fail_point)
        return result

    engine.run = reached


def _around_request(name: str, fail_point: Any) -> None:
    request, left = getattr(S3Blobs, name), [fail_point["nth"]]

    async def reached(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and fail_point["side"] == "before":
            end(fail_point)
        result = await request(*arguments, **options)
        if left[0] == 0 and fail_point["side"] == "after":
            end(fail_point)
        return result

    setattr(S3Blobs, name, reached)


def end(fail_point: Any) -> None:
    """No goodbye; or a long pause, until somebody says SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP if fail_point.get("pause") else signal.SIGKILL)


def _say_nothing(*_: Any) -> Any:
    raise structlog.DropEvent


def main(path: str) -> None:
    """Accept, fork, play; until whoever started it is gone, and its stdin with it."""
    structlog.configure(processors=[_say_nothing])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    gc.freeze()
    print("ready", flush=True)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                asyncio.run(play(Channel(connection)))
            finally:
                os._exit(0)
        connection.close()


if __name__ == "__main__":
    main(sys.argv[1])
