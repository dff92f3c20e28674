"""What crosses between organisations otherwise than by an id: cursors, batches, media URLs, bytes, events, totals."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes.catalog_rows import broken_invariants, rows
from fakes.tenancy import OWN, Tenant, call, tenant
from fakes.vaults import AURORA, JUNIPER, RunningVault, running_vault, until
from mediavault.api.limits import LimitConfig
from mediavault.platform.creators import USER_AGENT
from mediavault.storer.sweeps import SweepConfig

UNLIMITED = LimitConfig(
    key_per_minute=0,
    connection_per_minute=0,
    address_per_minute=0,
    guesses_per_minute=0,
    key_at_once=0,
    connection_at_once=0,
)
NO_UNDO = SweepConfig(every_seconds=1000, undo_window_ms=-1000)
MEDIA = "/v2/vault-plus/media"


class Two:
    """A vault with two organisations."""

    def __init__(self, vault: RunningVault, first: Tenant, second: Tenant) -> None:
        self.vault, self.first, self.second = vault, first, second

    async def ask(self, who: Tenant, method: str, path: str, **more: Any) -> Any:
        connection = who.ids["x-connection-id", OWN]
        return await self.vault.call(method, path, key=who.keys["ACCOUNT ACCESS"], connection=connection, **more)


@contextlib.asynccontextmanager
async def two_organisations(folder: Path, database_url: str | None) -> AsyncIterator[Two]:
    options: dict[str, Any] = {"database_url": database_url, "limits": UNLIMITED, "sweep": NO_UNDO}
    async with running_vault(folder, **options) as vault:
        yield Two(vault, await tenant(vault, "default", AURORA), await tenant(vault, "second studio", JUNIPER))


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    async with two_organisations(tmp_path / "data", None) as made:
        yield made


@pytest.fixture
async def two_on_each_engine(tmp_path: Path, database_url: str) -> AsyncIterator[Two]:
    async with two_organisations(tmp_path / "data", database_url) as made:
        yield made


def pages(who: Tenant) -> list[str]:
    """Everything of an organisation that comes in pages with a cursor, with a page of one."""
    return [
        *(
            f"{MEDIA}?limit=1&sort={key}_{way}"
            for key in ("createdAt", "cachedAt", "duration")
            for way in ("asc", "desc")
        ),
        "/v2/vault-plus/list?limit=1",
        "/v2/vault-plus/at-risk?limit=1",
        f"/v2/vault-plus/lists/{who.ids['listId', OWN]}/media?limit=1",
        f"/v2/webhooks/endpoints/{who.ids['endpointId', OWN]}/deliveries?limit=1",
    ]


def tampered(cursor: str) -> list[str]:
    """One character changed, at each place; cut, doubled, padded, and what is none at all."""
    changed = [cursor[:at] + ("A" if old != "A" else "B") + cursor[at + 1 :] for at, old in enumerate(cursor)]
    return [
        *changed,
        cursor[:-1],
        cursor[1:],
        cursor * 2,
        cursor + "=",
        "",
        "x",
        "A" * 55,
        "%00",
        "..",
        "0" * 32,
        "f" * 32,
    ]


def spliced(mine: str, theirs: str) -> str | None:
    """My cursor with the place of their row in it: all of it is right but whose it is."""
    own, other = (base64.urlsafe_b64decode(each + "=" * (-len(each) % 4)) for each in (mine, theirs))
    if len(own) != len(other) or len(own) != 41:
        return None
    return base64.urlsafe_b64encode(own[:-16] + other[-16:]).decode().rstrip("=")


async def test_no_cursor_opens_anything(two_on_each_engine: Two):
    """Their cursor, and mine with each character changed, is refused or goes on among my own things."""
    two = two_on_each_engine
    strange, tried = two.second.markers(), 0
    for mine, theirs in zip(pages(two.first), pages(two.second), strict=True):
        first = await two.ask(two.first, "GET", mine)
        other = await two.ask(two.second, "GET", theirs)
        assert first.status == other.status == 200, (mine, first.body)
        own_cursor, their_cursor = first.json["nextCursor"], other.json["nextCursor"]
        for cursor in filter(None, (their_cursor, spliced(own_cursor, their_cursor), *tampered(own_cursor))):
            answer = await two.ask(two.first, "GET", f"{mine}&cursor={cursor}")
            assert answer.status in {200, 400}, (mine, cursor, answer.body)
            shown = answer.body.decode().replace(their_cursor, "")
            assert not strange.search(shown), (mine, cursor, shown)
            tried += 1
        if mine.startswith((MEDIA, "/v2/vault-plus/list?")):
            assert (await two.ask(two.first, "GET", f"{mine}&cursor={their_cursor}")).status == 400
    assert tried > 500


async def test_another_connections_cursor_of_ones_own_is_refused_too(two: Two):
    body = {"cookie": JUNIPER.cookie, "userAgent": USER_AGENT}
    also = (await call(two.vault, two.first, "POST", "/v2/account/connections/import", json=body))["id"]
    await call(two.vault, two.first, "GET", "/v2/access/vault/media?limit=50", connection=also)
    cursor = (await call(two.vault, two.first, "GET", f"{MEDIA}?limit=1", connection=also))["nextCursor"]
    assert (await two.ask(two.first, "GET", f"{MEDIA}?limit=1&cursor={cursor}")).status == 400


@pytest.mark.parametrize("path", ["/v2/vault-plus/media/batch", "/v2/vault-plus/batch"])
async def test_a_batch_answers_what_is_of_the_connection_alone(two: Two, path: str):
    mine, theirs = two.first.media[2:4], two.second.media[2:4]
    unknown = ["998877665544", "no-such-media"]
    mixed = [theirs[0], mine[0], unknown[0], theirs[1], mine[1], unknown[1]]
    answer = await two.ask(two.first, "POST", path, json={"mediaIds": mixed})
    assert [item["id"] for item in answer.json["items"]] == mine
    for ids in (theirs, unknown):
        empty = await two.ask(two.first, "POST", path, json={"mediaIds": ids})
        assert (empty.status, empty.body) == (200, b'{"items":[]}')


async def test_another_organisations_event_is_like_none(two: Two):
    """To replay it, and to go on behind it in the stream."""
    path = f"/v2/webhooks/endpoints/{two.first.ids['endpointId', OWN]}/replay"
    answers = [
        (await two.ask(two.first, "POST", path, json={"eventId": event_id, "andLater": later})).json
        for event_id in (two.second.event_id, "evt_" + "0" * 32)
        for later in (False, True)
    ]
    assert {answer.pop("requestId") != "" and json.dumps(answer) for answer in answers} == {
        '{"error": "Event not found", "message": "Event not found", "type": "RESOURCE_NOT_FOUND", '
        '"code": "RESOURCE_NOT_FOUND"}'
    }
    before = two.first.markers()
    heard = await follow(two.vault, two.second, "0")
    assert two.second.markers().search(heard)
    assert not before.search(heard)


async def follow(vault: RunningVault, who: Tenant, last_seen: str) -> str:
    """All that the stream tells behind that place, until it tells of a connection that is made now."""
    headers = {"apiKey": who.keys["ACCOUNT ACCESS"], "Last-Event-ID": last_seen}
    heard = ""
    async with vault.http.get(f"{vault.api_url}/v2/events", headers=headers) as stream, asyncio.timeout(30):
        while "connection.expired" not in heard:
            heard += (await stream.content.readany()).decode()
    return heard


async def test_no_media_url_can_be_turned_into_another(two: Two):
    """A token with their variant's id in it, with its parts exchanged, or with any byte changed, opens nothing."""
    mine, theirs = two.first.ids["token", OWN], two.second.ids["token", OWN]
    own, other = (base64.urlsafe_b64decode(each + "=" * (-len(each) % 4)) for each in (mine, theirs))
    assert len(own) == len(other) == 7 + 16 + 32
    forged = [own[:7] + other[7:23] + own[23:], other[:7] + own[7:23] + other[23:], own[:23] + other[23:]]
    forged += [own[:at] + bytes([own[at] ^ 1]) + own[at + 1 :] for at in range(len(own))]
    tokens = [base64.urlsafe_b64encode(each).decode().rstrip("=") for each in forged]
    base = f"{str(two.vault.served.media_url).rstrip('/')}/v2/"
    assert (await two.vault.ask("HEAD", base + mine)).status == 200
    for token in (*tokens, mine[:-1], mine + "A", mine + "=", mine.swapcase(), theirs[:30] + mine[30:]):
        for method in ("GET", "POST"):
            answer = await two.vault.ask(method, base + token)
            assert answer.status in {403, 404}, (method, token, answer.status)
            assert not two.second.markers().search(answer.body.decode())


