"""Memory that is freed and needed again at once."""

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
from mediavault.cli.memory import keep_freed_buffers
if sys.argv[1] == "kept":
    keep_freed_buffers()
held = [bytes(200_000) for _ in range(8)]
del held
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    held = [bytes(200_000) for _ in range(8)]
    del held
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    command = [sys.executable, "-c", _FAULTS, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the ways of another C library are its own")
def test_buffers_that_come_and_go_do_not_go_back_to_the_kernel_each_time():
    assert faults("kept") < 1_000 < faults("as it is")
