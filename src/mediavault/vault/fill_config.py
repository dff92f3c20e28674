"""How the origin is asked for media, and how often what broke off is taken up again."""

import asyncio
from dataclasses import dataclass

from mediavault.domain.times import DAY, HOUR, MINUTE, SECOND
from mediavault.errors import OriginUnavailable
from mediavault.vault.fill_stream import Stream

#: Progress after which earlier failures are forgiven.
_PROGRESS_BYTES = 1 << 20


@dataclass(frozen=True)
class FillConfig:
    """How the origin is asked for media."""

    refused_cool_down_ms: int = HOUR  #: after 403, 404, a wrong type: unless a new URL is seen before
    expired_cool_down_ms: int = 5 * MINUTE  #: after a URL expired and the upstream gave no fresh one
    unavailable_cool_down_ms: int = 5 * SECOND  #: after a timeout, a reset, a 5xx
    longest_told_ms: int = HOUR  #: an origin's Retry-After is honoured up to that
    fresh_ms: int = 30 * DAY  #: how long an edge copy needs no revalidation: a media URL's bytes do not change
    stale_if_error_ms: int = 30 * DAY  #: how long after that it is served while the origin fails; 0 serves none
    longest_seconds: float = 6 * 3600  #: from a fill's beginning to its last byte
    largest_object_bytes: int = 64 << 30
    least_bytes_per_second: int = 1024  #: an origin that dribbles would hold a fill, and a storer, for days
    patience_seconds: float = 60  #: over which that rate is taken
    opening_bytes: int = 256 << 10  #: fetched at first for who wants a small part
    small_object_bytes: int = 1 << 20  #: an object as small is fetched whole, whatever part is asked for
    most_seeks: int = 4  #: answers at once that a fill has beside the one from its start
    rest_seconds: float = 15  #: an answer far ahead of its readers is held so long, then ended
    grace_seconds: float = 30  #: a part that nobody reads any more is kept for so long
    most_idle_parts: int = 256  #: kept so at once
    most_resumes: int = 4  #: failures in a row after which an answer that broke off is not taken up again
    resume_delay_seconds: float = 0.2  #: doubled at every failure


class Patience:
    """Failures in a row that a stretch of an object has left; progress renews it."""

    def __init__(self, config: FillConfig, stream: Stream) -> None:
        self._config = config
        self._stream = stream
        self._failures = 0
        self._forgiven_at = stream.position

    async def spend(self, error: OriginUnavailable) -> None:
        """Wait before the next try. Raises the error where there were too many."""
        if self._stream.position - self._forgiven_at >= _PROGRESS_BYTES:
            self._failures, self._forgiven_at = 0, self._stream.position
            return
        self._failures += 1
        if self._failures > self._config.most_resumes:
            raise error
        await asyncio.sleep(self._config.resume_delay_seconds * (1 << (self._failures - 1)))
