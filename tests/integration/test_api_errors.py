"""Bad requests: each a clear error of the one shape, with a request id, in the order key, connection, parameters."""

import json
from typing import Any

import pytest

from fakes.documents import resolved, validator
from fakes.raw_http import RawAnswer, raw
from fakes.vaults import KEY, RunningVault
from mediavault.api.requests import LARGEST_BODY, LARGEST_FORWARDED_BODY

_KEY = KEY.encode()
NOBODY = b"conn_" + b"0" * 24
ERROR = resolved({"$ref": "#/components/schemas/Error"})
BATCH, IMPORT = "/v2/vault-plus/media/batch", "/v2/account/connections/import"
OWN = "/v2/account/connections/" + NOBODY.decode()
#: Every operation that wants a key: whether it wants a connection, and whether it takes JSON.
WITH_KEY = [
    ("GET", "/v2/vault-plus/media/1", True, False),
    ("DELETE", "/v2/vault-plus/media/1", True, False),
    ("POST", BATCH, True, True),
    ("GET", "/v2/vault-plus/status", True, False),
    ("GET", "/v2/vault-plus/stats", False, False),
    ("GET", "/v2/account/whoami", False, False),
    ("GET", "/v2/account/connections?limit=x", False, False),
    ("POST", IMPORT, False, True),
    ("PATCH", IMPORT + "/" + NOBODY.decode(), False, True),
    ("DELETE", OWN, False, False),
    ("POST", OWN + "/invalidate", False, False),
    ("GET", "/v2/access/vault/media", True, False),
    ("POST", "/v2/access/../posts", True, True),
]


def check(answer: RawAnswer | None, status: int, kind: str) -> RawAnswer:
    """An error of the contract's shape."""
    assert answer is not None
    assert answer.status == status, answer.body[:300]
    validator(ERROR).validate(answer.json)
    assert answer.json["error"] == answer.json["message"]
    assert answer.json["type"] == answer.json["code"] == kind
    assert answer.json["requestId"] == answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    return answer


async def ask(
    vault: RunningVault,
    method: str,
    target: str,
    *,
    key: bytes | None = _KEY,
    connection: bytes | None = None,
    body: bytes = b"",
    **how: Any,
) -> RawAnswer | None:
    headers = [(b"apiKey", key)] if key is not None else []
    headers += [(b"x-connection-id", connection)] if connection is not None else []
    return await raw(vault.api_url, method, target, [*headers, *how.pop("headers", [])], body, **how)


async def test_the_key_then_the_connection_then_the_rest(vault):
    for operation in WITH_KEY:
        await check_order(vault, *operation)


async def check_order(vault: Any, method: str, target: str, wants_connection: bool, takes_json: bool) -> None:
    garbage = b"{" if takes_json else b""
    for key in (None, b"unknown-key"):
        for connection in (None, NOBODY):
            check(await ask(vault, method, target, key=key, connection=connection, body=garbage), 401, "UNAUTHORIZED")
    if wants_connection:
        missing = check(await ask(vault, method, target, body=garbage), 400, "BAD_REQUEST")
        assert missing.json["error"] == "x-connection-id header is required"
        unknown = check(await ask(vault, method, target, connection=NOBODY, body=garbage), 400, "BAD_REQUEST")
        assert unknown.json["error"] == "x-connection-id header is invalid"
    if takes_json and not wants_connection:
        check(await ask(vault, method, target, body=garbage), 400, "BAD_REQUEST")


async def test_a_key_of_the_other_scope_is_401(vault):
    make = vault.vault.foundation.authorising.create_key
    keys = {scope: (await make("default", [scope])).secret.encode() for scope in ("ACCOUNT", "ACCESS")}
    for method, target, *_ in WITH_KEY:
        key = keys["ACCOUNT" if target.startswith("/v2/access") else "ACCESS"]
        check(await ask(vault, method, target, key=key, connection=NOBODY), 401, "UNAUTHORIZED")


@pytest.mark.parametrize("name", [b"apiKey", b"x-connection-id"])
async def test_a_header_that_is_sent_twice_is_none(vault, name):
    connection = (await vault.connect()).encode()
    value = KEY.encode() if name == b"apiKey" else connection
    answer = await ask(vault, "GET", "/v2/vault-plus/status", connection=connection, headers=[(name, value)])
    check(answer, *((401, "UNAUTHORIZED") if name == b"apiKey" else (400, "BAD_REQUEST")))


ABSURD_KEYS = [b"\xe9\xff", b"\x80" * 64, b"x" * 20_000, KEY.encode() + b"\xa0", b'"' + KEY.encode()]


