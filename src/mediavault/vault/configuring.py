"""Settings: read from where they are stored, folded, changed."""

from functools import lru_cache
from typing import Any

import msgspec

from mediavault.domain.settings import OrganisationSettings, SettingsOverrides, VaultSettings, fold

_overrides = msgspec.json.Decoder(SettingsOverrides)
_organisation = msgspec.json.Decoder(OrganisationSettings)


@lru_cache(maxsize=1024)
def organisation_settings(stored: str) -> OrganisationSettings:
    """An organisation's settings from its row."""
    return _organisation.decode(stored)


@lru_cache(maxsize=4096)
def effective_settings(organisation: str, overrides: str | None) -> VaultSettings:
    """What holds for a connection, from the two rows' texts."""
    return fold(organisation_settings(organisation).default_settings, parsed_overrides(overrides))


def parsed_overrides(stored: str | None) -> Any | None:
    """A connection's overrides from its row."""
    return None if stored is None else _overrides.decode(stored)
