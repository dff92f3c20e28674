"""Plays scenes of `fakes.killable` and kills or fails them: at a named step, or by strace at a system call."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

SCRIPT = Path(__file__).parents[2] / "scripts" / "strace"
PATIENCE_SECONDS = 60

#: The system calls by which bytes and names reach a disk, and statements a server.
WRITING = (
    "openat",
    "write",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "fsync",
    "fdatasync",
    "rename",
    "link",
    "linkat",
    "unlink",
    "mkdir",
    "ftruncate",
)
SENDING = ("sendto",)
_LINE = re.compile(r"^(?P<tid>\d+) +(?P<call>\w+)\((?P<rest>.*)$")


@dataclass(frozen=True, order=True)
class Point:
    """The n-th time that a thread makes a system call."""

    thread: str
    call: str
    nth: int
    on: str = field(default="", compare=False)  #: what, for people

    def __str__(self) -> str:
        return f"{self.thread}'s {self.call} number {self.nth} {self.on}"


@dataclass
class Played:
    """How a scene ended."""

    done: bool  #: it came to its end; else it was killed
    trace: list[str] = field(default_factory=list)

    @property
    def injected(self) -> bool:
        """Whether what was to be injected was."""
        return any("(INJECTED)" in line for line in self.trace)


class StraceMissing(Exception):
    """There is no strace, or it may not trace."""


def strace_program() -> str:
    """The program of scripts/strace, which installs it. Raises StraceMissing with a one-line reason."""
    found = subprocess.run([SCRIPT], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if found.returncode != 0:
        raise StraceMissing((found.stderr.strip() or "scripts/strace failed").splitlines()[-1])
    return found.stdout.strip()


class Scenes:
    """A process that forks a child for each scene."""

    def __init__(self, socket_path: Path, strace: str) -> None:
        self._socket = socket_path
        self._strace = strace

    async def play(self, job: dict[str, Any], *, fail_point: Any = None) -> Played:
        """A scene to its end, or to its fail-point."""
        async with self._child(job | {"fail_point": fail_point}) as (reader, writer, _):
            return Played(done=await _go(reader, writer))

    @contextlib.asynccontextmanager
    async def paused(
        self, job: dict[str, Any], fail_point: dict[str, Any]
    ) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
        """A scene that stands still at its fail-point; what is given lets it go on, and tells whether it ended."""
        async with self._child(job | {"fail_point": fail_point | {"pause": True}}) as (reader, writer, ready):
            writer.write(b'"go"\n')
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not _is_stopped(ready["pid"]):  # noqa: ASYNC110  # the kernel tells it in a file only
                    await asyncio.sleep(0.005)

            async def go_on() -> bool:
                os.kill(ready["pid"], signal.SIGCONT)
                return await _ended(reader)

            yield go_on

    async def traced(self, job: dict[str, Any], calls: Sequence[str], point: Point | None, inject: str = "") -> Played:
        """A scene under strace: only recorded, or with `inject` (`signal=KILL`, `error=EIO`) at the point."""
        async with self._child(job) as (reader, writer, ready):
            log = self._socket.with_name(f"trace-{ready['pid']}")
            arguments = ["-qq", "-yy", "-o", str(log)]
            if point is None:
                arguments += ["-f", "-p", str(ready["pid"]), "-e", f"trace={','.join(calls)}"]
            else:
                arguments += ["-p", str(ready["threads"][point.thread]), "-e", f"trace={point.call},fsync"]
                arguments += ["-e", f"inject={point.call}:{inject}:when={point.nth}"]
            tid = None if point is None else ready["threads"][point.thread]
            async with _attached(self._strace, arguments, ready["pid"], tid):
                done = await _go(reader, writer)
            names = {str(tid): name for name, tid in ready["threads"].items()}
            trace = [names.get(line.split(" ")[0], "") + " " + line for line in log.read_text().splitlines()]
            log.unlink()
            return Played(done, trace)

    async def points(self, job: dict[str, Any], calls: Sequence[str], about: Sequence[str]) -> list[Point]:
        """Where a scene can be hit: every such call of a known thread whose text has one of these in it."""
        played = await self.traced(job, calls, None)
        assert played.done
        counted: Counter[tuple[str, str]] = Counter()
        found = []
        for line in played.trace:
            thread, _, rest = line.partition(" ")
            match = _LINE.match(rest)
            if not thread or match is None:
                continue
            counted[thread, match["call"]] += 1
            if any(part in match["rest"] for part in about):
                found.append(Point(thread, match["call"], counted[thread, match["call"]], _subject(match["rest"])))
        return found

    @contextlib.asynccontextmanager
    async def _child(
        self, job: dict[str, Any]
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, Any]]:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        ready: Any = None
        try:
            writer.write(json.dumps(job).encode() + b"\n")
            async with asyncio.timeout(PATIENCE_SECONDS):
                line = await reader.readline()
            assert line, "the child died before its scene"
            ready = json.loads(line)
            yield reader, writer, ready
        finally:
            if ready is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(ready["pid"], signal.SIGKILL)
                while Path(f"/proc/{ready['pid']}").exists():  # noqa: ASYNC110  # its files are ours when it is gone
                    await asyncio.sleep(0.002)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def _subject(rest: str) -> str:
    """The last parts of the path in a line of strace: the file's, not that of the folder it is relative to."""
    paths = re.findall(r"[<\"](/[^>\"]*)[>\"]", rest.replace("AT_FDCWD<", ""))
    return "/".join(paths[0].split("/")[-2:]) if paths else ""


