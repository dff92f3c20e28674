"""Keeping the load's core awake, so that a server is not charged for waking it.

An answer wakes the client that waits for it. Where the client's core is asleep, that is an interrupt to another core,
in a virtual machine a call of the hypervisor besides, and the sender pays for it: up to several times what the whole
answer costs. A server that is quick enough to keep its client busy is never charged with it, so the figures would
compare more than the servers. What spins here has the kernel's idle class: it runs when nothing else would.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mediavault.bench.processes import child

_SPIN = """
import os
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
print("{}", flush=True)
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""


@contextmanager
def kept_awake(core: int, folder: Path) -> Iterator[int]:
    """The core never sleeps until the end of the block; the process that sees to it."""
    with child("awake", [sys.executable, "-S", "-c", _SPIN], core=core, folder=folder) as process:
        process.ready()
        yield process.popen.pid
