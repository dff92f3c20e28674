"""What a page of media is asked for: the query's names, bounds and defaults (contract.md, "Vault+ media")."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from math import isfinite
from typing import Any, TypeVar

from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType, Source
from mediavault.errors import InvalidRequest

LARGEST_PAGE = 100
#: Seconds; far beyond any media, and far below what the sort key's column could not hold.
LONGEST_DURATION = 1_000_000_000

E = TypeVar("E", bound=StrEnum)


class SortKey(StrEnum):
    """What media are sorted by."""

    CREATED_AT = "createdAt"  #: first observation of the media: every one has it
    CACHED_AT = "cachedAt"  #: its latest storedAt
    DURATION = "duration"


class Sort(StrEnum):
    """The contract's orders. Media without the sort key come last either way."""

    CREATED_AT_DESC = "createdAt_desc"
    CREATED_AT_ASC = "createdAt_asc"
    CACHED_AT_DESC = "cachedAt_desc"
    CACHED_AT_ASC = "cachedAt_asc"
    DURATION_DESC = "duration_desc"
    DURATION_ASC = "duration_asc"

    @property
    def key(self) -> SortKey:
        """What it sorts by."""
        return SortKey(self.value.partition("_")[0])

    @property
    def descends(self) -> bool:
        """Whether the largest come first."""
        return self.value.endswith("_desc")


@dataclass(frozen=True)
class Range:
    """Both ends belong to it; None where there is no end. Only media that have the value can be in a bounded one."""

    low: int | float | None = None
    high: int | float | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether it leaves anything out."""
        return self.low is not None or self.high is not None


@dataclass(frozen=True)
class MediaQuery:
    """A page of media. Times are Unix milliseconds, durations seconds."""

    sort: Sort = Sort.CREATED_AT_DESC
    status: Status | None = None  #: of any live variant
    type: MediaType | None = None  #: as it is shown
    content_type: str | None = None  #: of any live variant
    source: Source | None = None  #: any of the media's; a filter of the older path alone
    created_at: Range = Range()
    cached_at: Range = Range()
    duration: Range = Range()
    limit: int = LARGEST_PAGE
    cursor: str | None = None

    def digest(self, connection_id: str) -> bytes:
        """16 bytes that differ for another connection, order or filter: a cursor serves one question only."""
        asked = [getattr(self, field.name) for field in fields(self) if field.name not in {"limit", "cursor"}]
        return sha256(repr((connection_id, [_plain(value) for value in asked])).encode()).digest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, Range):
        return (value.low, value.high)
    return value.value if isinstance(value, StrEnum) else value


#: What `GET /v2/vault-plus/media` takes.
MEDIA_PARAMETERS = frozenset(
    {"status", "type", "contentType", "durationMin", "durationMax", "createdAtFrom", "createdAtTo"}
    | {"cachedAtFrom", "cachedAtTo", "limit", "cursor", "sort"}
)
#: What the older `GET /v2/vault-plus/list` takes.
LIST_PARAMETERS = frozenset({"status", "source", "contentType", "limit", "cursor"})


def read_query(given: Iterable[tuple[str, str]], names: frozenset[str] = MEDIA_PARAMETERS) -> MediaQuery:
    """The query of decoded parameters; others than those `names` are ignored. Raises InvalidRequest with the name."""
    told: dict[str, str] = {}
    for name, text in given:
        if name not in names:
            continue
        if name in told:
            raise InvalidRequest(f"{name} is given twice")
        told[name] = text
    return MediaQuery(
        sort=_member(told, "sort", Sort) or Sort.CREATED_AT_DESC,
        status=_member(told, "status", Status),
        type=_member(told, "type", MediaType),
        content_type=_matching(told, "contentType", _CONTENT_TYPE, "1 to 255 printable ASCII characters"),
        source=_member(told, "source", Source),
        created_at=_range(told, "createdAtFrom", "createdAtTo", _moments),
        cached_at=_range(told, "cachedAtFrom", "cachedAtTo", _moments),
        duration=_range(told, "durationMin", "durationMax", _durations),
        limit=_limit(told),
        cursor=_matching(told, "cursor", _CURSOR, "one that an earlier page gave"),
    )


_CONTENT_TYPE = re.compile(r"[ -~]{1,255}", re.ASCII)
_CURSOR = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)
_LIMIT = re.compile(r"[0-9]{1,9}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?", re.ASCII)
_MOMENT = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"([Tt ](?P<time>[0-9]{2}:[0-9]{2}(:[0-9]{2})?)([.,](?P<fraction>[0-9]{1,9}))?"
    r"([Zz]|(?P<sign>[+ -])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2}))?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _member(told: Mapping[str, str], name: str, kind: type[E]) -> E | None:
    if name not in told:
        return None
    try:
        return kind(told[name])
    except ValueError:
        raise InvalidRequest(f"{name} must be one of {', '.join(member.value for member in kind)}") from None


def _matching(told: Mapping[str, str], name: str, pattern: re.Pattern[str], wanted: str) -> str | None:
    if name in told and not pattern.fullmatch(told[name]):
        raise InvalidRequest(f"{name} must be {wanted}")
    return told.get(name)


def _limit(told: Mapping[str, str]) -> int:
    text = told.get("limit", str(LARGEST_PAGE))
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= LARGEST_PAGE:
        raise InvalidRequest(f"limit must be a whole number from 1 to {LARGEST_PAGE}")
    return int(text)


Ends = Callable[[str, str], tuple[int | float, int | float]]


def _range(told: Mapping[str, str], low: str, high: str, ends: Ends) -> Range:
    """`ends` reads one text: what it means as the low end, and as the high one."""
    return Range(
        low=ends(low, told[low])[0] if low in told else None,
        high=ends(high, told[high])[1] if high in told else None,
    )


def _durations(name: str, text: str) -> tuple[float, float]:
    seconds = float(text) if _NUMBER.fullmatch(text) else -1.0
    if not isfinite(seconds) or not 0 <= seconds <= LONGEST_DURATION:
        raise InvalidRequest(f"{name} must be a number of seconds from 0 to {LONGEST_DURATION}")
    return abs(seconds), abs(seconds)  # -0.0 is 0


def _moments(name: str, text: str) -> tuple[int, int]:
    """The first millisecond not before the moment, and the last one not after it."""
    microseconds = _microseconds(text)
    if microseconds is None:
        raise InvalidRequest(f"{name} must be an ISO 8601 time such as 2025-06-10T12:00:00.000Z")
    return -(-microseconds // 1000), microseconds // 1000


def read_moment(name: str, text: str) -> int:
    """An ISO 8601 time as the first millisecond not before it. Raises InvalidRequest."""
    return _moments(name, text)[0]


def _microseconds(text: str) -> int | None:
    """Since the epoch. A date alone is its midnight, a time without zone is UTC; a `+` may have become a space."""
    found = _MOMENT.fullmatch(text)
    if found is None or int(found["hours"] or 0) > 23 or int(found["minutes"] or 0) > 59:
        return None
    try:
        local = datetime.fromisoformat(f"{found['date']}T{found['time'] or '00:00'}").replace(tzinfo=UTC)
    except ValueError:
        return None
    offset = timedelta(hours=int(found["hours"] or 0), minutes=int(found["minutes"] or 0))
    since = local - _EPOCH + (offset if found["sign"] == "-" else -offset)
    return since // timedelta(microseconds=1) + int((found["fraction"] or "0").ljust(6, "0")[:6])
