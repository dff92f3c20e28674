"""The storage limit through a running vault: the storer reserves, evicts and refuses."""

from fakes.vaults import RunningVault, until

SETTINGS = "/v2/account/connections/{}/settings"


async def limit(vault: RunningVault, connection: str, limit_bytes: int, strategy: str) -> None:
    chosen = {"storageLimitBytes": limit_bytes, "storageLimitPurgeStrategy": strategy}
    body = {"vaultPlus": {"settings": chosen}}
    answer = await vault.call("PATCH", SETTINGS.format(connection), json=body)
    assert answer.status == 200, answer.body


async def stored(vault: RunningVault, connection: str, size_bytes: int, seed: int) -> int:
    """A photo of that size, viewed and stored; its id."""
    photo, item = await vault.add(connection, type="photo", size_bytes=size_bytes, seed=seed)
    await vault.ask("GET", item["media"]["full"]["url"])
    await vault.until_stored(connection, photo.id)
    return int(photo.id)


async def test_the_storer_makes_room_by_removing_the_oldest(vault: RunningVault):
    connection = await vault.connect()
    await limit(vault, connection, 100_000, "purge_oldest")
    first = await stored(vault, connection, 60_000, 1)
    second = await stored(vault, connection, 60_000, 2)

    gone = await vault.call("GET", f"/v2/vault-plus/media/{first}", connection=connection)
    assert gone.status == 404
    totals = await vault.call("GET", "/v2/vault-plus/status", connection=connection)
    assert (totals.json["storedCount"], totals.json["totalSizeBytes"]) == (1, 60_000)

    # Seen again it is known again, but it is not stored again by itself: it would push the next one out, and so on.
    await vault.see(connection, "/v2/access/vault/media?limit=5")
    again = await vault.item(connection, first)
    url = again["media"]["full"]["url"]
    assert (await vault.ask("GET", url)).status == 200

    async def counted() -> bool:
        item = await vault.item(connection, first)
        return bool(item["media"]["full"]["accessCount"] == 2)

    await until(counted)
    assert (await vault.item(connection, first))["media"]["full"]["status"] == "edge_only"
    assert (await vault.item(connection, second))["media"]["full"]["status"] == "stored"

    # A person's wish counts more than that.
    queued = await vault.ask("POST", url)
    assert (queued.status, queued.json["queued"]) == (202, True)
    await vault.until_stored(connection, first)


async def test_a_full_vault_that_blocks_says_why(vault: RunningVault):
    connection = await vault.connect()
    await limit(vault, connection, 100_000, "block_new")
    await stored(vault, connection, 60_000, 1)
    photo, item = await vault.add(connection, type="photo", size_bytes=60_000, seed=2)
    assert (await vault.ask("GET", item["media"]["full"]["url"])).status == 200

    async def refused() -> str | None:
        answer = await vault.call("GET", f"/v2/vault-plus/media/{photo.id}/explain", connection=connection)
        text = answer.body.decode()
        return text if "limit" in text else None

    assert "limit" in str(await until(refused))
    assert (await vault.item(connection, photo.id))["media"]["full"]["status"] == "edge_only"
