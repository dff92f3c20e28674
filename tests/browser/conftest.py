"""One browser for the whole session, in one event loop: what Playwright gives belongs to the loop it was made in."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext

from browser.canary import Canary, CarelessHost, canary, careless_host
from browser.chromium import ProgramMissing, chromium, program
from fakes.vaults import RunningVault, running_vault

_HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here are marked `browser`, and the asynchronous ones share the session's loop."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker("browser")
            if pytest_asyncio.is_async_test(item):
                item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    """What is driven here; without one the tests fail, they are never skipped."""
    try:
        for name in ("chromium", "ffmpeg"):
            program(name)
    except ProgramMissing as missing:
        raise pytest.fail.Exception(str(missing), pytrace=False) from None


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(programs: None) -> AsyncIterator[Browser]:
    """The browser, started once."""
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A visitor without a past."""
    context = await browser.new_context(accept_downloads=True)
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def vault(tmp_path: Path) -> AsyncIterator[RunningVault]:
    """A served vault on SQLite with its sandbox, in the browser's loop."""
    async with running_vault(tmp_path / "data") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def listener() -> AsyncIterator[Canary]:
    """Hears whatever comes to life."""
    async with canary() as heard:
        yield heard


@pytest_asyncio.fixture(loop_scope="session")
async def careless() -> AsyncIterator[CarelessHost]:
    """The host that the vault is held against."""
    async with careless_host() as host:
        yield host
