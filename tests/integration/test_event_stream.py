"""`GET /v2/events`: events as they come, resumed where a client left off, apart by organisation."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from fakes.vaults import CORAL, KEY, RunningVault, running_vault, until
from mediavault.api.event_stream import StreamConfig

EVENTS = "/v2/events"


@dataclass(frozen=True)
class Message:
    """One block of the stream."""

    id: str | None
    event: str | None
    data: Any


@dataclass
class Stream:
    """A client that reads block by block."""

    response: aiohttp.ClientResponse

    async def block(self) -> Message:
        fields: dict[str, str] = {}
        async with asyncio.timeout(20):
            while line := (await self.response.content.readline()).decode().rstrip("\n"):
                name, _, value = line.partition(": ")
                fields[name] = value
        data = json.loads(fields["data"]) if "data" in fields else None
        return Message(fields.get("id"), fields.get("event"), data)

    async def event(self) -> Message:
        """The next block that is an event."""
        while (block := await self.block()).event is None:
            continue
        return block

    async def position(self) -> str:
        """Where the stream is, once it tells so."""
        while (block := await self.block()).id is None:
            continue
        assert block.id is not None
        return block.id


@contextlib.asynccontextmanager
async def following(vault: RunningVault, query: str = "", key: str = KEY, **headers: str) -> AsyncIterator[Stream]:
    named = {"apiKey": key, **headers}
    async with vault.http.get(f"{vault.api_url}{EVENTS}{query}", headers=named) as response:
        assert response.status == 200, await response.read()
        assert response.content_type == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        yield Stream(response)


async def invalidate(vault: RunningVault, connection: str) -> None:
    assert (await vault.call("POST", f"/v2/account/connections/{connection}/invalidate")).status == 200


async def test_an_event_comes_as_it_happens_and_a_client_resumes_behind_it(vault: RunningVault):
    async with following(vault) as stream:
        assert await stream.position() == "0"
        connection = await vault.connect()
        created = await stream.event()
        assert (created.event, created.data["connectionId"]) == ("connection.created", connection)
        assert created.data["data"]["connection"]["id"] == connection
    await invalidate(vault, connection)
    assert created.id is not None
    async with following(vault, **{"Last-Event-ID": created.id}) as resumed:
        expired = await resumed.event()
        assert (expired.event, expired.data["id"].startswith("evt_")) == ("connection.expired", True)
        assert expired.id is not None
        assert int(expired.id) == int(created.id) + 1
    async with following(vault, f"?lastEventId={created.id}") as polyfilled:
        assert await polyfilled.event() == expired


async def test_a_new_client_starts_at_the_present(vault: RunningVault):
    await vault.connect()
    async with following(vault) as stream:
        assert await stream.position() == "1"
        second = await vault.connect(CORAL)
        assert (await stream.event()).data["connectionId"] == second


async def test_only_the_types_that_are_wanted_come_and_the_position_moves_past_the_others(vault: RunningVault):
    async with following(vault, "?types=connection.expired,vault.list.synced") as stream:
        assert await stream.position() == "0"
        connection = await vault.connect()
        assert await stream.position() == "1"
        await invalidate(vault, connection)
        assert (await stream.event()).event == "connection.expired"


async def test_a_position_that_is_not_kept_is_told_to_be_lost(vault: RunningVault):
    await vault.connect()
    async with following(vault, **{"Last-Event-ID": "9000"}) as stream:
        reset = await stream.event()
        assert (reset.event, reset.id) == ("stream.reset", "1")
        assert "reason" in reset.data


async def test_another_organisations_events_are_not_heard(vault: RunningVault):
    authorising = vault.vault.foundation.authorising
    await authorising.create_organisation("other")
    key = (await authorising.create_key("other", ["ACCOUNT", "ACCESS"])).secret
    async with following(vault, key=key) as stream:
        await stream.position()
        await vault.connect()
        body = {"cookie": CORAL.cookie, "userAgent": "x"}
        imported = await vault.call("POST", "/v2/account/connections/import", json=body, key=key)
        assert imported.status == 200
        heard = await stream.event()
        assert (heard.id, heard.data["connectionId"]) == ("1", imported.json["id"])


async def test_what_cannot_be_right_is_refused(vault: RunningVault):
    for query in ("?types=x", "?types=", "?lastEventId=x", "?lastEventId=-1", "?lastEventId=" + "9" * 19):
        assert (await vault.call("GET", EVENTS + query)).status == 400, query


async def test_a_head_is_answered_and_holds_nothing_open(vault: RunningVault):
    answer = await vault.call("HEAD", EVENTS)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")


async def test_streams_end_when_the_process_drains(vault: RunningVault):
    async with following(vault) as stream:
        await stream.position()
        vault.vault.stream.end()
        async with asyncio.timeout(5):
            assert await stream.response.content.read() == b""


async def test_a_stream_ends_when_its_key_is_revoked_and_no_other_does(tmp_path: Path):
    often = StreamConfig(look_every_seconds=0.01, beat_every_seconds=0.02)
    async with running_vault(tmp_path / "data", stream=often) as vault:
        authorising = vault.vault.foundation.authorising
        key = await authorising.create_key("default", ["ACCOUNT"])
        async with following(vault, key=key.secret) as ended, following(vault) as other:
            await ended.position()
            await ended.block()  # the beat: it was asked once whether the key is one
            await authorising.revoke_key(key.id)
            async with asyncio.timeout(20):
                rest = await ended.response.content.read()
            assert b"event:" not in rest
            await vault.connect()
            assert (await other.event()).event == "connection.created"
        assert (await vault.call("GET", EVENTS, key=key.secret)).status == 401


async def test_an_organisation_has_a_bounded_number_of_streams(vault: RunningVault):
    keys = [KEY, *[await _another_key(vault) for _ in range(2)]]
    async with contextlib.AsyncExitStack() as open_streams:
        for number in range(32):
            stream = await open_streams.enter_async_context(following(vault, key=keys[number // 16]))
            await stream.position()
        refused = await vault.call("GET", EVENTS, key=keys[2])
        assert (refused.status, refused.json["type"]) == (429, "RATE_LIMIT_EXCEEDED")
        assert "an organisation" in refused.json["message"]


async def test_one_key_cannot_take_all_the_streams_of_its_organisation(vault: RunningVault):
    other = await _another_key(vault)
    async with contextlib.AsyncExitStack() as open_streams:
        for _ in range(16):
            stream = await open_streams.enter_async_context(following(vault))
            await stream.position()
        refused = await vault.call("GET", EVENTS)
        assert (refused.status, refused.json["type"]) == (429, "RATE_LIMIT_EXCEEDED")
        assert "a key" in refused.json["message"]
        async with following(vault, key=other) as stream:
            await stream.position()

    async def has_room() -> bool:
        async with vault.http.get(vault.api_url + EVENTS, headers={"apiKey": KEY}) as response:
            return response.status == 200

    assert await until(has_room)


async def _another_key(vault: RunningVault) -> str:
    made = await vault.vault.foundation.authorising.create_key("default", ["ACCOUNT"])
    return str(made.secret)
