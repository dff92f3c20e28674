"""Viewers who read a little now and then: what they cost the server is memory."""

import socket
import time
from collections.abc import Callable, Sequence

from mediavault.bench.load import Target
from mediavault.errors import VaultError

_RECEIVE_BUFFER_BYTES = 1 << 14
_READ_BYTES = 1 << 14
_PAUSE_SECONDS = 0.25
_PATIENCE_SECONDS = 60


def peak_memory(targets: Sequence[Target], readers: int, seconds: float, rss_bytes: Callable[[], int]) -> int:
    """The most that the server has in memory while `readers` read from it at 64 KB/s each."""
    sockets: list[socket.socket] = []
    peak = 0
    try:
        for number in range(readers):
            sockets.append(_asking(targets[number % len(targets)]))
        silent = set(sockets)
        until = time.monotonic() + _PATIENCE_SECONDS  # until all are served; from then on for `seconds`
        while time.monotonic() < until:
            served = {reader for reader in sockets if _sip(reader)}
            if silent and not (silent := silent - served):
                until = time.monotonic() + seconds
            peak = max(peak, rss_bytes())
            time.sleep(_PAUSE_SECONDS)
    finally:
        for reader in sockets:
            reader.close()
    if silent:
        raise VaultError(f"{len(silent)} of {readers} slow readers got nothing in {_PATIENCE_SECONDS} s")
    return peak


def _asking(target: Target) -> socket.socket:
    reader = socket.socket()
    try:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        reader.connect((target.host, target.port))
        reader.sendall(target.request)
        reader.setblocking(False)
    except BaseException:
        reader.close()
        raise
    return reader


def _sip(reader: socket.socket) -> int:
    try:
        piece = reader.recv(_READ_BYTES)
    except BlockingIOError:
        return 0
    if not piece:
        raise VaultError("a slow reader was cut off")
    return len(piece)
