"""How commands reach a vault: over its control socket while it runs, else by opening its data folder."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec

from mediavault.assembly import open_foundation
from mediavault.catalog.organisations import KeyRow, OrganisationRow
from mediavault.config import Config
from mediavault.errors import CatalogUnavailable, Conflict, InvalidRequest, NotFound, VaultError
from mediavault.vault.authorising import Authorising, NewKey

T = TypeVar("T")

_ERROR_OF_STATUS: dict[int, type[VaultError]] = {
    400: InvalidRequest,
    404: NotFound,
    409: Conflict,
    503: CatalogUnavailable,
}


class Operator:
    """The operator's verbs, wherever the vault is."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._socket = config.data / "control.sock"

    def create_organisation(self, name: str) -> OrganisationRow:
        """Add an organisation."""
        return self._do(
            OrganisationRow,
            "POST",
            "/organisations",
            {"name": name},
            lambda authorising: authorising.create_organisation(name),
        )

    def organisations(self) -> list[OrganisationRow]:
        """Every organisation."""
        return self._do(
            list[OrganisationRow], "GET", "/organisations", None, lambda authorising: authorising.organisations()
        )

    def create_key(self, organisation: str, scopes: Sequence[str], name: str | None) -> NewKey:
        """Add a key."""
        return self._do(
            NewKey,
            "POST",
            "/keys",
            {"organisation": organisation, "scopes": list(scopes), "name": name},
            lambda authorising: authorising.create_key(organisation, scopes, name=name),
        )

    def keys(self) -> list[KeyRow]:
        """Every key."""
        return self._do(list[KeyRow], "GET", "/keys", None, lambda authorising: authorising.keys())

    def revoke_key(self, key_id: str) -> None:
        """End a key."""
        self._do(
            dict[str, str], "POST", f"/keys/{key_id}/revoke", None, lambda authorising: _revoked(authorising, key_id)
        )

    def _do(
        self, kind: type[T], method: str, path: str, body: Any, directly: Callable[[Authorising], Awaitable[T]]
    ) -> T:
        return asyncio.run(self._reach(kind, method, path, body, directly))

    async def _reach(
        self, kind: type[T], method: str, path: str, body: Any, directly: Callable[[Authorising], Awaitable[T]]
    ) -> T:
        if self._socket.exists():
            try:
                return await _over_socket(self._socket, kind, method, path, body)
            except aiohttp.ClientConnectorError:
                pass  # left behind by a process that was killed
        foundation = await open_foundation(self._config)
        try:
            return await directly(foundation.authorising)
        finally:
            await foundation.close()


async def _revoked(authorising: Authorising, key_id: str) -> dict[str, str]:
    await authorising.revoke_key(key_id)
    return {"revoked": key_id}


async def _over_socket(socket: Path, kind: type[T], method: str, path: str, body: Any) -> T:
    connector = aiohttp.UnixConnector(path=str(socket))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(method, f"http://vault{path}", json=body) as response,
    ):
        content = await response.read()
        if response.status >= 400:
            told = msgspec.json.decode(content).get("message", "the vault refused")
            raise _ERROR_OF_STATUS.get(response.status, VaultError)(told)
        return msgspec.json.decode(content, type=kind)
