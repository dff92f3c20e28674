"""How an import reaches the vault: over the control socket of the one that runs, else by its own data folder."""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec

from mediavault.assembly import import_config
from mediavault.blobs.places import open_storage
from mediavault.catalog import leases
from mediavault.catalog.database import sqlite_path
from mediavault.cli import control_socket
from mediavault.cli.operators import answer_of
from mediavault.cli.progress import At, shown
from mediavault.cli.serving import tell_secrets
from mediavault.config import Config
from mediavault.domain.exported import ExportedItem, ExportedList, ExportedMember
from mediavault.edge.cache import EdgeCache
from mediavault.errors import DataFolderLocked, InvalidRequest, UpstreamUnavailable
from mediavault.foundation import milliseconds, open_foundation
from mediavault.vault.portable.import_run import Door, ImportRun, Took
from mediavault.vault.portable.import_source import Expected, Export
from mediavault.vault.portable.importing import REFUSED, Importing, Into, Offer, Outcome, Wish

T = TypeVar("T")

_PATIENCE_SECONDS = 5
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Imported:
    """What an import did."""

    connection_id: str | None
    took: Took


async def run(config: Config, source: Path, wish: Wish, *, dry_run: bool) -> Imported:
    """Check an export, then take it. Raises InvalidRequest for one that is not as it should be, and does nothing."""
    export = Export(source)
    try:
        expected = export.check()
        wish = msgspec.structs.replace(wish, exported=expected.head.connection)
        if dry_run and wish.connection is None:
            return Imported(None, _all_new(expected))
        async with _door(config) as door:
            running = ImportRun(export, door)
            if dry_run:
                return Imported(wish.connection, await running.look(wish.connection or ""))
            took = running.took

            def at() -> At:
                return At(took.looked_files, took.looked_bytes, expected.files, expected.bytes)

            async with shown("import", at):
                into = await running.run(wish)
            return Imported(into.connection_id, took)
    finally:
        export.close()


def _all_new(expected: Expected) -> Took:
    """What a new connection would be given."""
    return Took(items=expected.items, imported=expected.files, imported_bytes=expected.bytes)


@asynccontextmanager
async def _door(config: Config) -> AsyncIterator[Door]:
    """The vault that runs; or this process, which holds the data folder as long."""
    path, loop = control_socket.path_of(config.data), asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE_SECONDS
    while True:
        if path.exists() and (remote := await _connected(path)) is not None:
            async with remote:
                yield remote
            return
        try:
            foundation = await open_foundation(config, visiting=True)
            break
        except DataFolderLocked:
            if loop.time() > deadline:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)
    try:
        tell_secrets(foundation)
        edge = None
        if sqlite_path(config.catalog.url) is not None:
            edge = EdgeCache.open(config.data / "edge", config.edge, milliseconds)
        blobs = open_storage(config.blobs, config.storage)
        holder = foundation.folder.storer_id()
        # No sweep runs here. Who holds the folder alone knows too that its storer is dead, as the next start would.
        alone = None if foundation.catalog.shared else holder
        await foundation.catalog.run(leases.reclaim, milliseconds(), alone)
        yield Importing(
            foundation.catalog, blobs, edge, holder, config.upstream_url, milliseconds, import_config(config)
        )
    finally:
        await foundation.close()


async def _connected(path: Path) -> "RemoteDoor | None":
    """None where the socket was left behind by a process that was killed."""
    with control_socket.address(path) as name:
        try:
            _, writer = await asyncio.open_unix_connection(name)
        except (ConnectionRefusedError, FileNotFoundError):
            return None
    writer.close()
    await writer.wait_closed()
    return RemoteDoor(path)


class RemoteDoor:
    """The running vault, over its control socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __aenter__(self) -> "RemoteDoor":
        self._address = control_socket.address(self._path)
        connector = aiohttp.UnixConnector(path=self._address.__enter__())
        timeout = aiohttp.ClientTimeout(total=None)  # one variant may be large
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._session.close()
        self._address.__exit__(None, None, None)

    async def begin(self, wish: Wish) -> Into:
        """The connection to import into."""
        return await self._ask(Into, "begin", wish)

    async def offered(self, connection_id: str, offers: Sequence[Offer]) -> list[str]:
        """What is wanted of these."""
        return await self._ask(list[str], "offer", {"connectionId": connection_id, "offers": offers})

    async def store(self, connection_id: str, item: ExportedItem, label: str, body: AsyncIterator[bytes]) -> Outcome:
        """Hand one variant over."""
        told = msgspec.json.encode({"connectionId": connection_id, "label": label, "item": item})
        headers = {"x-import": base64.urlsafe_b64encode(told).decode()}
        spoiled: list[InvalidRequest] = []

        async def noticed() -> AsyncIterator[bytes]:
            try:
                async for chunk in body:
                    yield chunk
            except InvalidRequest as error:  # the client library would call it a connection that broke
                spoiled.append(error)
                raise

        try:
            return await self._sent(Outcome, "variant", noticed(), headers)
        except UpstreamUnavailable:
            if spoiled:
                return Outcome(REFUSED, str(spoiled[0]))
            raise

    async def add_lists(self, connection_id: str, given: Sequence[ExportedList]) -> None:
        """Hand lists over."""
        await self._ask(int, "lists", {"connectionId": connection_id, "lists": given})

    async def add_members(self, connection_id: str, given: Sequence[ExportedMember]) -> int:
        """Hand over what is in them."""
        return await self._ask(int, "lists", {"connectionId": connection_id, "members": given})

    async def _ask(self, kind: type[T], verb: str, body: Any) -> T:
        return await self._sent(kind, verb, msgspec.json.encode(body), {"content-type": "application/json"})

    async def _sent(self, kind: type[T], verb: str, body: Any, headers: dict[str, str]) -> T:
        try:
            async with self._session.post(f"http://vault/import/{verb}", data=body, headers=headers) as response:
                return answer_of(kind, response.status, await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UpstreamUnavailable(
                f"the running vault does not answer ({type(error).__name__}): run the import again"
            ) from error
