"""Relaying: an origin's answers that are handed on and never kept.

To the origin they are fetches like any other: they take turns by host and connection, count in the connection's rate of
bytes, and spare an origin that has just failed. An answer holds its turn for as long as its viewer reads, and gives it
back while that one takes nothing (`seats`).
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass

from mediavault.catalog.variants import Variant
from mediavault.domain.times import Now
from mediavault.errors import OriginError, OriginRefused
from mediavault.origin.client import GuardedClient, Response
from mediavault.origin.media_fetch import check_status
from mediavault.vault import origin_urls
from mediavault.vault.fills.cooling import CoolDowns
from mediavault.vault.fills.reminting import Reminting
from mediavault.vault.fills.seats import RestConfig, Resting, Seat
from mediavault.vault.fills.traffic import Traffic
from mediavault.vault.fills.turns import Turns, Urgency
from mediavault.vault.fills.url import FillUrl
from mediavault.vault.sealing import Sealer

#: Objects whose first bytes are remembered.
_MOST_STARTS = 2_000
_PIECE_BYTES = 256 * 1024


class Relayed:
    """An origin's answer on its way through."""

    def __init__(self, response: Response, seat: Seat, traffic: Traffic, connection_id: str) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._seat = seat
        self._traffic = traffic
        self._connection_id = connection_id

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives, and as the connection's rate lets it pass. Raises OriginUnavailable, OriginBusy.

        In pieces of 256 KiB at most: whoever takes one in time is reading.
        """
        viewer = Urgency(urgent=True)
        async with aclosing(self._response.chunks()) as chunks:
            async for chunk in chunks:
                for start in range(0, len(chunk), _PIECE_BYTES):
                    piece = chunk[start : start + _PIECE_BYTES]
                    await self._traffic.pass_through(self._connection_id, len(piece), viewer)
                    self._seat.wait_for_viewer()
                    yield piece
                    await self._seat.go_on(is_over=self._response.arrived)


#: Asks the origin with these headers, for as long as the answer is held. Raises OriginError, OriginBusy.
_Dial = Callable[[Mapping[str, str]], AbstractAsyncContextManager[Relayed]]


@dataclass(frozen=True)
class Start:
    """What the first bytes of an object have told."""

    content_type: str
    etag: str | None  #: of the answer that they came with


class Ask:
    """An object to be asked for, and what is known of its first bytes."""

    def __init__(self, dial: _Dial, key: tuple[str, str], starts: "OrderedDict[tuple[str, str], Start]") -> None:
        self._dial = dial
        self._key = key
        self._starts = starts

    def __call__(self, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Relayed]:
        """Ask with these headers. Raises OriginError, OriginBusy."""
        return self._dial(headers)

    @property
    def start(self) -> Start | None:
        """What its first bytes told, the last time they came through here."""
        return self._starts.get(self._key)

    def forget(self) -> None:
        """It is another object now."""
        self._starts.pop(self._key, None)

    def learn(self, start: Start) -> None:
        """They told this."""
        self._starts[self._key] = start
        self._starts.move_to_end(self._key)
        while len(self._starts) > _MOST_STARTS:
            self._starts.popitem(last=False)


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
        rest: RestConfig | None = None,
    ) -> None:
        self._client = client
        self._turns = turns
        self._sealer = sealer
        self._reminting = reminting
        self._cool_downs = cool_downs
        self._now = now
        self.resting = Resting(rest or RestConfig())
        self._starts: OrderedDict[tuple[str, str], Start] = OrderedDict()

    def of_url(self, sealed: bytes) -> Ask:
        """Of a URL that a media URL carries: nothing is known of its media, so nobody can be asked for a fresh one.

        Raises BadSignature.
        """
        direct = self._sealer.open_direct(sealed)
        key = (direct.connection_id, origin_urls.key_of(direct.url))
        return Ask(lambda headers: self._dial(direct.url, direct.connection_id, headers), key, self._starts)

    def of_variant(self, variant: Variant) -> Ask:
        """Of a variant whose bytes there is no room for. Raises OriginCoolingDown."""
        self._cool_downs.check(variant)
        return Ask(lambda headers: self._ask(variant, headers), (variant.id, variant.origin_key), self._starts)

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
            Seat(self._turns, self.resting, url, connection_id) as seat,
            self._client.get(url, headers) as response,
        ):
            check_status(response)
            yield Relayed(response, seat, self._turns.traffic, connection_id)
