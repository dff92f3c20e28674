"""The media host's doors: which URLs and methods open, what a POST does, and what passes straight through."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest

from fakes.raw_origin import Ending, head, raw_origin
from fakes.variants import Seen, raw, see, view
from fakes.vaults import Answer, RunningVault, running_vault, until
from mediavault.origin.addresses import AllowList
from mediavault.origin.client import ClientConfig
from mediavault.platform.faults import Fault
from mediavault.serving.responses import CONTENT_POLICY

HOUR = 3_600_000


def _check_error(answer: Answer, status: int, kind: str) -> None:
    """The contract's one shape, never cached, with the headers of every answer."""
    assert (answer.status, answer.json["type"], answer.json["code"]) == (status, kind, kind)
    assert answer.json["error"] == answer.json["message"] != ""
    assert answer.json["requestId"] == answer.headers["X-Request-Id"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == CONTENT_POLICY


async def test_only_the_token_that_was_given_opens(vault):
    seen = await see(vault, await vault.connect())
    base, _, token = seen.url.rpartition("/")
    for place in range(len(token)):
        altered = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        _check_error(await vault.ask("GET", f"{base}/{altered}"), 403, "FORBIDDEN")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = [token[:-1] + letter for letter in alphabet if letter != token[-1]]
    others += [token[:-1], token[1:], token + "=", token + "A", token + "/", token + "/x", token * 2]
    others += [
        "",
        "%00",
        "%C3%A9",
        token.replace("-", "+").replace("_", "/") + "!",
        f"{token[:20]}%20{token[20:]}",
        "A" * 9000,
    ]
    for other in others:
        _check_error(await vault.ask("GET", f"{base}/{other}"), 403, "FORBIDDEN")
    assert seen.fetches == 0
    escaped = "".join(f"%{ord(letter):02X}" for letter in token)
    assert b" 200 OK" in await raw(
        seen.url, f"GET /v2/{escaped} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
    )


async def test_a_url_ends_with_its_time_and_serves_only_its_purpose(vault):
    seen = await see(vault, await vault.connect())
    signer, now, variant_id = vault.vault.media.signer, vault.vault.now(), (await seen.row()).id
    late = signer.sign_variant(variant_id, ttl_seconds=60, now=now - HOUR)
    _check_error(await vault.ask("GET", late), 403, "FORBIDDEN")
    _check_error(await vault.ask("POST", late), 403, "FORBIDDEN")
    crossed = signer.sign_direct(bytes.fromhex(variant_id), ttl_seconds=60, now=now)
    _check_error(await vault.ask("GET", crossed), 403, "FORBIDDEN")
    unknown = signer.sign_variant("00" * 16, ttl_seconds=60, now=now)
    _check_error(await vault.ask("GET", unknown), 404, "RESOURCE_NOT_FOUND")
    assert seen.fetches == 0


async def test_methods_and_paths_that_are_none(vault):
    seen = await see(vault, await vault.connect())
    for method in ("PUT", "DELETE", "PATCH", "TRACE"):
        answer = await vault.ask(method, seen.url)
        _check_error(answer, 405, "METHOD_NOT_ALLOWED")
        assert answer.headers["Allow"] == "GET, HEAD, POST, OPTIONS"
    preflight = await vault.ask("OPTIONS", seen.url, Origin="https://app.example")
    assert preflight.status == 200
    assert "Range" in preflight.headers["Access-Control-Allow-Headers"]
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    host = seen.url.partition("/v2/")[0]
    for path in ("/", "/v2", "/v1/x", "//v2/x", "/v2x/y", "/v2/../x", "/favicon.ico"):
        answer = await vault.ask("GET", host + path)
        assert answer.status in {403, 404}
        assert answer.headers["Cache-Control"] == "no-store"
    _check_error(await vault.ask("GET", host + "/elsewhere"), 404, "ROUTE_NOT_FOUND")


async def test_a_post_queues_and_tells_the_status_whatever_it_is(tmp_path):
    async with running_vault(tmp_path / "data") as vault:
        connection = await vault.connect()
        seen = await see(vault, connection, size_bytes=200_000)
        armed = vault.sandbox.faults.add(Fault(path=seen.path, stall_at=100_000))
        first = await vault.ask("POST", seen.url, data=b"ignored")
        assert (first.status, first.json) == (202, {"queued": True, "status": "pending"})
        await seen.until_status("storing")
        again = await vault.ask("POST", seen.url)
        assert (again.status, again.json) == (202, {"queued": False, "status": "storing"})
        armed.clear()
        await seen.until_status("stored")
        again = await vault.ask("POST", seen.url)
        assert (again.status, again.json) == (202, {"queued": False, "status": "stored"})
        await vault.call("DELETE", f"/v2/vault-plus/media/{seen.media.id}", connection=connection)
        for method in ("GET", "HEAD", "POST"):
            assert (await vault.ask(method, seen.url)).status == 404
        assert seen.fetches == 1


async def test_a_view_shows_in_the_item_within_a_second(vault):
    connection = await vault.connect()
    seen = await see(vault, connection)
    await view(seen)

    async def counted() -> bool:
        return bool((await vault.item(connection, seen.media.id))["media"]["full"]["accessCount"] == 1)

    await until(counted, seconds=1)


async def test_a_viewer_who_leaves_a_large_answer_does_not_keep_it_running(vault):
    """uvicorn takes what is sent to nobody at once: the loop must be let go, and the rest not be read."""
    seen = await see(vault, await vault.connect(), type="video", size_bytes=64 << 20)
    await vault.ask("POST", seen.url)
    await seen.until_status("stored", 40)
    parts = urlsplit(seen.url)
    for _ in range(20):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(f"GET {parts.path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        await reader.readexactly(1000)
        writer.transport.abort()

    async def nobody_is_served() -> bool:
        tasks = {getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()}
        return not tasks & {"MediaProtocol._send", "send_run"}

    await until(nobody_is_served, 5)


@pytest.fixture
async def direct(tmp_path) -> Any:
    """A vault, and a maker of direct URLs for a path of its sandbox, or for any other URL of this machine."""
    async with running_vault(tmp_path / "data", client=ClientConfig(allow=AllowList.parse("127.0.0.0/8"))) as vault:
        yield vault, await vault.connect()


def _direct_url(vault: RunningVault, url: str) -> str:
    sealed = vault.vault.foundation.sealer.seal_direct(url, "org", "conn")
    return str(vault.vault.media.signer.sign_direct(sealed, ttl_seconds=60, now=vault.vault.now()))


async def _direct_to(vault: RunningVault, seen: Seen) -> str:
    return _direct_url(vault, vault.sandbox.media_url(seen.path, vault.platform_url))


async def test_a_direct_url_streams_ranges_and_conditions_and_keeps_nothing(direct):
    vault, connection = direct
    seen = await see(vault, connection, size_bytes=400_000)
    url, content = await _direct_to(vault, seen), seen.media.renditions["full"].content
    whole = await vault.ask("GET", url)
    assert (whole.status, whole.body, whole.headers["Content-Type"]) == (200, content.read(0, 400_000), "image/jpeg")
    assert whole.headers["Cache-Control"].startswith("private, max-age=")
    part = await vault.ask("GET", url, Range="bytes=5-8")
    assert (part.status, part.body, part.headers["Content-Range"]) == (206, content.read(5, 9), "bytes 5-8/400000")
    several = await vault.ask("GET", url, Range="bytes=0-8,100-108")
    assert (several.status, len(several.body)) == (200, 400_000)
    beyond = await vault.ask("GET", url, Range="bytes=400000-")
    assert (beyond.status, beyond.body, beyond.headers["Content-Range"]) == (416, b"", "bytes */400000")
    assert beyond.headers["Cache-Control"] == "no-store"
    same = await vault.ask("GET", url, **{"If-None-Match": whole.headers["ETag"]})
    assert (same.status, same.body) == (304, b"")
    asked = await vault.ask("HEAD", url)
    assert (asked.status, asked.headers["Content-Length"], asked.body) == (200, "400000", b"")
    _check_error(await vault.ask("POST", url), 403, "FORBIDDEN")
    for request in (b"range: bytes=400000-\r\n", b"if-none-match: *\r\n", b"range: bytes=0-8\r\n"):
        both = [b"GET {path} HTTP/1.1\r\nhost: x\r\n" + more + b"\r\n" for more in (request, b"connection: close\r\n")]
        assert (await raw(url, *both)).endswith(content.read(399_000, 400_000))
    assert (await seen.row()).access_count == 0
    assert vault.vault.media.edge.statistics().copies == 0
    assert not [path for path in (vault.vault.config.data / "edge").rglob("*") if path.is_file()]


HTML = b"<!doctype html><script>alert(1)</script>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (head(content_type="text/html", content_length=len(HTML)) + HTML, 502),
        (head(content_type="image/jpeg", content_length=len(HTML)) + HTML, 502),
        (head(content_type="image/svg+xml", content_length=len(SVG)) + SVG, 502),
        (head(content_type="text/plain", content_length=2) + b"no", 502),
        (head(content_type="image/jpeg", content_encoding="gzip", content_length=2) + b"\x1f\x8b", 502),
        (head("206 Partial Content", content_type="image/jpeg", content_range="bytes 0-1/9", content_length=2), 502),
        (head("304 Not Modified", etag='"x"'), 502),
        (head("403 Forbidden", content_length=0), 502),
        (head("500 Oops", content_length=0), 502),
        (head(content_type="application/zip", content_length=4) + b"PK\x03\x04", 502),
        (head(content_type="image/jpeg", etag='"\u00e9"', content_length=3) + b"\xff\xd8\xff", 200),
    ],
)
async def test_a_direct_url_hands_on_media_and_nothing_else(direct, answer, status):
    vault, _ = direct
    async with raw_origin(answer, Ending.FIN) as origin:
        got = await vault.ask("GET", _direct_url(vault, origin.url))
    assert got.status == status
    if status == 502:
        assert got.headers["Cache-Control"] == "no-store"
        assert got.json["requestId"]


async def test_a_direct_body_that_breaks_off_is_never_short(direct):
    vault, connection = direct
    seen = await see(vault, connection, size_bytes=400_000)
    vault.sandbox.faults.add(Fault(path=seen.path, truncate_at=300_000))
    broken = Seen(vault, connection, seen.media, await _direct_to(vault, seen))
    assert await view(broken) is None
    vault.sandbox.faults.clear()
    vault.sandbox.faults.add(Fault(path=seen.path, truncate_at=300_000, omit_content_length=True))
    assert await view(broken) is None


async def test_a_direct_url_may_not_dial_what_is_not_allowed(vault):
    answer = await vault.ask("GET", _direct_url(vault, "http://127.0.0.1:1/x"))
    _check_error(answer, 502, "ADDRESS_DENIED")
