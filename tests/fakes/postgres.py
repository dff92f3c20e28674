"""The real PostgreSQL the tests run on: the server of scripts/postgres, and databases that live for one test."""

import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

SCRIPT = Path(__file__).parents[2] / "scripts" / "postgres"
URL_VARIABLE = "MEDIAVAULT_TEST_POSTGRES_URL"


class PostgresMissing(Exception):
    """There is no PostgreSQL to test on."""


def server_url() -> str:
    """The URL of a server whose user may create databases: the one of the environment, else one started here.

    Raises PostgresMissing with a one-line reason. The server started here goes on running, for the next test run;
    `make test` and `scripts/postgres stop` end it.
    """
    if url := os.environ.get(URL_VARIABLE):
        return url
    started = subprocess.run([SCRIPT, "start"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if started.returncode != 0:
        raise PostgresMissing((started.stderr.strip() or "scripts/postgres start failed").splitlines()[-1])
    return started.stdout.strip()


async def create_database(server: str, *, template: str = "template0") -> str:
    """Make a database with a name of its own and return its URL; nobody may be connected to the template."""
    name = f"test_{uuid4().hex}"
    await _execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return urlsplit(server)._replace(path=f"/{name}").geturl()


async def drop_database(server: str, url: str) -> None:
    """Drop a database, and whoever is still connected to it."""
    name = urlsplit(url).path.removeprefix("/")
    await _execute(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def _execute(server: str, statement: str) -> None:
    connection = await asyncpg.connect(server, timeout=30)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
