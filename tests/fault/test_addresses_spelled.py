"""Every hostile spelling, at every door that dials: refused, and the canary on loopback is never reached."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from fakes import hostile
from fakes.dialling import Canary, Resolver, canary, client, get, post
from fakes.upstreams import upstream
from fakes.vaults import AURORA, RunningVault, running_vault
from mediavault.errors import AddressDenied, OriginError
from mediavault.platform.creators import USER_AGENT


@pytest.fixture
async def resolver(monkeypatch) -> Resolver:
    """The worst there could be: whatever the name, it stands for this machine."""
    asked = Resolver(lambda _: ["127.0.0.1", "::1"])
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", asked.getaddrinfo)
    return asked


@pytest.fixture
async def listening():
    async with canary() as opened:
        yield opened
        assert (opened.hits, bytes(opened.heard)) == (0, b"")


def test_there_are_hundreds_of_them():
    urls = hostile.everything(9)
    assert len(set(urls)) == len(urls) > 800


@pytest.mark.parametrize("send", [get, post])
async def test_what_is_not_plain_is_refused_before_a_resolver_is_asked(listening: Canary, resolver: Resolver, send):
    async with client() as dialling:
        for url in hostile.refused_as_written():
            with pytest.raises(AddressDenied):
                await send(dialling, url.replace("{port}", str(listening.port)))
    assert resolver.asked == []


@pytest.mark.parametrize("send", [get, post])
async def test_addresses_and_names_that_lead_inside_are_refused(listening: Canary, resolver: Resolver, send):
    async with client() as dialling:
        for url in hostile.refused_for_address():
            with pytest.raises(AddressDenied):
                await send(dialling, url.replace("{port}", str(listening.port)))
        assert resolver.asked == []
        for url in hostile.refused_once_resolved():
            with pytest.raises(AddressDenied):
                await send(dialling, url.replace("{port}", str(listening.port)))
        assert len(resolver.asked) > len(hostile.NAMES)


async def test_what_an_operator_allows_for_the_canary_is_opened_by_plain_spellings_alone(resolver: Resolver):
    """The same table with an open door: the canary does hear, so the tests above could fail."""
    async with canary() as open_one, client(f"127.0.0.1:{open_one.port}") as dialling:
        assert await get(dialling, f"http://127.0.0.1:{open_one.port}/x") == b"reached"
        assert await post(dialling, f"http://rebind.example:{open_one.port}/x") == b"reached"
        assert open_one.hits == 2
        for url in hostile.refused_as_written():
            with pytest.raises(AddressDenied):
                await get(dialling, url.replace("{port}", str(open_one.port)))
        assert open_one.hits == 2


async def test_no_redirect_leads_there(listening: Canary, resolver: Resolver):
    sent = 0
    async with upstream() as origin, client(origin.url.removeprefix("http://")) as dialling:
        for url in hostile.everything(listening.port):
            location = url.encode("utf-8", "surrogatepass")
            if any(byte in location for byte in b"\x00\r\n"):
                continue  # no header can hold it
            origin.status, origin.body = 302, b""
            origin.headers = [(b"location", location)]
            origin.asked.clear()
            with pytest.raises(OriginError):
                await get(dialling, origin.url)
            sent += 1
    assert sent > 800


async def import_from(vault: RunningVault, base_url: str) -> Any:
    body = {"cookie": AURORA.cookie, "userAgent": USER_AGENT, "upstream": {"baseUrl": base_url}}
    return await vault.call("POST", "/v2/account/connections/import", json=body)


async def test_neither_a_webhook_nor_an_upstream_can_be_pointed_there(
    tmp_path: Path, listening: Canary, resolver: Resolver
):
    async with running_vault(tmp_path / "data") as vault:
        for url in hostile.everything(listening.port):
            named = await vault.call("POST", "/v2/webhooks/endpoints", json={"url": url})
            plain = url in {each.replace("{port}", str(listening.port)) for each in hostile.refused_once_resolved()}
            # A name is judged where it is dialled; an organisation has room for some.
            assert named.status in ({200, 403} if plain else {400, 403}), (url, named.body)
            if named.status == 200:
                await vault.call("DELETE", f"/v2/webhooks/endpoints/{named.json['id']}")
            imported = await import_from(vault, url)
            assert (imported.status, imported.json["type"]) in {(400, "BAD_REQUEST"), (502, "ADDRESS_DENIED")}, url


async def test_no_media_url_that_an_upstream_shows_leads_there(tmp_path: Path, listening: Canary, resolver: Resolver):
    """What an upstream shows becomes a URL of the media host; asked for, it is an error and nothing else."""
    urls = hostile.everything(listening.port)
    async with upstream() as shown, running_vault(tmp_path / "data", platform_url=shown.url) as vault:
        imported = await vault.call(
            "POST", "/v2/account/connections/import", json={"cookie": "sess=1", "userAgent": USER_AGENT}
        )
        assert imported.status == 200, imported.body
        connection = imported.json["id"]
        media = [
            {"id": 1000 + number, "type": "photo", "files": {"full": {"url": url}}} for number, url in enumerate(urls)
        ]
        shown.says({"list": media, "hasMore": False})
        seen = await vault.call("GET", "/v2/access/vault/media", connection=connection)
        assert seen.status == 200
        given = [each["files"]["full"]["url"] for each in seen.json["list"]]
        led = [url for url in given if url.startswith(str(vault.served.media_url))]
        assert len(led) > len(urls) // 3, json.dumps(given[:20])
        for url in led:
            answer = await vault.ask("GET", url)
            assert answer.status == 502, (answer.status, answer.body)
            assert answer.json["type"] == "ADDRESS_DENIED", answer.body
