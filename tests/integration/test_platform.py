"""The sandbox platform over HTTP: its API, its media host, and its handles."""

import pytest

from fakes.visitor import ACCESS, AURORA, CORAL, visiting
from mediavault.platform.application import application
from mediavault.platform.creators import USER_AGENT
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


# The Access API


async def test_self_tells_who_is_signed_in(visitor):
    status, account = await visitor.ask(f"{ACCESS}/self")
    assert status == 200
    assert (account["id"], account["username"], account["isAuth"]) == (AURORA.id, "aurora", True)
    assert (await visitor.fetch(account["avatar"]))[:1] == (200,)


@pytest.mark.parametrize(
    "headers",
    [
        {"user-agent": USER_AGENT},
        {"cookie": "sess=unknown", "user-agent": USER_AGENT},
        {"cookie": f"other={AURORA.session}", "user-agent": USER_AGENT},
        {"cookie": AURORA.cookie, "user-agent": ""},
    ],
)
async def test_without_session_or_user_agent_it_answers_401_in_its_own_shape(visitor, headers):
    async with visitor.session.get(f"{visitor.base_url}{ACCESS}/vault/media", headers=headers) as answer:
        assert answer.status == 401
        assert set((await answer.json())["error"]) == {"code", "message"}


@pytest.mark.parametrize("prefix", [ACCESS, f"{ACCESS}/proxy", f"{ACCESS}/proxy/api2/v2"])
@pytest.mark.parametrize("path", ["vault/media", "vault/lists", "posts", "messages", "stories", "self"])
async def test_every_prefix_has_the_same_content(visitor, prefix, path):
    assert await visitor.ask(f"{prefix}/{path}") == await visitor.ask(f"{ACCESS}/{path}")


async def test_pages_cover_everything_once(visitor):
    seen, offset, more = [], 0, True
    while more:
        _, page = await visitor.ask(f"{ACCESS}/vault/media?limit=3&offset={offset}")
        seen += [item["id"] for item in page["list"]]
        offset, more = offset + 3, page["hasMore"]
    assert seen == [item["id"] for item in await visitor.media()]
    assert len(seen) == len(set(seen)) >= 10


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=-1", "limit=2.0", "offset=x", "offset=-1", "limit="])
async def test_odd_page_numbers_are_refused(visitor, query):
    assert (await visitor.ask(f"{ACCESS}/vault/media?{query}"))[0] == 400


async def test_lists_overlap_and_hold_media_of_the_vault(visitor):
    _, page = await visitor.ask(f"{ACCESS}/vault/lists")
    members = {}
    for folder in page["list"]:
        _, media = await visitor.ask(f"{ACCESS}/vault/lists/{folder['id']}/media")
        members[folder["name"]] = {item["id"] for item in media["list"]}
    assert len(members) == 3
    assert members["Motion"] & members["Landscapes"]
    assert set().union(*members.values()) <= {item["id"] for item in await visitor.media()}
    assert (await visitor.ask(f"{ACCESS}/vault/lists/7/media"))[0] == 404


async def test_publications_carry_media_some_of_them_outside_the_vault(visitor):
    vault = {item["id"] for item in await visitor.media()}
    for path, inside in (("posts", True), ("messages", False), ("stories", False)):
        _, page = await visitor.ask(f"{ACCESS}/{path}")
        shown = {item["id"] for publication in page["list"] for item in publication["media"]}
        assert shown & vault
        assert (shown <= vault) is inside


async def test_a_chat_has_its_own_messages(visitor):
    _, everything = await visitor.ask(f"{ACCESS}/messages")
    _, chat = await visitor.ask(f"{ACCESS}/chats/{AURORA.id * 10 + 1}/messages")
    assert 0 < len(chat["list"]) < len(everything["list"])
    assert (await visitor.ask(f"{ACCESS}/chats/1/messages"))[0] == 404


async def test_what_is_posted_comes_back_with_an_id(visitor):
    status, posted = await visitor.ask(f"{ACCESS}/proxy/posts", method="POST", json={"text": "Hello"})
    assert status == 201
    assert posted == {"text": "Hello", "id": 1}
    assert (await visitor.ask(f"{ACCESS}/posts", method="POST", data=b"[1]"))[0] == 400


# Sessions and handles


async def test_a_session_can_be_expired_and_restored(visitor):
    assert (await visitor.control("POST", "sessions/aurora/expire"))[0] == 204
    assert (await visitor.ask(f"{ACCESS}/self"))[0] == 401
    assert (await visitor.ask(f"{ACCESS}/self", creator=CORAL))[0] == 200
    assert (await visitor.control("POST", "sessions/aurora/restore"))[0] == 204
    assert (await visitor.ask(f"{ACCESS}/self"))[0] == 200
    assert (await visitor.control("POST", "sessions/nobody/expire"))[0] == 404


async def test_the_handles_over_http(visitor, sandbox, clock):
    assert (await visitor.control("GET", "creators"))[1][0]["cookie"] == AURORA.cookie
    assert (await visitor.control("POST", "clock", {"advance_seconds": 60}))[1] == {"now": clock.time + 60}
    status, made = await visitor.control("POST", "media", {"creator": "coral", "type": "photo", "size_bytes": 5000})
    assert status == 201
    assert len((await visitor.fetch(made["url"]))[2]) == 5000
    assert (await visitor.control("POST", "urls/expire"))[0] == 204
    assert (await visitor.fetch(made["url"]))[0] == 403
    for path, body in (("clock", {"advance_seconds": -1}), ("media", {"creator": "coral", "size_bytes": 5})):
        assert (await visitor.control("POST", path, body))[0] == 400


async def test_requests_are_counted_and_the_handles_are_not(visitor, sandbox):
    path = sandbox.library("aurora").vault[0].renditions["full"].path
    await visitor.fetch(sandbox.media_url(path, visitor.base_url), range="bytes=10-19")
    await visitor.ask(f"{ACCESS}/self")
    _, records = await visitor.control("GET", "requests")
    assert [(each["status"], each["range"], each["bytes_sent"]) for each in records[:1]] == [(206, "bytes=10-19", 10)]
    assert [each["path"] for each in records[1:]] == [f"{ACCESS}/self"]
    assert len(sandbox.log.records("/cdn/")) == 1
    assert (await visitor.control("DELETE", "requests"))[0] == 204
    assert sandbox.log.records() == []


async def test_only_this_machine_may_move_the_handles():
    answers = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        answers.append(message)

    scope = {"type": "http", "method": "GET", "path": "/_sandbox/faults", "headers": [], "client": ("192.0.2.1", 5)}
    await application(Sandbox())(scope, receive, send)
    assert answers[0]["status"] == 403
