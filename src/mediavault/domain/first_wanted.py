"""What a request wants first of an object of which nothing is known yet."""

from collections.abc import Sequence

from mediavault.domain.byte_ranges import Partial, Slice, parse

#: Longer than any object: where a range that names no end would end.
ENDLESS = 1 << 62


def first_wanted(range_lines: Sequence[str]) -> Slice | None:
    """The first of the ranges asked for; None where it is the whole. An open range is ENDLESS.

    A range that counts from the end names no byte before the size is known: the first byte's answer will tell.
    """
    outcome = parse(range_lines[0], ENDLESS) if len(range_lines) == 1 else None
    if not isinstance(outcome, Partial):
        return None
    first = min(outcome.slices, key=lambda piece: piece.start)
    return first if first.start < ENDLESS // 2 else Slice(0, 1)
