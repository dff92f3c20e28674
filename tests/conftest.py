"""What every test can have, and the guard that keeps every test on this machine."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest

from fakes import guard, postgres, s3_server
from fakes.vaults import RunningVault, running_vault
from mediavault.catalog.database import Catalog, CatalogConfig, open_catalog
from mediavault.catalog.schema import upgrade_postgres

T = TypeVar("T")


@pytest.fixture(autouse=True)
def stays_on_this_machine() -> Iterator[None]:
    """Fail the test that reached out, even where the code under test swallowed the error, or a fixture before it."""
    yield
    reached, guard.attempts[:] = list(guard.attempts), []
    if reached:
        pytest.fail(f"tried to leave this machine: {', '.join(reached)}", pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that uses a server is marked `postgres` or `ceph` without being told."""
    for item in items:
        if "postgres_url" in getattr(item, "fixturenames", ()):
            item.add_marker("postgres")
        if "s3_url" in getattr(item, "fixturenames", ()):
            item.add_marker("ceph")


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


@pytest.fixture(scope="session")
def s3_url() -> str:
    """A real S3 server, `http://access:secret@127.0.0.1:port`; without one the tests fail, they are never skipped."""
    try:
        return s3_server.server_url()
    except s3_server.CephMissing as missing:
        raise pytest.fail.Exception(f"no S3 server: {missing}", pytrace=False) from None


@pytest.fixture
def s3_bucket(s3_url: str) -> str:
    """The name of an empty bucket of the test's own."""
    return s3_server.new_bucket(s3_url)


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
