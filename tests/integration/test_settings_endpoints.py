"""Settings over HTTP: the contract's shapes, merges, purges at once, and simulations that tell the truth."""

import asyncio

import pytest

from fakes.documents import check_answer
from fakes.vaults import AURORA, CORAL, RunningVault

ORGANISATION = "/v2/account/settings"
DOCUMENTED = "/v2/account/connections/{connectionId}/settings"


async def change(vault: RunningVault, connection: str, body, *, status=200):
    path = f"/v2/account/connections/{connection}/settings"
    answer = await vault.call("PATCH", path, json={"vaultPlus": body})
    assert answer.status == status, answer.body
    check_answer(answer, "PATCH", DOCUMENTED)
    return answer.json


async def simulate(vault: RunningVault, connection: str, body):
    path = f"/v2/account/connections/{connection}/settings/simulate"
    answer = await vault.call("POST", path, json={"vaultPlus": body})
    check_answer(answer, "POST", DOCUMENTED + "/simulate")
    assert answer.status == 200, answer.body
    return answer.json


async def shown(vault: RunningVault, connection: str):
    answer = await vault.call("GET", f"/v2/account/connections/{connection}/settings")
    check_answer(answer, "GET", DOCUMENTED)
    return answer.json["vaultPlus"]


async def stored_photo(vault: RunningVault, connection: str) -> str:
    photo, item = await vault.add(connection, type="photo", size_bytes=20_000)
    await vault.ask("GET", item["media"]["full"]["url"])
    await vault.until_stored(connection, photo.id)
    return str(photo.id)


async def test_a_patch_merges_and_null_clears(vault: RunningVault):
    connection = await vault.connect()
    await change(vault, connection, {"settings": {"retentionDays": 30.0}})
    await change(vault, connection, {"settings": {"cacheAudio": False}})
    vault_plus = await shown(vault, connection)
    assert vault_plus["settingsOverrides"] == {"retentionDays": 30, "cacheAudio": False}
    assert vault_plus["effectiveSettings"]["retentionDays"] == 30
    await change(vault, connection, {"settings": None})
    assert (await shown(vault, connection))["settingsOverrides"] is None


async def test_two_patches_at_once_lose_nothing_of_each_other(vault: RunningVault):
    connection = await vault.connect()
    fields: list[dict[str, object]] = [
        {"retentionDays": 3},
        {"cacheAudio": False},
        {"accessExpiryDays": 9},
        {"autoCachePosts": True},
    ]
    await asyncio.gather(*(change(vault, connection, {"settings": field}) for field in fields))
    merged = {name: value for field in fields for name, value in field.items()}
    assert (await shown(vault, connection))["settingsOverrides"] == merged


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"retentionDays": -1}, "retentionDays"),
        ({"retentionDays": 1.5}, "retentionDays"),
        ({"retentionDays": None}, "retentionDays"),
        ({"keepForever": True}, "keepForever"),
        ({"imageQualities": ["720p"]}, "imageQualities"),
        ({"storageLimitPurgeStrategy": "all"}, "storageLimitPurgeStrategy"),
    ],
)
async def test_what_cannot_be_right_is_refused_by_name(vault: RunningVault, settings, named):
    connection = await vault.connect()
    assert named in (await change(vault, connection, {"settings": settings}, status=400))["error"]
    answer = await vault.call("PATCH", ORGANISATION, json={"vaultPlus": {"defaultSettings": settings}})
    assert (answer.status, named in answer.json["error"]) == (400, True)


async def test_an_unknown_connection_is_not_found(vault: RunningVault):
    await change(vault, "conn_" + "0" * 24, {"enabled": False}, status=404)
    assert (await vault.call("GET", "/v2/account/connections/x/settings")).status == 404


