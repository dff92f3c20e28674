"""Which bytes a Range header asks for. RFC 9110 §14.

A Range that is malformed, or asks for more than is reasonable, is ignored: the whole representation is a right
answer to any of them (§14.2), and the only one that no broken client can misread.
"""

import re
from dataclasses import dataclass

#: List elements a Range may have, empty ones included; with more it is ignored (§14.2, §17.15).
MAX_RANGES = 16

#: `first-last`, `first-` or `-suffix`. Spelled out because `\d` and `int()` take more than ASCII digits.
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII | re.IGNORECASE)

_OWS = " \t"


@dataclass(frozen=True, slots=True)
class Slice:
    """A run of bytes; never empty when it comes from a Range."""

    start: int  #: offset of the first byte
    length: int  #: bytes

    @property
    def stop(self) -> int:
        """The offset after the last byte."""
        return self.start + self.length

    def content_range(self, size: int) -> str:
        """The Content-Range of this slice of `size` bytes. RFC 9110 §14.4."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


@dataclass(frozen=True, slots=True)
class Whole:
    """No Range applies: the whole representation is the answer."""


@dataclass(frozen=True, slots=True)
class Partial:
    """One slice or several, in the order they were asked for, none touching another."""

    slices: tuple[Slice, ...]


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """The Range is well-formed, and not one of its ranges holds a byte."""


Outcome = Whole | Partial | Unsatisfiable


@dataclass(frozen=True, slots=True)
class _Spec:
    """One range as it was written: digits, or nothing."""

    first: str
    last: str

    def resolve(self, size: int) -> Slice | None:
        """The bytes it names of `size`, or None if there are none."""
        if not self.first:
            length = _bounded(self.last, size)
            return Slice(size - length, length) if length else None
        start = _bounded(self.first, size)
        if start == size:
            return None
        stop = size if not self.last else min(_bounded(self.last, size) + 1, size)
        return Slice(start, stop - start)


def parse(header: str | None, size: int | None) -> Outcome:
    """Decide what a Range header means for `size` bytes; None is no header, or a size not known yet. Never raises.

    An empty representation is always whole: some clients add a Range to every request, and there is no slice to name.
    """
    specs = _specs(header) if header is not None and size else None
    if specs is None or not size:
        return Whole()
    slices = [found for spec in specs if (found := spec.resolve(size))]
    return Partial(_coalesced(slices)) if slices else Unsatisfiable()


def parse_content_range(header: str) -> tuple[int, int, int | None] | None:
    """Start, stop and total of the part that an answer says it is; the total may not be told. RFC 9110 §14.4.

    None for anything but a part of bytes that lies in its whole.
    """
    found = _CONTENT_RANGE.fullmatch(header.strip())
    if found is None:
        return None
    start, stop, total = int(found[1]), int(found[2]) + 1, None if found[3] == "*" else int(found[3])
    return (start, stop, total) if start < stop and (total is None or stop <= total) else None


def starts_at_zero(header: str | None, size: int | None = None) -> bool:
    """Whether a GET with this Range counts as a view: no usable Range, or one from byte 0 (contract.md, accessCount).

    A suffix is a view only of a known `size` that it covers; while the size is unknown, it is a seek.
    """
    specs = _specs(header) if header is not None else None
    if specs is None or size == 0:
        return True
    if size is None:
        return any(spec.first and not spec.first.strip("0") for spec in specs)
    return any(found.start == 0 for spec in specs if (found := spec.resolve(size)))


def _specs(header: str) -> list[_Spec] | None:
    """The ranges of a byte range set, or None if the header must be ignored."""
    unit, equals, range_set = header.strip(_OWS).partition("=")
    if not equals or unit.lower() != "bytes" or range_set.startswith((" ", "\t")):
        return None
    if range_set.count(",") >= MAX_RANGES:
        return None
    specs = []
    for element in filter(None, (part.strip(_OWS) for part in range_set.split(","))):
        match = _SPEC.fullmatch(element)
        if match is None or not _is_sound(match[1], match[2]):
            return None
        specs.append(_Spec(match[1], match[2]))
    return specs or None


def _is_sound(first: str, last: str) -> bool:
    """Whether digits are there at all and do not run backwards (§14.1.1)."""
    if not first or not last:
        return bool(first or last)
    low, high = first.lstrip("0"), last.lstrip("0")
    return (len(low), low) <= (len(high), high)


def _bounded(digits: str, size: int) -> int:
    """The number, or `size` if that is smaller; `int` alone raises past 4,300 digits."""
    digits = digits.lstrip("0") or "0"
    return size if len(digits) > len(str(size)) else min(int(digits), size)


def _coalesced(slices: list[Slice]) -> tuple[Slice, ...]:
    """Join what overlaps or touches, each where its earliest member stood (§15.3.7.2)."""
    joined: list[tuple[int, Slice]] = []
    for place, piece in sorted(enumerate(slices), key=lambda entry: entry[1].start):
        if joined and piece.start <= joined[-1][1].stop:
            earlier, before = joined[-1]
            stop = max(before.stop, piece.stop)
            joined[-1] = (min(earlier, place), Slice(before.start, stop - before.start))
        else:
            joined.append((place, piece))
    return tuple(piece for _, piece in sorted(joined, key=lambda entry: entry[0]))
