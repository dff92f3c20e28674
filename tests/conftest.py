"""What every test can have, and the guard that keeps every test on this machine."""

import asyncio
import ipaddress
import socket
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest

from fakes import postgres
from fakes.vaults import RunningVault, running_vault
from mediavault.catalog.database import Catalog, CatalogConfig, open_catalog
from mediavault.catalog.schema import upgrade_postgres

T = TypeVar("T")

#: Addresses outside this machine that something tried to reach since the last test ended.
_attempts: list[str] = []


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
    elif event == "socket.getaddrinfo":
        host = arguments[0]
        if not isinstance(host, str | bytes) or _is_literal(host):
            return  # parsing an address sends nothing
    else:
        return
    if not _is_local(host):
        _attempts.append(f"{event} {host!r}")
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


@pytest.fixture(autouse=True)
def stays_on_this_machine() -> Iterator[None]:
    """Fail the test that reached out, even where the code under test swallowed the error."""
    _attempts.clear()
    yield
    reached, _attempts[:] = list(_attempts), []
    if reached:
        pytest.fail(f"tried to leave this machine: {', '.join(reached)}", pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that uses the server is marked `postgres` without being told."""
    for item in items:
        if "postgres_url" in getattr(item, "fixturenames", ()):
            item.add_marker("postgres")


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """A PostgreSQL server; without one the tests fail, they are never skipped."""
    try:
        return postgres.server_url()
    except postgres.PostgresMissing as missing:
        raise pytest.fail.Exception(f"no PostgreSQL: {missing}", pytrace=False) from None


@pytest.fixture
async def postgres_database(postgres_url: str) -> AsyncIterator[str]:
    """The URL of an empty database of the test's own."""
    url = await postgres.create_database(postgres_url)
    yield url
    await postgres.drop_database(postgres_url, url)


def _apart(work: Coroutine[object, object, T]) -> T:
    """Run a coroutine to its end from a fixture that may itself be inside a test's loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> Iterator[str]:
    """The name of a database with the vault's schema, to be copied: migrating each one would take longer."""
    url = _apart(postgres.create_database(postgres_url))
    _apart(upgrade_postgres(url))
    yield urlsplit(url).path.removeprefix("/")
    _apart(postgres.drop_database(postgres_url, url))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of the test's own, on each engine in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'catalog.sqlite'}"
        return
    server = request.getfixturevalue("postgres_url")
    template = request.getfixturevalue("postgres_template")
    url = _apart(postgres.create_database(server, template=template))
    yield url
    _apart(postgres.drop_database(server, url))


@pytest.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    """An open, empty catalog on each engine in turn."""
    opened = await open_catalog(CatalogConfig(database_url))
    yield opened
    await opened.close()


@pytest.fixture
async def vault(tmp_path: Path) -> AsyncIterator[RunningVault]:
    """A served vault on SQLite with its sandbox."""
    async with running_vault(tmp_path / "data") as running:
        yield running
