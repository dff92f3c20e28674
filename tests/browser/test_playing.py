"""Films and pictures in a browser: from a cold copy, from a stored one, and opened by themselves."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, Response

from browser.canary import Canary
from browser.clips import TYPES, clip
from fakes.variants import Seen, see
from fakes.vaults import AURORA, until
from mediavault.platform.faults import Fault

_PLAYER = """url => {
    const video = Object.assign(document.createElement("video"), {muted: true, crossOrigin: "anonymous", src: url});
    document.body.append(video);
}"""
_PLAY = """async () => {
    const video = document.querySelector("video");
    const failed = new Promise((_, fail) => video.addEventListener("error", () => fail(video.error)));
    const shown = new Promise(done => video.addEventListener("timeupdate", () => video.currentTime > 0.2 && done()));
    await Promise.race([video.play().then(() => shown), failed]);
}"""
_SEEK = """async second => {
    const video = document.querySelector("video");
    const done = new Promise(done => video.addEventListener("seeked", done, {once: true}));
    video.currentTime = second;
    await done;
}"""
#: The canvas may only be read because the media host's answers allow it.
_COLOUR = """() => {
    const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
    const drawing = canvas.getContext("2d");
    drawing.drawImage(document.querySelector("video"), 0, 0, 1, 1);
    const [red, green, blue] = drawing.getImageData(0, 0, 1, 1).data;
    const most = Math.max(red, green, blue);
    return most < 100 ? "dark" : most === red ? "red" : most === green ? "green" : "blue";
}"""


@dataclass
class Wire:
    """The answers for one URL, as the browser received them."""

    url: str
    responses: list[Response] = field(default_factory=list)

    def heard(self, response: Response) -> None:
        if response.url == self.url:
            self.responses.append(response)

    async def starts(self) -> list[int]:
        """Where each answer began, after each was found to be what was asked for."""
        starts, tags = [], set()
        for response in self.responses:
            asked = (await response.request.all_headers())["range"]
            told = await response.all_headers()
            first, last = asked.removeprefix("bytes=").split("-")
            start, _, rest = told["content-range"].removeprefix("bytes ").partition("-")
            stop, _, total = rest.partition("/")
            assert (response.status, start, stop) == (206, first, last or str(int(total) - 1))
            assert int(told["content-length"]) == int(stop) - int(start) + 1
            starts.append(int(start))
            tags.add(told["etag"])
        assert len(tags) == 1
        return starts


@dataclass
class Player:
    """A page with the film in it."""

    page: Page
    wire: Wire

    async def play(self) -> None:
        await self.page.evaluate(_PLAY)

    async def colour_at(self, second: float) -> str:
        await self.page.evaluate(_SEEK, second)
        return str(await self.page.evaluate(_COLOUR))


async def player(visitor: BrowserContext, canary: Canary, url: str) -> Player:
    """Somebody's page that shows the film; nothing plays yet."""
    page, wire = await visitor.new_page(), Wire(url)
    page.on("response", wire.heard)
    await page.goto(f"{canary.url}/page")
    await page.evaluate(_PLAYER, url)
    return Player(page, wire)


async def film(vault: Any, name: str, **fault: Any) -> Seen:
    """The film upstream, cold; its origin misbehaves so."""
    content_type = TYPES[name]
    seen = await see(vault, await vault.connect(), type="video", content=clip(name), content_type=content_type)
    if fault:
        vault.sandbox.faults.add(Fault(path=seen.path, **fault))
    return seen


@pytest.mark.parametrize("name", TYPES)
async def test_a_cold_film_plays_and_seeks_while_it_is_fetched(vault, visitor, listener, name):
    size = len(clip(name))
    seen = await film(vault, name, bytes_per_second=size // 60)  # a minute's film takes a minute to fetch
    shown = await player(visitor, listener, seen.url)
    await shown.play()
    fill = vault.vault.filling.running((await seen.row()).id)
    assert await shown.colour_at(50) == "blue"
    assert fill.filled is None  # so it was seen before the origin had sent what lies before it
    assert fill.segments.total_bytes < size
    assert await shown.colour_at(5) == "red"
    starts = await shown.wire.starts()
    assert starts[0] == 0
    assert max(starts) > size / 2
    asked = [record.range or "" for record in vault.sandbox.log.records(seen.path)]
    assert any(int(each.removeprefix("bytes=").partition("-")[0]) > size / 2 for each in asked if each)


@pytest.mark.parametrize("name", TYPES)
async def test_a_stored_film_plays_and_seeks_without_its_origin(vault, visitor, listener, name):
    seen = await film(vault, name)
    assert (await vault.ask("GET", seen.url)).status == 200
    await seen.until_status("stored")
    fetches = seen.fetches
    shown = await player(visitor, listener, seen.url)
    await shown.play()
    assert [await shown.colour_at(second) for second in (50, 25, 5)] == ["blue", "green", "red"]
    await shown.wire.starts()
    assert seen.fetches == fetches


async def test_a_film_opened_by_itself_plays(vault, visitor):
    seen = await film(vault, "faststart.mp4")
    page = await visitor.new_page()
    await page.goto(seen.url, wait_until="commit")
    await page.evaluate("void document.querySelector('video').play()")

    async def plays() -> bool:  # asked from outside: in a document without scripts no listener is called
        return bool(await page.evaluate("document.querySelector('video').currentTime > 0.2"))

    await until(plays)
    assert await page.evaluate("[document.querySelector('video').videoWidth, self.origin]") == [160, "null"]


async def test_pictures_are_shown_embedded_and_by_themselves(vault, visitor, listener):
    connection = await vault.connect()
    listing = await vault.see(connection)
    photos = {item.id: item for item in vault.sandbox.library(AURORA.username).vault if item.type == "photo"}
    urls = {}
    for each in listing["list"]:
        for label in ("full", "thumb", "preview", "squarePreview"):
            if each["id"] in photos and each["files"].get(label, {}).get("url"):
                rendition = photos[each["id"]].renditions[label]
                urls[each["files"][label]["url"]] = [rendition.width, rendition.height]
    assert len(urls) > 4
    page = await visitor.new_page()
    await page.goto(f"{listener.url}/page")
    sizes = """urls => Promise.all(urls.map(async url => {
        const image = Object.assign(new Image(), {src: url});
        await image.decode();
        return [image.naturalWidth, image.naturalHeight];
    }))"""
    assert await page.evaluate(sizes, list(urls)) == list(urls.values())
    url = next(iter(urls))
    await page.goto(url)
    assert await page.evaluate("[document.images[0].naturalWidth, document.images[0].naturalHeight]") == urls[url]
