"""Why a variant is as it is, over its life; and the published SDK's models take the settings' answers."""

import warnings
from pathlib import Path
from typing import Any

from fakes.clocks import Clock
from fakes.documents import check_answer
from fakes.vaults import RunningVault, running_vault, until
from mediavault.domain.times import DAY, iso8601
from mediavault.platform.faults import Fault
from mediavault.storer.store_variant import StoreConfig

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a docstring of the SDK has an escape that is none
    from onlyfans_sdk import models

DOCUMENTED = "/v2/vault-plus/media/{mediaId}/explain"


async def full_of(vault: RunningVault, connection: str, media_id: int):
    answer = await vault.call("GET", f"/v2/vault-plus/media/{media_id}/explain", connection=connection)
    check_answer(answer, "GET", DOCUMENTED)
    assert answer.status == 200, answer.body
    return answer.json["variants"]["full"]


async def test_each_status_is_explained(vault: RunningVault):
    connection = await vault.connect()
    photo, item = await vault.add(connection, type="photo", size_bytes=20_000)
    seen = await full_of(vault, connection, photo.id)
    assert (seen["status"], seen["policy"]["code"], seen["next"]["code"]) == (
        "edge_only",
        "not_viewed_enough",
        "not_stored",
    )
    await vault.ask("GET", item["media"]["full"]["url"])
    await vault.until_stored(connection, photo.id)
    stored = await full_of(vault, connection, photo.id)
    assert (stored["reason"], stored["next"]["code"]) == ("vault media are kept from view 1 on", "kept")
    body = {"vaultPlus": {"settings": {"retentionDays": 2}}}
    await vault.call("PATCH", f"/v2/account/connections/{connection}/settings", json=body)
    ending = await full_of(vault, connection, photo.id)
    assert (ending["next"]["code"], ending["policyRemovalRule"]) == ("removed_by_policy", "retention_ended")
    assert ending["next"]["at"] == stored["since"] + 2 * 86_400_000
    await vault.call("DELETE", f"/v2/vault-plus/media/{photo.id}", connection=connection)
    gone = await full_of(vault, connection, photo.id)
    assert (gone["status"], gone["reason"], gone["next"]["code"]) == ("removed", "deleted", "bytes_deleted")


async def test_what_was_never_seen_is_not_found(vault: RunningVault):
    connection = await vault.connect()
    for media_id in ("77", "a.b", "x" * 65):
        answer = await vault.call("GET", f"/v2/vault-plus/media/{media_id}/explain", connection=connection)
        assert (answer.status, answer.json["error"]) == (404, "Media not found")


async def test_the_published_models_take_the_answers(vault: RunningVault):
    connection = await vault.connect()
    path = f"/v2/account/connections/{connection}/settings"
    body: dict[str, object] = {"vaultPlus": {"settings": {"retentionDays": 2.0}}}
    changed = await vault.call("PATCH", path, json=body)
    models.V2AccountConnectionsConnectionIdSettingsPatchResponse.model_validate(changed.json)
    models.V2AccountConnectionsConnectionIdSettingsGetResponse.model_validate((await vault.call("GET", path)).json)
    organisation = await vault.call("GET", "/v2/account/settings")
    models.V2AccountSettingsGetResponse.model_validate(organisation.json)
    body = {"vaultPlus": {"applyToExistingConnections": True, "defaultSettings": {"retentionDays": 4.0}}}
    changed = await vault.call("PATCH", "/v2/account/settings", json=body)
    answer = models.V2AccountSettingsPatchResponse.model_validate(changed.json)
    assert answer.broadcastResult is not None
    assert answer.broadcastResult.affectedConnections == 1


async def photo_of(vault: RunningVault, connection: str, seed: int = 1) -> tuple[Any, str]:
    """A photo upstream, and its URL on the media host."""
    photo, item = await vault.add(connection, type="photo", size_bytes=20_000, seed=seed)
    return photo, item["media"]["full"]["url"]


async def until_explained(vault: RunningVault, connection: str, media_id: int, code: str) -> Any:
    """The photo once that is what happens next."""

    async def found() -> Any:
        full = await full_of(vault, connection, media_id)
        return full if full["next"]["code"] == code else None

    return await until(found)


async def test_what_waits_for_a_storer_says_so(vault: RunningVault):
    connection = await vault.connect()
    photo, url = await photo_of(vault, connection)
    await vault.vault.drain()  # its storer takes nothing any more
    assert (await vault.ask("POST", url)).status == 202
    full = await full_of(vault, connection, photo.id)
    assert (full["status"], full["next"]["code"], full["next"]["at"]) == ("pending", "waiting_for_storer", None)
    assert (full["attempts"], full["lastError"], full["leaseExpiresAt"]) == (0, None, None)


async def test_what_is_being_stored_tells_until_when_its_storer_has_it(vault: RunningVault):
    connection = await vault.connect()
    photo, url = await photo_of(vault, connection)
    stalled = vault.sandbox.faults.add(Fault(path=photo.renditions["full"].path, stall_at=1_000))
    assert (await vault.ask("POST", url)).status == 202
    full = await until_explained(vault, connection, photo.id, "being_stored")
    assert full["status"] == "storing"
    assert full["next"]["at"] == full["leaseExpiresAt"] > full["since"]
    stalled.clear()


