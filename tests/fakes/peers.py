"""The programs that `mediavault bench` measures with, installed by scripts/peers when they are missing."""

import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "peers"


class PeersMissing(Exception):
    """There is no nginx or wrk to measure with."""


def prepare() -> None:
    """See to it that they are there. Raises PeersMissing with a one-line reason."""
    ran = subprocess.run([SCRIPT], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if ran.returncode != 0:
        raise PeersMissing((ran.stderr.strip() or "scripts/peers failed").splitlines()[-1])
