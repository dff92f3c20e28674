"""The `mediavault` command as a process of its own, with an environment of the test's own."""

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

MEDIAVAULT = Path(sys.executable).parent / "mediavault"
PATIENCE_SECONDS = 30


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Program:
    """A command that runs; its stderr goes to a file, its stdout is read as lines."""

    def __init__(self, process: asyncio.subprocess.Process, stderr: Path) -> None:
        self.process = process
        self._stderr = stderr
        self.lines: list[str] = []

    @property
    def err(self) -> str:
        return self._stderr.read_text()

    async def line(self) -> str:
        """The next line of stdout, empty at its end."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            line = (await self.process.stdout.readline()).decode().rstrip("\n")
        if line:
            self.lines.append(line)
        return line

    async def ready(self) -> Any:
        """The first line, decoded. Fails with what the command said when it ended instead."""
        line = await self.line()
        assert line, self.err
        return json.loads(line)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> Ended:
        """Wait for its end; what is still on stdout belongs to it."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            rest = (await self.process.stdout.read()).decode()
            code = await self.process.wait()
        return Ended(code, "".join(f"{line}\n" for line in self.lines) + rest, self.err)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> Ended:
        self.send(number)
        return await self.ended()

    async def kill(self) -> None:
        """No goodbye."""
        self.send(signal.SIGKILL)
        await self.process.wait()


def environment(**settings: str) -> dict[str, str]:
    """The caller's environment without any setting of the vault's, and with these: `UPSTREAM_URL="…"`."""
    outside = {name: text for name, text in os.environ.items() if not name.startswith("MEDIAVAULT_")}
    return outside | {f"MEDIAVAULT_{name}": text for name, text in settings.items()}


@contextlib.asynccontextmanager
async def program(*arguments: object, cwd: Path, env: dict[str, str] | None = None) -> AsyncIterator[Program]:
    """`mediavault` with these arguments; killed at the end if it still runs. Its files of output go to `cwd`."""
    number = len(list(cwd.glob("stderr-*")))
    stderr = cwd / f"stderr-{number}"
    with stderr.open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            MEDIAVAULT,
            *map(str, arguments),
            cwd=cwd,
            env=environment() if env is None else env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=err,
        )
    running = Program(process, stderr)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await running.ended()


async def run(*arguments: object, cwd: Path, env: dict[str, str] | None = None) -> Ended:
    """Run a command to its end."""
    async with program(*arguments, cwd=cwd, env=env) as running:
        return await running.ended()


def serve(data: Path, *more: object, **settings: str) -> "contextlib.AbstractAsyncContextManager[Program]":
    """`mediavault serve` on free ports, with the test's key."""
    env = environment(**{"BOOTSTRAP_API_KEY": KEY, "FREE_FLOOR_BYTES": "1000000"} | settings)
    return program("serve", "--data", data, "--api-port", 0, "--media-port", 0, *more, cwd=data.parent, env=env)


@dataclass
class _Elsewhere:
    """Where a vault in another process is reached."""

    api_url: str


@contextlib.asynccontextmanager
async def serve_process(
    data: Path, sandbox: Sandbox, platform_url: str, *, database_url: str | None = None, allow: str = ""
) -> AsyncIterator[tuple[Program, RunningVault]]:
    """A vault in a process of its own, from its ready line on; it may dial the sandbox and what is allowed."""
    settings = {
        "ORIGIN_ALLOW": ",".join(filter(None, (platform_url.removeprefix("http://"), allow))),
        "UPSTREAM_URL": platform_url,
    }
    if database_url is not None:
        settings["DATABASE_URL"] = database_url
    async with serve(data, **settings) as process:
        served: Any = _Elsewhere((await process.ready())["api"])
        async with aiohttp.ClientSession() as http:
            yield process, RunningVault(served, sandbox, platform_url, http)


__all__ = ["Ended", "Program", "environment", "program", "run", "serve", "serve_process"]
