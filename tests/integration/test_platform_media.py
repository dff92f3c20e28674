"""The sandbox's media host: real media, signed URLs, ranges, conditions, and media that tests make."""

import hashlib
import io

import pytest

from fakes.visitor import ACCESS, urls, visiting
from mediavault.platform.creators import creators
from mediavault.platform.sandbox import Sandbox


class Clock:
    def __init__(self) -> None:
        self.time = 1_750_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sandbox(clock):
    return Sandbox(now=clock)


@pytest.fixture
async def visitor(sandbox):
    async with visiting(sandbox) as visitor:
        yield visitor


# The media


async def test_every_url_of_every_creator_serves_what_it_says(visitor):
    digests: dict[str, set[bytes]] = {}
    for creator in creators():
        digests[creator.username] = set()
        for item in await visitor.media(creator):
            for url in urls(item):
                status, headers, body = await visitor.fetch(url)
                assert status == 200
                assert len(body) == int(headers["Content-Length"]) > 500
                assert signature_of(body) == headers["Content-Type"]
                digests[creator.username].add(hashlib.sha256(body).digest())
    assert not digests["aurora"] & digests["coral"]
    assert not digests["coral"] & digests["juniper"]


def signature_of(body: bytes) -> str:
    stream = io.BytesIO(body)
    start = stream.read(12)
    if start.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if start.startswith(b"\x89PNG\r\n"):
        return "image/png"
    assert start[4:8] == b"ftyp"
    return "audio/mp4" if start[8:12] == b"M4A " else "video/mp4"


async def test_the_vault_has_each_type_and_one_protected_video(visitor):
    media = await visitor.media()
    assert {item["type"] for item in media} == {"photo", "video", "audio", "gif"}
    assert [item["type"] for item in media if item["files"]["full"]["url"] is None] == ["video"]
    videos = [item for item in media if item["type"] == "video" and item["files"]["full"]["url"]]
    for video in videos:
        assert set(video["videoSources"]) == {"240", "720"}
        assert video["files"]["full"]["sources"][0]["height"] == 1080
        assert video["duration"] > 0


async def test_urls_are_equal_for_a_while_and_expire(visitor, clock, sandbox):
    first = urls((await visitor.media())[0])
    assert urls((await visitor.media())[0]) == first
    clock.time += 4501
    assert (await visitor.fetch(first[0]))[0] == 403
    assert (await visitor.fetch(urls((await visitor.media())[0])[0]))[0] == 200


async def test_all_urls_can_be_expired_at_once(visitor, sandbox):
    first = urls((await visitor.media())[0])[0]
    sandbox.expire_urls()
    status, headers, body = await visitor.fetch(first)
    assert (status, headers["Content-Type"]) == (403, "application/xml")
    assert b"AccessDenied" in body
    assert (await visitor.fetch(urls((await visitor.media())[0])[0]))[0] == 200


@pytest.mark.parametrize("leak", ["cookie", "apikey", "authorization", "x-connection-id"])
async def test_secrets_on_the_media_host_are_a_bad_request(visitor, leak):
    url = urls((await visitor.media())[0])[0]
    assert (await visitor.fetch(url, **{leak: "x"}))[0] == 400


async def test_a_base_url_replaces_the_host(sandbox, visitor):
    sandbox.base_url = "https://media.example/"
    assert urls((await visitor.media())[0])[0].startswith("https://media.example/cdn/")


# Ranges and conditions

SIZE = 700_000


@pytest.fixture
async def big(sandbox, visitor):
    """A synthetic video: its item, URL and bytes."""
    item = sandbox.add_media("aurora", type="video", size_bytes=SIZE, seed=3)
    full = item.renditions["full"]
    return item, sandbox.media_url(full.path, visitor.base_url), full.content.read(0, SIZE)


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("0-8", 0, 9), ("-10", SIZE - 10, SIZE), ("5-", 5, SIZE), (f"9-{SIZE * 2}", 9, SIZE), (f"-{SIZE * 2}", 0, SIZE)],
)
async def test_a_range_is_an_exact_slice(visitor, big, asked, start, stop):
    status, headers, body = await visitor.fetch(big[1], range=f"bytes={asked}")
    assert (status, headers["Content-Range"]) == (206, f"bytes {start}-{stop - 1}/{SIZE}")
    assert body == big[2][start:stop]


@pytest.mark.parametrize("asked", ["bytes=9-8", "bytes=-", "bytes=a-b", "bytes=1-2,4-5", "items=1-2", "bytes=+1-2"])
async def test_an_unreadable_range_is_ignored(visitor, big, asked):
    assert (await visitor.fetch(big[1], range=asked))[0] == 200


async def test_a_range_outside_is_416(visitor, big):
    for asked in (f"bytes={SIZE}-", "bytes=-0"):
        status, headers, _ = await visitor.fetch(big[1], range=asked)
        assert (status, headers["Content-Range"]) == (416, f"bytes */{SIZE}")


async def test_conditions(visitor, big):
    status, headers, body = await visitor.fetch(big[1], method="HEAD", range="bytes=0-1")
    assert (status, headers["Content-Length"], headers["Accept-Ranges"], body) == (200, str(SIZE), "bytes", b"")
    tag, date = headers["ETag"], headers["Last-Modified"]
    assert (await visitor.fetch(big[1], if_none_match=f'"x", W/{tag}'))[0] == 304
    assert (await visitor.fetch(big[1], if_none_match='"x"', if_modified_since=date))[0] == 200
    assert (await visitor.fetch(big[1], if_modified_since=date))[0] == 304
    for held, expected in ((tag, 206), (date, 206), (f"W/{tag}", 200), ('"x"', 200), ("never", 200)):
        assert (await visitor.fetch(big[1], range="bytes=0-1", if_range=held))[0] == expected
    assert (await visitor.fetch(big[1], method="POST"))[0] == 405


# Media that tests make


async def test_synthetic_media_stand_in_front_of_the_vault(visitor, sandbox, big):
    item, _, expected = big
    first = (await visitor.media())[0]
    assert first["id"] == item.id
    assert first["files"]["full"]["size"] == SIZE
    _, _, body = await visitor.fetch(first["files"]["full"]["url"])
    assert hashlib.sha256(body).hexdigest() == item.renditions["full"].content.sha256()
    assert body == expected


async def test_media_can_change_under_the_same_url_or_another(visitor, sandbox, big):
    item, url, _ = big
    _, before, _ = await visitor.fetch(url)
    sandbox.change_media(item.id, content=b"other", content_type="text/plain")
    _, after, body = await visitor.fetch(url)
    assert (body, after["Content-Type"]) == (b"other", "text/plain")
    assert before["ETag"] != after["ETag"]
    sandbox.change_media(item.id, content=b"", new_url=True)
    assert (await visitor.fetch(url))[0] == 404
    moved = sandbox.media_url(item.renditions["full"].path, visitor.base_url)
    assert (await visitor.fetch(moved))[::2] == (200, b"")


async def test_removed_media_are_gone_everywhere(visitor, sandbox):
    item = sandbox.library("aurora").lists[0].media[0]
    url = sandbox.media_url(item.renditions["full"].path, visitor.base_url)
    sandbox.remove_media(item.id)
    assert (await visitor.fetch(url))[0] == 404
    assert item.id not in [media["id"] for media in await visitor.media()]
    _, posts = await visitor.ask(f"{ACCESS}/posts")
    assert item.id not in [media["id"] for post in posts["list"] for media in post["media"]]