async def test_an_absurd_key_is_401(vault):
    for key in ABSURD_KEYS:
        check(await ask(vault, "GET", "/v2/account/whoami", key=key), 401, "UNAUTHORIZED")


async def test_header_names_are_without_case(vault):
    for name in (b"apikey", b"APIKEY", b"ApiKey"):
        answer = await raw(vault.api_url, "GET", "/v2/account/whoami", [(name, b"  " + KEY.encode() + b"\t")])
        assert answer is not None
        assert answer.status == 200


NO_ROUTES = [
    ("GET", "/"),
    ("GET", "/v2"),
    ("GET", "/v2/vault-plus/media/"),
    ("DELETE", "/v2/vault-plus/media/"),
    ("DELETE", "/v2/vault-plus/media//"),
    ("GET", "/v2/vault-plus/media/1/"),
    ("GET", "/v2/vault-plus/media/1/2"),
    ("GET", "/v2/vault-plus/media/1%2F2"),
    ("GET", "/v2/account/connections/"),
    ("GET", "/v2/account/whoami/"),
    ("POST", IMPORT + "/"),
    ("GET", "//v2/account/whoami"),
    ("GET", "/v2/access"),
    ("POST", "/livez/"),
    ("OPTIONS", "/nowhere"),
    ("GET", "/%F0%9F%98%80"),
]


async def test_what_is_no_route_is_404_and_redirects_nowhere(vault):
    for method, target in NO_ROUTES:
        answer = check(await ask(vault, method, target), 404, "ROUTE_NOT_FOUND")
        assert "location" not in answer.headers


async def test_an_empty_id_removes_nothing(vault):
    connection = await vault.connect()
    item, _ = await vault.add(connection)
    for target in (
        "/v2/vault-plus/media/",
        "/v2/vault-plus/media/%20",
        "/v2/vault-plus/media/%00",
        "/v2/vault-plus/media/.0",
    ):
        answer = await ask(vault, "DELETE", target, connection=connection.encode())
        assert answer is not None
        assert answer.status == 404
    assert await vault.item(connection, item.id)


