"""Which connections are paced: on real sockets, with whatever this system chooses for a new one."""

import asyncio
import socket
from contextlib import closing

import pytest

from mediavault.cli.servers import bind
from mediavault.serving.congestion import pace_remote, system_choice

UNPACED = b"reno" if system_choice().startswith(b"bbr") else system_choice()


class Accepted(asyncio.BaseTransport):
    """An accepted connection as a protocol sees it, from wherever the test says."""

    def __init__(self, connection, peername) -> None:
        super().__init__({"socket": connection, "peername": peername})


@pytest.fixture
def accepted():
    """What a listening socket of ours accepts."""
    with closing(bind("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()[:2]):
        listener.setblocking(True)
        connection, _ = listener.accept()
        with connection:
            yield connection


def choice(connection: socket.socket) -> bytes:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"])
def test_a_client_on_this_machine_is_not_paced(accepted, host):
    pace_remote(Accepted(accepted, (host, 1)))
    assert choice(accepted) == UNPACED


@pytest.mark.parametrize("host", ["203.0.113.9", "10.0.0.2", "::ffff:203.0.113.9", "2001:db8::1", "fe80::1%lo"])
def test_a_client_from_elsewhere_has_what_the_system_chooses(accepted, host):
    pace_remote(Accepted(accepted, (host, 1)))
    assert choice(accepted) == system_choice()


def test_a_client_without_an_address_or_gone_already_is_left_alone(accepted):
    pace_remote(Accepted(accepted, ""))
    pace_remote(Accepted(accepted, None))
    assert choice(accepted) == UNPACED
    accepted.close()
    pace_remote(Accepted(accepted, ("203.0.113.9", 1)))
