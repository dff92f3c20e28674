"""The published SDK against a served vault, with nothing changed but its base URL, and its models as judges."""

import asyncio
import contextlib
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from fakes.vaults import KEY, RunningVault

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a docstring of the SDK has an escape that is none
    from onlyfans_sdk import (
        OFAuthClient,
        account,
        models,
        vault_cache,
        vault_lists,
        vault_media,
        vault_stats,
        vault_store,
    )
    from onlyfans_sdk import self as own_account
    from onlyfans_sdk import vault as vault_api
    from onlyfans_sdk._client import OFAuthError


@dataclass
class Sdk:
    """The client, and a vault with a stored photo behind it. The SDK is synchronous: it runs in a thread."""

    client: OFAuthClient
    running: RunningVault
    connection: str
    photo_id: str

    async def run(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        """A call of the SDK, in a thread."""
        return await asyncio.to_thread(call, self.client, *args, **kwargs)

    async def request(self, method: str, path: str, **more: Any) -> Any:
        """What its own functions do, for paths that are newer than it."""
        return await asyncio.to_thread(self.client.request, method, path, **more)

    async def failure(self, call: Any, *args: Any, **kwargs: Any) -> OFAuthError:
        """The error of a call that must fail."""
        with pytest.raises(OFAuthError) as failed:
            await asyncio.to_thread(call, *args, **kwargs)
        return failed.value


@contextlib.asynccontextmanager
async def sdk_with_a_photo(vault: RunningVault) -> AsyncIterator[Sdk]:
    """The SDK's client of a connection with a stored photo of 20,000 bytes."""
    connection = await vault.connect()
    photo, item = await vault.add(connection, type="photo", size_bytes=20_000)
    await vault.ask("GET", item["media"]["full"]["url"])
    await vault.until_stored(connection, photo.id)
    with OFAuthClient(KEY, base_url=vault.api_url, connection_id=connection) as client:
        yield Sdk(client, vault, connection, str(photo.id))


def refusals(model: type[BaseModel], answer: Any) -> set[str]:
    """The fields that the model does not take; those whose null it does not take end in "=null"."""
    try:
        model.model_validate(answer)
    except ValidationError as refused:
        return {f"{error['loc'][-1]}{'=null' if error['input'] is None else ''}" for error in refused.errors()}
    return set()


def check(model: type[BaseModel], answer: Any, *, nulls: frozenset[str] | set[str] = frozenset()) -> None:
    """Raise unless the model takes the answer, but for the contract's nulls that are named."""
    assert refusals(model, answer) == {f"{field}=null" for field in nulls}


__all__ = [
    "OFAuthClient",
    "OFAuthError",
    "Sdk",
    "account",
    "check",
    "models",
    "own_account",
    "refusals",
    "sdk_with_a_photo",
    "vault_api",
    "vault_cache",
    "vault_lists",
    "vault_media",
    "vault_stats",
    "vault_store",
]
