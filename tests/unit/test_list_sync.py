"""Reconciliation of an upstream list: the classes are a partition, and nothing is purged that something speaks for."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain.list_sync import Brake, Known, Plan, fingerprint, reconcile

IDS = st.sampled_from([f"m{number}" for number in range(12)])
PRINTS = st.one_of(st.none(), st.sampled_from(["a", "b"]))
KNOWN = st.builds(
    Known,
    cached=st.booleans(),
    in_baseline=st.booleans(),
    fingerprint=PRINTS,
    stale=st.booleans(),
    pinned=st.booleans(),
    owned_elsewhere=st.booleans(),
)
SEEN_LISTS = st.dictionaries(IDS, PRINTS)
KNOWN_MEDIA = st.dictionaries(IDS, KNOWN)


def classes(plan: Plan) -> list[tuple[str, ...]]:
    return [plan.added, plan.updated, plan.unchanged, plan.adopted, plan.not_storable]


@given(SEEN_LISTS, KNOWN_MEDIA, st.booleans())
def test_every_seen_item_is_in_exactly_one_class(seen, known, first):
    members = [media_id for members in classes(reconcile(seen, known, first=first)) for media_id in members]
    assert sorted(members) == sorted(seen)


@given(SEEN_LISTS, KNOWN_MEDIA, st.booleans())
def test_items_that_show_a_url_are_added_updated_unchanged_or_adopted(seen, known, first):
    plan = reconcile(seen, known, first=first)
    assert all(seen[media_id] is None for media_id in plan.not_storable)


@given(SEEN_LISTS, KNOWN_MEDIA)
def test_nothing_is_removed_that_is_seen_owned_pinned_or_was_not_in_the_last_baseline(seen, known):
    for media_id in reconcile(seen, known, first=False).removed:
        item = known[media_id]
        assert media_id not in seen
        assert (item.in_baseline, item.pinned, item.owned_elsewhere, item.cached) == (True, False, False, True)


@given(SEEN_LISTS, KNOWN_MEDIA)
def test_what_left_the_baseline_is_either_removed_or_kept(seen, known):
    plan = reconcile(seen, known, first=False)
    left = {media_id for media_id, item in known.items() if item.in_baseline} - set(seen)
    assert sorted([*plan.removed, *plan.kept]) == sorted(left)


@given(SEEN_LISTS, KNOWN_MEDIA)
def test_what_left_and_has_nothing_that_speaks_for_it_is_removed(seen, known):
    plan = reconcile(seen, known, first=False)
    for media_id, item in known.items():
        if item == Known(cached=True, in_baseline=True, fingerprint=item.fingerprint) and media_id not in seen:
            assert media_id in plan.removed


@given(SEEN_LISTS, KNOWN_MEDIA)
def test_the_first_sync_removes_nothing(seen, known):
    assert reconcile(seen, known, first=True).removed == ()


@given(SEEN_LISTS, KNOWN_MEDIA)
def test_added_are_those_not_cached_and_adopted_those_new_to_the_baseline(seen, known):
    plan = reconcile(seen, known, first=False)
    assert not any(known.get(media_id, Known()).cached for media_id in plan.added)
    assert all(known[media_id].cached and not known[media_id].in_baseline for media_id in plan.adopted)
    assert all(known[media_id].cached and known[media_id].in_baseline for media_id in plan.unchanged)


@given(SEEN_LISTS, KNOWN_MEDIA)
def test_updated_are_cached_and_changed_or_stale(seen, known):
    for media_id in reconcile(seen, known, first=False).updated:
        item = known[media_id]
        assert item.cached
        assert item.stale or item.fingerprint != seen[media_id]


@given(SEEN_LISTS, KNOWN_MEDIA)
def test_a_second_sync_of_the_same_list_changes_nothing(seen, known):
    once = reconcile(seen, known, first=False)
    cached = set(seen) - set(once.not_storable)
    after = {media_id: Known(cached=True, in_baseline=True, fingerprint=seen[media_id]) for media_id in cached}
    again = reconcile(seen, after, first=False)
    assert (again.added, again.updated, again.adopted, again.removed) == ((), (), (), ())
    assert set(again.unchanged) == cached


@pytest.mark.parametrize(
    ("removals", "baseline", "holds"),
    [(0, 0, False), (4, 4, False), (5, 5, True), (5, 10, False), (6, 10, True), (5, 9, True), (50, 100, False)],
)
def test_the_brake_holds_more_than_half_of_the_baseline_and_at_least_five(removals, baseline, holds):
    assert Brake().holds(removals, baseline) is holds


def node(**changes):
    full = {"url": "x", "width": 10, "height": 20, "size": 30, "sources": [{"url": "y", "width": 1, "height": 2}]}
    return {"id": 1, "type": "video", "duration": 3, "createdAt": "2025-01-01T00:00:00Z", "files": {"full": full}} | (
        changes
    )


def of(item, url="https://cdn1.example/a/full.mp4?Expires=1750000000&Signature=abc", label="full"):
    return fingerprint(item, [(label, url)])


def test_a_fingerprint_ignores_signatures_and_hosts():
    assert of(node()) == of(node(), "https://cdn2.example/a/full.mp4?Expires=1760000000&Signature=xyz")


@pytest.mark.parametrize(
    "changed",
    [
        of(node(type="photo")),
        of(node(duration=4)),
        of(node(createdAt="2025-01-02T00:00:00Z")),
        of(node(files={"full": {"width": 10, "height": 20, "size": 31}})),
        of(node(files={"full": {"width": 10, "height": 21, "size": 30}})),
        of(node(files={})),
        of(node(), label="720"),
        of(node(), "https://cdn1.example/a/other.mp4"),
        of(node(), "https://cdn1.example/a/full.mp4?v=2"),
    ],
)
def test_a_fingerprint_covers_type_duration_creation_labels_sizes_dimensions_and_paths(changed):
    assert changed != of(node())


def test_a_number_is_the_same_however_it_is_spelled():
    assert of(node(duration=3.0)) == of(node(duration=msgspec.Raw(b"3.0"))) == of(node())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON, JSON, st.text())
def test_whatever_an_upstream_shows_has_a_fingerprint(files, duration, created_at, url):
    item = {"files": files, "duration": duration, "createdAt": created_at}
    assert fingerprint(item, [("full", url)]) == fingerprint(item, [("full", url)])
