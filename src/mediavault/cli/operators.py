"""How commands reach a vault: over its control socket while it runs, else by opening its data folder."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import msgspec

from mediavault.catalog.organisations import KeyRow, OrganisationRow
from mediavault.cli import control_socket
from mediavault.config import Config
from mediavault.errors import (
    CatalogUnavailable,
    Conflict,
    DataFolderLocked,
    InvalidRequest,
    NotFound,
    UpstreamUnavailable,
    VaultError,
)
from mediavault.vault.authorising import NewKey
from mediavault.vault.rekeying import KeyView, Progress

if TYPE_CHECKING:
    from mediavault.foundation import Foundation

T = TypeVar("T")

_ERROR_OF_STATUS: dict[int, type[VaultError]] = {
    400: InvalidRequest,
    404: NotFound,
    409: Conflict,
    413: InvalidRequest,
    503: CatalogUnavailable,
}
_TIMEOUT = aiohttp.ClientTimeout(total=30)
#: Another command holds the folder for a moment; a vault that starts or stops, for a little longer.
_PATIENCE_SECONDS = 5
_PAUSE_SECONDS = 0.05


class Operator:
    """The operator's verbs, wherever the vault is."""

    #: How long a running vault may take to answer.
    timeout = _TIMEOUT

    def __init__(self, config: Config) -> None:
        self._config = config
        self._socket = control_socket.path_of(config.data)

    def create_organisation(self, name: str) -> OrganisationRow:
        """Add an organisation."""
        return self._do(
            OrganisationRow,
            "POST",
            "/organisations",
            {"name": name},
            lambda foundation: foundation.authorising.create_organisation(name),
        )

    def organisations(self) -> list[OrganisationRow]:
        """Every organisation."""
        return self._do(
            list[OrganisationRow],
            "GET",
            "/organisations",
            None,
            lambda foundation: foundation.authorising.organisations(),
        )

    def create_key(self, organisation: str, scopes: Sequence[str], name: str | None, life: int | None = None) -> NewKey:
        """Add a key; `life` in ms."""
        return self._do(
            NewKey,
            "POST",
            "/keys",
            {"organisation": organisation, "scopes": list(scopes), "name": name, "life": life},
            lambda foundation: foundation.authorising.create_key(organisation, scopes, name=name, life=life),
        )

    def keys(self) -> list[KeyRow]:
        """Every key."""
        return self._do(list[KeyRow], "GET", "/keys", None, lambda foundation: foundation.authorising.keys())

    def revoke_key(self, key_id: str) -> None:
        """End a key."""
        _check_id(key_id)
        self._do(
            dict[str, str], "POST", f"/keys/{key_id}/revoke", None, lambda foundation: _revoked(foundation, key_id)
        )

    def rotate_key(self, key_id: str, overlap: int, life: int | None = None) -> NewKey:
        """A key in the place of another, which lives `overlap` ms longer."""
        _check_id(key_id)
        return self._do(
            NewKey,
            "POST",
            f"/keys/{key_id}/rotate",
            {"overlap": overlap, "life": life},
            lambda foundation: foundation.authorising.rotate_key(key_id, overlap=overlap, life=life),
        )

    def master_keys(self) -> list[KeyView]:
        """The ring of master keys."""
        return self._do(list[KeyView], "GET", "/master-key", None, lambda foundation: foundation.rekeying.keys())

    def rotate_master_key(self) -> list[KeyView]:
        """Seal with a new master key, or go on with a rotation."""
        return self._do(
            list[KeyView], "POST", "/master-key/rotate", None, lambda foundation: foundation.rekeying.rotate()
        )

    def reseal(self, cursor: str | None) -> Progress:
        """Seal a part of all secrets with the current master key."""
        return self._do(
            Progress,
            "POST",
            "/master-key/reseal",
            {"cursor": cursor},
            lambda foundation: foundation.rekeying.reseal(cursor),
        )

    def retire_master_keys(self, *, at_once: bool) -> list[KeyView]:
        """Let the previous master keys go."""
        return self._do(
            list[KeyView],
            "POST",
            "/master-key/retire",
            {"atOnce": at_once},
            lambda foundation: foundation.rekeying.retire(at_once=at_once),
        )

    def _do(
        self, kind: type[T], method: str, path: str, body: Any, directly: "Callable[[Foundation], Awaitable[T]]"
    ) -> T:
        return asyncio.run(self._reach(kind, method, path, body, directly))

    async def _reach(
        self, kind: type[T], method: str, path: str, body: Any, directly: "Callable[[Foundation], Awaitable[T]]"
    ) -> T:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE_SECONDS
        while True:
            if self._socket.exists():
                try:
                    return await self._over_socket(kind, method, path, body)
                except aiohttp.ClientConnectorError:
                    pass  # left behind by a process that was killed, or just gone
            try:
                return await self._opened(directly)
            except DataFolderLocked:
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _opened(self, directly: "Callable[[Foundation], Awaitable[T]]") -> T:
        from mediavault.assembly import open_foundation
        from mediavault.cli.serving import tell_secrets

        foundation = await open_foundation(self._config, visiting=True)
        try:
            tell_secrets(foundation)
            return await directly(foundation)
        finally:
            await foundation.close()

    async def _over_socket(self, kind: type[T], method: str, path: str, body: Any) -> T:
        with control_socket.address(self._socket) as name:
            try:
                status, content = await asked(name, method, path, body, self.timeout)
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ClientError, TimeoutError) as error:
                raise UpstreamUnavailable(f"the running vault does not answer: {type(error).__name__}") from error
        return answer_of(kind, status, content)


def answer_of(kind: type[T], status: int, content: bytes) -> T:
    """What the running vault answered. Raises the error that it told."""
    try:
        if status >= 400:
            raise _ERROR_OF_STATUS.get(status, VaultError)(msgspec.json.decode(content)["message"])
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, KeyError, TypeError):
        raise VaultError("the running vault answers as another version would: restart it") from None


def _check_id(key_id: str) -> None:
    """It becomes a part of a path, and is not repeated: it may be the key itself. Raises NotFound."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", key_id):
        raise NotFound("there is no living key of that id: `mediavault keys list` shows the ids")


async def _revoked(foundation: "Foundation", key_id: str) -> dict[str, str]:
    await foundation.authorising.revoke_key(key_id)
    return {"revoked": key_id}


async def asked(
    socket: str, method: str, path: str, body: Any, timeout: aiohttp.ClientTimeout = _TIMEOUT
) -> tuple[int, bytes]:
    """One question to the running vault: status and body."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=socket), timeout=timeout) as session,
        session.request(method, f"http://vault{path}", json=body) as response,
    ):
        return response.status, await response.read()
