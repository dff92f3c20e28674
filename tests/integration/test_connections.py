"""Connections: importing, refreshing, listing, invalidating, ending; sealed at rest, apart by organisation."""

import json
import re
from pathlib import Path

from fakes.documents import check_answer
from fakes.upstreams import upstream
from fakes.vaults import AURORA, CORAL, JUNIPER, RunningVault
from mediavault.platform.creators import USER_AGENT
from mediavault.platform.faults import Fault

CONNECTIONS = "/v2/account/connections"
IMPORT = CONNECTIONS + "/import"
SESSION = {"cookie": AURORA.cookie, "userAgent": USER_AGENT}


async def imported(vault: RunningVault, body, **how):
    answer = await vault.call("POST", IMPORT, json=body, **how)
    check_answer(answer, "POST", IMPORT)
    return answer


async def listed(vault: RunningVault, query="", **how):
    answer = await vault.call("GET", f"{CONNECTIONS}?{query}", **how)
    check_answer(answer, "GET", CONNECTIONS)
    return answer.json


async def other_key(vault: RunningVault) -> str:
    authorising = vault.vault.foundation.authorising
    await authorising.create_organisation("other")
    return str((await authorising.create_key("other", ["ACCOUNT", "ACCESS"])).secret)


async def test_an_imported_session_becomes_a_connection(vault: RunningVault):
    answer = await imported(vault, SESSION | {"clientReferenceId": "creator-17", "permissions": ["vault:read"]})
    connection = answer.json
    assert re.fullmatch(r"conn_[0-9a-z]{24}", connection["id"])
    avatar = vault.sandbox.avatar_url(AURORA, vault.platform_url)
    assert connection["userData"] == {
        "id": "41001",
        "name": "Aurora Vale",
        "username": "aurora",
        "avatar": avatar,
    }
    assert (connection["status"], connection["imported"], connection["expiredAt"]) == ("active", True, None)
    assert (connection["permissions"], connection["clientReferenceId"]) == (["vault:read"], "creator-17")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", connection["createdAt"])
    assert (await listed(vault))["list"] == [connection]


async def test_the_same_upstream_user_again_is_the_same_connection_with_the_new_session(vault: RunningVault):
    first = (await imported(vault, SESSION | {"clientReferenceId": "mine"})).json
    vault.sandbox.expire_session("aurora")
    assert (await vault.call("GET", "/v2/access/self", connection=first["id"])).status == 401
    assert (await listed(vault, "status=expired"))["list"][0]["expiredAt"] is not None
    vault.sandbox.restore_session("aurora")
    shouted = vault.platform_url.replace("http", "HTTP") + "/"
    second = (await imported(vault, SESSION | {"upstream": {"baseUrl": shouted}})).json
    assert second["id"] == first["id"]
    assert (second["status"], second["expiredAt"], second["clientReferenceId"]) == ("active", None, "mine")
    assert second["createdAt"] == first["createdAt"]
    assert len((await listed(vault))["list"]) == 1


BAD_IMPORTS = [
    {},
    {"cookie": "a"},
    {"userAgent": "x"},
    SESSION | {"cookie": None},
    SESSION | {"cookie": 7},
    SESSION | {"cookie": "a\r\nX-Evil: 1"},
    SESSION | {"cookie": "a\0"},
    SESSION | {"cookie": "☃"},
    SESSION | {"cookie": "x" * 20_000},
    SESSION | {"userAgent": ""},
    SESSION | {"userAgent": " \t"},
    SESSION | {"userAgent": "a\nb"},
    SESSION | {"permissions": "all"},
    SESSION | {"permissions": ["x"] * 101},
    SESSION | {"permissions": ["a\0b"]},
    SESSION | {"clientReferenceId": "x" * 501},
    SESSION | {"clientReferenceId": "a\0b"},
    SESSION | {"clientReferenceId": 5},
    SESSION | {"upstream": "http://127.0.0.1"},
    SESSION | {"upstream": {}},
    *(
        SESSION | {"upstream": {"baseUrl": "http://127.0.0.1:9", "headers": headers}}
        for headers in (
            {"Host": "x"},
            {"cookie": "x"},
            {"User-Agent": "x"},
            {"Transfer-Encoding": "chunked"},
            {"Expect": "100-continue"},
            {"Content-Length": "5"},
            {"": "x"},
            {"a b": "x"},
            {"a:b": "x"},
            {"a\r\nb": "x"},
            {"é": "x"},
            {"X": "a\r\nY: b"},
            {"X": 5},
            {f"X-{number}": "" for number in range(51)},
        )
    ),
    *(
        SESSION | {"upstream": {"baseUrl": url}}
        for url in (
            *("", "x", "ftp://a", "file:///etc/passwd", "//a", "http://", "http:///x", "http://a?b=c", "http://a#b"),
            *(
                "http://u:p@a",
                "http://a:0",
                "http://a:99999",
                "http://a:x",
                "http://[::1",
                "http://a b",
                "http://a\r\nb",
            ),
            *("http://a\\b", "http://a/../b", "http://a/\0", "http://é", "gopher://a", "http://a/" + "x" * 500),
        )
    ),
]


