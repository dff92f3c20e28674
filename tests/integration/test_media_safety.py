"""What every answer of the media host says to a browser, on every path to the bytes, whatever the origin says."""

from email.message import Message
from typing import Any

import pytest

from fakes.raw_origin import Ending, head, raw_origin
from fakes.variants import Seen, see
from fakes.vaults import AURORA, RunningVault, running_vault
from mediavault.edge.cache import EdgeConfig
from mediavault.origin.addresses import AllowList
from mediavault.origin.client import ClientConfig
from mediavault.platform.faults import Fault
from mediavault.serving.responses import CONTENT_POLICY

#: Bytes that nothing tells the type of, and a script.
UNKNOWN = b"fetch('http://127.0.0.1/');" * 20
GIF = b"GIF89a/*\0\0*/=1;" + UNKNOWN
#: What a request asks, and what is answered where the bytes are known.
REQUESTS: dict[str, tuple[str, dict[str, str], int]] = {
    "whole": ("GET", {}, 200),
    "head": ("HEAD", {}, 200),
    "part": ("GET", {"range": "bytes=3-9"}, 206),
    "parts": ("GET", {"range": "bytes=0-1,5-6"}, 206),
    "none": ("GET", {"range": "bytes=99999-"}, 416),
    "changed": ("GET", {"if_match": '"other"'}, 412),
    "queue": ("POST", {}, 202),
    "options": ("OPTIONS", {}, 200),
    "method": ("DELETE", {}, 405),
}
STATES = ("cold", "edge", "stored", "hot")


def _is_guarded(answer: Any) -> None:
    """The headers that keep a browser from making anything of an answer."""
    headers = answer.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == CONTENT_POLICY
    assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert headers["Access-Control-Allow-Origin"] == "*"
    for name in ("Content-Type", "X-Content-Type-Options", "Content-Security-Policy", "Content-Disposition"):
        assert len(headers.getall(name, [])) <= 1
    assert not {"Set-Cookie", "X-Injected", "Location", "Service-Worker-Allowed", "Refresh", "Link"} & set(headers)
    if answer.status in {200, 206} and "Content-Disposition" in headers:
        return
    assert headers.get("Content-Type") in {"application/json", None}


def _disposition(answer: Any) -> tuple[str, str | None]:
    message = Message()
    message["Content-Disposition"] = answer.headers["Content-Disposition"]
    return message.get_content_disposition() or "", message.get_filename()


async def _in_state(vault: RunningVault, state: str, content: bytes, declared: str) -> Seen:
    if state == "edge":
        settings = {"vaultPlus": {"defaultSettings": {"autoCacheVault": False}}}
        assert (await vault.call("PATCH", "/v2/account/settings", json=settings)).status == 200
    seen = await see(vault, await vault.connect(), content=content, content_type=declared)
    if state != "cold":
        assert (await vault.ask("GET", seen.url)).status == 200
        await seen.until_idle()
    if state in {"stored", "hot"}:
        await seen.until_status("stored")
    if state == "hot":
        for _ in range(5):
            await vault.ask("GET", seen.url)
    return seen


@pytest.mark.parametrize("asked", REQUESTS)
@pytest.mark.parametrize("state", STATES)
async def test_unknown_bytes_are_an_attachment_on_every_path(vault, state, asked):
    method, headers, status = REQUESTS[asked]
    seen = await _in_state(vault, state, UNKNOWN, "application/octet-stream")
    answer = await vault.ask(method, seen.url, **headers)
    assert answer.status == status
    _is_guarded(answer)
    if status in {200, 206} and method in {"GET", "HEAD"}:
        assert _disposition(answer) == ("attachment", "media.bin")
        assert answer.headers["Content-Type"].partition(";")[0] in {"application/octet-stream", "multipart/byteranges"}
        again = await vault.ask(method, seen.url, if_none_match=answer.headers["ETag"])
        assert again.status == 304
        _is_guarded(again)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("declared", ["video/mp4", "image/jpeg"])
async def test_unknown_bytes_are_an_attachment_whatever_they_are_declared_as(vault, state, declared):
    seen = await _in_state(vault, state, UNKNOWN, declared)
    answer = await vault.ask("GET", seen.url)
    _is_guarded(answer)
    assert answer.body == UNKNOWN
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert _disposition(answer) == ("attachment", "media.bin")


@pytest.mark.parametrize("state", STATES)
async def test_a_picture_is_a_picture_whatever_it_is_declared_as(vault, state):
    seen = await _in_state(vault, state, GIF, "text/javascript")
    answer = await vault.ask("GET", seen.url)
    _is_guarded(answer)
    assert (answer.headers["Content-Type"], _disposition(answer)) == ("image/gif", ("inline", "media.gif"))


