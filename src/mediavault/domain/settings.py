"""Vault+ settings: one organisation default, per-connection overrides, folded in one place (contract.md, "Account")."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Bytes = Annotated[int, Meta(ge=0, le=2**60)]
Days = Annotated[int, Meta(ge=0, le=36_500)]
UrlLife = Annotated[int, Meta(ge=60, le=604_800)]
ImageQuality = Literal["thumb", "preview", "full"]
VideoQuality = Literal["preview", "720p", "1080p", "source"]
PurgeStrategy = Literal["purge_oldest", "purge_largest", "purge_smallest", "block_new"]


class VaultSettings(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What is kept, and for how long. 0 means none for days and limits."""

    auto_cache_vault: bool = True  #: store what is seen in the creator's vault
    auto_cache_messages: bool = False
    auto_cache_posts: bool = False
    auto_cache_stories: bool = False
    min_access_count_vault: Count = 1  #: views before it is stored
    min_access_count_messages: Count = 1
    min_access_count_posts: Count = 1
    min_access_count_stories: Count = 1
    cache_images: bool = True
    cache_videos: bool = True
    cache_audio: bool = True
    image_qualities: tuple[ImageQuality, ...] = ("thumb", "preview", "full")
    video_qualities: tuple[VideoQuality, ...] = ("preview", "720p", "1080p", "source")
    retention_days: Days = 0  #: days after storing
    access_expiry_days: Days = 0  #: days after the last view
    presigned_url_ttl_seconds: UrlLife = 3600  #: life of a media-host URL
    storage_limit_bytes: Bytes = 0
    storage_limit_purge_strategy: PurgeStrategy = "purge_oldest"
    derive_thumbnails: bool = False  #: make a thumb from a stored copy where upstream has none


#: A part of VaultSettings: every field may be absent. What a connection overrides, and what a PATCH carries.
SettingsOverrides = msgspec.defstruct(
    "SettingsOverrides",
    [(field.name, field.type | UnsetType, UNSET) for field in msgspec.structs.fields(VaultSettings)],
    frozen=True,
    rename="camel",
    forbid_unknown_fields=True,
    omit_defaults=True,
    module=__name__,
)


class OrganisationSettings(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The organisation's part of `GET /v2/account/settings`."""

    auto_enable_for_new_connections: bool = True
    default_settings: VaultSettings = VaultSettings()


def fold(settings: VaultSettings, overrides: Any | None) -> VaultSettings:
    """The effective settings: the override where there is one, else the organisation's."""
    return settings if overrides is None else msgspec.structs.replace(settings, **_present(overrides))


def merged(overrides: Any | None, patch: Any) -> Any | None:
    """A connection's overrides after a PATCH: what it names is replaced, the rest stays; None when there are none."""
    present = (_present(overrides) if overrides is not None else {}) | _present(patch)
    return SettingsOverrides(**present) if present else None


def without(overrides: Any | None, patch: Any) -> Any | None:
    """A connection's overrides without the fields that the patch names: there the organisation's values hold again."""
    if overrides is None:
        return None
    named = _present(patch)
    kept = {name: value for name, value in _present(overrides).items() if name not in named}
    return SettingsOverrides(**kept) if kept else None


def _present(part: Any) -> dict[str, Any]:
    """The fields a part of settings has; a quality that is named twice is kept once."""
    return {
        name: tuple(dict.fromkeys(value)) if isinstance(value, tuple) else value
        for name, value in msgspec.structs.asdict(part).items()
        if value is not UNSET
    }
