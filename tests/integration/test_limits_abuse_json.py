"""Bodies and texts made to break a parser, a database or a log: each is refused or taken as it is, never a 500."""

import json
import sys
from typing import Any

from yarl import URL

from fakes.vaults import KEY, RunningVault
from mediavault.api.requests import DEEPEST_BODY

BATCH, IMPORT, SETTINGS = "/v2/vault-plus/media/batch", "/v2/account/connections/import", "/v2/account/settings"
DEEP = 100_000


async def send(vault: RunningVault, method: str, path: str, body: bytes, connection: str | None = None) -> Any:
    headers = {"apiKey": KEY, "Content-Type": "application/json"}
    if connection is not None:
        headers["x-connection-id"] = connection
    async with vault.http.request(method, vault.api_url + path, data=body, headers=headers) as response:
        return response.status, await response.json()


BREAKING = [
    b"[" * DEEP,
    b"[" * DEEP + b"]" * DEEP,
    b'{"mediaIds":' + b"[" * DEEP + b"]" * DEEP + b"}",
    b'{"mediaIds":[],"x":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    b'{"mediaIds":[],"x":' + b"[" * 500 + b"]" * 500 + b"}",
    b'{"mediaIds":[1e400]}',
    b'{"mediaIds":[-1e400]}',
    b'{"mediaIds":[' + b"9" * DEEP + b"]}",
    b'{"mediaIds":["\\ud800"]}',
    b'{"mediaIds":["\xed\xa0\x80"]}',
    b'{"mediaIds":["\xff"]}',
    b'{"mediaIds":[NaN]}',
    b'{"mediaIds":[Infinity]}',
    b'\xef\xbb\xbf{"mediaIds":[]}',
    b'{"mediaIds":[]}{"mediaIds":[]}',
    b'{"mediaIds":[]}\x00',
    b'{"mediaIds":{"0":"1"}}',
    b'{"mediaIds":["' + b"9" * 65 + b'"]}',
    b'{"mediaIds":["a\\u0000b"]}',
    b'{"mediaIds":["1","1' + b'","1' * 200 + b'"]}',
    json.dumps({"mediaIds": [[]] * 50_000}).encode(),
]


async def test_a_body_made_to_break_a_parser_is_a_400(vault):
    connection = await vault.connect()
    for body in BREAKING:
        status, answer = await send(vault, "POST", BATCH, body, connection)
        assert (status, answer["type"]) == (400, "BAD_REQUEST"), (body[:40], answer)
    assert (await vault.call("GET", "/livez", key=None)).status == 200


async def test_a_body_is_nested_as_deep_as_it_may_be_and_no_deeper(vault):
    connection = await vault.connect()
    for depth, expected in ((DEEPEST_BODY - 1, 200), (DEEPEST_BODY, 400)):
        body = b'{"mediaIds":[],"x":' + b"[" * depth + b"]" * depth + b"}"
        assert (await send(vault, "POST", BATCH, body, connection))[0] == expected


async def test_of_a_name_that_stands_twice_the_last_one_counts(vault):
    connection = await vault.connect()
    status, answer = await send(vault, "POST", BATCH, b'{"mediaIds":["x y"],"mediaIds":[]}', connection)
    assert (status, answer) == (200, {"items": []})


async def test_numbers_at_the_edge_of_a_float_are_what_they_are_or_refused(vault):
    for number in (b"9007199254740993.0", b"1e308", b"0." + b"1" * 100_000, b"1e-999999", b"-0.0", b"2.5"):
        status, answer = await send(
            vault, "PATCH", SETTINGS, b'{"vaultPlus":{"defaultSettings":{"retentionDays":' + number + b"}}}"
        )
        assert status in {200, 400}, answer
        assert isinstance(
            (await vault.call("GET", SETTINGS)).json["vaultPlus"]["defaultSettings"]["retentionDays"], int
        )


async def test_texts_made_to_break_what_keeps_or_sends_them_are_no_500(vault):
    for name in ("cookie", "userAgent", "clientReferenceId"):
        for text in ("a\x00b", "a\r\nX: y", "\u2028" * 10, "x" * 500_000):
            body = {"cookie": "sess=sandbox-aurora", "userAgent": "test", name: text}
            status, answer = await send(vault, "POST", IMPORT, json.dumps(body).encode())
            assert status in {200, 400, 401, 413}, (name, text[:9], answer)
            assert answer.get("type") != "INTERNAL_ERROR"


TARGETS = [
    "/v2/vault-plus/media/a%00b",
    "/v2/vault-plus/media/%ff%fe",
    "/v2/vault-plus/media/%ed%a0%80",
    "/v2/%00",
    "/v2/vault-plus/media?cursor=%00",
    "/v2/vault-plus/media?contentType=%00",
    "/v2/vault-plus/media?cursor=%ed%a0%80",
    "/v2/vault-plus/media?limit=" + "9" * 5_000,
    "/v2/vault-plus/media?" + "a=1&" * 5_000,
    "/v2/vault-plus/media?durationMin=1e400",
    "/v2/vault-plus/media?createdAtFrom=9999999999-01-01T00:00:00Z",
    "/v2/vault-plus/lists/%00/media",
    "/v2/account/connections?offset=" + "9" * 30,
    "/v2/account/connections/conn_%00",
    "/v2/events?types=%00",
]


async def test_paths_and_queries_made_to_break_are_no_500(vault):
    connection = await vault.connect()
    for target in TARGETS:
        url = URL(vault.api_url + target, encoded=True)
        method = "DELETE" if "conn_%00" in target else "GET"
        headers = {"apiKey": KEY, "x-connection-id": connection}
        async with vault.http.request(method, url, headers=headers) as response:
            expected = {200} if "?a=1" in target else {400, 404}  # what no call knows is no harm
            assert response.status in expected, (target[:60], await response.text())


async def test_names_chosen_to_collide_cost_no_more_than_others(vault):
    """Names of members are hashed with a secret of this process: an attacker cannot choose colliding ones."""
    connection = await vault.connect()
    body = json.dumps({"mediaIds": []} | {f"k{number}": 0 for number in range(50_000)}).encode()
    status, _ = await send(vault, "POST", BATCH, body, connection)
    assert status == 200
    assert sys.flags.hash_randomization
