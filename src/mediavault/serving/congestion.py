"""Connections from this machine, a reverse proxy's above all, are sent to without pacing.

BBR spaces its segments by timers, some ten for a megabyte of loopback, and each is an interrupt: more than half of
what sending there costs. Between two processes of one machine there is no path whose rate it could learn. Where it is
the system's choice, such a connection gets Reno, which every kernel has and which paces nothing; others keep BBR.

A connection that began with BBR stays paced whatever it is given later. So the listening socket has Reno, which its
connections inherit, and those from elsewhere are given BBR before anything is answered.
"""

import asyncio
import ipaddress
import socket
from functools import cache
from typing import Any

_PACED = b"bbr"
_UNPACED = b"reno"
_NAME_BYTES = 16  # the kernel's TCP_CA_NAME_MAX
_CONGESTION: int | None = getattr(socket, "TCP_CONGESTION", None)  # not every system lets one choose


def unpace(listener: socket.socket) -> None:
    """What this socket accepts begins without pacing."""
    if system_choice().startswith(_PACED):
        _choose(listener, _UNPACED)


def pace_remote(transport: asyncio.BaseTransport) -> None:
    """Give a connection that was just accepted the system's choice, unless its client is on this machine."""
    if not system_choice().startswith(_PACED):
        return
    peer = transport.get_extra_info("peername")
    if isinstance(peer, tuple) and not _is_here(peer[0]):
        _choose(transport.get_extra_info("socket"), system_choice())


@cache
def system_choice() -> bytes:
    """The name of what a new connection has; empty where the system has no names for it."""
    if _CONGESTION is None:
        return b""
    with socket.socket() as fresh:
        return fresh.getsockopt(socket.IPPROTO_TCP, _CONGESTION, _NAME_BYTES).rstrip(b"\0")


def _choose(connection: Any, name: bytes) -> None:
    """Of a socket, or of what uvloop gives for one."""
    if _CONGESTION is not None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, _CONGESTION, name)
        except OSError:  # gone already, or the administrator allows no choice: it works as it is, only slower
            return


def _is_here(host: str) -> bool:
    address = ipaddress.ip_address(host.partition("%")[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
