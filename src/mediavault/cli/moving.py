"""What `mediavault blobs` does: one turn of a move wherever the vault is, and the checks of each place."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from mediavault.blobs.places import Place, StorageConfig, open_place, open_storage, places_of, primary_of, url_of
from mediavault.blobs.s3_bucket import Bucket, lifecycle_advice
from mediavault.blobs.s3_config import S3Place
from mediavault.blobs.store import BlobStore
from mediavault.cli.operators import Operator
from mediavault.cli.serving import tell_secrets
from mediavault.config import Config
from mediavault.errors import VaultError
from mediavault.foundation import milliseconds, open_foundation
from mediavault.vault.integrity.moving import Moving, Turn


class MoveOperator(Operator):
    """Asks the running vault for a turn, or takes one on its database where none runs."""

    timeout = aiohttp.ClientTimeout(total=None)  # a turn ends only between two blobs, and one may be large

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._here = config

    def turn(self, to: str, after: str, seconds: float) -> Turn:
        """One turn. Raises InvalidRequest for a place the vault does not read from."""

        async def directly(foundation: Any) -> Turn:
            blobs = open_storage(self._here.blobs, self._here.storage)
            places = places_of(blobs, self._here.blobs, self._here.storage)
            return await Moving(foundation.catalog, blobs, places, milliseconds).turn(to, after, seconds)

        return self._do(Turn, "POST", "/blobs/move", {"to": to, "after": after, "seconds": seconds}, directly)

    async def _opened(self, directly: Callable[[Any], Awaitable[Any]]) -> Any:
        """With all of the foundation: other verbs need no more than who may do what."""
        foundation = await open_foundation(self._here, visiting=True)
        try:
            tell_secrets(foundation)
            return await directly(foundation)
        finally:
            await foundation.close()


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    place: str
    name: str
    ok: bool
    advice: str = ""  #: what is wrong, and what to do


def checked(config: Config) -> list[Check]:
    """Every place of blobs, used as the vault would use it."""
    return asyncio.run(_checked(config.storage, config))


async def _checked(storage: StorageConfig, config: Config) -> list[Check]:
    primary = primary_of(config.blobs, storage)
    checks = await _checked_place(primary, storage, writable=True)
    if storage.previous is not None:
        checks += await _checked_place(storage.previous, storage, writable=False)
    return checks


async def _checked_place(place: Place, storage: StorageConfig, *, writable: bool) -> list[Check]:
    url = url_of(place)
    try:
        store = open_place(place, storage.credentials)
        bucket = getattr(store, "bucket", None)
        if isinstance(bucket, Bucket):
            await bucket.check()
    except VaultError as error:
        return [Check(url, "can be used", ok=False, advice=str(error))]
    checks = [Check(url, "can be used", ok=True)]
    if writable:
        checks.append(await _write_check(url, store))
    if isinstance(place, S3Place) and isinstance(bucket, Bucket):
        checks.append(await _rule_check(place, bucket))
    return checks


async def _write_check(url: str, store: BlobStore) -> Check:
    try:
        await store.check_writable()
    except VaultError as error:
        return Check(url, "takes and gives back bytes", ok=False, advice=str(error))
    return Check(url, "takes and gives back bytes", ok=True)


async def _rule_check(place: S3Place, bucket: Bucket) -> Check:
    """Whether the bucket tidies up what a crash leaves of an upload."""
    try:
        ok, advice = await bucket.aborts_unfinished_uploads(), lifecycle_advice(place)
    except VaultError as error:
        ok, advice = False, f"the bucket's lifecycle rules cannot be read: {error}"
    return Check(place.url, "aborts unfinished uploads", ok=ok, advice="" if ok else advice)
