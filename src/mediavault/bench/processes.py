"""The processes of a run: started on a core of their own, their CPU and memory read, and ended whatever happens."""

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, cast

import msgspec

from mediavault.errors import VaultError

_PATIENCE_SECONDS = 30
_GOODBYE_SECONDS = 10
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cores:
    """Who runs where: servers never share a core with the load, unless there is only one."""

    server: int
    load: int
    origin: int

    @classmethod
    def of(cls, allowed: Sequence[int]) -> "Cores":
        """Spread over the cores that this process may use; the origin gets one of its own from three on."""
        ordered = sorted(allowed)
        return cls(ordered[0], ordered[min(1, len(ordered) - 1)], ordered[min(2, len(ordered) - 1)])


@dataclass(frozen=True)
class Usage:
    """What a server's processes have used since they started, all together."""

    cpu_seconds: float
    rss_bytes: int


class Child:
    """A running process, with all that it started."""

    def __init__(self, name: str, popen: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name = name
        self.popen = popen
        self._out = cast(IO[bytes], popen.stdout)  # piped
        self._log = log

    def usage(self) -> Usage:
        """CPU of the processes that live and of those that ended, and the memory of those that live."""
        self.check()
        found = [stat for pid in _family(self.popen.pid) if (stat := _stat(pid)) is not None]
        return Usage(sum(stat.cpu_ticks for stat in found) / _TICKS_PER_SECOND, sum(stat.rss_bytes for stat in found))

    def check(self) -> None:
        """Raises VaultError with its last words when it has ended."""
        if self.popen.poll() is not None:
            raise VaultError(f"{self.name} ended with status {self.popen.returncode}: {self.last_words()}")

    def last_words(self) -> str:
        """The last line that it wrote on stderr: of a traceback, what it comes to."""
        lines = self._log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def ready(self) -> dict[str, str]:
        """The line of JSON that it prints when it serves. Raises VaultError when it ends or takes too long."""
        if not select.select([self._out], [], [], _PATIENCE_SECONDS)[0]:
            raise VaultError(f"{self.name} is not ready after {_PATIENCE_SECONDS} s: {self.last_words()}")
        line = self._out.readline()
        if not line:
            self.popen.wait(_GOODBYE_SECONDS)
            self.check()
        return msgspec.json.decode(line, type=dict[str, str])

    def end(self) -> None:
        """SIGTERM; SIGKILL for what does not heed it, or is left of what it started."""
        self.popen.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(_GOODBYE_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        self._out.close()


@contextmanager
def child(
    name: str,
    command: Sequence[str],
    *,
    core: int,
    folder: Path,
    env: Mapping[str, str] | None = None,
    inherits: Sequence[int] = (),
) -> Iterator[Child]:
    """A process on that core; what it says on stderr goes to a file in the folder.

    It gets the descriptors that it `inherits`. It has a session of its own: the terminal's Ctrl-C is for us alone, and
    we end it.
    """
    log = folder / f"{name}.log"
    started: Child | None = None
    try:
        with _interrupts.held(), log.open("wb") as stderr, on_core(core):
            popen = subprocess.Popen(  # noqa: S603 - our own commands
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=folder,
                pass_fds=inherits,
                start_new_session=True,
            )
            started = Child(name, popen, log)
        yield started
    finally:
        if started is not None:
            started.end()


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Stay on one core; so does every process and thread that is started meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class _Interrupts:
    """Signals that end a run, and the moments in which they must wait: a process that nobody knows yet is not ended."""

    def __init__(self) -> None:
        self._holding = False
        self._waiting = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """What arrives meanwhile is raised at the end of the block."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
            if self._waiting:
                self._waiting = False
                raise KeyboardInterrupt

    def arrived(self, number: int, frame: FrameType | None) -> None:
        """The handler. Once: the tidying up that follows is not interrupted."""
        del number, frame
        for each in _ENDING:
            signal.signal(each, signal.SIG_IGN)
        if not self._holding:
            raise KeyboardInterrupt
        self._waiting = True


_interrupts = _Interrupts()


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the block as KeyboardInterrupt."""
    before = {number: signal.signal(number, _interrupts.arrived) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_until_listening(process: Child, host: str, port: int) -> None:
    """Try to connect until it works. Raises VaultError when the process ends or takes too long."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection((host, port), _PATIENCE_SECONDS).close()
        except ConnectionRefusedError:
            process.check()
            if time.monotonic() > deadline:
                raise VaultError(f"{process.name} does not listen after {_PATIENCE_SECONDS} s") from None
            time.sleep(0.02)
        else:
            return


@dataclass(frozen=True)
class _Stat:
    parent: int
    cpu_ticks: int
    rss_bytes: int


def _stat(pid: int) -> _Stat | None:
    """Of /proc/<pid>/stat; None when it is gone. A name in it may have spaces and brackets."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[11:15])  # utime, stime, and those of children that were waited for
    return _Stat(int(fields[1]), ticks, int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))


def _family(pid: int) -> list[int]:
    """A process and all its descendants."""
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    parents = {number: stat.parent for number in numbers if (stat := _stat(number)) is not None}
    found, new = [pid], [pid]
    while new:
        new = [each for each, parent in parents.items() if parent in new]
        found += new
    return found
