"""Items that a vault has stored: making one, and what is served of all of them."""

import hashlib
from typing import Any

from fakes.vaults import RunningVault


async def stored_item(vault: RunningVault, connection: str, **media: Any) -> Any:
    """A new item upstream, once each of its variants is stored; as the sandbox has it."""
    added, item = await vault.add(connection, **media)
    for variant in item["media"].values():
        await vault.ask("POST", variant["url"])
    for label in item["media"]:
        await vault.until_stored(connection, added.id, label)
    return added


async def stored_full(vault: RunningVault, connection: str, **media: Any) -> tuple[str, str]:
    """The id of such an item, and the SHA-256 of its `full`."""
    added = await stored_item(vault, connection, **media)
    return str(added.id), added.renditions["full"].content.sha256()


async def served_digests(vault: RunningVault, connection: str | None) -> dict[str, str]:
    """The SHA-256 of every stored `full` as it is served, by its item."""
    answer = await vault.call("GET", "/v2/vault-plus/media?sort=createdAt_asc", connection=connection)
    found = {}
    for item in answer.json["items"]:
        if item["media"]["full"]["status"] == "stored":
            viewed = await vault.ask("GET", item["media"]["full"]["url"])
            assert viewed.status == 200, viewed.body
            found[item["id"]] = hashlib.sha256(viewed.body).hexdigest()
    return found
