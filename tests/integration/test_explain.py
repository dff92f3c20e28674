"""Why a variant is as it is, over its life; and the published SDK's models take the settings' answers."""

import warnings

from fakes.documents import check_answer
from fakes.vaults import RunningVault

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