async def test_what_cannot_be_a_session_is_400_and_asks_nobody(vault: RunningVault):
    for body in BAD_IMPORTS:
        answer = await imported(vault, body)
        assert (answer.status, answer.json["type"]) == (400, "BAD_REQUEST"), body
    assert vault.sandbox.log.records() == []
    assert (await listed(vault))["list"] == []


async def test_an_upstream_that_does_not_confirm_the_session_gives_no_connection(vault: RunningVault):
    async with upstream() as other:
        cases = [
            (None, 401, {}, 401, "SESSION_EXPIRED"),
            (None, 403, {}, 401, "SESSION_EXPIRED"),
            (None, 404, {}, 502, "UPSTREAM_ERROR"),
            (None, 500, {}, 502, "UPSTREAM_UNAVAILABLE"),
            (None, 429, {}, 429, "RATE_LIMIT_EXCEEDED"),
            (None, 302, {}, 502, "UPSTREAM_ERROR"),
            (None, 200, b"<html>", 502, "UPSTREAM_ERROR"),
            (None, 200, b"", 502, "UPSTREAM_ERROR"),
            (None, 200, b"[" * 100_000, 502, "UPSTREAM_ERROR"),
            (None, 200, {"username": "nobody"}, 502, "UPSTREAM_ERROR"),
            ({"id": 7, "isAuth": False}, 200, {}, 401, "SESSION_EXPIRED"),
            *(({"id": odd}, 200, {}, 502, "UPSTREAM_ERROR") for odd in ("", "a\0", "a/b", "x" * 65, 10**80, 1.5, None)),
        ]
        vault_config = SESSION | {"upstream": {"baseUrl": other.url}}
        denied = await imported(vault, vault_config)
        assert (denied.status, denied.json["type"]) == (502, "ADDRESS_DENIED")
        assert "MEDIAVAULT_ORIGIN_ALLOW" in denied.json["error"]
        assert other.asked == []
    for user, status, body, expected, kind in cases:
        fault = Fault(status=status, body=_text(user or body), content_type="application/json")
        armed = vault.sandbox.faults.add(fault)
        answer = await imported(vault, SESSION)
        assert (answer.status, answer.json["type"]) == (expected, kind), (user, status, body)
        armed.clear()
    assert (await listed(vault))["list"] == []


def _text(body) -> str:
    return body.decode() if isinstance(body, bytes) else json.dumps(body)


async def test_an_upstream_that_is_down_is_502(vault: RunningVault):
    down = vault.platform_url.rpartition(":")[0] + ":1"
    answer = await imported(vault, SESSION | {"upstream": {"baseUrl": down}})
    assert answer.status == 502
    answer = await imported(vault, SESSION | {"cookie": "sess=unknown"})
    assert (answer.status, answer.json["type"]) == (401, "SESSION_EXPIRED")
    answer = await imported(vault, SESSION | {"cookie": ""})
    assert (answer.status, answer.json["type"]) == (401, "SESSION_NOT_PROVIDED")


async def test_a_session_is_refreshed_by_its_own_user_only(vault: RunningVault):
    connection = (await imported(vault, SESSION)).json["id"]
    path = f"{IMPORT}/{connection}"
    other = await vault.call("PATCH", path, json=SESSION | {"cookie": CORAL.cookie})
    check_answer(other, "PATCH", IMPORT + "/{connectionId}")
    assert (other.status, "another upstream user" in other.json["error"]) == (400, True)
    assert (await vault.see(connection, "/v2/access/self"))["username"] == "aurora"
    bad = await vault.call("PATCH", path, json=SESSION | {"cookie": "a\n"})
    assert bad.status == 400
    await vault.call("POST", f"{CONNECTIONS}/{connection}/invalidate")
    refreshed = await vault.call("PATCH", path, json=SESSION)
    check_answer(refreshed, "PATCH", IMPORT + "/{connectionId}")
    assert (refreshed.status, refreshed.json["status"], refreshed.json["id"]) == (200, "active", connection)


async def test_invalidating_marks_as_expired_and_keeps_the_media(vault: RunningVault):
    connection = await vault.connect()
    item, _ = await vault.add(connection)
    answer = await vault.call("POST", f"{CONNECTIONS}/{connection}/invalidate")
    check_answer(answer, "POST", CONNECTIONS + "/{connectionId}/invalidate")
    assert (answer.json["status"], answer.json["expiredAt"] is None) == ("expired", False)
    again = await vault.call("POST", f"{CONNECTIONS}/{connection}/invalidate")
    assert again.json["expiredAt"] == answer.json["expiredAt"]
    assert await vault.item(connection, item.id)


