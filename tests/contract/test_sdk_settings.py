"""Every settings call of the published SDK, each answer judged by the SDK's own models."""

from collections.abc import AsyncIterator

import pytest

from fakes.sdk import Sdk, account, check, models, sdk_with_a_photo
from fakes.vaults import RunningVault

ORGANISATION = models.V2AccountSettingsGetResponse
ORGANISATION_CHANGED = models.V2AccountSettingsPatchResponse
CONNECTION = models.V2AccountConnectionsConnectionIdSettingsGetResponse
CONNECTION_CHANGED = models.V2AccountConnectionsConnectionIdSettingsPatchResponse
#: Overrides that are not set are null, as the contract says; the SDK's model wants an object.
WITHOUT_OVERRIDES = {"settingsOverrides"}


@pytest.fixture
async def sdk(vault: RunningVault) -> AsyncIterator[Sdk]:
    async with sdk_with_a_photo(vault) as client:
        yield client


async def test_get_org_settings(sdk: Sdk):
    settings = await sdk.run(account.get_org_settings)
    check(ORGANISATION, settings)
    defaults = settings["vaultPlus"]["defaultSettings"]
    assert settings["vaultPlus"]["autoEnableForNewConnections"] is True
    assert (defaults["retentionDays"], defaults["presignedUrlTtlSeconds"]) == (0, 3600)


async def test_update_org_settings(sdk: Sdk):
    wanted = {"vaultPlus": {"autoEnableForNewConnections": False, "defaultSettings": {"retentionDays": 30.0}}}
    changed = await sdk.run(account.update_org_settings, wanted)
    check(ORGANISATION_CHANGED, changed)
    assert changed["settings"] == await sdk.run(account.get_org_settings)
    assert changed["settings"]["vaultPlus"]["defaultSettings"]["retentionDays"] == 30
    assert changed["settings"]["vaultPlus"]["autoEnableForNewConnections"] is False


async def test_update_org_settings_for_connections_there_are(sdk: Sdk):
    wanted = {"vaultPlus": {"applyToExistingConnections": True, "defaultSettings": {"cacheImages": False}}}
    changed = await sdk.run(account.update_org_settings, wanted)
    check(ORGANISATION_CHANGED, changed)
    broadcast = changed["broadcastResult"]
    assert broadcast["affectedConnections"] == 1
    assert [result["connectionId"] for result in broadcast["purgeResults"]] == [sdk.connection]
    assert broadcast["purgeResults"][0]["freedBytes"] == 20_000


async def test_get_connection_settings(sdk: Sdk):
    settings = await sdk.run(account.get_connection_settings, sdk.connection)
    check(CONNECTION, settings, nulls=WITHOUT_OVERRIDES)
    assert settings["connectionId"] == sdk.connection
    stats = settings["vaultPlus"]["stats"]
    assert (stats["storedCount"], stats["totalStorageBytes"], stats["storageLimitBytes"]) == (1, 20_000, 0)


async def test_update_connection_settings(sdk: Sdk):
    overrides = {"retentionDays": 7.0, "imageQualities": ["full"]}
    changed = await sdk.run(account.update_connection_settings, sdk.connection, {"vaultPlus": {"settings": overrides}})
    check(CONNECTION_CHANGED, changed)
    told = {name: value for name, value in changed["settings"]["vaultPlus"]["settingsOverrides"].items() if value}
    assert told == {"retentionDays": 7, "imageQualities": ["full"]}
    cleared = await sdk.run(account.update_connection_settings, sdk.connection, {"vaultPlus": {"settings": None}})
    check(CONNECTION_CHANGED, cleared, nulls=WITHOUT_OVERRIDES)


async def test_update_connection_settings_that_purge(sdk: Sdk):
    change = {"vaultPlus": {"settings": {"cacheImages": False}}}
    changed = await sdk.run(account.update_connection_settings, sdk.connection, change)
    check(CONNECTION_CHANGED, changed)
    assert changed["purgeResult"] == {"purgedCount": 1, "freedBytes": 20_000}


async def test_update_connection_settings_turns_vault_plus_off(sdk: Sdk):
    changed = await sdk.run(account.update_connection_settings, sdk.connection, {"vaultPlus": {"enabled": False}})
    check(CONNECTION_CHANGED, changed, nulls=WITHOUT_OVERRIDES)
    assert changed["settings"]["vaultPlus"]["enabled"] is False
