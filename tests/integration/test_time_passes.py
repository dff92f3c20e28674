"""Days pass in a running vault: retention, access expiry, the undo window, and what a cut disconnect left."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes.catalog_rows import broken_invariants, rows
from fakes.clocks import Clock
from fakes.documents import check_answer
from fakes.vaults import AURORA, CORAL, RunningVault, running_vault, until
from mediavault.catalog import connections
from mediavault.domain.times import DAY
from mediavault.storer.sweeps import SweepConfig
from mediavault.vault.integrity import policy as integrity_policy

SETTINGS = "/v2/account/settings"
MEDIA = "/v2/vault-plus/media/{mediaId}"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def vault(tmp_path: Path, clock: Clock) -> AsyncIterator[RunningVault]:
    """A vault in whose days nothing is swept but by the test."""
    never = SweepConfig(every_seconds=10**6)
    async with running_vault(tmp_path / "data", now=clock, sweep=never) as running:
        yield running


async def stored(vault: RunningVault, connection: str, creator: Any = AURORA, seed: int = 1) -> str:
    photo, item = await vault.add(connection, creator, type="photo", size_bytes=20_000, seed=seed)
    assert (await vault.ask("POST", item["media"]["full"]["url"])).status == 202
    await vault.until_stored(connection, photo.id)
    return str(photo.id)


async def change(vault: RunningVault, connection: str, **settings: Any) -> Any:
    path = f"/v2/account/connections/{connection}/settings"
    answer = await vault.call("PATCH", path, json={"vaultPlus": {"settings": settings}})
    assert answer.status == 200, answer.body
    return answer.json


async def explained(vault: RunningVault, connection: str, media_id: str) -> Any:
    answer = await vault.call("GET", f"/v2/vault-plus/media/{media_id}/explain", connection=connection)
    assert answer.status == 200, answer.body
    return answer.json["variants"]["full"]


def stored_files(vault: RunningVault) -> list[Path]:
    folder: Path = vault.vault.config.data / "blobs"
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_retention_removes_in_its_moment_and_the_bytes_go_behind_the_undo_window(vault, clock):
    connection = await vault.connect()
    media_id = await stored(vault, connection)
    assert "purgeResult" not in await change(vault, connection, retentionDays=2)

    clock.forward(2 * DAY - 1)
    await vault.vault.sweeps.sweep()
    assert (await explained(vault, connection, media_id))["status"] == "stored"
    clock.forward(1)
    await vault.vault.sweeps.sweep()
    removed = await explained(vault, connection, media_id)
    assert removed["status"] == "removed"
    assert "2 days" in removed["reason"]
    assert (removed["undoUntil"], removed["next"]["at"]) == (clock.now + DAY, clock.now + DAY)
    assert len(stored_files(vault)) == 1

    clock.forward(DAY - 1)
    await vault.vault.sweeps.sweep()
    assert len(stored_files(vault)) == 1
    clock.forward(1)
    await vault.vault.sweeps.sweep()
    gone = await explained(vault, connection, media_id)
    assert (gone["undoUntil"], gone["next"]["code"], stored_files(vault)) == (None, "gone", [])
    path = f"/v2/vault-plus/media/{media_id}/restore"
    assert (await vault.call("POST", path, connection=connection)).status == 404


async def test_access_expiry_counts_from_the_last_view(vault, clock):
    connection = await vault.connect()
    viewed, unseen = await stored(vault, connection), await stored(vault, connection, seed=2)
    await change(vault, connection, accessExpiryDays=3)
    clock.forward(2 * DAY)
    url = (await vault.item(connection, viewed))["media"]["full"]["url"]
    assert len((await vault.ask("GET", url)).body) == 20_000
    await vault.vault.counting.flush()

    clock.forward(1 * DAY)
    await vault.vault.sweeps.sweep()
    expired = await explained(vault, connection, unseen)
    assert expired["status"] == "removed"
    assert "3 days" in expired["reason"]
    assert (await explained(vault, connection, viewed))["status"] == "stored"

    clock.forward(2 * DAY)
    await vault.vault.sweeps.sweep()
    assert (await explained(vault, connection, viewed))["status"] == "removed"


async def test_a_pin_keeps_what_retention_would_remove_until_it_ends(vault, clock):
    connection = await vault.connect()
    media_id = await stored(vault, connection)
    await vault.call("PUT", f"/v2/vault-plus/media/{media_id}/pin", connection=connection, json={"reason": "evidence"})
    await change(vault, connection, retentionDays=2)
    kept = await explained(vault, connection, media_id)
    assert (kept["next"]["code"], kept["policyRemovalAt"]) == ("kept_by_pin", clock.now + 2 * DAY)

    clock.forward(5 * DAY)
    await vault.vault.sweeps.sweep()
    assert (await explained(vault, connection, media_id))["status"] == "stored"
    assert (await vault.call("DELETE", f"/v2/vault-plus/media/{media_id}/pin", connection=connection)).status == 200
    await vault.vault.sweeps.sweep()
    assert (await explained(vault, connection, media_id))["status"] == "removed"


async def test_while_vault_plus_is_off_policy_removes_nothing_and_all_that_is_over_when_it_is_on_again(vault, clock):
    connection = await vault.connect()
    path = f"/v2/account/connections/{connection}/settings"
    overdue, fresh = await stored(vault, connection), await stored(vault, connection, seed=2)
    await change(vault, connection, retentionDays=2)
    assert (await vault.call("PATCH", path, json={"vaultPlus": {"enabled": False}})).json.keys() == {"settings"}

    clock.forward(3 * DAY)
    await vault.vault.sweeps.sweep()
    kept = await explained(vault, connection, overdue)
    assert (kept["status"], kept["next"]["code"]) == ("stored", "kept_while_off")
    assert (kept["next"]["at"], kept["policyRemovalAt"], kept["policyRemovalRule"]) == (None, None, None)
    body: dict[str, Any] = {"vaultPlus": {"settings": {"retentionDays": 1, "accessExpiryDays": 1}}}
    foretold = await vault.call("POST", path + "/simulate", json=body)
    assert foretold.json["wouldRemove"]["variants"] == 0
    assert "purgeResult" not in (await vault.call("PATCH", path, json=body)).json
    await vault.vault.sweeps.sweep()
    assert (await explained(vault, connection, fresh))["status"] == "stored"
    found = await integrity_policy.past_policy(vault.vault.foundation.catalog, clock.now)
    assert found == []

    body = {"vaultPlus": {"enabled": True, "settings": {"retentionDays": 2, "accessExpiryDays": 0}}}
    foretold = await vault.call("POST", path + "/simulate", json=body)
    assert foretold.json["wouldRemove"]["variants"] == 2
    purged = (await vault.call("PATCH", path, json=body)).json["purgeResult"]
    assert purged == {"purgedCount": 2, "freedBytes": 40_000}
    assert (await explained(vault, connection, overdue))["reason"] == "kept for 2 days after storing, which are over"


async def test_what_a_person_wants_stored_while_vault_plus_is_off_evicts_nothing(vault):
    connection = await vault.connect()
    path = f"/v2/account/connections/{connection}/settings"
    held = await stored(vault, connection)
    _, known = await vault.add(connection, type="photo", size_bytes=20_000, seed=2)
    await change(vault, connection, storageLimitBytes=30_000)
    assert (await vault.call("PATCH", path, json={"vaultPlus": {"enabled": False}})).status == 200

    assert (await vault.ask("POST", known["media"]["full"]["url"])).status == 202

    async def refused() -> Any:
        full = await explained(vault, connection, known["id"])
        return full if full["next"]["code"] == "given_up" else None

    assert "nothing is evicted while Vault+ is off" in (await until(refused))["lastError"]
    assert (await explained(vault, connection, held))["status"] == "stored"


async def test_the_sweep_removes_what_a_disconnect_that_was_cut_left(vault, clock):
    connection = await vault.connect()
    url = (await vault.item(connection, await stored(vault, connection)))["media"]["full"]["url"]
    coral = await vault.connect(CORAL)
    other = await stored(vault, coral, CORAL)
    catalog = vault.vault.foundation.catalog
    (organisation,) = await vault.vault.foundation.authorising.organisations()
    # The process died between the disconnect's two transactions: the connection has ended, its media are as they were.
    await catalog.run(connections.disconnect, organisation.id, connection, clock.now)
    assert any(each["status"] == "stored" for each in await rows(catalog, "variants", connection_id=connection))

    await vault.vault.sweeps.sweep()

    left = await rows(catalog, "variants", connection_id=connection)
    assert {(each["status"], each["decided_by"]) for each in left} == {("removed", "disconnected")}
    assert (await rows(catalog, "usage", connection_id=connection))[0]["live_count"] == 0
    assert (await vault.ask("GET", url)).status in {404, 410}
    assert (await explained(vault, coral, other))["status"] == "stored"
    assert await broken_invariants(catalog) == []
    clock.forward(DAY)
    await vault.vault.sweeps.sweep()
    assert len(stored_files(vault)) == 1


async def simulated(vault: RunningVault, body: Any) -> Any:
    answer = await vault.call("POST", SETTINGS + "/simulate", json={"vaultPlus": body})
    check_answer(answer, "POST", SETTINGS + "/simulate")
    assert answer.status == 200, answer.body
    return answer.json


async def test_an_organisations_change_does_what_it_was_said_to_do(vault, clock):
    aurora, coral = await vault.connect(), await vault.connect(CORAL)
    media_ids = {aurora: await stored(vault, aurora), coral: await stored(vault, coral, CORAL)}
    clock.forward(3 * DAY)
    body = {"applyToExistingConnections": True, "defaultSettings": {"retentionDays": 2}}

    forecast = await simulated(vault, body)

    assert forecast["affectedConnections"] == 2
    would_remove = forecast["wouldRemove"]
    assert (would_remove["variants"], would_remove["bytes"]) == (2, 40_000)
    assert [(rule["rule"], rule["variants"]) for rule in would_remove["byRule"]] == [("retention_ended", 2)]
    for connection, media_id in media_ids.items():
        assert (await explained(vault, connection, media_id))["status"] == "stored", "asking changes nothing"
    assert (await vault.call("GET", SETTINGS)).json["vaultPlus"]["defaultSettings"]["retentionDays"] == 0
    done = (await vault.call("PATCH", SETTINGS, json={"vaultPlus": body})).json["broadcastResult"]
    assert done["affectedConnections"] == 2
    assert {each["connectionId"]: each["purgedCount"] for each in done["purgeResults"]} == {aurora: 1, coral: 1}
    assert sum(each["freedBytes"] for each in done["purgeResults"]) == 40_000
    assert (await simulated(vault, body))["wouldRemove"]["variants"] == 0


async def test_defaults_touch_a_connection_with_settings_of_its_own_only_when_they_are_applied_to_it(vault, clock):
    aurora, coral = await vault.connect(), await vault.connect(CORAL)
    own, other = await stored(vault, aurora), await stored(vault, coral, CORAL)
    await change(vault, aurora, retentionDays=9)
    clock.forward(3 * DAY)
    body: dict[str, Any] = {"defaultSettings": {"retentionDays": 2}}
    forecast = await simulated(vault, body)
    assert (forecast["affectedConnections"], forecast["wouldRemove"]["variants"]) == (1, 1)
    assert (await simulated(vault, body | {"applyToExistingConnections": True}))["wouldRemove"]["variants"] == 2
    await vault.call("PATCH", SETTINGS, json={"vaultPlus": body})
    assert (await explained(vault, aurora, own))["status"] == "stored"
    assert (await explained(vault, coral, other))["status"] == "removed"


@pytest.mark.parametrize("body", [[], {"vaultPlus": {"defaultSettings": {"retentionDays": -1}}}, {"vaultPlus": 5}])
async def test_an_organisations_simulation_refuses_what_cannot_be_right(vault, body):
    answer = await vault.call("POST", SETTINGS + "/simulate", json=body)
    check_answer(answer, "POST", SETTINGS + "/simulate")
    assert answer.status == 400
