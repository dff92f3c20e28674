"""A real `mediavault serve` process, to be killed."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from fakes.vaults import KEY, RunningVault
from mediavault.platform.sandbox import Sandbox


@dataclass
class ServeProcess:
    """The process, and what its ready line said."""

    process: asyncio.subprocess.Process
    api_url: str

    async def kill(self) -> None:
        """No goodbye."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def terminate(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


@contextlib.asynccontextmanager
async def serve_process(
    data: Path, sandbox: Sandbox, platform_url: str, *, database_url: str | None = None
) -> AsyncIterator[tuple[ServeProcess, RunningVault]]:
    """A vault in a process of its own, from its ready line on; killed at the end if it still runs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDIAVAULT_")}
    environment |= {
        "MEDIAVAULT_ORIGIN_ALLOW": platform_url.removeprefix("http://"),
        "MEDIAVAULT_UPSTREAM_URL": platform_url,
        "MEDIAVAULT_BOOTSTRAP_API_KEY": KEY,
        "MEDIAVAULT_FREE_FLOOR_BYTES": str(1 << 20),
    }
    if database_url is not None:
        environment["MEDIAVAULT_DATABASE_URL"] = database_url
    command = [sys.executable, "-m", "mediavault", "serve", "--data", str(data), "--api-port", "0", "--media-port", "0"]
    with (data.parent / "serve.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=log, stdin=asyncio.subprocess.DEVNULL
        )
    try:
        ready = await _ready(process, data.parent / "serve.log")
        served: Any = ServeProcess(process, ready["api"])
        async with aiohttp.ClientSession() as http:
            yield served, RunningVault(served, sandbox, platform_url, http)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]  # its pipe outlives it until the loop has gone round


async def _ready(process: asyncio.subprocess.Process, log: Path) -> Any:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        line = await process.stdout.readline()
    assert line, log.read_text()
    return json.loads(line)
