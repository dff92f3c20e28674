"""A variant seen from the inside and from the media host: its row, its views, its raw connections."""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from fakes.vaults import RunningVault, until
from mediavault.catalog.variants import Variant, find_variant
from mediavault.platform.library import MediaItem


@dataclass
class Seen:
    """One media item's `full` variant, as a test holds it."""

    vault: RunningVault
    connection: str
    media: MediaItem
    url: str

    @property
    def path(self) -> str:
        """Where its bytes lie at the sandbox's CDN; faults are aimed at it."""
        return self.media.renditions["full"].path

    @property
    def sha256(self) -> str:
        return self.media.renditions["full"].content.sha256()

    @property
    def fetches(self) -> int:
        """How often the sandbox's CDN was asked for it."""
        return len(self.vault.sandbox.log.records(self.path))

    async def row(self) -> Variant:
        """The variant as the catalog has it."""
        vault = self.vault.vault
        grant = vault.media.signer.verify(urlsplit(self.url).path.removeprefix("/v2/"), now=vault.now())
        found = await find_variant(vault.foundation.catalog, grant.variant_id)
        assert found is not None
        return found

    async def until_status(self, status: str, seconds: float = 20) -> Variant:
        """The row once it has that status."""

        async def reached() -> Variant | None:
            row = await self.row()
            return row if row.status == status else None

        return await until(reached, seconds)  # type: ignore[no-any-return]

    async def until_idle(self) -> None:
        """Until no fill of it runs."""

        async def idle() -> bool:
            return self.vault.vault.filling.running((await self.row()).id) is None

        await until(idle)


async def see(vault: RunningVault, connection: str, **media: Any) -> Seen:
    """A new media item upstream, seen through the gateway; a photo unless told."""
    added, item = await vault.add(connection, **({"type": "photo"} | media))
    return Seen(vault, connection, added, item["media"]["full"]["url"])


#: What a viewer's client says of a body that did not arrive whole.
BROKEN = (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, ConnectionError)


async def view(seen: Seen, **headers: str) -> tuple[int, str] | None:
    """Status and sha256 of a GET; None where the client saw the connection break."""
    try:
        answer = await seen.vault.ask("GET", seen.url, **headers)
    except BROKEN:
        return None
    return answer.status, hashlib.sha256(answer.body).hexdigest()


async def status(seen: Seen, **headers: str) -> int | None:
    """Status of a GET; None where the client saw the connection break."""
    got = await view(seen, **headers)
    return None if got is None else got[0]


async def raw(url: str, *requests: bytes) -> bytes:
    """Everything a server says to requests written on one connection; `{path}` in them is the URL's.

    The last request should ask for the connection to be closed.
    """
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        for request in requests:
            writer.write(request.replace(b"{path}", parts.path.encode()))
        await writer.drain()
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