async def test_the_operators_doors_are_not_on_the_network(two: Two):
    """Organisations and keys are made by who holds the data folder; no key of any organisation opens that."""
    for method, path in (
        *(("GET", "/organisations"), ("POST", "/organisations"), ("GET", "/keys"), ("POST", "/keys")),
        *(("POST", "/keys/x/revoke"), ("POST", "/damage/x"), ("GET", "/v2/organisations"), ("GET", "/v2/keys")),
    ):
        answer = await two.ask(two.first, method, path)
        assert (answer.status, answer.json["type"]) == (404, "ROUTE_NOT_FOUND"), path


async def test_who_one_is_and_what_one_has_is_of_ones_own_organisation(two: Two):
    for mine, theirs in ((two.first, two.second), (two.second, two.first)):
        me = (await two.ask(mine, "GET", "/v2/account/whoami")).json
        assert me["name"] == mine.name
        listed = (await two.ask(mine, "GET", "/v2/account/connections?limit=100")).json["list"]
        assert [each["id"] for each in listed] == [mine.ids["connectionId", OWN]]
        status = (await two.ask(mine, "GET", "/v2/vault-plus/status")).json
        stats = (await two.ask(mine, "GET", "/v2/vault-plus/stats")).json
        assert stats["totalConnections"] == 1
        assert stats["totalMediaCount"] == status["storedCount"] + status["pendingCount"]
        for path in (MEDIA, "/v2/vault-plus/at-risk", "/v2/vault-plus/lists", "/v2/webhooks/endpoints"):
            answer = await two.ask(mine, "GET", path)
            assert mine.markers().search(answer.body.decode()), path
            assert not theirs.markers().search(answer.body.decode()), path