async def test_what_failed_tells_why_and_when_it_is_tried_again_and_then_that_it_was_given_up(tmp_path: Path):
    clock = Clock()
    store = StoreConfig(first_delay_ms=60_000, most_attempts=2, free_floor_bytes=1 << 20)
    async with running_vault(tmp_path / "data", now=clock, store=store) as vault:
        connection = await vault.connect()
        photo, url = await photo_of(vault, connection)
        vault.sandbox.faults.add(Fault(path=photo.renditions["full"].path, status=503))
        assert (await vault.ask("POST", url)).status == 202
        retried = await until_explained(vault, connection, photo.id, "retried")
        assert (retried["status"], retried["attempts"]) == ("pending", 1)
        assert clock.now < retried["coolDownUntil"] < retried["nextAttemptAt"]
        assert "503" in retried["lastError"]
        assert retried["next"]["at"] == retried["nextAttemptAt"] > clock.now

        clock.now = retried["nextAttemptAt"]
        vault.vault.worker.wake()
        given_up = await until_explained(vault, connection, photo.id, "given_up")
        assert (given_up["status"], given_up["attempts"], given_up["nextAttemptAt"]) == ("edge_only", 2, None)
        assert given_up["coolDownUntil"] == clock.now + store.given_up_cool_down_ms
        clock.forward(store.given_up_cool_down_ms)
        assert (await full_of(vault, connection, photo.id))["coolDownUntil"] is None


async def test_what_the_storage_limit_keeps_out_says_so(vault: RunningVault):
    connection = await vault.connect()
    body = {"vaultPlus": {"settings": {"storageLimitBytes": 30_000, "storageLimitPurgeStrategy": "purge_oldest"}}}
    await vault.call("PATCH", f"/v2/account/connections/{connection}/settings", json=body)
    stored = [await photo_of(vault, connection, seed) for seed in (1, 2)]
    for photo, url in stored:
        await vault.ask("POST", url)
        await vault.until_stored(connection, photo.id)
    evicted = stored[0][0]
    reason = "evicted by purge_oldest for the storage limit of 30000 bytes"
    gone = await full_of(vault, connection, evicted.id)
    assert (gone["status"], gone["reason"], gone["keptOut"]) == ("removed", reason, reason)
    await vault.see(connection, "/v2/access/vault/media?limit=5")
    known = await full_of(vault, connection, evicted.id)
    assert (known["status"], known["next"]["code"], known["keptOut"]) == ("edge_only", "kept_out", reason)


async def test_a_pin_is_in_the_explanation_for_as_long_as_it_holds(tmp_path: Path):
    clock = Clock()
    async with running_vault(tmp_path / "data", now=clock) as vault:
        connection = await vault.connect()
        photo, url = await photo_of(vault, connection)
        await vault.ask("POST", url)
        await vault.until_stored(connection, photo.id)
        body: dict[str, Any] = {"vaultPlus": {"settings": {"retentionDays": 2}}}
        await vault.call("PATCH", f"/v2/account/connections/{connection}/settings", json=body)
        path, until_at = f"/v2/vault-plus/media/{photo.id}", clock.now + 5 * DAY
        body = {"reason": "evidence", "until": iso8601(until_at)}
        assert (await vault.call("PUT", path + "/pin", connection=connection, json=body)).status == 200
        shown = (await vault.call("GET", path + "/explain", connection=connection)).json
        assert shown["pin"] == {"pinnedAt": clock.now, "until": until_at, "reason": "evidence", "holds": True}
        full = shown["variants"]["full"]
        assert (full["next"]["code"], full["next"]["at"]) == ("removed_by_policy", until_at)
        assert full["policyRemovalAt"] == full["since"] + 2 * DAY
        await vault.call("PUT", path + "/pin", connection=connection, json={"reason": "evidence"})
        assert (await full_of(vault, connection, photo.id))["next"]["code"] == "kept_by_pin"
        await vault.call("PUT", path + "/pin", connection=connection, json=body)
        clock.now = until_at
        ended = (await vault.call("GET", path + "/explain", connection=connection)).json
        assert ended["pin"]["holds"] is False
        assert ended["variants"]["full"]["next"]["at"] == full["policyRemovalAt"]


async def test_what_was_removed_tells_until_when_it_can_be_taken_back(tmp_path: Path):
    clock = Clock()
    async with running_vault(tmp_path / "data", now=clock) as vault:
        connection = await vault.connect()
        photo, url = await photo_of(vault, connection)
        await vault.ask("POST", url)
        await vault.until_stored(connection, photo.id)
        await vault.call("DELETE", f"/v2/vault-plus/media/{photo.id}", connection=connection)
        gone = await full_of(vault, connection, photo.id)
        assert (gone["undoUntil"], gone["next"]) == (clock.now + DAY, gone["next"] | {"at": clock.now + DAY})
        clock.forward(DAY)
        late = await full_of(vault, connection, photo.id)
        assert (late["undoUntil"], late["next"]["code"]) == (None, "gone")
