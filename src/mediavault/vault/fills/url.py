"""The origin URL of a fill: renewed where it has expired, before or in the middle of the object."""

import asyncio

from mediavault.catalog.variants import Variant
from mediavault.domain import origin_expiry
from mediavault.domain.times import MINUTE, Now
from mediavault.errors import OriginExpired, OriginRefused
from mediavault.vault import origin_urls
from mediavault.vault.fills.reminting import Reminting
from mediavault.vault.sealing import Sealer

#: What a URL that no longer works is answered with.
_OF_EXPIRY = frozenset({401, 403, 404, 410})
#: A URL that is refused so soon after it was given is not refused for its age.
_FRESH_MS = MINUTE


class FillUrl:
    """Which URL a fill dials now. All its answers share it, so that it is renewed once for all of them."""

    def __init__(self, variant: Variant, sealer: Sealer, reminting: Reminting, now: Now) -> None:
        self.variant = variant
        self._opened: tuple[str, str] | None = None  #: the URL, and its key
        self._sealer = sealer
        self._reminting = reminting
        self._now = now
        self._one_at_a_time = asyncio.Lock()
        self._vouched_key: str | None = None  #: of a URL that the upstream showed again just now
        self._renewed: tuple[int, int] | None = None  #: when, and how much was there
        self._not_renewed: tuple[int, OriginExpired] | None = None  #: when, and why

    @property
    def key(self) -> str:
        """What tells the URL from those before it."""
        return self.variant.origin_key

    @property
    def opened(self) -> str:
        """The URL as it is now. Secret: it is dialled, never shown."""
        if self._opened is None or self._opened[1] != self.key:
            self._opened = origin_urls.open_url(self._sealer, self.variant), self.key
        return self._opened[0]

    async def current(self) -> str:
        """The URL to dial: a fresh one where this one says itself that its time is over.

        If none is to be had, the old one is dialled all the same: clocks differ.
        """
        url = self.opened
        told = origin_expiry.told_expiry(url)
        if told is None or told > self._now():
            return url
        async with self._one_at_a_time:
            if self._vouched_key != self.key and self._just_failed() is None:
                try:
                    await self._replace("the URL has expired")
                except OriginExpired as error:
                    self._not_renewed = self._now(), error
        return self.opened

    async def renew(self, refused: OriginRefused, key: str, held_bytes: int) -> None:
        """Get another URL after the one of that key was refused. Raises the refusal where a fresh URL met it too.

        Raises OriginExpired where no fresh URL can be had.
        """
        if refused.status not in _OF_EXPIRY:
            raise refused
        async with self._one_at_a_time:
            if self.key != key:
                return  # another answer has met the same, and has waited for the new one
            if (error := self._just_failed()) is not None:
                raise error
            if self._vouched_key == key or self._is_fresh(held_bytes):
                raise refused
            await self._replace(str(refused))
            if self.key == key:
                raise refused
            self._renewed = self._now(), held_bytes

    def _just_failed(self) -> OriginExpired | None:
        at, error = self._not_renewed or (0, None)
        return error if self._now() - at < _FRESH_MS else None

    def _is_fresh(self, held_bytes: int) -> bool:
        if self._renewed is None:
            return False
        at, held = self._renewed
        return held == held_bytes and self._now() - at < _FRESH_MS

    async def _replace(self, reason: str) -> None:
        fresh = await self._reminting.fresh(self.variant, reason)
        if fresh.origin_key == self.key:
            self._vouched_key = self.key
        self.variant = fresh
