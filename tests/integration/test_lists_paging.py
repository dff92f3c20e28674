"""Lists whose upstream pages oddly: in circles, without end, or while the list changes under the reader."""

import contextlib
from collections.abc import Callable
from urllib.parse import parse_qs

import msgspec
import pytest

from fakes.documents import document, validator
from fakes.running import serving
from fakes.vaults import running_vault
from mediavault.vault.syncing import ListConfig

PATH = "/v2/vault-plus/lists/5"


def photo(number):
    full = {"url": f"http://127.0.0.1:1/{number}.jpg", "width": 1, "height": 1, "size": 1}
    return {"id": number, "type": "photo", "duration": 0, "createdAt": "2025-01-01", "files": {"full": full}}


class Upstream:
    """Answers the pages of list 5 by a function of offset, limit and the number of the request."""

    def __init__(self, numbers=()):
        self.numbers = list(numbers)
        self.page: Callable[..., object] = self.cut
        self.asked = 0

    def cut(self, offset, limit, _):
        shown = self.numbers[offset : offset + limit]
        return {"list": [photo(n) for n in shown], "hasMore": offset + limit < len(self.numbers)}

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"].endswith("/self"):
            body: object = {"id": 7, "username": "nova", "name": "Nova"}
        elif scope["path"].endswith("/lists"):
            body = {"list": [{"id": 5, "name": "Five", "type": "custom"}], "hasMore": False}
        else:
            query = {name: int(values[0]) for name, values in parse_qs(scope["query_string"].decode()).items()}
            self.asked += 1
            body = self.page(query["offset"], query["limit"], self.asked)
        content = msgspec.json.encode(body)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


@contextlib.asynccontextmanager
async def followed(tmp_path, upstream, **bounds):
    """A vault whose connection follows that upstream."""
    async with (
        serving(upstream) as url,
        running_vault(tmp_path / "data", platform_url=url, lists=ListConfig(most_media=1_000, **bounds)) as vault,
    ):
        connection = await vault.connect()

        async def sync(query=""):
            return await vault.call("PUT", f"{PATH}/sync{query}", connection=connection)

        yield vault, connection, sync


async def test_every_page_is_read(tmp_path):
    async with followed(tmp_path, Upstream(range(1, 251))) as (_, _, sync):
        answer = await sync()
        assert (answer.json["seen"], answer.json["addedItems"]) == (250, 250)


@pytest.mark.parametrize(
    "page",
    [
        lambda *_: {"list": [photo(n) for n in range(1, 101)], "hasMore": True},
        lambda offset, limit, _: {"list": [photo(offset + n) for n in range(1, limit + 1)], "hasMore": True},
        lambda *_: {"list": [{"name": "no id"}], "hasMore": True},
        lambda *_: {"list": [], "hasMore": True},
        lambda *_: {"list": {}, "hasMore": False},
        lambda *_: {"list": [photo(1)], "hasMore": "no"},
        lambda *_: [photo(1)],
    ],
    ids=["circle", "endless", "no ids", "nothing", "no list", "no word", "bare"],
)
async def test_an_upstream_that_cannot_be_read_to_its_end_removes_nothing(tmp_path, page):
    upstream = Upstream(range(1, 4))
    async with followed(tmp_path, upstream) as (vault, connection, sync):
        assert (await sync()).status == 200
        upstream.page = page
        answer = await sync("?confirm=true")
        assert (answer.status, answer.json["code"]) == (502, "UPSTREAM_ERROR")
        assert upstream.asked < 1_100
        items = (await vault.call("GET", f"{PATH}/media", connection=connection)).json["items"]
        assert [item["status"] != "removed" for item in items] == [True] * 3


async def test_an_upstream_that_drips_is_given_up(tmp_path):
    upstream = Upstream(range(1, 4))
    async with followed(tmp_path, upstream, longest_read_seconds=1.5) as (_, _, sync):
        assert (await sync()).status == 200
        upstream.page = lambda _, __, asked: {"list": [photo(asked)], "hasMore": True}
        answer = await sync("?confirm=true")
        assert (answer.status, answer.json["code"]) == (502, "UPSTREAM_UNAVAILABLE")


async def test_an_entry_that_slips_to_a_page_read_already_is_not_taken_for_gone(tmp_path):
    upstream = Upstream(range(1, 151))
    async with followed(tmp_path, upstream) as (_, _, sync):
        await sync()

        def slipping(offset, limit, asked):
            page = upstream.cut(offset, limit, asked)
            if asked == first:
                upstream.numbers.remove(1)  # what was the 101st is the 100th now, and the next page begins behind it
            return page

        first = upstream.asked + 1
        upstream.page = slipping
        answer = (await sync()).json
        assert (answer["removedItems"], answer["seen"]) == (0, 150)
        assert (await sync()).json["removedItems"] == 1


async def test_media_seen_twice_while_the_list_grows_count_once(tmp_path):
    upstream = Upstream(range(1, 151))

    def growing(offset, limit, asked):
        page = upstream.cut(offset, limit, asked)
        upstream.numbers.insert(0, 1_000 + asked)
        return page

    upstream.page = growing
    async with followed(tmp_path, upstream) as (_, _, sync):
        assert (await sync()).json["seen"] == 150


async def test_entries_that_are_no_media_are_left_out_and_hold_nothing_up(tmp_path):
    odd = [{"id": True, "files": {}}, {"id": "a/b", "files": {}}, {"id": 1.5}, "text", None, {"id": 8}, photo(9)]
    upstream = Upstream()
    upstream.page = lambda *_: {"list": odd, "hasMore": False}
    async with followed(tmp_path, upstream) as (_, _, sync):
        answer = (await sync()).json
        assert (answer["seen"], answer["addedItems"], answer["notStorableItems"]) == (2, 1, 1)


async def test_answers_are_what_the_document_says(tmp_path):
    async with followed(tmp_path, Upstream(range(1, 4))) as (vault, connection, sync):
        added = await vault.call("PUT", f"{PATH}/add", connection=connection)
        answers = {
            "ListAdded": added,
            "ListSynced": await sync(),
            "ListPage": await vault.call("GET", "/v2/vault-plus/lists", connection=connection),
            "ListMediaPage": await vault.call("GET", f"{PATH}/media?limit=2", connection=connection),
        }
        for name, answer in answers.items():
            errors = [
                each.message for each in validator({"$ref": f"#/components/schemas/{name}"}).iter_errors(answer.json)
            ]
            assert errors == [], name
            assert set(answer.json) == set(document()["components"]["schemas"][name]["properties"])
