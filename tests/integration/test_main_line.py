"""The vault's main line: seen, viewed, stored, served, removed."""

from fakes.vaults import AURORA, RunningVault, running_vault, until


async def test_a_viewed_vault_photo_becomes_a_stored_item(vault: RunningVault):
    connection = await vault.connect()
    photo, item = await vault.add(connection, type="photo", size_bytes=40_000)
    assert item["media"]["full"]["status"] == "edge_only"

    viewed = await vault.ask("GET", item["media"]["full"]["url"])
    assert (viewed.status, viewed.headers["Content-Type"]) == (200, "image/jpeg")
    assert len(viewed.body) == 40_000

    stored = (await vault.until_stored(connection, photo.id))["media"]["full"]
    assert (stored["sizeBytes"], stored["accessCount"]) == (40_000, 1)
    again = await vault.ask("GET", stored["url"])
    assert again.body == viewed.body
    assert again.headers["ETag"] == viewed.headers["ETag"]
    assert len(vault.sandbox.log.records("/cdn/")) == 1


async def test_the_same_line_on_both_engines(tmp_path, database_url):
    async with running_vault(tmp_path / "data", database_url=database_url) as vault:
        connection = await vault.connect(AURORA)
        photo, item = await vault.add(connection, type="photo")
        await vault.ask("GET", item["media"]["full"]["url"])
        await vault.until_stored(connection, photo.id)

        removed = await vault.call("DELETE", f"/v2/vault-plus/media/{photo.id}", connection=connection)
        assert removed.json == {"success": True, "mediaId": str(photo.id), "freedBytes": 100_000}
        assert (await vault.ask("GET", item["media"]["full"]["url"])).status == 404

        async def counted() -> bool:
            answer = await vault.call("GET", "/v2/vault-plus/status", connection=connection)
            return bool(answer.json["storedCount"] == 0)

        await until(counted)
