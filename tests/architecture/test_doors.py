"""Who may open a connection: one guarded client, and a few others with a reason; and the guard of the tests works."""

import ast
import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fakes import guard

SOURCE = Path(__file__).parents[2] / "src" / "mediavault"

#: What can speak to another machine. Packages stand for all that is below them.
CLIENTS = frozenset(
    {
        *(
            "aiohttp",
            "aiohappyeyeballs",
            "httpx",
            "httpcore",
            "h11",
            "h2",
            "requests",
            "urllib3",
            "pycurl",
            "websockets",
        ),
        *("boto3", "botocore", "aiobotocore", "obstore", "asyncpg", "psycopg", "paramiko", "socks", "dns", "grpc"),
        *("urllib.request", "http.client", "ftplib", "smtplib", "poplib", "imaplib", "nntplib", "telnetlib"),
        *("xmlrpc.client", "multiprocessing.connection", "logging.handlers", "asyncore", "asynchat"),
    }
)
#: What a bare socket, the loop or the resolver is asked with.
DIALS = frozenset(
    {
        *("create_connection", "open_connection", "sock_connect", "connect_ex", "create_datagram_endpoint", "urlopen"),
        *(
            "getaddrinfo",
            "gethostbyname",
            "gethostbyname_ex",
            "gethostbyaddr",
            "getnameinfo",
            "sendto",
            "start_connection",
        ),
    }
)
#: The modules, or all modules of a room, that may, what they may, and why.
ALLOWED = {
    "origin/client.py": ({"aiohttp", "aiohappyeyeballs"}, "the guarded client: origins, upstreams and webhooks"),
    "catalog/postgres.py": ({"asyncpg"}, "the operator's own database"),
    "catalog/schema.py": ({"asyncpg"}, "the operator's own database"),
    "blobs/s3.py": ({"obstore"}, "the operator's own bucket"),
    "blobs/s3_client.py": ({"obstore"}, "the operator's own bucket"),
    "blobs/s3_bucket.py": ({"http.client"}, "bucket-level questions to the operator's own endpoint: obstore has none"),
    "blobs/s3_upload.py": ({"obstore"}, "the operator's own bucket"),
    "blobs/s3_errors.py": ({"obstore"}, "the operator's own bucket"),
    "cli/": ({"aiohttp"}, "the control socket, and the demonstration's own vault"),
    "bench/": ({"http.client", "create_connection"}, "load on servers that it started on this machine itself"),
}


