"""Who may do what to whose things: every operation of the document, every kind of key, every kind of id.

The matrix is generated; what each cell must answer follows from rules. `MEDIAVAULT_TENANCY_STRIDE` thins it out.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from fakes.documents import document
from fakes.tenancy import (
    MALFORMED,
    MISSING,
    OTHER,
    OWN,
    RANDOM,
    REMOVED,
    STRANGERS,
    Cell,
    Operation,
    Tenant,
    call,
    cells,
    operations,
    tenant,
    value,
)
from fakes.vaults import AURORA, JUNIPER, Answer, RunningVault, running_vault
from mediavault.api.limits import LimitConfig
from mediavault.platform.creators import USER_AGENT

UNLIMITED = LimitConfig(
    key_per_minute=0,
    connection_per_minute=0,
    address_per_minute=0,
    guesses_per_minute=0,
    key_at_once=0,
    connection_at_once=0,
)
NOT_FOUND = {
    "mediaId": "Media not found",
    "listId": "List not found",
    "connectionId": "Connection not found",
    "endpointId": "Webhook endpoint not found",
    "deliveryId": "Webhook delivery not found",
}
#: These look at what was removed, by their nature.
OF_REMOVED = {"explainMedia", "restoreMedia"}
#: What an owner is told of a thing that is as it is; everything else of one's own is a success.
OWN_OTHERWISE = {"restoreMedia": {404}, "redeliverWebhook": {409}} | {
    f"access{method}": {502}
    for method in ("Post", "Put", "Patch", "Delete", "Options")  # the sandbox answers no JSON
}
#: They end what others are asked about: asked with one's own ids last, in this order.
ENDING = [
    *("deleteWebhookEndpoint", "olderRemoveMedia", "removeMedia", "olderPurge", "purgeMedia"),
    *("invalidateConnection", "disconnect"),
]
#: Headers that say nothing of what was asked.
_OF_THE_MOMENT = {"date", "x-request-id", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}


@dataclass
class Ground:
    """A vault with two organisations that know nothing of each other."""

    vault: RunningVault
    first: Tenant
    second: Tenant

    def parties(self, cell: Cell) -> tuple[Tenant, Tenant]:
        return (self.second, self.first) if cell.principal == "second" else (self.first, self.second)

    def key(self, cell: Cell) -> str | None:
        mine, _ = self.parties(cell)
        under = "ACCOUNT" if cell.operation.path.startswith("/v2/access") else "ACCESS"
        return {
            "no key": None,
            "unknown key": "unknown-key-0123456789",
            "revoked key": mine.keys["revoked"],
            "under-scoped key": mine.keys[under],
        }.get(cell.principal, mine.keys["ACCOUNT ACCESS"])

    async def ask(self, cell: Cell) -> Answer:
        mine, theirs = self.parties(cell)
        operation, headers = cell.operation, {}
        ids = {slot: _given(slot, cell, mine, theirs) for slot in operation.slots}
        if (connection := ids.pop("x-connection-id", None)) is not None:
            headers["x-connection-id"] = connection
        if (key := self.key(cell)) is not None:
            headers["apiKey"] = key
        host = str(self.vault.served.media_url) if operation.on_media_host else self.vault.api_url
        url = host.rstrip("/") + re.sub(r"\{(\w+)\}", lambda found: str(ids[found[1]]), operation.path)
        async with self.vault.http.request(
            operation.method, url, json=_body(operation, mine, self.vault), headers=headers, allow_redirects=False
        ) as response:
            endless = response.content_type == "text/event-stream"
            body = b"" if endless else await response.read()
            content = await response.json() if response.content_type == "application/json" and body else None
            return Answer(response.status, response.headers, body, content)


def _given(slot: str, cell: Cell, mine: Tenant, theirs: Tenant) -> str | None:
    if slot == "path":
        return "self"
    if slot in {"digest", "name"}:
        return "x"
    if slot == "mediaId" and cell.operation.id == "olderRemoveMedia" and cell.is_own:
        return mine.media[2]
    return value(slot, cell.kinds[slot], mine, theirs)


def _body(operation: Operation, mine: Tenant, vault: RunningVault) -> Any:
    """The document's example, but that it names what there is."""
    described = document()["paths"][operation.path][operation.method.lower()]
    session = {"cookie": mine.creator.cookie, "userAgent": USER_AGENT}
    example = described.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
    return {
        "importConnection": session,
        "refreshConnection": session,
        "createWebhookEndpoint": {"url": vault.platform_url + "/hook"},
        "changeWebhookEndpoint": {"description": "ours"},
        "replayWebhookEvents": {"eventId": mine.event_id},
        "pinMedia": {"reason": "ours"},
        "getMediaBatch": {"mediaIds": mine.media[:3]},
        "olderGetMediaBatch": {"mediaIds": mine.media[:3]},
    }.get(operation.id, example)


@pytest.fixture
async def ground(tmp_path: Path, database_url: str) -> AsyncIterator[Ground]:
    async with running_vault(tmp_path / "data", database_url=database_url, limits=UNLIMITED) as vault:
        yield Ground(vault, await tenant(vault, "default", AURORA), await tenant(vault, "second studio", JUNIPER))


def expected(cell: Cell) -> tuple[set[int], str | None] | None:
    """The statuses and the text that the rules allow; None where it is one's own and succeeds."""
    operation = cell.operation
    if operation.public:
        return _expected_of_public(cell)
    if cell.principal in STRANGERS:
        return {401}, "Unauthorized"
    for slot in operation.slots:
        kind = cell.kinds[slot]
        if kind == OWN or (kind == REMOVED and slot == "mediaId" and operation.id in OF_REMOVED):
            continue
        if slot == "x-connection-id":
            return {400}, f"x-connection-id header is {'required' if kind == MISSING else 'invalid'}"
        if slot == "listId" and kind == MALFORMED:
            return {400}, "listId is 1 to 64 letters, digits, '_' and '-'"
        return {404}, NOT_FOUND[slot]
    return None


