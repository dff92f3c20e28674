"""Connections of the media port: their order, who waits how long, who leaves when, and what is left behind."""

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fakes.media_port import CLOSE, GET, HOST, LARGE_BYTES, Chunks, Port, answers, get, large_file, serve
from fakes.vaults import until
from mediavault.cli.running import run
from mediavault.serving.protocol import Patience


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return large_file(tmp_path_factory.mktemp("large"))


@pytest.fixture
async def port(large: Path) -> AsyncIterator[Port]:
    async with serve(large) as served:
        yield served


async def _is(true: Callable[[], bool]) -> bool:
    return true()


async def test_requests_piped_in_are_answered_in_their_order_whatever_they_wait_for(port):
    paths = [b"/a", b"/unknown", b"/b", b"/waits", b"/c"] + [b"/%d" % number for number in range(40)]
    requests = b"".join(get(path) for path in paths) + CLOSE
    saying = asyncio.create_task(port.say(*[requests[place : place + 97] for place in range(0, len(requests), 97)]))
    await until(lambda: _is(lambda: len(port.host.requests) == 4))
    port.host.gate.set()
    said = await saying
    before, chunked, after = said.partition(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    assert chunked
    bodies = [body for *_, body in answers(before)][:1] + [body for *_, body in answers(after)]
    assert bodies == [b"/a", b"/b", b"waited", b"/c", *[b"/%d" % number for number in range(40)], b"/small"]


async def test_a_body_that_nobody_needs_is_dropped_and_the_connection_goes_on(port):
    bodies = [
        b"Content-Length: 5\r\n\r\nGET /",
        b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nGET /\r\n0\r\nRange: bytes=0-1\r\n\r\n",
        b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nabcde",
    ]
    requests = b"".join(b"POST /small HTTP/1.1\r\n" + HOST + body for body in bodies)
    found = answers(await port.say(requests + CLOSE))
    assert [(status, body) for status, _, body in found] == [(200, b"/small")] * 4
    assert not any(name == b"range" for request in port.host.requests for name, _ in request.headers)


async def test_who_waits_for_a_word_before_its_body_gets_it(port):
    reader, writer = await asyncio.open_connection(*port.address)
    writer.write(b"POST /small HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"abcde" + CLOSE)
    assert [body for *_, body in answers(await reader.read())] == [b"/small"] * 2
    writer.close()


@pytest.mark.parametrize(
    "more", [b"GET /small HTTP/1.0\r\n\r\n", b"GET /small HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", CLOSE,
             b"GET /small HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
             b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n"],
)  # fmt: skip
async def test_a_last_request_is_answered_and_the_connection_closed(port, more):
    found = answers(await port.say(GET + more + GET))
    assert [status for status, *_ in found] == [200, 200]
    assert ["connection" in headers for _, headers, _ in found] == [False, True]


async def test_http_1_0_gets_a_body_of_unknown_length_without_chunks(port):
    said = await port.say(b"GET /unknown HTTP/1.0\r\n\r\n")
    assert said.endswith(b"connection: close\r\n\r\nonetwo")
    assert b"chunked" not in said


@pytest.mark.parametrize("path", [b"/fails", b"/fails-known", b"/short", b"/long", b"/shrunk"])
async def test_a_body_cut_short_never_looks_whole(port, path):
    said = await port.say(get(path) + GET)
    head, _, body = said.partition(b"\r\n\r\n")
    assert b" 200 OK" in head
    if b"chunked" in head:
        assert not body.endswith(b"0\r\n\r\n")
    else:
        assert len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    await until(lambda: _is(lambda: not port.connections))
    for source in port.host.sources:
        assert source.closed if isinstance(source, Chunks) else source.fd == -1


async def test_http_1_0_sees_a_reset_where_the_end_would_look_like_the_end_of_the_body(port):
    with pytest.raises(ConnectionResetError):
        await port.say(b"GET /fails HTTP/1.0\r\n\r\n")


async def test_a_slow_head_is_told_and_cut_and_an_idle_connection_closed(large):
    patience = Patience(request_seconds=0.1, parting_seconds=0.1)
    async with serve(large, patience) as port:
        ((status, headers, _),) = answers(await port.say(b"GET /small HT"))
        assert (status, headers["connection"]) == (408, "close")
        assert await port.say() == b""
        served, late = answers(await port.say(GET, b"GET /small HTTP/1.1\r\nA: "))
        assert (served[0], late[0]) == (200, 408)
        ((status, *_),) = answers(await port.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"))
        assert status == 408
        await until(lambda: _is(lambda: not port.connections))


async def test_a_client_that_takes_nothing_is_let_go(large):
    async with serve(large, Patience(stalled_seconds=0.2)) as port:
        _, writer = await asyncio.open_connection(*port.address, limit=1024)
        writer.write(get(b"/file"))
        await until(lambda: _is(lambda: bool(port.host.sources)))
        await until(lambda: _is(lambda: not port.connections))
        await until(lambda: _is(lambda: port.host.sources[0].fd == -1))  # its task ends a turn of the loop later
        writer.close()


async def test_a_client_is_not_blamed_for_an_origin_that_takes_its_time(large):
    async with serve(large, Patience(stalled_seconds=0.05)) as port:
        saying = asyncio.create_task(port.say(get(b"/hangs")))
        waiting = asyncio.create_task(port.say(get(b"/waits") + CLOSE))
        await asyncio.sleep(0.3)  # several times what a client may take
        assert not saying.done()
        port.host.gate.set()
        assert (await saying).endswith(b"part")
        assert [body for *_, body in answers(await waiting)] == [b"waited", b"/small"]


async def test_half_closed_clients_get_what_is_at_hand_and_what_is_on_its_way(port):
    said = await port.say(get(b"/file") + GET, half_close=True)
    (file, small) = answers(said)
    assert (file[2] == port.host.large.read_bytes(), small[2]) == (True, b"/small")
    await until(lambda: _is(lambda: not port.connections))


@pytest.mark.parametrize("abrupt", [True, False])
async def test_who_leaves_before_the_first_byte_is_waited_for_no_longer(port, abrupt):
    _, writer = await asyncio.open_connection(*port.address)
    writer.write(get(b"/waits"))
    await until(lambda: _is(lambda: bool(port.host.requests)))
    writer.transport.abort() if abrupt else writer.close()
    await until(lambda: _is(lambda: port.host.left == 1))
    await until(lambda: _is(lambda: not port.connections))
    assert not port.running._servers[0].server_state.tasks


async def test_who_leaves_in_the_middle_holds_nothing_and_fills_no_log(port, caplog, capsys):
    for path in (b"/file", b"/hangs"):
        reader, writer = await asyncio.open_connection(*port.address)
        writer.write(get(path))
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
    await until(lambda: _is(lambda: not port.connections))
    assert [source.closed if isinstance(source, Chunks) else source.fd for source in port.host.sources] == [-1, True]
    assert not caplog.records
    assert "Traceback" not in "".join(capsys.readouterr())


async def test_an_unforeseen_error_breaks_the_connection_and_is_told_to_the_log(port, capsys):
    assert await port.say(get(b"/breaks") + GET) == b""
    assert "unforeseen" in capsys.readouterr().out


async def test_no_descriptor_stays_open(port):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for sent in (GET + CLOSE, get(b"/file") + CLOSE, get(b"/shrunk"),
                 b"nonsense\r\n\r\n", b"GET /unknown HTTP/1.0\r\n\r\n"):  # fmt: skip
        for _ in range(5):
            await port.say(sent)
    for _ in range(5):
        reader, writer = await asyncio.open_connection(*port.address)
        writer.write(get(b"/file"))
        await reader.readexactly(1000)
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    await until(lambda: _is(lambda: not port.connections))
    await until(lambda: _is(lambda: len(list(Path("/proc/self/fd").iterdir())) == before))


async def test_a_drain_lets_bodies_end_and_takes_no_further_request(large):
    async with serve(large, drain_seconds=10) as port:
        reader, writer = await asyncio.open_connection(*port.address)
        idle, idle_writer = await asyncio.open_connection(*port.address)
        writer.write(get(b"/file"))
        await reader.readuntil(b"\r\n\r\n")
        stopping = asyncio.create_task(port.running.stop())
        assert await idle.read() == b""
        writer.write(GET)
        assert len(await reader.read()) == LARGE_BYTES
        await stopping
        assert not port.connections
        writer.close()
        idle_writer.close()


@pytest.mark.parametrize("runner", [asyncio.run, run], ids=["asyncio", "as commands run"])
def test_files_arrive_whole_on_both_loops(runner, large):
    """A reader slower than the socket makes the server wait for it many times over."""
    bodies: list[bytes] = []

    async def work() -> None:
        async with serve(large) as port:
            reader, writer = await asyncio.open_connection(*port.address, limit=4096)
            writer.write(get(b"/file") + GET + CLOSE)
            body = bytearray()
            while chunk := await reader.read(60_000):
                body += chunk
            bodies.append(bytes(body))
            writer.close()

    runner(work() if runner is asyncio.run else work)
    file, *small = answers(bodies[0])
    assert file[2] == large.read_bytes()
    assert [body for *_, body in small] == [b"/small"] * 2


@pytest.mark.parametrize("line", [b"GET", b"HEAD"])
async def test_an_empty_file_is_an_answer_like_any_other(port, line):
    found = answers(await port.say(get(b"/empty").replace(b"GET", line) + CLOSE))
    assert [(status, body) for status, _, body in found] == [(200, b""), (200, b"/small")]


def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's, of a certificate made for this test."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    certificate = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    serving, asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=certificate.decode())
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate + private)
        file.flush()
        serving.load_cert_chain(file.name)
    return serving, asking


async def test_under_tls_files_arrive_whole_and_failures_show(large):
    serving, asking = _contexts()
    async with serve(large, tls=serving) as port:
        connecting = partial(asyncio.open_connection, *port.address, ssl=asking, server_hostname="localhost")
        reader, writer = await connecting()
        writer.write(get(b"/file") + GET + CLOSE)
        file, *small = answers(await reader.read())
        assert file[2] == large.read_bytes()
        assert [body for *_, body in small] == [b"/small"] * 2
        writer.close()
        reader, writer = await connecting()
        writer.write(get(b"/fails"))
        said = await reader.read()
        assert b"part" in said
        assert not said.endswith(b"0\r\n\r\n")
        writer.close()
        await until(lambda: _is(lambda: not port.connections))
        assert port.host.sources[0].fd == -1
