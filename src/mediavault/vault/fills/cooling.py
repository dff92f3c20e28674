"""Cool-downs: an origin that failed for a variant is not asked for it again at every view.

The catalog remembers, for every process and over restarts; memory does too, for whoever read the row before the failure
was written, and while the database is away. A cool-down belongs to one origin URL: another one, seen meanwhile, is
innocent.
"""

from collections import OrderedDict
from dataclasses import dataclass

from mediavault.catalog import variants
from mediavault.catalog.database import Catalog
from mediavault.catalog.variants import Variant
from mediavault.domain.cool_down import cool_down_ms
from mediavault.domain.times import SECOND, Now
from mediavault.errors import (
    AddressDenied,
    CatalogError,
    LimitReached,
    OriginCoolingDown,
    OriginError,
    OriginExpired,
    OriginRefused,
    OriginUnavailable,
    VaultError,
)
from mediavault.telemetry import Events, logger
from mediavault.vault.fills.config import FillConfig


@dataclass(frozen=True, slots=True)
class _CoolDown:
    origin_keys: frozenset[str]
    until: int  #: Unix ms
    reason: str
    is_lasting: bool


class CoolDowns:
    """What failed lately, and until when it is left alone."""

    _MOST = 10_000

    def __init__(self, catalog: Catalog, now: Now, config: FillConfig) -> None:
        self._catalog = catalog
        self._now = now
        self._config = config
        self._cool_downs: OrderedDict[str, _CoolDown] = OrderedDict()

    def check(self, variant: Variant, *, lasting_only: bool = False) -> None:
        """Raises OriginCoolingDown while the origin is not to be asked.

        `lasting_only`: a storer comes back by its own delays, and minds only what the origin has refused.
        """
        known = self._cool_downs.get(variant.id)
        if known is None:
            return
        if known.until <= self._now():
            del self._cool_downs[variant.id]
        elif variant.origin_key in known.origin_keys and (known.is_lasting or not lasting_only):
            raise cooling_down(known.reason, known.until, self._now())

    async def blame(self, variant: Variant, error: VaultError, *, also_key: str | None = None) -> None:
        """Remember an origin's failure under the variant's URL. Our own disk's or queue's is no fault of the origin.

        `also_key` is of the URL it was tried with before: whoever still holds that row means the same origin.
        """
        if not isinstance(error, OriginError) or isinstance(error, LimitReached | OriginCoolingDown):
            return
        is_lasting = isinstance(error, OriginRefused | AddressDenied)
        until = self._now() + self._length_ms(error)
        keys = frozenset({variant.origin_key, also_key or variant.origin_key})
        self._cool_downs[variant.id] = _CoolDown(keys, until, str(error), is_lasting)
        self._cool_downs.move_to_end(variant.id)
        while len(self._cool_downs) > self._MOST:
            self._cool_downs.popitem(last=False)
        try:
            await self._catalog.run(variants.blame_origin, variant.id, variant.origin_key, str(error), until)
        except CatalogError:
            logger().exception(Events.FILL_FAILED, variant_id=variant.id)

    def _length_ms(self, error: OriginError) -> int:
        config = self._config
        match error:
            case OriginRefused() | AddressDenied():
                return config.refused_cool_down_ms
            case OriginExpired():
                return config.expired_cool_down_ms
            case OriginUnavailable():
                told = error.retry_after
                return cool_down_ms(config.unavailable_cool_down_ms, told, self._now(), config.longest_told_ms)
        return config.unavailable_cool_down_ms


def cooling_down(reason: str | None, until: int, now: int) -> OriginCoolingDown:
    """The error for who comes before that moment."""
    return OriginCoolingDown(reason, retry_after=max(1, -(-(until - now) // SECOND)))