def clients_in(tree: ast.AST) -> set[str]:
    """Every client that a module imports, and every dial that it calls or hands on."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {client for alias in node.names if (client := _client(alias.name))}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            found |= {client for name in names if (client := _client(name))}
            found |= {alias.name for alias in node.names if alias.name in DIALS}
        elif isinstance(node, ast.Attribute) and node.attr in DIALS:
            found.add(node.attr)
        elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"}:
            named = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            found |= {client for name in named if (client := _client(name))}
    return found


def _client(module: str) -> str | None:
    steps = module.split(".")
    return next((name for end in range(len(steps)) if (name := ".".join(steps[: end + 1])) in CLIENTS), None)


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def allowed_to(module: str) -> set[str]:
    return set[str]().union(*(clients for place, (clients, _) in ALLOWED.items() if module.startswith(place)))


def test_nobody_else_opens_connections():
    modules = {path.relative_to(SOURCE).as_posix(): path for path in SOURCE.rglob("*.py")}
    assert len(modules) > 100
    used = {name: clients_in(ast.parse(path.read_text())) - allowed_to(name) for name, path in modules.items()}
    assert {name: sorted(clients) for name, clients in used.items() if clients} == {}


def test_the_guarded_client_is_seen_by_the_lint_itself():
    tree = ast.parse((SOURCE / "origin/client.py").read_text())
    assert clients_in(tree) == {"aiohttp", "aiohappyeyeballs"}


def test_only_the_guarded_client_is_a_door_of_the_rooms_that_serve():
    """A reason that covers a whole room is for programs that an operator starts by hand."""
    assert {place for place in ALLOWED if place.endswith("/")} == {"cli/", "bench/"}
    assert [place for place in ALLOWED if place.startswith("origin")] == ["origin/client.py"]
    assert all(reason for _, reason in ALLOWED.values())


@pytest.mark.parametrize(
    ("source", "client"),
    [
        ("import aiohttp", "aiohttp"),
        ("import aiohttp.connector as x", "aiohttp"),
        ("from aiohttp import ClientSession", "aiohttp"),
        ("import urllib.request", "urllib.request"),
        ("from urllib import request", "urllib.request"),
        ("from urllib.request import urlopen", "urlopen"),
        ("from http.client import HTTPSConnection", "http.client"),
        ("def f():\n    import httpx", "httpx"),
        ("import socket\nsocket.create_connection(('h', 1))", "create_connection"),
        ("from socket import create_connection", "create_connection"),
        ("dial = asyncio.open_connection", "open_connection"),
        ("await loop.sock_connect(s, a)", "sock_connect"),
        ("getattr(loop, 'x'); loop.getaddrinfo('h', 1)", "getaddrinfo"),
        ("import importlib\nimportlib.import_module('requests')", "requests"),
        ("__import__('http.client')", "http.client"),
        ("from logging.handlers import HTTPHandler", "logging.handlers"),
    ],
)
def test_a_way_out_is_seen(source: str, client: str):
    assert client in clients_in(ast.parse(source))


@pytest.mark.parametrize(
    "source", ["from urllib.parse import urlsplit", "from http import HTTPStatus", "import socket"]
)
def test_what_opens_nothing_is_not(source: str):
    assert clients_in(ast.parse(source)) == set()


ELSEWHERE = ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "10.0.0.1"]


@pytest.fixture
def attempts():
    """What the guard remembered; forgotten here, so that the test that provoked it passes."""
    yield guard.attempts
    guard.attempts.clear()


def dials(address: str) -> list[tuple[str, object]]:
    """Each way to reach out, as a call."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def connect() -> None:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.connect((address, 9))

    def connect_ex() -> None:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.connect_ex((address, 9))

    def sendto() -> None:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", (address, 9))

    def sendmsg() -> None:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.sendmsg([b"x"], [], 0, (address, 9))

    return [("connect", connect), ("connect_ex", connect_ex), ("sendto", sendto), ("sendmsg", sendmsg)]


@pytest.mark.parametrize("address", ELSEWHERE)
def test_no_test_reaches_out_by_a_socket(attempts, address: str):
    for number, (name, dial) in enumerate(dials(address), start=1):
        with pytest.raises(guard.LeftTheMachine):
            dial()  # type: ignore[operator]
        assert len(attempts) == number, name


@pytest.mark.parametrize("look_up", [socket.getaddrinfo, lambda name, _: socket.gethostbyname(name)])
@pytest.mark.parametrize("name", ["mediavault.invalid", b"mediavault.invalid"])
def test_no_test_asks_a_resolver_for_a_name(attempts, look_up, name):
    with pytest.raises(guard.LeftTheMachine):
        look_up(name, 80)
    assert len(attempts) == 1


async def test_no_test_reaches_out_by_the_loop(attempts):
    with pytest.raises(guard.LeftTheMachine):
        await asyncio.open_connection("192.0.2.1", 9)
    assert attempts


def test_an_attempt_that_was_swallowed_fails_its_test_all_the_same(tmp_path: Path):
    """A test that reaches out and hides it, run by another pytest under this suite's own guard."""
    hidden = tmp_path / "test_hidden.py"
    hidden.write_text(
        "import contextlib, socket\n\n\ndef test_hidden():\n    with contextlib.suppress(Exception):\n"
        "        socket.socket().connect(('192.0.2.1', 9))\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", str(hidden)]
    guarded = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    ended = subprocess.run(command, cwd=tmp_path, env=guarded, capture_output=True, text=True)
    assert "tried to leave this machine: socket.connect '192.0.2.1'" in ended.stdout, ended.stdout + ended.stderr
    assert "1 passed, 1 error" in ended.stdout
