"""What a change of policy does to a variant: a pure function, and what it may never do."""

from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain.lifecycle import Event, Status
from mediavault.domain.media import MediaType, Source
from mediavault.domain.policy import (
    ASKED_FOR,
    Facts,
    Policy,
    Rule,
    Standing,
    against_keeping,
    decide,
    effect,
    ending,
    touched,
    unsuitable,
)
from mediavault.domain.settings import SettingsOverrides, VaultSettings, fold, merged, without
from mediavault.domain.times import DAY

NOW = 1_750_000_000_000
SETTINGS = st.builds(
    VaultSettings,
    auto_cache_vault=st.booleans(),
    auto_cache_posts=st.booleans(),
    min_access_count_vault=st.integers(0, 3),
    cache_images=st.booleans(),
    image_qualities=st.lists(st.sampled_from(["thumb", "preview", "full"]), unique=True).map(tuple),
    retention_days=st.integers(0, 3),
    access_expiry_days=st.integers(0, 3),
)
POLICIES = st.builds(Policy, SETTINGS, st.booleans())
FACTS = st.builds(
    Facts,
    st.sampled_from(MediaType),
    st.sampled_from(["full", "thumb", "preview", "720"]),
    st.lists(st.sampled_from(Source), unique=True, min_size=1),
    st.integers(0, 4),
)
TIMES = st.integers(NOW - 5 * DAY, NOW)
STANDINGS = st.builds(
    Standing,
    FACTS,
    st.sampled_from(Status),
    st.integers(0, 10),
    TIMES,
    TIMES,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, ASKED_FOR, "vault media are kept from view 1 on"]),
)
PARTS = st.builds(
    SettingsOverrides,
    retention_days=st.one_of(st.just(msgspec.UNSET), st.integers(0, 3)),
    cache_images=st.one_of(st.just(msgspec.UNSET), st.booleans()),
)


@given(POLICIES, POLICIES, STANDINGS)
def test_an_effect_fits_the_status_spares_pins_and_is_never_missed_by_touched(before, after, standing):
    found = effect(before, after, standing, NOW)
    if found is None:
        return
    expected = {
        Status.STORED: Event.REMOVED,
        Status.PENDING: Event.UNQUEUED,
        Status.STORING: Event.UNQUEUED,
        Status.EDGE_ONLY: Event.QUEUED,
    }
    assert found.event is expected[standing.status]
    if found.event is Event.REMOVED:
        assert after.enabled
        assert not standing.pinned
        assert found.code in {Rule.TYPE, Rule.QUALITY, Rule.RETENTION, Rule.ACCESS_EXPIRY}
    elif found.event is Event.QUEUED:
        assert not standing.given_up
        assert not standing.kept_out
        assert standing.status in touched(before, after)
        assert decide(after.settings, standing.facts, vault_plus_enabled=after.enabled).keep
    else:
        assert not decide(after.settings, standing.facts, vault_plus_enabled=after.enabled).keep


@given(POLICIES, STANDINGS)
def test_what_has_just_come_is_turned_away_exactly_where_a_change_would_remove_it_once_stored(policy, standing):
    against = against_keeping(policy, standing)
    stored = replace(standing, status=Status.STORED, stored_at=NOW)
    removal = effect(policy, policy, stored, NOW)
    if against is not None:
        assert against.event is Event.UNQUEUED
        assert removal is not None
        assert (removal.code, removal.reason) == (against.code, against.reason)
    elif removal is not None and removal.code in {Rule.TYPE, Rule.QUALITY}:
        assert standing.decided_by == ASKED_FOR
    if standing.pinned or not policy.enabled or unsuitable(policy.settings, standing.facts) is None:
        assert against is None


@given(POLICIES, POLICIES)
def test_a_change_looks_at_the_statuses_in_the_order_in_which_variants_pass_them(before, after):
    way = (Status.PENDING, Status.STORING, Status.STORED, Status.EDGE_ONLY)
    assert list(touched(before, after)) == [status for status in way if status in touched(before, after)]


@given(POLICIES)
def test_no_change_touches_nothing(policy):
    assert touched(policy, policy) == ()


def test_auto_cache_and_minimum_accesses_never_touch_what_is_stored():
    before = Policy(VaultSettings(), enabled=True)
    after = Policy(VaultSettings(auto_cache_vault=False, min_access_count_vault=9), enabled=True)
    assert Status.STORED not in touched(before, after)


@given(SETTINGS, TIMES, TIMES)
def test_an_ending_is_the_earlier_of_retention_and_access_expiry(settings, stored_at, viewed_at):
    end = ending(settings, stored_at, viewed_at)
    times = [stored_at + settings.retention_days * DAY] if settings.retention_days else []
    if settings.access_expiry_days:
        times.append(max(stored_at, viewed_at) + settings.access_expiry_days * DAY)
    assert (end.at if end else None) == min(times, default=None)


@given(SETTINGS, PARTS, PARTS)
def test_merging_is_folding_twice_and_without_undoes_what_is_named(settings, first, second):
    assert fold(settings, merged(first, second)) == fold(fold(settings, first), second)
    left = without(first, second)
    assert fold(fold(settings, left), second) == fold(fold(settings, first), second)
    assert without(first, first) is None
