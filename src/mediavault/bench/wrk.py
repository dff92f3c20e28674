"""wrk, for small answers: a generator in C that leaves the server the slower one of the two."""

import re
import shutil
import subprocess
from pathlib import Path

import msgspec

from mediavault.bench.load import Target
from mediavault.errors import VaultError

#: wrk hands its totals to a script; so nothing is read out of text made for people.
_SCRIPT = """
done = function(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '{"requests": %d, "microseconds": %d, "failures": %d}\\n',
        summary.requests, summary.duration,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


class Totals(msgspec.Struct):
    """What wrk counted."""

    requests: int
    microseconds: int
    failures: int


def find() -> str:
    """Where wrk is. Raises VaultError with how to get it."""
    found = shutil.which("wrk")
    if found is None:
        raise VaultError("wrk, the load generator for small answers, is missing: apt-get install wrk (Debian, Ubuntu)")
    return found


def version(program: str) -> str:
    """Its number; it tells it with the usage and status 1."""
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(r"^wrk (\S+)", said.stdout + said.stderr, re.MULTILINE)
    return found[1] if found else "unknown"


def arguments(target: Target, connections: int, seconds: float, script: Path) -> list[str]:
    """After the program's name. wrk takes whole seconds."""
    headers = [part for name, value in target.headers for part in ("-H", f"{name}: {value}")]
    return ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script), *headers, target.url]


def for_a_time(target: Target, connections: int, seconds: float, folder: Path) -> Totals:
    """The same request over and over. Raises VaultError when one of them fails."""
    script = folder / "totals.lua"
    script.write_text(_SCRIPT)
    ran = subprocess.run(  # noqa: S603
        [find(), *arguments(target, connections, seconds, script)], capture_output=True, text=True, check=False
    )
    if ran.returncode != 0:
        raise VaultError(f"wrk failed: {ran.stderr.strip() or ran.stdout.strip()}")
    totals = msgspec.json.decode(ran.stdout.splitlines()[-1], type=Totals)
    if totals.failures or not totals.requests:
        raise VaultError(f"{target.url[:80]}: {totals.failures} of {totals.requests} requests failed")
    return totals