async def test_a_disconnected_creator_leaves_no_media_and_no_working_url(vault: RunningVault):
    connection, stays = await vault.connect(), await vault.connect(CORAL)
    item, seen = await vault.add(connection, type="photo")
    url = seen["media"]["full"]["url"]
    assert (await vault.ask("GET", url)).status == 200
    await vault.until_stored(connection, item.id)
    answer = await vault.call("DELETE", f"{CONNECTIONS}/{connection}")
    check_answer(answer, "DELETE", CONNECTIONS + "/{connectionId}")
    assert answer.json == {"success": True}
    assert (await vault.ask("GET", url)).status == 404
    for method, path in (
        ("GET", f"/v2/vault-plus/media/{item.id}"),
        ("GET", "/v2/vault-plus/status"),
        ("GET", "/v2/access/self"),
    ):
        assert (await vault.call(method, path, connection=connection)).status == 400
    for method, path in (("DELETE", ""), ("POST", "/invalidate")):
        gone = await vault.call(method, f"{CONNECTIONS}/{connection}{path}")
        assert (gone.status, gone.json["error"]) == (404, "Connection not found")
    assert [each["id"] for each in (await listed(vault))["list"]] == [stays]
    stats = await vault.call("GET", "/v2/vault-plus/stats")
    check_answer(stats, "GET", "/v2/vault-plus/stats")
    assert (stats.json["totalConnections"], stats.json["totalMediaCount"]) == (1, 0)
    back = await vault.connect()
    assert back != connection
    assert (await vault.call("GET", f"/v2/vault-plus/media/{item.id}", connection=back)).status == 404


async def test_connections_are_listed_in_pages_and_by_state(vault: RunningVault):
    made = [await vault.connect(creator) for creator in (AURORA, CORAL, JUNIPER)]
    await vault.call("POST", f"{CONNECTIONS}/{made[1]}/invalidate")

    async def ids(query: str):
        page = await listed(vault, query)
        return [each["id"] for each in page["list"]], page["hasMore"]

    assert await ids("") == (made, False)
    assert await ids("limit=2.0") == (made[:2], True)
    assert await ids("limit=2&offset=2.0") == (made[2:], False)
    assert await ids("limit=3") == (made, False)
    assert await ids("offset=3") == ([], False)
    assert await ids("status=active") == ([made[0], made[2]], False)
    assert await ids("status=expired&imported=true") == ([made[1]], False)
    assert await ids("status=awaiting_2fa") == ([], False)
    assert await ids("imported=false") == ([], False)


async def test_two_organisations_see_nothing_of_each_other(vault: RunningVault):
    mine, key = await vault.connect(), await other_key(vault)
    item, _ = await vault.add(mine, type="photo")
    theirs = (await imported(vault, SESSION, key=key)).json["id"]
    assert theirs != mine
    assert [each["id"] for each in (await listed(vault, key=key))["list"]] == [theirs]
    assert (await vault.call("GET", f"/v2/vault-plus/media/{item.id}", key=key, connection=theirs)).status == 404
    for method, path, body in (
        ("DELETE", f"{CONNECTIONS}/{mine}", None),
        ("POST", f"{CONNECTIONS}/{mine}/invalidate", None),
        ("PATCH", f"{IMPORT}/{mine}", SESSION),
    ):
        foreign = await vault.call(method, path, key=key, json=body)
        unknown = await vault.call(method, path.replace(mine, "conn_" + "0" * 24), key=key, json=body)
        assert foreign.status == unknown.status == 404
        assert foreign.body.replace(foreign.headers["X-Request-Id"].encode(), b"") == unknown.body.replace(
            unknown.headers["X-Request-Id"].encode(), b""
        )
    for method, path in (
        ("GET", "/v2/access/self"),
        ("GET", "/v2/vault-plus/status"),
        ("DELETE", f"/v2/vault-plus/media/{item.id}"),
    ):
        assert (await vault.call(method, path, key=key, connection=mine)).status == 400
    assert (await vault.item(mine, item.id))["media"]
    assert (await listed(vault))["list"][0]["status"] == "active"
    assert (await vault.call("GET", "/v2/vault-plus/stats", key=key)).json["totalMediaCount"] == 0


async def test_no_secret_lies_readable_in_the_data_folder(vault: RunningVault):
    canary = "canary-51c8e"
    given = {"baseUrl": vault.platform_url, "headers": {"X-Own": f"{canary}-header"}}
    body = SESSION | {"cookie": f"{AURORA.cookie}; t={canary}-cookie", "upstream": given}
    connection = (await imported(vault, body)).json["id"]
    item, seen = await vault.add(connection, type="photo")
    await vault.ask("GET", seen["media"]["full"]["url"])
    await vault.until_stored(connection, item.id)
    data = Path(vault.vault.config.data)
    secrets = (canary, AURORA.session, item.renditions["full"].path, "Signature=", "test-key-with-all-scopes")

    def held() -> list[str]:
        files = [path for path in data.rglob("*") if path.is_file()]
        assert any(path.suffix == ".sqlite" for path in files)
        return [f"{secret} in {path}" for path in files for secret in secrets if secret.encode() in path.read_bytes()]

    assert held() == []
