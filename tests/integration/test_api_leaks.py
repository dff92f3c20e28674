"""Secrets that went in come out nowhere: no answer and no log line of any error holds one."""

import json
from typing import Any

from fakes.raw_http import RawAnswer, raw
from fakes.vaults import AURORA
from mediavault.platform.creators import USER_AGENT
from mediavault.platform.faults import Fault

IMPORT = "/v2/account/connections/import"
OWN = "/v2/account/connections/conn_" + "0" * 24
CANARY = "canary-7f3a9"


async def test_secrets_are_in_no_answer_and_no_log_line_of_any_error(vault, capsys):
    """The cookie, a header of the upstream, the key and an origin URL, pushed through every way that fails."""
    key = (await vault.vault.foundation.authorising.create_key("default", ["ACCOUNT", "ACCESS"])).secret
    cookie = f"{AURORA.cookie}; token={CANARY}-cookie"
    headers = {"X-Own": f"{CANARY}-header"}
    said: list[bytes] = []

    def named(connection: bytes) -> list[tuple[bytes, bytes]]:
        return [(b"apiKey", key.encode()), (b"x-connection-id", connection)]

    async def say(method: str, target: str, **how: Any) -> RawAnswer:
        answer = await raw(vault.api_url, method, target, named(how.pop("connection", b"")), **how)
        assert answer is not None
        said.append(repr(answer.headers).encode() + answer.body)
        return answer

    def given(**more: Any) -> bytes:
        whole = {
            "cookie": cookie,
            "userAgent": USER_AGENT,
            "upstream": {"baseUrl": vault.platform_url, "headers": headers},
        }
        return json.dumps(whole | more).encode()

    connection = (await say("POST", IMPORT, body=given())).json["id"].encode()
    for base_url in ("http://127.0.0.1:1", f"http://u:{CANARY}@127.0.0.1", f"ftp://{CANARY}", f"http://[{CANARY}"):
        await say("POST", IMPORT, body=given(upstream={"baseUrl": base_url, "headers": headers}))
    await say("POST", IMPORT, body=given(cookie=cookie + "\r\nx"))
    await say("POST", IMPORT, body=given(upstream={"baseUrl": vault.platform_url, "headers": {"X\r": CANARY}}))
    await say("POST", IMPORT, body=given()[:-2])
    await say("POST", IMPORT, body=given(userAgent=7))
    for fault in (
        Fault(status=500),
        Fault(body="<html>"),
        Fault(body="{", content_type="application/json"),
        Fault(redirect=f"http://127.0.0.1:1/{CANARY}"),
        Fault(truncate_at=10),
        Fault(status=401),
    ):
        armed = vault.sandbox.faults.add(fault)
        await say("GET", "/v2/access/vault/media", connection=connection)
        await say("POST", IMPORT, body=given())
        armed.clear()
    added = vault.sandbox.add_media("aurora", type="photo")
    vault.sandbox.add_media("aurora", type="photo")
    await say("POST", IMPORT, body=given())
    seen = (await say("GET", "/v2/access/vault/media?limit=2", connection=connection)).json
    vault.sandbox.faults.clear()
    for fault in (Fault(path="/cdn/", status=403), Fault(path="/cdn/", redirect=f"http://127.0.0.1:1/{CANARY}")):
        armed = vault.sandbox.faults.add(fault)
        url = seen["list"].pop()["files"]["full"]["url"]
        failed = await vault.ask("GET", url)
        assert failed.status == 502
        said.append(repr(failed.headers).encode() + failed.body)
        armed.clear()
    for path in (f"/v2/vault-plus/media/{added.id}", "/v2/account/connections", f"/v2/access/{CANARY[0]}/..", OWN):
        await say("GET", path, connection=connection)
    logged = "".join(capsys.readouterr())
    for secret in (CANARY, key, AURORA.session, "Signature=", "/cdn/aurora/"):
        assert secret not in logged
        assert [answer for answer in said if secret.encode() in answer] == []
