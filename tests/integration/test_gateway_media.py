"""Media on their way through the gateway: rewritten wherever they are, observed exactly, before the answer goes out."""

import asyncio
import gc
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from fakes.upstreams import upstream
from fakes.vaults import KEY, RunningVault, running_vault
from mediavault.catalog import connections
from mediavault.catalog.tables import media
from mediavault.domain.times import DAY

EXPIRES = 1_999_999_999
SIGNED = f"Expires={EXPIRES}&Signature=abc~_&Key-Pair-Id=K1"


@pytest.fixture
async def behind(tmp_path):
    """A vault before an upstream that says what a test wants: `(vault, upstream, connection)`."""
    async with upstream() as other, running_vault(tmp_path / "data", platform_url=other.url) as vault:
        yield vault, other, await connected(vault)


async def connected(vault: RunningVault) -> str:
    body = {"cookie": "sess=nova", "userAgent": "Nova/1"}
    return str((await vault.call("POST", "/v2/account/connections/import", json=body)).json["id"])


def everything(media_id: int, kind: str = "video") -> Any:
    """A media object with a URL in every place there is."""

    def at(label: str) -> str:
        return f"http://127.0.0.1:9/{media_id}/{label}.mp4?{SIGNED}"

    return {
        "id": media_id,
        "type": kind,
        "duration": 31,
        "canView": True,
        "files": {
            "full": {
                "url": at("full"),
                "width": 1,
                "sources": [{"url": at("1080"), "height": 1080, "type": "video/mp4"}],
            },
            "thumb": {"url": f"http://127.0.0.1:9/{media_id}/thumb.jpg"},
            "preview": {"url": at("preview")},
            "squarePreview": None,
        },
        "videoSources": {"240": at("240"), "720": None},
    }


def urls_in(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for value in document.values():
            yield from urls_in(value)
    elif isinstance(document, list):
        for value in document:
            yield from urls_in(value)
    elif isinstance(document, str) and document.startswith("http"):
        yield document


WAYS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "/v2/access/vault/media": ("vault", lambda media: {"list": [media]}),
    "/v2/access/vault/lists/7/media?limit=5": ("vault", lambda media: {"list": [media], "hasMore": False}),
    "/v2/access/posts": ("posts", lambda media: {"list": [{"id": 5, "media": [media]}]}),
    "/v2/access/messages": ("messages", lambda media: {"list": [{"id": 5, "media": [media]}]}),
    "/v2/access/chats/5/messages": ("messages", lambda media: [{"media": [media]}]),
    "/v2/access/stories": ("stories", lambda media: {"a": {"b": {"c": [[media]]}}}),
    "/v2/access/proxy/api2/v2/vault/media": ("vault", lambda media: media),
    "/v2/access/proxy/stories/1": ("stories", lambda media: media),
}


async def sources_of(vault: RunningVault) -> dict[str, str]:
    rows = await vault.vault.foundation.catalog.fetch_list(select(media.c.media_id, media.c.sources), {})
    return {str(row[0]): str(row[1]) for row in rows}


async def test_every_way_is_rewritten_and_observed_with_its_source(behind):
    vault, other, connection = behind
    for number, (path, (_, wrap)) in enumerate(WAYS.items()):
        other.says(wrap(everything(number + 1)))
        answer = await vault.call("GET", path, connection=connection)
        assert answer.status == 200
        urls = list(urls_in(answer.json))
        assert len(urls) == 5
        assert all(url.startswith(f"{vault.served.media_url}/v2/") and "?" not in url for url in urls), path
        item = await vault.item(connection, number + 1)
        assert set(item["media"]) == {"full", "1080", "thumb", "preview", "240"}
        assert (item["type"], item["duration"]) == ("video", 31)
        for label, variant in item["media"].items():
            assert (variant["status"], variant["accessCount"]) == ("edge_only", 0)
            assert variant["contentType"] == ("image/jpeg" if label == "thumb" else "video/mp4")
            if label == "thumb":
                assert variant["expiresAt"] == variant["createdAt"] + DAY
            else:
                assert variant["expiresAt"] == EXPIRES * 1000
    assert await sources_of(vault) == {str(number + 1): source for number, (source, _) in enumerate(WAYS.values())}


