"""What a figure is worth nothing without: the machine, the versions, and the day."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from mediavault.bench import nginx as nginx_program
from mediavault.bench import wrk as wrk_program
from mediavault.bench.processes import Cores


def facts(cores: Cores, *, nginx: str | None, wrk: str | None) -> dict[str, str]:
    """In the order in which they are told."""
    found = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(Path("/proc/cpuinfo").read_text()),
        "cores": _cores(cores),
        "memory": _memory(Path("/proc/meminfo").read_text()),
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "congestion control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "mediavault": version("mediavault"),
        "uvicorn": version("uvicorn"),
        "uvloop": version("uvloop"),
    }
    if nginx is not None:
        found["nginx"] = nginx_program.version(nginx)
    if wrk is not None:
        found["wrk"] = wrk_program.version(wrk)
    found["load average before"] = f"{os.getloadavg()[0]:.1f}"
    return found


def _cores(cores: Cores) -> str:
    if cores.server == cores.load:
        return "1, shared by server and load: a comparison at best"
    origin = "the load's" if cores.origin == cores.load else "one of its own"
    return f"{os.cpu_count()}: server on one, load on another, origin on {origin}"


def _processor(cpuinfo: str) -> str:
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model", "Hardware"}:
            return " ".join(value.split())
    return platform.machine()


def _memory(meminfo: str) -> str:
    kilobytes = int(meminfo.partition("MemTotal:")[2].split()[0])
    return f"{kilobytes / (1 << 20):.1f} GiB"
