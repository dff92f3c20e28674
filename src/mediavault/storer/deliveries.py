"""Webhooks: events become deliveries, deliveries become signed requests, at least once and in order per connection."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from mediavault.catalog import deliveries, notices, outbox, webhooks
from mediavault.catalog.database import Catalog
from mediavault.catalog.deliveries import Claimed, Outcome
from mediavault.catalog.notices import Ahead
from mediavault.catalog.tables import DeliveryState
from mediavault.domain.reasons import printable
from mediavault.domain.retry_after import told_wait_ms
from mediavault.domain.times import DAY, HOUR, SECOND, Now
from mediavault.domain.webhook_signing import signature_headers
from mediavault.errors import OriginError, WrongMasterKey
from mediavault.origin.client import GuardedClient, Response
from mediavault.telemetry import Events, logger
from mediavault.vault.notifying import previous_secret_place, secret_place
from mediavault.vault.sealing import Sealer

_GONE = 410
_LATER = frozenset({429, 503})
_EXCERPT_CHARACTERS = 200
_FANNED_OUT_AT_ONCE = 200
_FORGOTTEN_AT_ONCE = 1000


@dataclass(frozen=True)
class DeliveryConfig:
    """How webhooks are sent."""

    timeout_seconds: float = 10  #: of one try, from dialling to the end of the answer
    tries: int = 5
    first_delay_ms: int = 5 * SECOND  #: before the second try; each later one waits four times as long, with jitter
    lease_ms: int = 60 * SECOND  #: longer than a try; after a crash a delivery is sent again when it has run out
    sent_at_once: int = 16
    sent_at_once_to_endpoint: int = 4  #: a slow receiver leaves room for the others
    ahead: Ahead = field(default_factory=Ahead)  #: made in advance; the rest waits in the outbox
    longest_told_wait_ms: int = 1 * HOUR  #: of a receiver's Retry-After
    look_every_seconds: float = 0.5
    kept_ms: int = 7 * DAY  #: events that everybody was told of, and the log of finished deliveries
    sweep_every_seconds: float = 60


def retry_delay_ms(attempts: int, first_ms: int, chance: float) -> int:
    """How long to wait after so many failed tries; `chance` from 0 to 1 spreads them from half to one and a half."""
    return round(first_ms * (1 << 2 * (attempts - 1)) * (0.5 + chance))


class Deliveries:
    """Fans out, claims and sends until it is drained."""

    def __init__(
        self,
        catalog: Catalog,
        client: GuardedClient,
        sealer: Sealer,
        now: Now,
        config: DeliveryConfig,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._catalog = catalog
        self._client = client
        self._sealer = sealer
        self._now = now
        self._config = config
        self._chance = chance
        self._work = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        self._sweep_at = 0

    async def run(self) -> None:
        """Send until cancelled; requests under way go on then, `drain` ends them."""
        is_first = True
        while True:
            self._work.clear()
            try:
                if is_first and not self._catalog.shared:  # nobody else can hold a lease of this catalog
                    await self._catalog.run(deliveries.release_all)
                is_first = False
                await self.fan_out()
                await self._claim_all_there_is_room_for()
                await self._sweep_when_due()
            except Exception:  # the loop outlives whatever it met
                logger().exception(Events.WORKER_FAILED, worker="deliveries")
            with suppress(TimeoutError):
                async with asyncio.timeout(self._config.look_every_seconds):
                    await self._work.wait()

    async def fan_out(self) -> None:
        """Make deliveries of what every endpoint has not been told of."""
        for endpoint_id in await notices.behind(self._catalog):
            while await self._catalog.run(
                notices.fan_out, endpoint_id, _FANNED_OUT_AT_ONCE, self._config.ahead, self._now()
            ):
                continue

    async def _claim_all_there_is_room_for(self) -> None:
        while len(self._sending) < self._config.sent_at_once:
            claimed = await self._catalog.run(
                deliveries.claim, self._config.lease_ms, self._config.sent_at_once_to_endpoint, self._now()
            )
            if claimed is None:
                return
            task = asyncio.create_task(self._run(claimed))
            self._sending.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._work.set()

    async def _run(self, claimed: Claimed) -> None:
        try:
            outcome = await self._outcome(claimed)
            await self._catalog.run(deliveries.settle, claimed, outcome, self._now())
        except asyncio.CancelledError:
            await self._catalog.run(deliveries.release, claimed)
            raise
        except Exception:  # the lease runs out and the delivery is sent again
            logger().exception(Events.WORKER_FAILED, worker="deliveries", delivery_id=claimed.id)

    async def _outcome(self, claimed: Claimed) -> Outcome:
        """Send once; what became of it."""
        status, told_ms = None, 0
        try:
            async with asyncio.timeout(self._config.timeout_seconds):
                status, error, told_ms = await self._send(claimed)
        except TimeoutError:
            error = f"no answer within {self._config.timeout_seconds:g} seconds"
        except (OriginError, WrongMasterKey) as failure:
            error = str(failure)
        attempts, now = claimed.attempts + 1, self._now()
        if error is None:
            return Outcome(DeliveryState.DELIVERED, attempts, now, status, delivered_at=now)
        error = printable(error)
        if status == _GONE or attempts >= self._config.tries:
            return Outcome(DeliveryState.DEAD, attempts, now, status, error, gone=status == _GONE)
        wait_ms = max(told_ms, retry_delay_ms(attempts, self._config.first_delay_ms, self._chance()))
        return Outcome(DeliveryState.PENDING, attempts, now + wait_ms, status, error)

    async def _send(self, claimed: Claimed) -> tuple[int, str | None, int]:
        """The receiver's status, what is wrong with it, and how long it asks to be left alone. Raises OriginError."""
        body, timestamp = claimed.body.encode(), self._now() // SECOND
        signed = signature_headers(self._secrets(claimed), claimed.event_id, timestamp, body)
        headers = {"Content-Type": "application/json", **signed}
        async with self._client.request("POST", claimed.url, headers, body) as response:
            if 200 <= response.status < 300:
                return response.status, None, 0
            error = f"the receiver answered {response.status}: {await _excerpt(response)}"
            told = response.headers.get("Retry-After") if response.status in _LATER else None
            return response.status, error, told_wait_ms(told, self._now(), self._config.longest_told_wait_ms)

    def _secrets(self, claimed: Claimed) -> list[str]:
        sealed = [(claimed.secret, secret_place(claimed.org_id, claimed.endpoint_id))]
        if claimed.previous_secret is not None and (claimed.previous_secret_until or 0) > self._now():
            sealed.append((claimed.previous_secret, previous_secret_place(claimed.org_id, claimed.endpoint_id)))
        return [self._sealer.open(bytes(secret), place).decode() for secret, place in sealed]

    async def _sweep_when_due(self) -> None:
        now = self._now()
        if now >= self._sweep_at:
            await self.sweep()
            self._sweep_at = now + round(self._config.sweep_every_seconds * SECOND)

    async def sweep(self) -> None:
        """Forget secrets that sign no more, events that everybody was told of, and old lines of the log."""
        now = self._now()
        before = now - self._config.kept_ms
        await self._catalog.run(webhooks.forget_previous_secrets, now)
        while await self._catalog.run(deliveries.forget, before, _FORGOTTEN_AT_ONCE) == _FORGOTTEN_AT_ONCE:
            continue
        org_id = ""
        while (found := await outbox.next_organisation(self._catalog, org_id)) is not None:
            org_id, latest = found
            while await self._catalog.run(outbox.forget, org_id, latest, before, _FORGOTTEN_AT_ONCE):
                continue

    async def drain(self, seconds: float) -> None:
        """Let requests under way end within the time; the rest is cut, and given back."""
        sending = list(self._sending)
        if sending:
            await asyncio.wait(sending, timeout=seconds)
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)


async def _excerpt(response: Response) -> str:
    """The start of an answer."""
    read = bytearray()
    async for chunk in response.chunks():
        read += chunk
        if len(read) >= _EXCERPT_CHARACTERS:
            break
    return " ".join(bytes(read[:_EXCERPT_CHARACTERS]).decode("utf-8", "replace").split())