async def test_the_gateways_url_and_the_items_url_are_the_same_and_lead_to_the_same_bytes(behind):
    vault, other, connection = behind
    other.says({"list": [everything(1)]})
    seen = (await vault.call("GET", "/v2/access/vault/media", connection=connection)).json["list"][0]
    item = await vault.item(connection, 1)
    assert seen["files"]["full"]["url"] == item["media"]["full"]["url"]
    assert seen["files"]["full"]["sources"][0]["url"] == item["media"]["1080"]["url"]
    assert seen["videoSources"] == {"240": item["media"]["240"]["url"], "720": None}


@pytest.mark.parametrize(
    ("kind", "ours", "content_type"),
    [("photo", "image", "image/jpeg"), ("gif", "video", "video/mp4"), ("audio", "audio", "audio/mpeg")],
)
async def test_types_are_ours_and_an_image_has_no_duration(behind, kind, ours, content_type):
    vault, other, connection = behind
    other.says({"id": 1, "type": kind, "duration": 4.5, "files": {"full": {"url": "http://127.0.0.1:9/no-extension"}}})
    await vault.call("GET", "/v2/access/vault/media", connection=connection)
    item = await vault.item(connection, 1)
    assert (item["type"], item["duration"]) == (ours, None if ours == "image" else 4.5)
    assert item["media"]["full"]["contentType"] == content_type


async def test_what_is_protected_stays_null_and_is_not_storable(behind):
    vault, other, connection = behind
    drm = {"manifest": {"hls": "https://drm.example/a.m3u8"}, "signature": {"hls": {"CloudFront-Policy": "x"}}}
    body = {"id": 1, "type": "video", "files": {"full": {"url": None}, "drm": drm}, "videoSources": {"720": None}}
    spelled = msgspec.json.encode(body).replace(b":", b" : ")
    other.says(spelled)
    answer = await vault.call("GET", "/v2/access/vault/media", connection=connection)
    assert answer.body == spelled
    assert (await vault.call("GET", "/v2/vault-plus/media/1", connection=connection)).status == 404


async def test_in_an_answer_with_media_only_the_urls_change(behind):
    vault, other, connection = behind
    url = f"http://127.0.0.1:9/1.jpg?{SIGNED}"
    body = (
        b'{"price":1.50,"big":12345678901234567890,"e":1E5,"tiny":0.1000000000000000055,"z":-0.0,"u":"\xc3\xa9","n":null,'
        b'"avatar":"http://127.0.0.1:9/avatar.jpg","list":[{"id":1,"type":"photo","files":{"full":{"url":"%s","size":5}}}]}'
    ) % url.encode()
    other.says(body)
    answer = await vault.call("GET", "/v2/access/posts", connection=connection)
    ours = answer.json["list"][0]["files"]["full"]["url"]
    assert answer.body == body.replace(url.encode(), ours.encode())


async def test_media_that_cannot_be_named_are_proxied_all_the_same(behind):
    vault, other, connection = behind
    other.says(
        [
            {"id": "a/b", "files": {"full": {"url": f"{other.url}/x.jpg"}}},
            {"id": 2, "files": {"full hd": {"url": f"{other.url}/y.jpg"}}},
        ]
    )
    seen = (await vault.call("GET", "/v2/access/posts", connection=connection)).json
    other.says(b"\xff\xd8\xff\xe0" + bytes(100), content_type="image/jpeg")
    for url in urls_in(seen):
        assert url.startswith(vault.served.media_url)
        answer = await vault.ask("GET", url)
        assert (answer.status, answer.body[:3]) == (200, b"\xff\xd8\xff")
    assert all(asked.header("cookie") == [] for asked in other.asked if asked.path.endswith(".jpg"))
    totals = await vault.call("GET", "/v2/vault-plus/status", connection=connection)
    assert totals.json["pendingCount"] == 0


async def test_a_text_cut_in_an_emoji_is_no_reason_to_lose_an_answer(behind):
    vault, other, connection = behind
    body = rb'{"text":"cut \ud83d","id":1,"files":{"full":{"url":"http://127.0.0.1:9/1.jpg"}}}'
    other.says(body)
    answer = await vault.call("GET", "/v2/access/posts", connection=connection)
    assert (answer.status, answer.json["text"]) == (200, "cut \ufffd")
    assert await vault.item(connection, 1)


