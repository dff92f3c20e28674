"""Settings: the contract's names and defaults, and how overrides fold."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain.settings import OrganisationSettings, SettingsOverrides, VaultSettings, fold

DEFAULTS = {
    "autoCacheVault": True,
    "autoCacheMessages": False,
    "autoCachePosts": False,
    "autoCacheStories": False,
    "minAccessCountVault": 1,
    "minAccessCountMessages": 1,
    "minAccessCountPosts": 1,
    "minAccessCountStories": 1,
    "cacheImages": True,
    "cacheVideos": True,
    "cacheAudio": True,
    "imageQualities": ["thumb", "preview", "full"],
    "videoQualities": ["preview", "720p", "1080p", "source"],
    "retentionDays": 0,
    "accessExpiryDays": 0,
    "presignedUrlTtlSeconds": 3600,
    "storageLimitBytes": 0,
    "storageLimitPurgeStrategy": "purge_oldest",
    "deriveThumbnails": False,
}
VALUES = {
    "autoCacheVault": st.booleans(),
    "autoCachePosts": st.booleans(),
    "minAccessCountVault": st.integers(0, 10**9),
    "cacheAudio": st.booleans(),
    "imageQualities": st.lists(st.sampled_from(["thumb", "preview", "full"]), unique=True),
    "videoQualities": st.lists(st.sampled_from(["preview", "720p", "1080p", "source"]), unique=True),
    "retentionDays": st.integers(0, 36_500),
    "presignedUrlTtlSeconds": st.integers(60, 604_800),
    "storageLimitBytes": st.integers(0, 2**60),
    "storageLimitPurgeStrategy": st.sampled_from(["purge_oldest", "purge_largest", "purge_smallest", "block_new"]),
    "deriveThumbnails": st.booleans(),
}
PARTS = st.fixed_dictionaries({}, optional=VALUES)


def overrides(given_values: dict[str, Any]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(given_values), type=SettingsOverrides)


def as_json(struct: msgspec.Struct) -> Any:
    return msgspec.json.decode(msgspec.json.encode(struct))


def test_the_defaults_are_the_contracts():
    assert as_json(VaultSettings()) == DEFAULTS
    assert as_json(OrganisationSettings()) == {
        "autoEnableForNewConnections": True,
        "defaultSettings": DEFAULTS,
    }


def test_overrides_have_every_field_and_no_other():
    assert [field.encode_name for field in msgspec.structs.fields(SettingsOverrides)] == list(DEFAULTS)
    assert msgspec.json.encode(SettingsOverrides()) == b"{}"


@given(PARTS)
def test_an_override_wins_and_the_rest_is_the_organisations(given_values):
    folded = fold(VaultSettings(retention_days=7, cache_images=False), overrides(given_values))
    assert as_json(folded) == DEFAULTS | {"retentionDays": 7, "cacheImages": False} | given_values


@given(PARTS)
def test_what_is_stored_reads_back_as_it_was(given_values):
    assert as_json(overrides(given_values)) == given_values


@given(PARTS, PARTS)
def test_folding_twice_is_folding_the_merged(first, second):
    base = VaultSettings()
    assert fold(fold(base, overrides(first)), overrides(second)) == fold(base, overrides(first | second))


def test_no_overrides_change_nothing():
    base = VaultSettings(retention_days=3)
    assert fold(base, None) == fold(base, SettingsOverrides()) == base


def test_a_false_and_a_zero_are_overrides_too():
    base = VaultSettings(retention_days=3)
    folded = fold(base, overrides({"retentionDays": 0, "autoCacheVault": False, "imageQualities": []}))
    assert (folded.retention_days, folded.auto_cache_vault, folded.image_qualities) == (0, False, ())


@pytest.mark.parametrize(
    "wrong",
    [
        {"unknown": 1},
        {"retention_days": 1},
        {"retentionDays": -1},
        {"retentionDays": 36_501},
        {"retentionDays": None},
        {"retentionDays": True},
        {"retentionDays": "1"},
        {"retentionDays": 1.5},
        {"minAccessCountVault": -1},
        {"storageLimitBytes": 2**60 + 1},
        {"presignedUrlTtlSeconds": 59},
        {"presignedUrlTtlSeconds": 604_801},
        {"autoCacheVault": 1},
        {"autoCacheVault": None},
        {"imageQualities": ["720p"]},
        {"imageQualities": "thumb"},
        {"imageQualities": None},
        {"videoQualities": ["full"]},
        {"storageLimitPurgeStrategy": "purge_all"},
    ],
    ids=repr,
)
def test_what_the_contract_does_not_know_is_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        overrides(wrong)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, VaultSettings)
