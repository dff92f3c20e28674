"""Conditional requests: whether a request goes ahead, and whether its Range still holds. RFC 9110 §13.

A condition that cannot be understood never yields a 304: dates that are no HTTP-date are ignored, as §13.1 demands,
and a malformed entity-tag matches nothing.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from enum import Enum, auto

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LONG_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_CLOCK = r"(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"

#: The three forms of RFC 9110 §5.6.7: IMF-fixdate, RFC 850, asctime. Case-sensitive, as written there.
_DATE_FORMS = (
    re.compile(rf"(?P<day_name>{'|'.join(_DAYS)}), (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_CLOCK} GMT"),
    re.compile(
        rf"(?P<day_name>{'|'.join(_LONG_DAYS)}), (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_CLOCK} GMT"
    ),
    re.compile(rf"(?P<day_name>{'|'.join(_DAYS)}) {_MONTH} (?P<day>[0-9 ][0-9]) {_CLOCK} (?P<year>[0-9]{{4}})"),
)

_EPOCH = date(1970, 1, 1).toordinal()

#: An entity-tag (§8.8.3), and one as a list element: possessive, so that a hostile list costs linear time.
_ENTITY_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_LISTED_TAG = re.compile(rf"[ \t,]*+({_ENTITY_TAG.pattern})[ \t]*+(?=,|\Z)")

#: Methods that neither select nor change a representation ignore every condition (§13.2.1).
_UNCONDITIONAL = frozenset({"CONNECT", "OPTIONS", "TRACE"})


class Outcome(Enum):
    """What the conditions of a request decide."""

    PROCEED = auto()  #: do what the method says
    NOT_MODIFIED = auto()  #: the client has it already
    PRECONDITION_FAILED = auto()  #: the client meant another version


def evaluate(method: str, headers: Mapping[str, str], etag: str | None, last_modified_at: int | None) -> Outcome:
    """Weigh the conditions in the order of RFC 9110 §13.2.2. Never raises.

    `headers` maps lower-case names to values, repeated lines joined by commas. `etag` is quoted, `last_modified_at` in
    Unix seconds; both None means that there is no representation yet, which is what `*` asks for.
    """
    if method in _UNCONDITIONAL:
        return Outcome.PROCEED
    if not _holds_unchanged(headers, etag, last_modified_at):
        return Outcome.PRECONDITION_FAILED
    if _is_news(method, headers, etag, last_modified_at):
        return Outcome.PROCEED
    return Outcome.NOT_MODIFIED if method in ("GET", "HEAD") else Outcome.PRECONDITION_FAILED


def range_applies(
    if_range: str | None, etag: str | None, last_modified_at: int | None, *, date_is_strong: bool = True
) -> bool:
    """Whether a Range may be honoured in the light of its If-Range. RFC 9110 §13.1.5.

    A tag must match strongly. A date must equal Last-Modified, and counts only if the representation cannot have
    changed twice within that second (§8.8.2.2), which the caller says with `date_is_strong`.
    """
    if if_range is None:
        return True
    if _ENTITY_TAG.fullmatch(if_range):
        return etag is not None and _matches_strongly(if_range, etag)
    given = parse_date(if_range)
    return date_is_strong and given is not None and given == last_modified_at


def is_strong_tag(text: str) -> bool:
    """Whether this is one entity-tag, quoted and not weak."""
    return not text.startswith("W/") and _ENTITY_TAG.fullmatch(text) is not None


def entity_tags(field: str) -> Iterator[str]:
    """The entity-tags of a list, up to the first element that is none: nothing after it can be trusted to be split."""
    place = 0
    while found := _LISTED_TAG.match(field, place):
        yield found[1]
        place = found.end()


def parse_date(text: str) -> int | None:
    """Unix seconds of an HTTP-date in any of its three forms (RFC 9110 §5.6.7), or None if it is not exactly one."""
    for form, day_names in zip(_DATE_FORMS, (_DAYS, _LONG_DAYS, _DAYS), strict=True):
        if found := form.fullmatch(text):
            return _instant(found, day_names.index(found["day_name"]))
    return None


def format_date(at: int) -> str:
    """An HTTP-date (IMF-fixdate) of Unix seconds."""
    then = datetime.fromtimestamp(at, UTC)
    day = f"{_DAYS[then.weekday()]}, {then.day:02} {_MONTHS[then.month - 1]} {then.year:04}"
    return f"{day} {then.hour:02}:{then.minute:02}:{then.second:02} GMT"


def _holds_unchanged(headers: Mapping[str, str], etag: str | None, last_modified_at: int | None) -> bool:
    """Steps 1 and 2: If-Match, and only in its absence If-Unmodified-Since."""
    if (wanted := headers.get("if-match")) is not None:
        if wanted.strip(" \t") == "*":
            return etag is not None or last_modified_at is not None
        return etag is not None and any(_matches_strongly(tag, etag) for tag in entity_tags(wanted))
    since = _date_of(headers.get("if-unmodified-since"))
    return since is None or last_modified_at is None or last_modified_at <= since


def _is_news(method: str, headers: Mapping[str, str], etag: str | None, last_modified_at: int | None) -> bool:
    """Steps 3 and 4: If-None-Match, and only in its absence If-Modified-Since."""
    if (known := headers.get("if-none-match")) is not None:
        if known.strip(" \t") == "*":
            return etag is None and last_modified_at is None
        return etag is None or not any(_matches_weakly(tag, etag) for tag in entity_tags(known))
    if method not in ("GET", "HEAD"):
        return True
    since = _date_of(headers.get("if-modified-since"))
    return since is None or last_modified_at is None or last_modified_at > since


def _date_of(field: str | None) -> int | None:
    return None if field is None else parse_date(field)


def _matches_strongly(one: str, other: str) -> bool:
    return one == other and not one.startswith("W/")


def _matches_weakly(one: str, other: str) -> bool:
    return one.removeprefix("W/") == other.removeprefix("W/")


def _instant(found: re.Match[str], weekday: int) -> int | None:
    """Unix seconds of a matched date; None if the calendar has no such day, or has it on another day of the week.

    Two-digit years need a century, and this room has no clock: the day of the week tells 19xx from 20xx.
    """
    year, month, day = int(found["year"]), _MONTHS.index(found["month"]) + 1, int(found["day"])
    for century in (1900, 2000) if len(found["year"]) == 2 else (0,):
        try:
            then = date(century + year, month, day)
        except ValueError:
            continue
        if then.weekday() == weekday:
            clock = int(found["hour"]) * 3600 + int(found["minute"]) * 60 + int(found["second"])
            return (then.toordinal() - _EPOCH) * 86_400 + clock
    return None