async def _go(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Let the scene begin; whether it came to its end."""
    writer.write(b'"go"\n')
    return await _ended(reader)


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def _ended(reader: asyncio.StreamReader) -> bool:
    """Whether it came to its end; else it died."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            line = await reader.readline()
        except ConnectionResetError:
            return False
    return bool(line) and json.loads(line) == {"event": "done"}


@contextlib.asynccontextmanager
async def _attached(strace: str, arguments: list[str], pid: int, tid: int | None) -> AsyncIterator[None]:
    """strace on a process, or on one of its threads; awaited at the end, by which time its log is whole."""
    process = await asyncio.create_subprocess_exec(strace, *arguments, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not _is_traced(pid, tid):  # the kernel tells it in a file only
                assert process.returncode is None, await _said(process)
                await asyncio.sleep(0.002)
        yield
        async with asyncio.timeout(PATIENCE_SECONDS):
            await process.communicate()  # it ends with what it traces
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise


async def _said(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    return (await process.stderr.read()).decode()


def _is_traced(pid: int, tid: int | None) -> bool:
    tasks = [Path(f"/proc/{pid}/task/{tid}")] if tid else list(Path(f"/proc/{pid}/task").iterdir())
    return all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks)


@contextlib.asynccontextmanager
async def scenes(folder: Path) -> AsyncIterator[Scenes]:
    """The process that forks them, with its files in `folder`."""
    strace, tests = strace_program(), Path(__file__).parents[1]
    socket_path = folder / "scenes"
    environment = {name: text for name, text in os.environ.items() if not name.startswith("MEDIAVAULT_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "fakes.killable", str(socket_path)),
        env=environment | {"PYTHONPATH": os.pathsep.join([str(tests), *_python_path()])},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.stdout.readline() == b"ready\n"
        yield Scenes(socket_path, strace)
    finally:
        process.kill()
        await process.wait()


def _python_path() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def sampled(points: Sequence[T], at_most: int | None) -> Sequence[T]:
    """So many of them, spread evenly from the first to the last; all of them for None."""
    if at_most is None or len(points) <= at_most:
        return points
    step = (len(points) - 1) / (at_most - 1)
    return [points[round(number * step)] for number in range(at_most)]


def copy_folder(source: Path, target: Path) -> None:
    """A folder as it was; its sockets stay behind."""
    shutil.copytree(source, target, ignore=lambda folder, names: [n for n in names if (Path(folder) / n).is_socket()])


__all__ = ["SENDING", "WRITING", "Played", "Point", "Scenes", "StraceMissing", "copy_folder", "sampled", "scenes"]