async def test_what_a_simulation_foretells_is_what_the_patch_does(vault: RunningVault):
    connection = await vault.connect()
    media_id = await stored_photo(vault, connection)
    body = {"settings": {"imageQualities": ["thumb", "preview"]}}
    told = (await simulate(vault, connection, body))["wouldRemove"]
    assert (told["variants"], told["bytes"], told["byRule"][0]["rule"]) == (1, 20_000, "quality_not_kept")
    assert (await vault.item(connection, media_id))["media"]["full"]["status"] == "stored"
    done = await change(vault, connection, body)
    assert done["purgeResult"] == {"purgedCount": 1, "freedBytes": 20_000}
    gone = await vault.call("GET", f"/v2/vault-plus/media/{media_id}", connection=connection)
    assert gone.status == 404  # it had no other variant
    assert (await simulate(vault, connection, body))["affectedConnections"] == 0
    path = f"/v2/vault-plus/media/{media_id}/explain"
    answer = await vault.call("GET", path, connection=connection)
    check_answer(answer, "GET", "/v2/vault-plus/media/{mediaId}/explain")
    full = answer.json["variants"]["full"]
    assert (full["status"], full["reason"]) == ("removed", "image quality full is not kept")
    assert full["undoUntil"] > full["since"]


async def test_a_lowered_limit_evicts_as_foretold(vault: RunningVault):
    connection = await vault.connect()
    for _ in range(3):
        await stored_photo(vault, connection)
    body = {"settings": {"storageLimitBytes": 45_000}}
    told = (await simulate(vault, connection, body))["wouldRemove"]
    assert (told["variants"], told["bytes"], told["byRule"][0]["rule"]) == (1, 20_000, "storage_limit")
    assert (await change(vault, connection, body))["purgeResult"] == {"purgedCount": 1, "freedBytes": 20_000}
    assert (await shown(vault, connection))["stats"]["totalStorageBytes"] == 40_000


async def test_turning_vault_plus_off_removes_nothing(vault: RunningVault):
    connection = await vault.connect()
    await stored_photo(vault, connection)
    done = await change(vault, connection, {"enabled": False, "settings": {"cacheImages": False}})
    assert "purgeResult" not in done
    assert done["settings"]["vaultPlus"]["stats"]["storedCount"] == 1


async def test_defaults_reach_connections_unless_overridden_and_apply_clears_only_what_is_patched(vault: RunningVault):
    first, second = await vault.connect(AURORA), await vault.connect(CORAL)
    await change(vault, first, {"settings": {"retentionDays": 7, "cacheAudio": False}})
    body: dict[str, dict[str, object]] = {"vaultPlus": {"defaultSettings": {"retentionDays": 3}}}
    answer = await vault.call("PATCH", ORGANISATION, json=body)
    check_answer(answer, "PATCH", ORGANISATION)
    assert answer.json["broadcastResult"] == {"affectedConnections": 1, "purgeResults": []}
    assert (await shown(vault, first))["effectiveSettings"]["retentionDays"] == 7
    assert (await shown(vault, second))["effectiveSettings"]["retentionDays"] == 3
    body["vaultPlus"] |= {"applyToExistingConnections": True, "autoEnableForNewConnections": False}
    answer = await vault.call("PATCH", ORGANISATION, json=body)
    assert answer.json["broadcastResult"]["affectedConnections"] == 2
    vault_plus = await shown(vault, first)
    assert (vault_plus["settingsOverrides"], vault_plus["enabled"]) == ({"cacheAudio": False}, False)
    read = await vault.call("GET", ORGANISATION)
    check_answer(read, "GET", ORGANISATION)
    assert read.json == answer.json["settings"]


async def test_what_is_newly_wanted_and_was_viewed_is_queued(vault: RunningVault):
    connection = await vault.connect()
    await change(vault, connection, {"settings": {"cacheImages": False}})
    photo, item = await vault.add(connection, type="photo", size_bytes=20_000)
    await vault.ask("GET", item["media"]["full"]["url"])
    await vault.vault.counting.flush()
    told = (await simulate(vault, connection, {"settings": {"cacheImages": True}}))["wouldStore"]
    assert told["variants"] == 1
    await change(vault, connection, {"settings": {"cacheImages": True}})
    await vault.until_stored(connection, photo.id)
