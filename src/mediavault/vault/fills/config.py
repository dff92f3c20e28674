"""How the origin is asked for media, and how often what broke off is taken up again."""

import asyncio
from dataclasses import dataclass

from mediavault.domain.retry_after import told_wait_ms
from mediavault.domain.times import DAY, HOUR, MINUTE, SECOND, Now
from mediavault.errors import ConfigError, OriginUnavailable
from mediavault.vault.fills.stream import Stream

#: Progress after which earlier failures are forgiven.
_PROGRESS_BYTES = 1 << 20
#: A type cannot be told by less.
_LEAST_OPENING_BYTES = 4096


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
    longest_resume_delay_ms: int = 30 * SECOND  #: an origin that asks for more is not resumed: its viewers come again

    def __post_init__(self) -> None:
        if self.opening_bytes < _LEAST_OPENING_BYTES:
            raise ConfigError(f"what is fetched at first of an object must be {_LEAST_OPENING_BYTES} bytes or more")


class Patience:
    """Failures in a row that a stretch of an object has left; progress renews it."""

    def __init__(self, config: FillConfig, stream: Stream, now: Now) -> None:
        self._config = config
        self._now = now
        self._stream = stream
        self._failures = 0
        self._forgiven_at = stream.position

    async def spend(self, error: OriginUnavailable) -> None:
        """Wait before the next try, as long as the origin asks for. Raises the error where that is enough."""
        told_ms, own_seconds = self._told_ms(error), 0.0
        if self._stream.position - self._forgiven_at >= _PROGRESS_BYTES:
            self._failures, self._forgiven_at = 0, self._stream.position
        else:
            self._failures += 1
            own_seconds = self._config.resume_delay_seconds * (1 << (self._failures - 1))
        if self._failures > self._config.most_resumes or told_ms > self._config.longest_resume_delay_ms:
            raise error
        await asyncio.sleep(max(own_seconds, told_ms / SECOND))

    def _told_ms(self, error: OriginUnavailable) -> int:
        """What Retry-After says. Whoever asks for more than a day has a broken clock, and is not believed at all."""
        told_ms = told_wait_ms(error.retry_after, self._now(), DAY + 1)
        return told_ms if told_ms <= DAY else 0
