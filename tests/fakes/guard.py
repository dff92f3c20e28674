"""Keeps every test on this machine: a hook below all code raises before a socket leaves it, and remembers that."""

import ipaddress
import socket
import sys

#: Addresses outside this machine that something tried to reach since the last test ended.
attempts: list[str] = []


class LeftTheMachine(Exception):
    """A test tried to reach an address that is not loopback."""


def _is_local(host: object) -> bool:
    """Whether a name or address may be used: loopback and nothing else, link-local and private included."""
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False  # a name: to look it up already asks a server elsewhere
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback


def _refuse_to_leave(event: str, arguments: tuple[object, ...]) -> None:
    """Audit hook: raise before a socket leaves the machine, and remember it for the test to fail."""
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        sock, address = arguments[0], arguments[1]
        if getattr(sock, "family", None) not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple):
            return
        host = address[0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
        if not isinstance(host, str | bytes) or _is_literal(host):
            return  # parsing an address sends nothing
    else:
        return
    if not _is_local(host):
        attempts.append(f"{event} {host!r}")
        raise LeftTheMachine(f"{event} {host!r}: tests reach loopback only")


def _is_literal(host: str | bytes) -> bool:
    text = host.decode() if isinstance(host, bytes) else host
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


# A hook cannot be taken out again, so it is installed once, with the module. uvloop connects below Python and is not
# seen by it: tests run on asyncio's own loop.
sys.addaudithook(_refuse_to_leave)