def _expected_of_public(cell: Cell) -> tuple[set[int], str | None]:
    """No key is looked at: a media URL is its own right, and the rest is the same for everybody."""
    if "digest" in cell.kinds:
        return {404}, None
    kind = cell.kinds.get("token", OWN)
    if kind in {OWN, OTHER} or cell.operation.method == "OPTIONS":
        return {200, 202, 204}, None
    return ({404}, None) if kind == REMOVED else ({403, 404}, None)


def check(cell: Cell, answer: Answer, ground: Ground) -> None:
    """Raise unless the answer is what the rules say, and shows nothing of another organisation."""
    wanted = expected(cell)
    if wanted is None:
        allowed = OWN_OTHERWISE.get(cell.operation.id, set()) if cell.is_own else set()
        assert answer.status < 300 or answer.status in allowed, (str(cell), answer.status, answer.body)
    else:
        statuses, text = wanted
        assert answer.status in statuses, (str(cell), answer.status, answer.body)
        if text is not None and answer.body:
            assert answer.json["error"] == text, (str(cell), answer.body)
    if cell.operation.public:
        return  # the same for everybody, or the bytes that a signed URL stands for
    mine, theirs = ground.parties(cell)
    shown = answer.body.decode() + repr([each for each in answer.headers.items() if each[0].lower() != "link"])
    assert not theirs.markers().search(shown), (str(cell), shown)
    if wanted is not None:
        assert not mine.markers().search(shown), (str(cell), shown)


def told(cell: Cell, answer: Answer, ground: Ground) -> tuple[Any, ...]:
    """All of an answer but what names the request, with its ids taken out of the deprecation's link."""
    mine, theirs = ground.parties(cell)
    headers = sorted(
        (name.lower(), text) for name, text in answer.headers.items() if name.lower() not in _OF_THE_MOMENT
    )
    body = re.sub(rb"req_[0-9a-f]{24}", b"req_", answer.body)
    ids = [_given(slot, cell, mine, theirs) for slot in cell.operation.slots]
    for given in filter(None, ids):
        headers = [(name, text.replace(given, "{id}") if name == "link" else text) for name, text in headers]
    return answer.status, headers, body


async def state(ground: Ground, who: Tenant) -> Any:
    """What an organisation has, as it sees it itself."""
    vault, connection = ground.vault, who.ids["x-connection-id", OWN]
    seen = [
        await call(vault, who, "GET", path)
        for path in ("/v2/account/connections?limit=100", "/v2/account/settings", "/v2/webhooks/endpoints")
    ]
    seen.append(await call(vault, who, "GET", f"/v2/account/connections/{connection}/settings"))
    seen[-1]["vaultPlus"].pop("stats")
    for path in ("/v2/vault-plus/media", "/v2/vault-plus/lists"):
        page = await call(vault, who, "GET", path, connection=connection)
        seen.append(
            [(each.get("id"), sorted(each.get("media", ()))) for each in page.get("items", page.get("list", []))]
        )
    pins = [
        await call(vault, who, "GET", f"/v2/vault-plus/media/{media_id}/pin", connection=connection)
        for media_id in who.media[2:5]
    ]
    return [*seen, pins]


def stride(database_url: str) -> int:
    return int(os.environ.get("MEDIAVAULT_TENANCY_STRIDE", "7" if database_url.startswith("postgres") else "1"))


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_matrix(ground: Ground, database_url: str):
    """First everything that must be refused, which must change nothing; then each its own; what ends things last."""
    asked, alike = 0, defaultdict[tuple[Any, ...], dict[str, tuple[Any, ...]]](dict)
    refused = [cell for cell in cells() if not (cell.principal not in STRANGERS and expected(cell) is None)]
    before = [await state(ground, who) for who in (ground.first, ground.second)]
    for cell in islice(refused, 0, None, stride(database_url)):
        answer = await ground.ask(cell)
        check(cell, answer, ground)
        asked += 1
        if cell.principal in STRANGERS or cell.operation.public:
            continue
        for slot, kind in cell.kinds.items():
            if kind in {OTHER, RANDOM, REMOVED}:
                others = tuple(sorted((name, each) for name, each in cell.kinds.items() if name != slot))
                alike[cell.operation, cell.principal, slot, others][kind] = told(cell, answer, ground)
    assert [await state(ground, who) for who in (ground.first, ground.second)] == before
    for about, answers in alike.items():
        assert len(set(map(repr, answers.values()))) == 1, (about, answers)
    own = [cell for cell in cells() if cell.principal not in STRANGERS and expected(cell) is None]
    own.sort(key=lambda cell: ENDING.index(cell.operation.id) if cell.operation.id in ENDING else -1)
    for cell in own:
        check(cell, await ground.ask(cell), ground)
        asked += 1
    print(f"{asked} cells of {len(refused) + len(own)}, {len(alike)} comparisons")


def test_every_operation_has_its_rows():
    """An operation that is added without ids that are known here fails, as does one that nobody may succeed at."""
    matrix, counted = list(cells()), Counter[str]()
    for cell in matrix:
        counted[cell.operation.id] += 1
        expected(cell)
    known = operations()
    assert set(counted) == {operation.id for operation in known}
    assert len(counted) == len(known) > 60
    assert set(ENDING) | OF_REMOVED | set(OWN_OTHERWISE) <= set(counted)
    succeeding = {cell.operation.id for cell in matrix if expected(cell) is None or cell.operation.public}
    assert succeeding == set(counted)
    assert len(matrix) > 2_500
