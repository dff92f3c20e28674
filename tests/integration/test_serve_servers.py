"""The servers under the applications: sockets, keep-alive, and what happens when one dies."""

import asyncio
import http.client
import socket
import stat
from contextlib import closing

import aiohttp
import pytest

from mediavault.cli.control_socket import bind_control
from mediavault.cli.running import run
from mediavault.cli.servers import Running, bind, server, serving, url_of
from mediavault.cli.serving import serve, start
from mediavault.config import read_config
from mediavault.errors import Conflict, VaultError


async def hello(scope, receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


def nodelay_of(running: Running) -> list[int]:
    """TCP_NODELAY of every connection that is open, asked from the kernel."""
    found = []
    for one in running._servers:
        for connection in one.server_state.connections:
            fd = connection.transport.get_extra_info("socket").fileno()
            with socket.socket(fileno=socket.dup(fd)) as asked:
                found.append(asked.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    return found


@pytest.mark.parametrize("runner", [asyncio.run, run], ids=["asyncio", "as commands run"])
def test_accepted_connections_send_at_once_and_are_kept(runner):
    """On both loops: without TCP_NODELAY a head and a body written apart take 40 ms."""
    seen = []

    def ask(host: str, port: int) -> list[tuple[int, bytes, str | None, str | None]]:
        with closing(http.client.HTTPConnection(host, port)) as connection:
            answers = []
            for _ in range(2):
                connection.request("GET", "/")
                response = connection.getresponse()
                answers.append(
                    (response.status, response.read(), response.getheader("Server"), response.getheader("Date"))
                )
                sockets.add(id(connection.sock))
            seen.append(nodelay_of(current[0]))
            return answers

    sockets: set[int] = set()
    current: list[Running] = []

    async def work() -> None:
        async with serving(hello, 0) as (url, running):
            current.append(running)
            host, port = url.removeprefix("http://").split(":")
            answers = await asyncio.to_thread(ask, host, int(port))
            assert [answer[:3] for answer in answers] == [(200, b"hello", None)] * 2
            assert all(date for *_, date in answers)

    runner(work() if runner is asyncio.run else work)
    assert seen == [[1]]
    assert len(sockets) == 1


def test_a_taken_port_is_a_conflict_even_if_nobody_listens_yet():
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        first = bind("127.0.0.1", 0)
        with closing(first), pytest.raises(Conflict, match="is in use"):
            bind("127.0.0.1", first.getsockname()[1])
        taken.listen()
        with pytest.raises(Conflict, match="is in use"):
            bind("127.0.0.1", taken.getsockname()[1])


def test_an_ipv6_address_is_bound_and_told_in_brackets():
    with closing(bind("::1", 0)) as listener:
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_a_control_socket_takes_the_place_of_a_dead_one(tmp_path):
    path = tmp_path / ("d" * 120) / "control.sock"
    path.parent.mkdir()
    for _ in range(2):
        with closing(bind_control(path)):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_request_that_outlives_the_drain_is_over_when_the_drain_is():
    """Whoever takes the vault apart next must find nobody in it."""
    begun, over = asyncio.Event(), []

    async def endless(scope, receive, send) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)  # it has something to put in order
            over.append(scope["path"])

    listener = bind("127.0.0.1", 0)
    running = Running([(server(endless, drain_seconds=0.1), listener)])
    await running.started()
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"GET /here HTTP/1.1\r\nHost: x\r\n\r\n")
    await begun.wait()
    await running.stop()
    assert over == ["/here"]
    await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_a_reader_who_takes_nothing_is_cut_by_the_drain():
    """The application is done; what it wrote waits in the server's buffer for a client that does not read."""
    sent = asyncio.Event()

    async def large(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(32 << 20)})
        sent.set()

    listener = bind("127.0.0.1", 0)
    running = Running([(server(large, drain_seconds=0.1), listener)])
    await running.started()
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await sent.wait()
    await running.stop()
    assert not [connection for one in running._servers for connection in one.server_state.connections]
    answer = await reader.read()
    assert 0 < len(answer) < 32 << 20
    assert not answer.endswith(b"0\r\n\r\n")  # it does not look whole
    writer.close()


async def test_a_server_that_dies_ends_the_process_loudly_and_in_order(tmp_path, capsys):
    """One part that is silently gone would be worse than a restart."""
    config = read_config({}, data=tmp_path / "data", api_port=0, media_port=0)
    serving_it = asyncio.create_task(serve(config))
    async with asyncio.timeout(20):
        while '"ready"' not in capsys.readouterr().out:  # noqa: ASYNC110 - the line that says ready
            await asyncio.sleep(0.02)
    (victim, *_) = [task for task in asyncio.all_tasks() if "Server.serve" in repr(task.get_coro())]
    victim.cancel()
    with pytest.raises(VaultError, match="a server ended by itself"):
        await serving_it
    await (await start(config)).stop()  # everything was let go


async def test_a_server_that_cannot_start_is_an_error_not_a_wait():
    listener = bind("127.0.0.1", 0)
    listener.close()
    running = Running([(server(hello, drain_seconds=1), listener)])
    with pytest.raises(VaultError, match="ended by itself"):
        await running.started()
    await running.stop()


async def test_the_vaults_answers_have_a_date_and_name_no_server(tmp_path):
    config = read_config({}, data=tmp_path / "data", api_port=0, media_port=0)
    served = await start(config)
    try:
        async with aiohttp.ClientSession() as client:
            for url in (f"{served.api_url}/livez", f"{served.media_url}/v2/forged"):
                async with client.get(url) as response:
                    assert "Date" in response.headers
                    assert "Server" not in response.headers
                    await response.read()
            assert nodelay_of(served.running).count(1) == 2
    finally:
        await served.stop()