async def test_a_fill_under_way_says_the_same(vault):
    seen = await see(vault, await vault.connect(), content=UNKNOWN, content_type="application/octet-stream")
    stalled = vault.sandbox.faults.add(Fault(path=seen.path, stall_at=530))
    async with vault.http.get(seen.url) as first, vault.http.get(seen.url) as second:
        for answer in (first, second):
            _is_guarded(answer)
            assert _disposition(answer) == ("attachment", "media.bin")
        stalled.clear()
        assert await first.read() == await second.read() == UNKNOWN


@pytest.mark.parametrize("asked", ["whole", "head", "part", "none", "method"])
@pytest.mark.parametrize("how", ["without Vault+", "without room"])
async def test_what_passes_through_says_the_same(tmp_path, how, asked):
    changes: dict[str, Any] = {"edge": EdgeConfig(free_floor_bytes=1 << 62)} if how == "without room" else {}
    async with running_vault(tmp_path / "data", **changes) as vault:
        connection = await vault.connect()
        if how == "without Vault+":
            path = f"/v2/account/connections/{connection}/settings"
            assert (await vault.call("PATCH", path, json={"vaultPlus": {"enabled": False}})).status == 200
        added = vault.sandbox.add_media(
            AURORA.username, type="photo", content=UNKNOWN, content_type="image/x-unheard-of"
        )
        listing = await vault.see(connection, "/v2/access/vault/media?limit=1")
        (url,) = [each["files"]["full"]["url"] for each in listing["list"] if each["id"] == added.id]
        method, headers, status = REQUESTS[asked]
        answer = await vault.ask(method, url, **headers)
        assert answer.status == status
        _is_guarded(answer)
        if status in {200, 206}:
            assert _disposition(answer) == ("attachment", "media.bin")


#: What an origin says of a JPEG, and what is passed on of it.
HOSTILE_TYPES = [
    "image/jpeg; charset=utf-7",
    "image/jpeg, text/html",
    "text/html; x=image/jpeg",
    "text/html",
    "image/jpeg\r\n X-Injected: folded",
    "image/jpeg\r\nX-Injected: 1\r\nSet-Cookie: a=b\r\nService-Worker-Allowed: /\r\nRefresh: 0\r\nLink: <x>",
    "image/jpeg\r\nContent-Type: text/html",
    "text/html\r\nContent-Type: image/jpeg",
    "image/jpeg\r\nContent-Disposition: inline; filename=evil.html",
    "image/jpeg\r\nX-Content-Type-Options: sniff\r\nContent-Security-Policy: script-src *",
    "image/jpeg\x00text/html",
    "image/jp\u00ebg",
    "IMAGE/JPEG",
    "x" * 3000 + "/html",
    ";;;",
]
#: Of these not even the bytes are taken: such a header is none (RFC 9110 §5.5).
REFUSED = {"image/jpeg\x00text/html"}


@pytest.mark.parametrize("declared", HOSTILE_TYPES)
@pytest.mark.parametrize("enabled", [True, False], ids=["kept", "direct"])
async def test_nothing_that_an_origin_says_of_the_type_passes_through(tmp_path, declared, enabled):
    jpeg = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(600)
    answered = head(content_length=len(jpeg), content_type=declared) + jpeg
    client = ClientConfig(allow=AllowList.parse("127.0.0.0/8"))
    async with running_vault(tmp_path / "data", client=client) as vault, raw_origin(answered, Ending.FIN) as origin:
        connection = await vault.connect()
        path = f"/v2/account/connections/{connection}/settings"
        assert (await vault.call("PATCH", path, json={"vaultPlus": {"enabled": enabled}})).status == 200
        added = vault.sandbox.add_media(AURORA.username, type="photo", content=jpeg)
        vault.sandbox.faults.add(Fault(path=added.renditions["full"].path, redirect=origin.url))
        listing = await vault.see(connection, "/v2/access/vault/media?limit=1")
        (url,) = [each["files"]["full"]["url"] for each in listing["list"] if each["id"] == added.id]
        answer = await vault.ask("GET", url)
        assert origin.hits >= 1
    _is_guarded(answer)
    if answer.status == 200:
        assert (answer.headers["Content-Type"], answer.body) == ("image/jpeg", jpeg)
        assert _disposition(answer) == ("inline", "media.jpg")
    else:
        assert (answer.status, declared in REFUSED) == (502, True)
