"""Shows files to a browser in every way there is, and waits until all of it has come to an end."""

import asyncio
import contextlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import BrowserContext, Dialog, Error, Frame, Page, Request

from browser.canary import Canary

_WAYS = Path(__file__).with_name("ways.js").read_text()
_EACH = f"urls => {{ const tryAll = {_WAYS}; return Promise.all(urls.map(tryAll)); }}"
#: How many frames `ways.js` points at one URL.
FRAMES = 6
#: So many files share a page: a page for each would cost most of the time.
_TOGETHER = 16
_PATIENCE_SECONDS = 60
#: Asked from outside, since no timer runs where scripts may not. A document that a browser makes for media has no text.
_PARSING = "document.readyState == 'loading' && !/^(video|audio|image)/.test(document.contentType)"


@dataclass
class Shown:
    """What became of files that were shown, by URL."""

    outcome: dict[str, dict[str, str]] = field(default_factory=dict)  #: of each way that tells, by its name
    frames: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  #: how each frame ended
    downloads: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  #: names to be saved under
    said: list[str] = field(default_factory=list)  #: what only a script that ran can have said

    @property
    def ways(self) -> int:
        """In how many ways files were shown."""
        return sum(map(len, self.outcome.values())) + sum(map(len, self.frames.values()))


class _Watch:
    """Follows a page until its navigations to some URLs are over: shown, downloaded or refused.

    A frame that shows media never says that its request has finished; that it shows them is all it tells.
    """

    def __init__(self, page: Page, urls: list[str], shown: Shown) -> None:
        self._urls, self._shown = frozenset(urls), shown
        self._frames: set[Frame] = set()
        self._ended = asyncio.Event()
        self._dismissing: list[asyncio.Task[None]] = []
        page.on("requestfinished", lambda request: self._asked(request, "finished"))
        page.on("requestfailed", lambda request: self._asked(request, str(request.failure)))
        page.on("framenavigated", lambda frame: self._over(frame, frame.url, "shown"))
        page.on("download", lambda download: shown.downloads[download.url].append(download.suggested_filename))
        page.on("console", lambda message: self._heard(message.text))
        page.on("dialog", self._dialog)

    def _asked(self, request: Request, how: str) -> None:
        if request.is_navigation_request():
            self._over(request.frame, request.url, how)

    def _over(self, frame: Frame, url: str, how: str) -> None:
        if url in self._urls and frame not in self._frames:
            self._frames.add(frame)
            self._shown.frames[url].append(how)
            self._ended.set()

    def _heard(self, text: str) -> None:
        if text.startswith("CANARY"):
            self._shown.said.append(text)

    def _dialog(self, dialog: Dialog) -> None:
        self._shown.said.append(f"dialog {dialog.message}")
        self._dismissing.append(asyncio.ensure_future(dialog.dismiss()))

    async def until_navigated(self, frames: int) -> None:
        """Until so many frames have ended."""
        while len(self._frames) < frames:
            self._ended.clear()
            await self._ended.wait()


async def embed(visitor: BrowserContext, canary: Canary, urls: list[str]) -> Shown:
    """Show each inside somebody's page, in all the ways of `ways.js` at once."""
    shown = Shown()
    for start in range(0, len(urls), _TOGETHER):
        together = urls[start : start + _TOGETHER]
        page = await visitor.new_page()
        watch = _Watch(page, together, shown)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await page.goto(f"{canary.url}/page")
            shown.outcome |= dict(zip(together, await page.evaluate(_EACH, together), strict=True))
            await watch.until_navigated(FRAMES * len(together))
            await _settle(page, canary)
        await page.close()
    return shown


async def visit(visitor: BrowserContext, canary: Canary, urls: list[str]) -> Shown:
    """Go to each, as by a click on a link; what a browser does not show it downloads, and the page stays."""
    shown = Shown()
    page = await visitor.new_page()
    _Watch(page, urls, shown)
    for url in urls:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            shown.outcome[url] = {"visit": await _go(page, url)}
            await _parsed(page)
    await page.close()
    await _barrier(visitor, canary)
    return shown


async def _go(page: Page, url: str) -> str:
    try:
        await page.goto(url, wait_until="commit")
    except Error as error:
        if "Download is starting" not in error.message:
            raise
        return "download"
    return "shown"


async def _settle(page: Page, canary: Canary) -> None:
    await _parsed(page)
    await _barrier(page.context, canary)


async def _parsed(page: Page) -> None:
    """What was loaded has been parsed, and so its scripts were run."""
    for frame in page.frames:
        with contextlib.suppress(Error):  # a frame that became a download is gone
            while await frame.evaluate(_PARSING):  # noqa: ASYNC110 - the browser tells nobody
                await asyncio.sleep(0.01)


async def _barrier(visitor: BrowserContext, canary: Canary) -> None:
    """A call made now has been heard: so have those that were made before."""
    page = await visitor.new_page()
    await page.goto(f"{canary.url}/page")
    await page.evaluate("url => fetch(url)", f"{canary.url}/barrier")
    await page.close()
