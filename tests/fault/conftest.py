"""The ground that crashes and faults are played on, on each engine."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from fakes.crash_ground import Ground, prepared_ground
from fakes.crash_runs import Scenes, StraceMissing, scenes


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
async def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    """A vault with something in every state, on each engine in turn."""
    server = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    async with prepared_ground(tmp_path_factory.mktemp(request.param), server) as prepared:
        yield prepared


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sqlite_ground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    """The same on SQLite alone."""
    async with prepared_ground(tmp_path_factory.mktemp("sqlite"), None) as prepared:
        yield prepared


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def played(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scenes]:
    """What plays scenes; without strace the tests fail, they are never skipped."""
    try:
        async with scenes(tmp_path_factory.mktemp("scenes")) as running:
            yield running
    except StraceMissing as missing:
        raise pytest.fail.Exception(f"no strace: {missing}", pytrace=False) from None
