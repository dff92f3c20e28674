"""Hostile files through the vault, opened in a browser: nothing in them runs, on any path to their bytes."""

from dataclasses import dataclass

import pytest

from browser.canary import Canary
from browser.exposing import FRAMES, Shown, embed, visit
from browser.polyglots import Polyglot, polyglots
from fakes.vaults import AURORA, RunningVault, until

#: What comes to life on a host that believes its origin: for each, whether embedded and whether visited.
ALIVE = {
    "gif-js": (True, False),
    "wav-js": (True, False),
    "id3-js": (True, False),
    "gif-html": (True, True),
    "jpeg-html": (True, True),
    "mp4-html": (True, True),
    "html-utf16le": (True, True),
    "html-type-with-comma": (True, True),
    "xhtml": (True, True),
    "svg": (True, True),
    "js-as-bytes": (True, False),
    "css": (True, False),
}

#: What tells nothing of itself: of the first nothing was said, the others are said to be media.
UNKNOWN = {
    *("html-padded-far-as-bytes", "mhtml-as-bytes", "pdf-behind-text", "js-as-bytes", "js-untyped", "css-as-bytes"),
    *("html-after-nul", "html-in-text-as-mp4", "html-padded-far-as-mp4", "html-type-with-parameter"),
    *("html-utf16-unmarked", "js-as-audio", "js-as-mp4", "js-as-png", "css-as-gif", "svg-padded-as-png"),
}
#: Some of those that the vault takes: by its magic media, or unknown.
KEPT = (UNKNOWN - {"html-after-nul", "html-in-text-as-mp4", "js-as-audio", "js-as-png", "css-as-gif"}) | {
    *("gif-js", "gif-html", "jpeg-html", "jpeg-svg", "mp4-html", "mkv-html", "wav-js", "id3-js", "webp-html"),
}


@dataclass
class Served:
    """The polyglots behind one vault."""

    vault: RunningVault
    urls: dict[str, str]  #: by name

    async def until_stored(self) -> None:
        """All of them; only a whole copy has a digest."""

        async def stored() -> bool:
            answers = [await self.vault.ask("HEAD", url) for url in self.urls.values()]
            assert {answer.status for answer in answers} == {200}
            return all("Repr-Digest" in answer.headers for answer in answers)

        for url in self.urls.values():
            await self.vault.ask("GET", url)
        await until(stored)


async def through_vault(vault: RunningVault, files: list[Polyglot], *, enabled: bool = True) -> Served:
    """A vault whose upstream shows these files, all of them cold; `enabled=False` passes them through unkept."""
    connection = await vault.connect()
    if not enabled:
        path = f"/v2/account/connections/{connection}/settings"
        body = {"vaultPlus": {"enabled": False}}
        assert (await vault.call("PATCH", path, json=body)).status == 200
    ids = {}
    for file in files:
        declared = file.declared or " "
        added = vault.sandbox.add_media(AURORA.username, type="photo", content=file.data, content_type=declared)
        ids[added.id] = file.name
    seen = await vault.see(connection)
    return Served(vault, {ids[each["id"]]: each["files"]["full"]["url"] for each in seen["list"] if each["id"] in ids})


async def test_a_careless_host_brings_them_to_life(visitor, listener, careless):
    """The other tests here prove something: the same files, shown the same way, do run elsewhere."""
    urls = {file.name: careless.serve(file) for file in polyglots(listener.url) if file.name in ALIVE}
    embedded = await embed(visitor, listener, list(urls.values()))
    woken = {name: bool(listener.of(name)) for name in urls}
    listener.calls.clear()
    await visit(visitor, listener, list(urls.values()))
    assert {name: (woken[name], bool(listener.of(name))) for name in urls} == ALIVE
    assert embedded.said


@pytest.mark.slow
async def test_nothing_runs_of_what_is_cold(vault, visitor, listener):
    files = polyglots(listener.url)
    served = await through_vault(vault, files)
    urls = list(served.urls.values())
    assert len(urls) == len(files)
    embedded, visited = await embed(visitor, listener, urls), await visit(visitor, listener, urls)
    _nothing_ran(listener, embedded, visited)
    _saved_where_not_shown(served, visited)


@pytest.mark.slow
@pytest.mark.parametrize("enabled", [True, False], ids=["stored", "direct"])
async def test_nothing_runs_of_what_is_kept_or_passes_through(vault, visitor, listener, enabled):
    served = await through_vault(
        vault, [file for file in polyglots(listener.url) if file.name in KEPT], enabled=enabled
    )
    urls = list(served.urls.values())
    assert len(urls) == len(KEPT)
    if enabled:
        await served.until_stored()
    embedded, visited = await embed(visitor, listener, urls), await visit(visitor, listener, urls)
    _nothing_ran(listener, embedded, visited)
    _saved_where_not_shown(served, visited)


async def test_a_page_of_the_media_host_has_no_origin_to_register_a_worker_for(vault, visitor, listener):
    """A picture opened as a page is a document of the media host: with its origin it could claim all its URLs."""
    files = [file for file in polyglots(listener.url) if file.name in {"gif-html", "js-as-bytes"}]
    served = await through_vault(vault, files)
    page = await visitor.new_page()
    await page.goto(served.urls["gif-html"])
    assert await page.evaluate("self.origin") == "null"
    register = "async url => { await navigator.serviceWorker.register(url); }"
    refused = f"url => ({register})(url).then(() => 'registered', error => error.name)"
    assert await page.evaluate(refused, served.urls["js-as-bytes"]) == "SecurityError"
    assert listener.calls == []


def _nothing_ran(listener: Canary, *exposures: Shown) -> None:
    assert [call for call in listener.calls if call != "/barrier"] == []
    assert [line for shown in exposures for line in shown.said] == []
    for shown in exposures:
        assert all("visit" in told or len(shown.frames[url]) >= FRAMES for url, told in shown.outcome.items())
        for outcome in shown.outcome.values():
            assert "ran" not in outcome.values()
            assert outcome.get("service-worker", "SecurityError") == "SecurityError"


def _saved_where_not_shown(served: Served, visited: Shown) -> None:
    """Unknown bytes are downloads, under a name that runs nowhere; all else is shown: a medium, or an error.

    What is passed through from its middle bears the origin's word, and a browser may name the whole by that.
    """
    saved = {name: visited.downloads[url] for name, url in served.urls.items() if visited.downloads[url]}
    assert saved.keys() == UNKNOWN & served.urls.keys()
    assert {name for names in saved.values() for name in names} <= {"media.bin", "media.png"}
    assert {name for name, url in served.urls.items() if visited.outcome[url]["visit"] == "download"} == saved.keys()
