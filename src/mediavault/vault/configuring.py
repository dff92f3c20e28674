"""Settings: read from where they are stored, folded, and what the bodies that change them mean."""

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mediavault.catalog.configuration import Configured
from mediavault.domain.settings import (
    OrganisationSettings,
    SettingsOverrides,
    VaultSettings,
    fold,
    merged,
    without,
)

_overrides = msgspec.json.Decoder(SettingsOverrides)
_organisation = msgspec.json.Decoder(OrganisationSettings)

_body = partial(msgspec.defstruct, frozen=True, rename="camel", forbid_unknown_fields=True, module=__name__)

#: The body of `PATCH /v2/account/connections/{id}/settings`: `{"vaultPlus": {"enabled"?, "settings"?: {...} | null}}`.
ConnectionVaultPlus = _body(
    "ConnectionVaultPlus",
    [("enabled", bool | UnsetType, UNSET), ("settings", SettingsOverrides | None | UnsetType, UNSET)],
)
ConnectionPatch = _body("ConnectionPatch", [("vault_plus", ConnectionVaultPlus, ConnectionVaultPlus())])
#: The body of `PATCH /v2/account/settings`.
OrganisationVaultPlus = _body(
    "OrganisationVaultPlus",
    [
        ("auto_enable_for_new_connections", bool | UnsetType, UNSET),
        ("apply_to_existing_connections", bool, False),
        ("default_settings", SettingsOverrides, SettingsOverrides()),
    ],
)
OrganisationPatch = _body("OrganisationPatch", [("vault_plus", OrganisationVaultPlus, OrganisationVaultPlus())])


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


def connection_changed(configured: Configured, patch: Any) -> Configured:
    """A connection's settings after its PATCH: merged; `null` clears the overrides."""
    asked = patch.vault_plus
    overrides = configured.overrides
    if asked.settings is None:
        overrides = None
    elif asked.settings is not UNSET:
        overrides = _stored(merged(parsed_overrides(overrides), asked.settings))
    return replace(
        configured, enabled=configured.enabled if asked.enabled is UNSET else asked.enabled, overrides=overrides
    )


def organisation_changed(stored: str, patch: Any) -> str:
    """An organisation's settings, as they are stored, after its PATCH."""
    asked, settings = patch.vault_plus, organisation_settings(stored)
    enables = asked.auto_enable_for_new_connections
    changed = OrganisationSettings(
        auto_enable_for_new_connections=settings.auto_enable_for_new_connections if enables is UNSET else enables,
        default_settings=fold(settings.default_settings, asked.default_settings),
    )
    return msgspec.json.encode(changed).decode()


def default_applied(configured: Configured, patch: Any) -> Configured:
    """An existing connection after its organisation's PATCH.

    With `applyToExistingConnections` its overrides of the fields that are patched end, so that the new defaults hold
    for it, and it is switched like a new connection if the PATCH says how; the rest of its overrides stay.
    """
    asked = patch.vault_plus
    if not asked.apply_to_existing_connections:
        return configured
    enables = asked.auto_enable_for_new_connections
    overrides = without(parsed_overrides(configured.overrides), asked.default_settings)
    return replace(
        configured, enabled=configured.enabled if enables is UNSET else enables, overrides=_stored(overrides)
    )


def _stored(overrides: Any | None) -> str | None:
    return None if overrides is None else msgspec.json.encode(overrides).decode()
