"""What a Range wants first, before the size is known."""

import pytest

from mediavault.domain.byte_ranges import Slice
from mediavault.domain.first_wanted import ENDLESS, first_wanted


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([], None),
        (["bytes=0-1"], Slice(0, 2)),
        (["bytes=0-"], Slice(0, ENDLESS)),
        (["bytes=700-"], Slice(700, ENDLESS - 700)),
        (["bytes=700-799"], Slice(700, 100)),
        (["bytes=-65536"], Slice(0, 1)),
        (["bytes=-0"], None),
        (["bytes=900-910, 5-6"], Slice(5, 2)),
        (["bytes=5-6", "bytes=7-8"], None),
        (["bytes=9-5"], None),
        (["lines=1-2"], None),
        ([f"bytes=-{10**30}"], Slice(0, ENDLESS)),
        ([f"bytes={10**30}-"], None),
    ],
)
def test_the_first_part_wanted(lines, wanted):
    assert first_wanted(lines) == wanted
