"""Undo, pins and what is at risk, through the API of a served vault."""

import pytest

from fakes.documents import check_answer
from fakes.vaults import RunningVault


async def stored(vault: RunningVault, **media: object) -> tuple[str, str]:
    """A connection and the id of a stored item."""
    connection = vault.connections.get("aurora") or await vault.connect()
    added, item = await vault.add(connection, **media)
    answer = await vault.ask("POST", item["media"]["full"]["url"])
    assert answer.status == 202
    await vault.until_stored(connection, added.id)
    return connection, str(added.id)


async def test_what_was_deleted_comes_back_as_stored_with_its_bytes(vault: RunningVault):
    connection, media_id = await stored(vault)
    before = (await vault.item(connection, media_id))["media"]["full"]
    path = f"/v2/vault-plus/media/{media_id}"
    freed = (await vault.call("DELETE", path, connection=connection)).json["freedBytes"]

    restored = await vault.call("POST", path + "/restore", connection=connection)

    assert restored.status == 200
    assert restored.json == {"success": True, "mediaId": media_id, "restoredCount": 1, "restoredBytes": freed}
    after = (await vault.item(connection, media_id))["media"]["full"]
    assert (after["status"], after["sizeBytes"]) == ("stored", before["sizeBytes"])
    assert len((await vault.ask("GET", after["url"])).body) == before["sizeBytes"]
    again = await vault.call("POST", path + "/restore", connection=connection)
    assert again.status == 404


async def test_a_deleted_item_that_was_seen_again_meanwhile_can_still_be_restored(vault: RunningVault):
    connection, media_id = await stored(vault)
    path = f"/v2/vault-plus/media/{media_id}"
    await vault.call("DELETE", path, connection=connection)
    await vault.see(connection)
    assert (await vault.item(connection, media_id))["media"]["full"]["status"] == "edge_only"

    restored = await vault.call("POST", path + "/restore", connection=connection)

    assert (restored.status, restored.json["restoredCount"]) == (200, 1)
    assert (await vault.item(connection, media_id))["media"]["full"]["status"] == "stored"


async def test_a_pin_is_shown_and_taken_away_and_does_not_bind_a_person(vault: RunningVault):
    connection, media_id = await stored(vault)
    path = f"/v2/vault-plus/media/{media_id}/pin"
    body = {"reason": "evidence", "until": "2999-01-01T00:00:00Z"}

    pinned = await vault.call("PUT", path, connection=connection, json=body)

    assert pinned.status == 200
    assert pinned.json["pinned"] is True
    assert (pinned.json["reason"], pinned.json["until"]) == ("evidence", "2999-01-01T00:00:00.000Z")
    assert (await vault.call("GET", path, connection=connection)).json == pinned.json
    unpinned = await vault.call("DELETE", path, connection=connection)
    assert unpinned.json == {"mediaId": media_id, "pinned": False, "reason": None, "pinnedAt": None, "until": None}
    await vault.call("PUT", path, connection=connection, json={"reason": "evidence"})
    assert (await vault.call("DELETE", path.removesuffix("/pin"), connection=connection)).status == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": ""},
        {"reason": "nul\0"},
        {"reason": "\ud800"},
        {"reason": "x" * 501},
        {"reason": 5},
        {"reason": "r", "until": "yesterday"},
        {"reason": "r", "until": "2001-01-01T00:00:00Z"},
        {"reason": "r", "until": 5},
    ],
)
async def test_a_pin_that_cannot_be_right_is_400_before_the_item_is_looked_for(vault: RunningVault, body: object):
    connection = await vault.connect()
    answer = await vault.call("PUT", "/v2/vault-plus/media/nothing/pin", connection=connection, json=body)
    assert answer.status == 400


async def test_at_risk_pages_through_what_is_not_stored_soonest_first(vault: RunningVault):
    connection, media_id = await stored(vault)
    await vault.see(connection)
    seen, cursor = [], ""
    while True:
        path = f"/v2/vault-plus/at-risk?limit=7{cursor}"
        page = await vault.call("GET", path, connection=connection)
        assert page.status == 200
        seen += page.json["items"]
        if "nextCursor" not in page.json:
            break
        assert len(page.json["items"]) == 7
        cursor = f"&cursor={page.json['nextCursor']}"
    totals = (await vault.call("GET", "/v2/vault-plus/status", connection=connection)).json
    assert len(seen) == len({(each["mediaId"], each["quality"]) for each in seen}) == totals["pendingCount"] > 7
    assert (media_id, "full") not in {(each["mediaId"], each["quality"]) for each in seen}
    assert [each["expiresAt"] for each in seen] == sorted(each["expiresAt"] for each in seen)
    assert all(each["reason"] and each["secondsLeft"] >= 0 for each in seen)
    assert (await vault.call("GET", "/v2/vault-plus/at-risk?within=1", connection=connection)).json == {"items": []}


@pytest.mark.parametrize(
    "query", ["cursor=x", "cursor=", "limit=0", "limit=101", "within=0", "within=-1", "cursor=%00"]
)
async def test_at_risk_refuses_what_no_page_gave(vault: RunningVault, query: str):
    connection = await vault.connect()
    assert (await vault.call("GET", f"/v2/vault-plus/at-risk?{query}", connection=connection)).status == 400


async def limit(vault: RunningVault, connection: str, limit_bytes: int) -> None:
    chosen = {"storageLimitBytes": limit_bytes, "storageLimitPurgeStrategy": "block_new"}
    path = f"/v2/account/connections/{connection}/settings"
    answer = await vault.call("PATCH", path, json={"vaultPlus": {"settings": chosen}})
    assert answer.status == 200, answer.body


async def test_what_has_no_room_any_more_is_not_restored_and_the_answer_says_why(vault: RunningVault):
    connection, media_id = await stored(vault, size_bytes=20_000, seed=1)
    path = f"/v2/vault-plus/media/{media_id}"
    await vault.call("DELETE", path, connection=connection)
    await stored(vault, size_bytes=20_000, seed=2)
    for limit_bytes, why in ((30_000, "block_new"), (10_000, "more than the storage limit of 10000")):
        await limit(vault, connection, limit_bytes)
        refused = await vault.call("POST", path + "/restore", connection=connection)
        check_answer(refused, "POST", "/v2/vault-plus/media/{mediaId}/restore")
        assert refused.status == 409
        assert why in refused.json["error"]
    await limit(vault, connection, 40_000)
    assert (await vault.call("POST", path + "/restore", connection=connection)).json["restoredBytes"] == 20_000
    totals = (await vault.call("GET", "/v2/vault-plus/status", connection=connection)).json
    assert (totals["storedCount"], totals["totalSizeBytes"]) == (2, 40_000)
