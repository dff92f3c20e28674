"""Relaying: an origin's answers that are handed on and never kept.

To the origin they are fetches like any other: they take turns by host and connection, count in the connection's rate of
bytes, and spare an origin that has just failed. An answer holds its turn for as long as its viewer reads.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager

from mediavault.catalog.variants import Variant
from mediavault.domain.times import Now
from mediavault.errors import OriginError, OriginRefused
from mediavault.origin.client import GuardedClient, Response
from mediavault.origin.media_fetch import check_status
from mediavault.vault.fills.cooling import CoolDowns
from mediavault.vault.fills.reminting import Reminting
from mediavault.vault.fills.traffic import Traffic
from mediavault.vault.fills.turns import Turns, Urgency
from mediavault.vault.fills.url import FillUrl
from mediavault.vault.sealing import Sealer


class Relayed:
    """An origin's answer on its way through."""

    def __init__(self, response: Response, traffic: Traffic, connection_id: str) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._traffic = traffic
        self._connection_id = connection_id

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives, and as the connection's rate lets it pass. Raises OriginUnavailable."""
        viewer = Urgency(urgent=True)
        async with aclosing(self._response.chunks()) as chunks:
            async for chunk in chunks:
                await self._traffic.pass_through(self._connection_id, len(chunk), viewer)
                yield chunk


#: Asks the origin with these headers, for as long as the answer is held. Raises OriginError, OriginBusy.
Ask = Callable[[Mapping[str, str]], AbstractAsyncContextManager[Relayed]]


class Relaying:
    """What this process hands on."""

    def __init__(
        self,
        client: GuardedClient,
        turns: Turns,
        sealer: Sealer,
        reminting: Reminting,
        cool_downs: CoolDowns,
        now: Now,
    ) -> None:
        self._client = client
        self._turns = turns
        self._sealer = sealer
        self._reminting = reminting
        self._cool_downs = cool_downs
        self._now = now

    def of_url(self, sealed: bytes) -> Ask:
        """Of a URL that a media URL carries: nothing is known of its media, so nobody can be asked for a fresh one.

        Raises BadSignature.
        """
        direct = self._sealer.open_direct(sealed)
        return lambda headers: self._dial(direct.url, direct.connection_id, headers)

    def of_variant(self, variant: Variant) -> Ask:
        """Of a variant whose bytes there is no room for. Raises OriginCoolingDown."""
        self._cool_downs.check(variant)
        return lambda headers: self._ask(variant, headers)

    @asynccontextmanager
    async def _ask(self, variant: Variant, headers: Mapping[str, str]) -> AsyncIterator[Relayed]:
        url = FillUrl(variant, self._sealer, self._reminting, self._now)
        try:
            async with AsyncExitStack() as held:
                yield await self._answer(url, headers, held)
        except OriginError as error:  # also what whoever hands it on finds wrong with it
            await self._cool_downs.blame(url.variant, error, also_key=variant.origin_key)
            raise

    async def _answer(self, url: FillUrl, headers: Mapping[str, str], held: AsyncExitStack) -> Relayed:
        """The answer, held; a URL that no longer works is replaced by a fresh one, once."""
        while True:
            key = url.key
            try:
                async with AsyncExitStack() as dialled:
                    dialling = self._dial(await url.current(), url.variant.connection_id, headers)
                    relayed = await dialled.enter_async_context(dialling)
                    held.push_async_exit(dialled.pop_all())
                    return relayed
            except OriginRefused as refused:  # with its turn given back: whoever holds one waits for nobody
                await url.renew(refused, key, 0)

    @asynccontextmanager
    async def _dial(self, url: str, connection_id: str, headers: Mapping[str, str]) -> AsyncIterator[Relayed]:
        async with (
            self._turns.turn(url, connection_id, Urgency(urgent=True)),
            self._client.get(url, headers) as response,
        ):
            check_status(response)
            yield Relayed(response, self._turns.traffic, connection_id)
