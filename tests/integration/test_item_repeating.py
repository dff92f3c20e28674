"""The item endpoint asked again: the same bytes while they are true, and others as soon as they are not."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes.clocks import Clock
from fakes.vaults import RunningVault, running_vault
from mediavault.domain.times import SECOND


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def vault(tmp_path: Path, clock: Clock, database_url: str) -> AsyncIterator[RunningVault]:
    """A vault on each engine in turn, whose time stands still unless the test moves it."""
    async with running_vault(tmp_path / "data", now=clock, database_url=database_url) as running:
        yield running


async def told(vault: RunningVault, connection: str, media_id: Any) -> bytes:
    answer = await vault.call("GET", f"/v2/vault-plus/media/{media_id}", connection=connection)
    assert answer.status == 200
    return answer.body


def urls(item: Any) -> list[str]:
    return [variant["url"] for variant in item["media"].values()]


async def test_equal_questions_have_equal_bytes_and_each_item_its_own(vault):
    connection = await vault.connect()
    (one, _), (other, _) = await vault.add(connection), await vault.add(connection)
    first = await told(vault, connection, one.id)
    assert await told(vault, connection, other.id) != first
    for _ in range(2):
        assert await told(vault, connection, one.id) == first


async def test_what_is_removed_is_gone_and_a_view_is_seen_at_once(vault):
    connection = await vault.connect()
    media, item = await vault.add(connection)
    for _ in range(2):
        assert (await vault.item(connection, media.id)) == item
    assert (await vault.ask("GET", item["media"]["full"]["url"])).status == 200
    await vault.vault.counting.flush()
    assert (await vault.item(connection, media.id))["media"]["full"]["accessCount"] == 1
    path = f"/v2/vault-plus/media/{media.id}"
    assert (await vault.call("DELETE", path, connection=connection)).status == 200
    assert (await vault.call("GET", path, connection=connection)).status == 404


async def test_urls_are_signed_anew_when_their_time_comes_their_life_changes_or_the_keys_do(vault, clock):
    connection = await vault.connect()
    media, item = await vault.add(connection)
    signer = vault.vault.media.signer
    seen = [urls(item)]
    clock.forward(900 * SECOND)
    seen.append(urls(await vault.item(connection, media.id)))
    settings = {"vaultPlus": {"settings": {"presignedUrlTtlSeconds": 7200}}}
    path = f"/v2/account/connections/{connection}/settings"
    assert (await vault.call("PATCH", path, json=settings)).status == 200
    seen.append(urls(await vault.item(connection, media.id)))
    signer.use({7: b"another key"}, 7)
    seen.append(urls(await vault.item(connection, media.id)))
    assert len({tuple(each) for each in seen}) == 4
    assert signer.verify(seen[-1][0].rpartition("/")[2], now=clock()).expires_at >= clock() + 7200 * SECOND


async def test_nobody_is_told_what_another_connection_was_told(vault):
    connection = await vault.connect()
    media, _ = await vault.add(connection)
    await told(vault, connection, media.id)
    path = f"/v2/vault-plus/media/{media.id}"
    assert (await vault.call("GET", path, connection="conn_" + "0" * 24)).status == 400
    assert (await vault.call("GET", path, connection=connection, key="no-such-key-0123456789")).status == 401
