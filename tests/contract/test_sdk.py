"""The published SDK reads our server with nothing changed but its base URL. It is synchronous: it runs in a thread."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import BaseModel

from fakes.sdk import OFAuthClient, Sdk, account, check, models, own_account, sdk_with_a_photo, vault_api, vault_lists
from fakes.vaults import AURORA, CORAL, KEY, RunningVault
from mediavault.platform.creators import USER_AGENT

MEDIA = "/v2/vault-plus/media"
#: The documentation knows them as null; the SDK's models do not, and the SDK does not ask its models.
NULLABLE = {"expiredAt", "clientReferenceId"}


@pytest.fixture
async def sdk(vault: RunningVault) -> AsyncIterator[Sdk]:
    async with sdk_with_a_photo(vault) as client:
        yield client


async def test_it_reads_a_stored_item_and_its_bytes(sdk: Sdk):
    item = await sdk.request("GET", f"{MEDIA}/{sdk.photo_id}")
    assert (item["id"], item["type"], item["duration"]) == (sdk.photo_id, "image", None)
    full = item["media"]["full"]
    assert (full["status"], full["sizeBytes"], full["contentType"]) == ("stored", 20_000, "image/jpeg")
    url = full["url"]
    stored = await asyncio.to_thread(sdk.client._client.get, url)
    assert (stored.status_code, len(stored.content)) == (200, 20_000)


def variant_models() -> Iterator[type[BaseModel]]:
    """The SDK's models of a variant: those with its telling fields."""
    telling = {"accessCount", "lastAccessedAt", "storedAt"}
    for model in vars(models).values():
        if isinstance(model, type) and issubclass(model, BaseModel):
            names = {field.alias or name for name, field in model.model_fields.items()}
            if telling <= names:
                yield model


async def test_its_models_take_our_variants(sdk: Sdk):
    """Its models are of the older paths, which add `id` and `source`; all else is the same object."""
    item = await sdk.request("GET", f"{MEDIA}/{sdk.photo_id}")
    found = list(variant_models())
    assert found
    for model in found:
        for variant in item["media"].values():
            model.model_validate(variant | {"id": "opaque", "source": "vault"})


async def test_it_reads_batches(sdk: Sdk):
    batch = await sdk.request("POST", f"{MEDIA}/batch", body={"mediaIds": [sdk.photo_id, "404"]})
    assert [item["id"] for item in batch["items"]] == [sdk.photo_id]


async def test_it_removes_an_item(sdk: Sdk):
    removed = await sdk.request("DELETE", f"{MEDIA}/{sdk.photo_id}")
    assert removed == {"success": True, "mediaId": sdk.photo_id, "freedBytes": 20_000}
    gone = await sdk.failure(sdk.client.request, "GET", f"{MEDIA}/{sdk.photo_id}")
    assert (gone.status, str(gone), gone.code) == (404, "Media not found", "RESOURCE_NOT_FOUND")


async def test_it_reads_counts(sdk: Sdk):
    status = await sdk.request("GET", "/v2/vault-plus/status")
    assert (status["connectionId"], status["storedCount"], status["totalSizeBytes"]) == (sdk.connection, 1, 20_000)
    stats = await sdk.request("GET", "/v2/vault-plus/stats")
    assert (stats["totalConnections"], stats["totalStorageBytes"]) == (1, 20_000)


async def test_it_manages_connections(sdk: Sdk):
    who = await sdk.run(account.whoami)
    check(models.V2AccountWhoamiGetResponse, who)
    assert who["name"] == "default"
    session = {"cookie": CORAL.cookie, "userAgent": USER_AGENT, "clientReferenceId": "mine"}
    made = await sdk.run(account.create_connections_connections_import, session)
    check(models.V2AccountConnectionsImportPostResponse, made, nulls=NULLABLE - {"clientReferenceId"})
    page = await sdk.run(account.list_connections, status="active", imported="true", limit=20.0, offset=0.0)
    check(models.V2AccountConnectionsGetResponse, page, nulls=NULLABLE)
    assert [connection["id"] for connection in page["list"]] == [sdk.connection, made["id"]]
    walked = await asyncio.to_thread(lambda: list(account.iter_connections(sdk.client, page_size=1)))
    assert [connection["id"] for connection in walked] == [sdk.connection, made["id"]]
    ended = await sdk.run(account.invalidate_connections, made["id"])
    assert ended["status"] == "expired"
    new_session = {"cookie": CORAL.cookie, "userAgent": USER_AGENT}
    renewed = await sdk.run(account.update_connections_connections_import, made["id"], new_session)
    assert (renewed["id"], renewed["status"]) == (made["id"], "active")
    assert await sdk.run(account.delete_connections, made["id"]) == {"success": True}
    assert len((await sdk.run(account.list_connections))["list"]) == 1


async def test_it_walks_the_upstream_through_the_gateway(sdk: Sdk):
    assert (await sdk.run(own_account.list_selfs))["username"] == AURORA.username
    lists = await asyncio.to_thread(lambda: list(vault_lists.iter_vault_vault_lists(sdk.client, page_size=2)))
    assert [one["name"] for one in lists] == ["Landscapes", "Motion", "Favourites"]
    walked = await asyncio.to_thread(lambda: list(vault_api.iter_media(sdk.client, page_size=3)))
    assert len(walked) == len(sdk.running.sandbox.library("aurora").vault)
    for media in walked:
        url = media["files"]["full"]["url"]
        assert url is None or url.startswith(f"{sdk.running.served.media_url}/v2/")
    as_floats = await sdk.request("GET", "/v2/access/vault/media", query={"limit": 2.0, "offset": 1.0})
    assert [media["id"] for media in as_floats["list"]] == [media["id"] for media in walked[1:3]]


async def test_it_reaches_any_path_by_its_proxy(sdk: Sdk):
    for path in ("/users/me", "/api2/v2/users/me", "users/me"):
        assert (await asyncio.to_thread(sdk.client.proxy, path))["username"] == AURORA.username
    posted = await asyncio.to_thread(sdk.client.proxy, "/posts", "POST", body={"text": "Good morning"})
    assert posted["text"] == "Good morning"
    doubled = await sdk.failure(sdk.client.proxy, "api2/v2/users/me")  # it makes //users/me of this
    assert (doubled.status, doubled.code) == (400, "BAD_REQUEST")


async def test_it_reads_our_errors(sdk: Sdk):
    with OFAuthClient("unknown", base_url=sdk.running.api_url, connection_id=sdk.connection) as stranger:
        refused = await sdk.failure(account.whoami, stranger)
        assert (refused.status, str(refused), refused.code) == (401, "Unauthorized", "UNAUTHORIZED")
    with OFAuthClient(KEY, base_url=sdk.running.api_url) as unnamed:
        missing = await sdk.failure(unnamed.request, "GET", f"{MEDIA}/1")
        assert (missing.status, str(missing)) == (400, "x-connection-id header is required")
    sdk.running.sandbox.expire_session("aurora")
    expired = await sdk.failure(vault_api.list_media, sdk.client)
    assert (expired.status, expired.code) == (401, "SESSION_EXPIRED")
    odd = await sdk.failure(account.list_connections, sdk.client, limit=500)
    assert (odd.status, odd.code) == (400, "BAD_REQUEST")