async def test_with_vault_plus_off_urls_are_proxied_and_nothing_is_observed(behind):
    vault, other, connection = behind
    catalog = vault.vault.foundation.catalog
    org_id = (await vault.call("GET", "/v2/account/whoami")).json["id"]
    await catalog.run(connections.configure, org_id, connection, enabled=False, overrides=None, now=vault.vault.now())
    bytes_of_it = b"\xff\xd8\xff\xe0" + bytes(5000)
    other.says({"id": 1, "type": "photo", "files": {"full": {"url": f"{other.url}/a%7e~b.jpg?{SIGNED}"}}})
    seen = (await vault.call("GET", "/v2/access/vault/media", connection=connection)).json
    url = seen["files"]["full"]["url"]
    assert url.startswith(vault.served.media_url)
    assert (await vault.call("GET", "/v2/vault-plus/media/1", connection=connection)).status == 404
    other.asked.clear()
    other.says(bytes_of_it, content_type="image/jpeg")
    for _ in range(2):
        answer = await vault.ask("GET", url)
        assert (answer.status, answer.body) == (200, bytes_of_it)
    assert [(asked.path, asked.query.decode()) for asked in other.asked] == [("/a%7e~b.jpg", SIGNED)] * 2
    assert not {name for asked in other.asked for name, _ in asked.headers} & {b"cookie", b"apikey"}
    totals = await vault.call("GET", "/v2/vault-plus/status", connection=connection)
    assert (totals.json["storedCount"], totals.json["pendingCount"]) == (0, 0)


async def test_seen_in_two_places_a_media_item_keeps_both_sources(behind):
    vault, other, connection = behind
    for path in ("/v2/access/posts", "/v2/access/vault/media", "/v2/access/posts"):
        other.says([everything(1)])
        await vault.call("GET", path, connection=connection)
    assert await sources_of(vault) == {"1": "posts,vault"}


async def test_the_same_variant_twice_in_one_answer_is_one(behind):
    vault, other, connection = behind
    first, second = everything(1), everything(1)
    second["files"]["full"]["url"] = "http://127.0.0.1:9/other.mp4"
    second["files"]["source"] = {"url": "http://127.0.0.1:9/source.mp4"}
    other.says([first, second])
    seen = (await vault.call("GET", "/v2/access/vault/media", connection=connection)).json
    assert seen[0]["files"]["full"]["url"] == seen[1]["files"]["full"]["url"]
    assert "source" in (await vault.item(connection, 1))["media"]


def _megabyte(round_: int) -> bytes:
    """500 media, 2,000 URLs, a little under 1 MB."""
    labels = ("full", "thumb", "preview", "squarePreview")
    listed = [
        {
            "id": 1_000_000 + round_ * 1000 + number,
            "type": "photo" if number % 2 else "video",
            "duration": number % 60,
            "text": "x" * 1200,
            "files": {
                label: {"url": f"http://127.0.0.1:9/{round_}/{number}/{label}.jpg?{SIGNED}&pad={'y' * 60}", "size": 3}
                for label in labels
            },
        }
        for number in range(500)
    ]
    return msgspec.json.encode({"list": listed, "hasMore": False})


async def test_megabytes_of_media_do_not_hold_up_the_loop(behind):
    vault, other, connection = behind
    bodies = [_megabyte(round_) for round_ in range(5)]
    assert all(900_000 < len(body) < 1_100_000 for body in bodies)
    turn = itertools.cycle(bodies)
    stalls: list[float] = []

    async def tick() -> None:
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            stalls.append(now - before - 0.001)
            before = now

    async def one() -> int:
        other.says(next(turn))
        headers = {"apiKey": KEY, "x-connection-id": connection}
        async with vault.http.get(vault.api_url + "/v2/access/vault/media", headers=headers) as answer:
            await answer.read()
            return int(answer.status)

    gc.collect()
    gc.freeze()  # what the test runner holds is none of the vault's garbage
    ticking = asyncio.create_task(tick())
    try:
        statuses = await asyncio.gather(*(one() for _ in range(5)))
    finally:
        ticking.cancel()
        gc.unfreeze()
    print(f"longest stall {max(stalls) * 1000:.1f} ms of {len(stalls)} ticks")
    assert statuses == [200] * 5
    assert max(stalls) < 0.1
