"""Where bytes come from: the nearest source that may answer, in order."""

import itertools

import pytest

from mediavault.domain.delivery import FromEdge, FromFill, FromOrigin, FromStore, Gone, NotYet, Plan, Revalidate, plan
from mediavault.domain.lifecycle import Status

NOW = 1_000_000
UNSTORED = (Status.EDGE_ONLY, Status.PENDING, Status.STORING)
EDGE = (None, NOW - 1, NOW, NOW + 1)
NOT_BEFORE = (0, NOW - 1, NOW, NOW + 1)


def planned(status: Status, edge_fresh_until: int | None = None, filling: bool = False, not_before: int = 0) -> Plan:
    return plan(status, edge_fresh_until=edge_fresh_until, filling=filling, not_before=not_before, now=NOW)


@pytest.mark.parametrize("rest", list(itertools.product(EDGE, (False, True), NOT_BEFORE)))
def test_stored_bytes_come_from_the_store_and_removed_ones_from_nowhere(rest):
    assert planned(Status.STORED, *rest) == FromStore()
    assert planned(Status.REMOVED, *rest) == Gone()


@pytest.mark.parametrize("status", UNSTORED)
@pytest.mark.parametrize("rest", list(itertools.product((False, True), NOT_BEFORE)))
def test_a_fresh_edge_copy_needs_no_origin(status, rest):
    assert planned(status, NOW + 1, *rest) == FromEdge()


@pytest.mark.parametrize("status", UNSTORED)
@pytest.mark.parametrize("edge_fresh_until", [NOW - 1, NOW])
def test_a_stale_edge_copy_is_revalidated_also_while_the_origin_cools_down(status, edge_fresh_until):
    for not_before in NOT_BEFORE:
        assert planned(status, edge_fresh_until, False, not_before) == Revalidate()
        assert planned(status, edge_fresh_until, True, not_before) == FromFill()


@pytest.mark.parametrize("status", UNSTORED)
@pytest.mark.parametrize("edge_fresh_until", [None])
def test_without_one_a_fill_that_runs_is_joined_else_the_origin_asked_when_it_may_be(status, edge_fresh_until):
    for not_before in NOT_BEFORE:
        assert planned(status, edge_fresh_until, True, not_before) == FromFill()
    for not_before in (0, NOW - 1, NOW):
        assert planned(status, edge_fresh_until, False, not_before) == FromOrigin()
    assert planned(status, edge_fresh_until, False, NOW + 1) == NotYet(NOW + 1)