WRONG_METHODS = [
    ("POST", "/v2/vault-plus/media/1", "DELETE, GET, HEAD"),
    ("PUT", BATCH, "POST"),
    ("GET", BATCH, "POST"),
    ("DELETE", BATCH, "POST"),
    ("DELETE", "/v2/account/connections", "GET, HEAD"),
    ("PUT", IMPORT, "POST"),
    ("DELETE", IMPORT, "POST"),
    ("OPTIONS", IMPORT + "/conn_x", "PATCH"),
    ("PATCH", OWN, "DELETE"),
    ("GET", OWN + "/invalidate", "POST"),
    ("POST", "/livez", "GET, HEAD"),
    ("QUERY", "/v2/access/self", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
    ("TRACE", "/v2/access/self", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
]


async def test_a_wrong_method_is_told_the_right_ones(vault):
    for method, target, allowed in WRONG_METHODS:
        answer = check(await ask(vault, method, target), 405, "METHOD_NOT_ALLOWED")
        assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("target", ["/nowhere", "/v2/account/whoami", "/v2/vault-plus/media/1"])
async def test_a_head_error_has_the_headers_and_no_body(vault, target):
    got, headed = await ask(vault, "GET", target, key=b"no"), await ask(vault, "HEAD", target, key=b"no")
    assert got is not None
    assert headed is not None
    assert (headed.status, headed.body) == (got.status, b"")
    assert headed.headers["content-length"] == got.headers["content-length"] == str(len(got.body))


BAD_JSON = {
    "nothing": b"",
    "half": b'{"mediaIds": ["1"',
    "list": b"[]",
    "text": b'"x"',
    "null": b"null",
    "deep": b'{"mediaIds":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep beside": b'{"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "huge": b'{"mediaIds": [' + b"9" * 5000 + b"]}",
    "large": b'{"mediaIds": [' + b"9" * 100 + b"]}",
    "surrogate": rb'{"mediaIds": ["\ud800"]}',
    "nul": rb'{"mediaIds": ["a\u0000"]}',
    "latin": b'{"mediaIds": ["\xe9"]}',
    "utf-16": '{"mediaIds": []}'.encode("utf-16"),
    "nan": b'{"mediaIds": [NaN]}',
    "float": b'{"mediaIds": [1.5]}',
    "missing": b'{"ids": []}',
    "wrong": b'{"mediaIds": "1"}',
    "slash": b'{"mediaIds": ["a/b"]}',
    "empty id": b'{"mediaIds": [""]}',
    "long id": json.dumps({"mediaIds": ["x" * 65]}).encode(),
    "too many": json.dumps({"mediaIds": [str(number) for number in range(101)]}).encode(),
}


async def test_a_bad_batch_is_400(vault):
    connection = (await vault.connect()).encode()
    for case, content in BAD_JSON.items():
        answer = await ask(vault, "POST", BATCH, connection=connection, body=content)
        assert check(answer, 400, "BAD_REQUEST"), case


@pytest.mark.parametrize("target", [BATCH, IMPORT])
@pytest.mark.parametrize("how", [{"chunked": True}, {}], ids=["chunked", "announced"])
async def test_a_body_over_the_limit_is_413(vault, target, how):
    connection = (await vault.connect()).encode()
    answer = await ask(vault, "POST", target, connection=connection, body=b" " * (LARGEST_BODY + 1), **how)
    check(answer, 413, "BODY_TOO_LARGE")
    fits = b'{"mediaIds": []' + b" " * (LARGEST_BODY - 17) + b"}"
    answer = await ask(vault, "POST", BATCH, connection=connection, body=fits, **how)
    assert answer is not None
    assert answer.status == 200


async def test_an_absurd_announcement_is_413_before_a_byte_is_sent(vault):
    connection = (await vault.connect()).encode()
    for announced in (LARGEST_BODY + 1, 10**15):
        check(await ask(vault, "POST", BATCH, connection=connection, announced=announced), 413, "BODY_TOO_LARGE")
    answer = await ask(vault, "POST", "/v2/access/posts", connection=connection, announced=LARGEST_FORWARDED_BODY + 1)
    check(answer, 413, "BODY_TOO_LARGE")


QUERIES = [
    ("", 200),
    ("limit=20.0&offset=0.0", 200),
    ("limit=1&offset=999999999", 200),
    ("limit=100.000", 200),
    ("limit=0", 400),
    ("limit=101", 400),
    ("limit=-1", 400),
    ("limit=1.5", 400),
    ("limit=1e1", 400),
    ("limit=1_0", 400),
    ("limit=%D9%A3", 400),
    ("limit=", 400),
    ("limit=+1", 400),
    ("limit=" + "9" * 5000, 400),
    ("offset=1000000000", 400),
    ("offset=%00", 400),
    ("status=active", 200),
    ("status=awaiting_2fa", 200),
    ("status=ACTIVE", 400),
    ("status=", 400),
    ("imported=true", 200),
    ("imported=false", 200),
    ("imported=1", 400),
]


async def test_paging_takes_whole_numbers_in_bounds(vault):
    for query, status in QUERIES:
        answer = await ask(vault, "GET", f"/v2/account/connections?{query}")
        if status == 400:
            check(answer, 400, "BAD_REQUEST")
        else:
            assert answer is not None
            assert (answer.status, set(answer.json)) == (200, {"list", "hasMore"})


async def test_an_integral_float_in_a_path_is_the_integer_before_anything_else(vault):
    connection = (await vault.connect()).encode()
    removed = await ask(vault, "DELETE", "/v2/vault-plus/media/5.0", connection=connection)
    check(removed, 404, "RESOURCE_NOT_FOUND")
    check(await ask(vault, "DELETE", "/v2/account/connections/5.0"), 404, "RESOURCE_NOT_FOUND")
    item, _ = await vault.add(connection.decode())
    answer = await ask(vault, "DELETE", f"/v2/vault-plus/media/{item.id}.0", connection=connection)
    assert answer is not None
    assert answer.json["mediaId"] == str(item.id)


async def test_an_unexpected_error_is_a_500_that_tells_nothing_and_is_logged_under_its_id(vault, monkeypatch, capsys):
    async def broken(*_):
        raise RuntimeError("canary")

    monkeypatch.setattr(vault.vault.foundation.catalog, "fetch_list", broken)
    answer = check(await ask(vault, "GET", "/v2/vault-plus/stats"), 500, "INTERNAL_ERROR")
    assert b"canary" not in answer.body
    assert answer.json["error"] == "Internal server error"
    assert answer.json["requestId"] in capsys.readouterr().out


async def test_a_caller_who_hangs_up_while_sending_is_no_error_of_ours(vault, capsys):
    connection = (await vault.connect()).encode()
    await ask(vault, "POST", BATCH, connection=connection, body=b"{", announced=100, drop=True)
    for _ in range(3):  # the hang-up was there before these
        assert await ask(vault, "GET", "/livez")
    assert "request_failed" not in capsys.readouterr().out
