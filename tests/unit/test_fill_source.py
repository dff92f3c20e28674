"""A viewer of a growing file: how much of it is taken at a time."""

import pytest

from mediavault.domain.responding import Representation
from mediavault.serving.sources import FillSource
from mediavault.vault.fills.fill import Fill

MIB = 1 << 20


@pytest.mark.parametrize(("whole", "taken"), [(False, MIB), (True, 8 * MIB)])
async def test_the_fill_is_told_how_far_it_is_read_where_it_waits_for_that(whole, taken):
    """It runs 8 MiB ahead of its reader, and a run of all of that would tell it nothing for as long as it takes."""
    fill = Fill("v1", "version")
    if whole:
        fill.want_whole()
    fill.join()
    fill.arrived(0, 8 * MIB)
    source = FillSource(fill, Representation('"x"', None, "video/mp4"))
    assert await source.available(0, None) == taken
    assert await source.available(8 * MIB - 5, None) == 5
