"""Every Vault+ call of the published SDK, each answer judged by the SDK's own models."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fakes.sdk import Sdk, check, models, sdk_with_a_photo, vault_cache, vault_media, vault_stats, vault_store
from fakes.vaults import RunningVault, until

#: A photo lasts no time and what is not stored has no time of that: null wins over the SDK's numbers.
OF_A_STORED_PHOTO = {"duration"}
OF_A_SEEN_PHOTO = {"duration", "storedAt"}


@pytest.fixture
async def sdk(vault: RunningVault) -> AsyncIterator[Sdk]:
    async with sdk_with_a_photo(vault) as client:
        yield client


async def test_get_v2_vault_plus(sdk: Sdk):
    item = await sdk.run(vault_media.get_v2_vault_plus, sdk.connection, sdk.photo_id)
    check(models.V2VaultPlusMediaIdGetResponse, item, nulls=OF_A_STORED_PHOTO)
    full = item["media"]["full"]
    assert (item["id"], full["source"], full["status"], full["sizeBytes"]) == (sdk.photo_id, "vault", "stored", 20_000)
    stored = await asyncio.to_thread(sdk.client._client.get, full["url"])
    assert (stored.status_code, len(stored.content)) == (200, 20_000)


async def test_get_v2_vault_plus_of_what_was_only_seen(sdk: Sdk):
    video, _ = await sdk.running.add(sdk.connection, type="video", size_bytes=5_000)
    item = await sdk.run(vault_media.get_v2_vault_plus, sdk.connection, str(video.id))
    check(models.V2VaultPlusMediaIdGetResponse, item, nulls={"storedAt"})
    assert item["duration"] == 1


async def test_delete_v2_vault_plus(sdk: Sdk):
    removed = await sdk.run(vault_media.delete_v2_vault_plus, sdk.connection, sdk.photo_id)
    check(models.V2VaultPlusMediaIdDeleteResponse, removed)
    assert removed == {"success": True, "mediaId": sdk.photo_id, "freedBytes": 20_000}
    gone = await sdk.failure(vault_media.get_v2_vault_plus, sdk.client, sdk.connection, sdk.photo_id)
    assert (gone.status, str(gone), gone.code) == (404, "Media not found", "RESOURCE_NOT_FOUND")


async def test_create_v2_vault_plus_batch(sdk: Sdk):
    seen, _ = await sdk.running.add(sdk.connection, type="photo", size_bytes=5_000)
    wanted = {"mediaIds": [str(seen.id), "404", sdk.photo_id]}
    batch = await sdk.run(vault_media.create_v2_vault_plus_batch, sdk.connection, wanted)
    check(models.V2VaultPlusBatchPostResponse, batch, nulls=OF_A_SEEN_PHOTO)
    assert [item["id"] for item in batch["items"]] == [str(seen.id), sdk.photo_id]


async def test_list_v2_vault_plus_lists(sdk: Sdk):
    seen, _ = await sdk.running.add(sdk.connection, type="photo", size_bytes=5_000)
    page = await sdk.run(
        vault_media.list_v2_vault_plus_lists,
        sdk.connection,
        status="stored",
        source="vault",
        content_type="image/jpeg",
        limit=20.0,
    )
    check(models.V2VaultPlusListGetResponse, page, nulls=OF_A_STORED_PHOTO)
    assert [item["id"] for item in page["items"]] == [sdk.photo_id]
    first = await sdk.run(vault_media.list_v2_vault_plus_lists, sdk.connection, limit=1.0)
    second = await sdk.run(vault_media.list_v2_vault_plus_lists, sdk.connection, limit=1.0, cursor=first["nextCursor"])
    assert [item["id"] for page in (first, second) for item in page["items"]] == [str(seen.id), sdk.photo_id]
    none = await sdk.run(vault_media.list_v2_vault_plus_lists, sdk.connection, source="stories")
    assert none == {"items": []}


async def test_delete_v2_vault_plus_purge(sdk: Sdk):
    purged = await sdk.run(vault_media.delete_v2_vault_plus_purge, sdk.connection)
    check(models.V2VaultPlusPurgeDeleteResponse, purged)
    assert purged == {"success": True, "purgedCount": 1, "freedBytes": 20_000}
    gone = await sdk.failure(vault_media.get_v2_vault_plus, sdk.client, sdk.connection, sdk.photo_id)
    assert gone.status == 404


async def test_list_v2_vault_plus_store_status(sdk: Sdk):
    await sdk.running.add(sdk.connection, type="photo", size_bytes=5_000)
    status = await sdk.run(vault_stats.list_v2_vault_plus_store_status, sdk.connection)
    check(models.V2VaultPlusStoreStatusGetResponse, status)
    assert status == {
        "connectionId": sdk.connection,
        "totalMedia": 2,
        "storedCount": 1,
        "pendingCount": 1,
        "totalSizeBytes": 20_000,
    }


async def test_list_v2_vault_plus_store_stats(sdk: Sdk):
    stats = await sdk.run(vault_stats.list_v2_vault_plus_store_stats)
    check(models.V2VaultPlusStoreStatsGetResponse, stats)
    assert (stats["totalConnections"], stats["totalMediaCount"], stats["totalStorageBytes"]) == (1, 1, 20_000)


@pytest.mark.parametrize("call", [vault_store.create_v2_vault_plus_store_list, vault_cache.create_v2_vault_cache_list])
async def test_create_v2_vault_plus_store_list(sdk: Sdk, call):
    landscapes = (await sdk.running.see(sdk.connection, "/v2/access/vault/lists?limit=1"))["list"][0]
    queued = await sdk.run(call, sdk.connection, str(landscapes["id"]))
    check(models.V2VaultPlusStoreListListIdPostResponse, queued)
    assert (queued["queued"], queued["listId"]) == (True, str(landscapes["id"]))

    async def known():
        status = await sdk.run(vault_stats.list_v2_vault_plus_store_status, sdk.connection)
        return status["totalMedia"] > 1

    await until(known)
