"""A vault together with a webhook receiver that it may dial."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fakes.documents import check_answer
from fakes.receivers import Receiver, receiving
from fakes.running import serving
from fakes.vaults import RunningVault, running_vault, test_config, until
from mediavault.origin.addresses import AllowList
from mediavault.platform.application import application
from mediavault.platform.sandbox import Sandbox
from mediavault.storer.deliveries import DeliveryConfig

ENDPOINTS = "/v2/webhooks/endpoints"
ENDPOINT = ENDPOINTS + "/{endpointId}"
REDELIVER = "/v2/webhooks/deliveries/{deliveryId}/redeliver"
QUICK = DeliveryConfig(tries=3, first_delay_ms=10, look_every_seconds=0.02)


@dataclass
class Told:
    """A vault, and a receiver that it may dial."""

    vault: RunningVault
    receiver: Receiver

    async def call(self, method: str, path: str, operation: str, **how: Any) -> Any:
        """A call whose answer is held against the document."""
        answer = await self.vault.call(method, path, **how)
        check_answer(answer, method, operation)
        return answer

    async def endpoint(self, **more: Any) -> Any:
        answer = await self.call("POST", ENDPOINTS, ENDPOINTS, json={"url": self.receiver.url + "/hook", **more})
        assert answer.status == 200, answer.body
        return answer.json

    async def log(self, endpoint_id: str, query: str = "") -> list[Any]:
        path = f"{ENDPOINTS}/{endpoint_id}/deliveries?{query}"
        return list((await self.call("GET", path, ENDPOINT + "/deliveries")).json["items"])

    async def until_logged(self, endpoint_id: str, state: str) -> list[Any]:
        async def found() -> list[Any]:
            return await self.log(endpoint_id, f"state={state}")

        return list(await until(found))

    async def test(self, endpoint_id: str) -> Any:
        return (await self.call("POST", f"{ENDPOINTS}/{endpoint_id}/test", ENDPOINT + "/test")).json


@contextlib.asynccontextmanager
async def told_vault(data: Path, **changes: Any) -> AsyncIterator[Told]:
    """A vault on a sandbox of its own, with its receiver; deliveries are tried again at once."""
    sandbox = Sandbox()
    async with (
        receiving() as receiver,
        serving(application(sandbox)) as platform_url,
        another_vault(data, sandbox, platform_url, receiver, **changes) as vault,
    ):
        yield Told(vault, receiver)


@contextlib.asynccontextmanager
async def another_vault(
    data: Path, sandbox: Sandbox, platform_url: str, receiver: Receiver, *, name: str = "mediavault", **changes: Any
) -> AsyncIterator[RunningVault]:
    """A vault that may dial the receiver too, where it is known by that name."""
    client = test_config(data, platform_url).client
    allow = AllowList.parse(",".join(each.removeprefix("http://") for each in (platform_url, receiver.url)))
    given: dict[str, Any] = {"client": replace(client, allow=allow, user_agent=name), "deliveries": QUICK} | changes
    async with running_vault(data, sandbox=sandbox, platform_url=platform_url, **given) as vault:
        yield vault
