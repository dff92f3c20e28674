"""Debian's Chromium, headless, and unable to leave this machine."""

import contextlib
import shutil
from collections.abc import AsyncIterator

from playwright.async_api import Browser, async_playwright

#: A browser has things to tell its maker; none of it leaves.
_QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: Only loopback is reached directly; everything else would go through a proxy that is not there.
_ON_THIS_MACHINE = (
    "--proxy-server=http://127.0.0.1:9",
    "--proxy-bypass-list=127.0.0.1",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
)


class ProgramMissing(Exception):
    """A program that the browser tests drive is not installed."""


def program(name: str) -> str:
    """Where it is. Raises ProgramMissing, with what would bring it."""
    found = shutil.which(name)
    if found is None:
        raise ProgramMissing(f"no {name}: scripts/browser installs it")
    return found


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A started browser. Root may not use the browser's own sandbox, hence `--no-sandbox`."""
    path = program("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path,
            headless=True,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required", *_QUIET, *_ON_THIS_MACHINE],
        )
        try:
            yield browser
        finally:
            await browser.close()