async def keep(vault: RunningVault, who: Tenant, media_id: str) -> Any:
    """Import the same creator for an organisation, and store that item; its `full` variant."""
    connection = (
        await call(
            *(vault, who, "POST", "/v2/account/connections/import"),
            json={"cookie": AURORA.cookie, "userAgent": USER_AGENT},
        )
    )["id"]
    await call(vault, who, "GET", "/v2/access/vault/media?limit=1", connection=connection)
    path = f"{MEDIA}/{media_id}"
    item = await call(vault, who, "GET", path, connection=connection)
    assert (await vault.ask("POST", item["media"]["full"]["url"])).status == 202

    async def stored() -> Any:
        variant = (await call(vault, who, "GET", path, connection=connection))["media"]["full"]
        return (connection, variant) if variant["status"] == "stored" else None

    return await until(stored)


async def test_the_same_bytes_are_two_blobs_in_two_organisations_and_one_ends_alone(two_on_each_engine: Two):
    """What one organisation removes and is swept away, another never misses."""
    two = two_on_each_engine
    vault, catalog = two.vault, two.vault.vault.foundation.catalog
    media_id = str(vault.sandbox.add_media(AURORA.username, type="photo", size_bytes=4_000).id)
    (_, mine), (theirs_at, theirs) = [await keep(vault, who, media_id) for who in (two.first, two.second)]
    body = (await vault.ask("GET", mine["url"])).body
    assert len(body) == mine["sizeBytes"] == theirs["sizeBytes"]

    variants = [each for each in await rows(catalog, "variants") if each["size_bytes"] == len(body)]
    blobs = {each["id"]: each for each in await rows(catalog, "blobs")}
    held = [blobs[each["blob_id"]] for each in variants if each["blob_id"]]
    assert len({blob["id"] for blob in held}) == len({blob["org_id"] for blob in held}) == 2
    assert len({blob["sha256"] for blob in held}) == 1
    assert all(blob["refs"] == 1 for blob in held)

    await two.ask(two.first, "DELETE", f"{MEDIA}/{media_id}")
    await two.ask(two.first, "DELETE", MEDIA)
    await vault.vault.sweeps.sweep()
    left = {each["id"] for each in await rows(catalog, "blobs")}
    gone = next(blob for blob in held if blob["id"] not in left)
    kept = next(blob for blob in held if blob["id"] in left)
    assert gone["org_id"] != kept["org_id"]
    assert (await vault.ask("GET", mine["url"])).status == 404
    after = await call(vault, two.second, "GET", f"{MEDIA}/{media_id}", connection=theirs_at)
    assert after["media"]["full"]["status"] == "stored"
    assert (await vault.ask("GET", after["media"]["full"]["url"])).body == body
    assert await broken_invariants(catalog) == []
