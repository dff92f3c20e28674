"""Which part of a file a request gets: preconditions and a single range, after RFC 9110, sections 13 and 14."""

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True)
class Conditions:
    """The conditional headers of a request; None where one is missing."""

    range: str | None = None
    if_range: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None


@dataclass(frozen=True)
class Part:
    """The bytes from start up to, not including, stop."""

    start: int
    stop: int
    is_whole: bool


class NotModified(Exception):
    """The client has it already: 304."""


class Unsatisfiable(Exception):
    """The range lies outside the file: 416."""


def part(conditions: Conditions, size: int, etag: str, modified_at: int) -> Part:
    """What to send of a file. Raises NotModified or Unsatisfiable; a range that cannot be read is ignored."""
    if _is_held(conditions, etag, modified_at):
        raise NotModified
    whole = Part(0, size, is_whole=True)
    if conditions.range is None or not _may_continue(conditions.if_range, etag, modified_at):
        return whole
    match = _RANGE.fullmatch(conditions.range.strip())
    if match is None or match.groups() == ("", ""):
        return whole
    first, last = match.groups()
    if not first:
        return _suffix(int(last), size)
    if last and int(last) < int(first):
        return whole
    if int(first) >= size:
        raise Unsatisfiable
    return Part(int(first), min(int(last) + 1, size) if last else size, is_whole=False)


def _suffix(length: int, size: int) -> Part:
    if length == 0 or size == 0:
        raise Unsatisfiable
    return Part(max(0, size - length), size, is_whole=False)


def _is_held(conditions: Conditions, etag: str, modified_at: int) -> bool:
    """Section 13.2.2: the entity tags decide; the date only where there are none. Weak comparison."""
    if conditions.if_none_match is not None:
        known = [tag.strip().removeprefix("W/") for tag in conditions.if_none_match.split(",")]
        return etag in known or known == ["*"]
    if conditions.if_modified_since is not None:
        since = _date(conditions.if_modified_since)
        return since is not None and modified_at <= since
    return False


def _may_continue(if_range: str | None, etag: str, modified_at: int) -> bool:
    """Section 13.1.5: the tag compared strongly, or exactly the date."""
    if if_range is None:
        return True
    if '"' in if_range:
        return if_range.strip() == etag
    return _date(if_range) == modified_at


def _date(text: str) -> int | None:
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except ValueError:
        return None
