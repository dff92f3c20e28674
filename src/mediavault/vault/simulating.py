"""Settings as the API shows and changes them, and what a change would do: asked before, or done."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from mediavault.catalog import configuration, items, organisations
from mediavault.catalog.configuration import Change, Configured
from mediavault.catalog.database import Catalog
from mediavault.domain.lifecycle import Event
from mediavault.domain.settings import OrganisationSettings, VaultSettings
from mediavault.domain.times import Now
from mediavault.errors import NotFound
from mediavault.vault.configuring import (
    connection_changed,
    default_applied,
    organisation_changed,
    organisation_settings,
    parsed_overrides,
)
from mediavault.vault.connecting import is_connection_id
from mediavault.vault.policing import Outcome, Policing, Share, is_affected, policy_of


class Stats(Struct, frozen=True, rename="camel"):
    """What a connection has."""

    vault_plus_enabled: bool
    total_storage_bytes: int
    storage_limit_bytes: int
    media_count: int
    stored_count: int
    storage_usage_percent: float


class ConnectionVaultPlusView(Struct, frozen=True, rename="camel"):
    """Vault+ of a connection; `effectiveSettings` is what holds: the override, else the default."""

    enabled: bool
    settings_overrides: Any
    effective_settings: VaultSettings
    stats: Stats


class ConnectionSettingsView(Struct, frozen=True, rename="camel"):
    """`GET /v2/account/connections/{id}/settings`."""

    connection_id: str
    vault_plus: ConnectionVaultPlusView


class OrganisationSettingsView(Struct, frozen=True, rename="camel"):
    """`GET /v2/account/settings`."""

    vault_plus: OrganisationSettings


class PurgeResult(Struct, frozen=True, rename="camel"):
    """What a change removed."""

    purged_count: int
    freed_bytes: int


class ConnectionPurgeResult(Struct, frozen=True, rename="camel"):
    """What a change of the defaults removed of one connection."""

    connection_id: str
    purged_count: int
    freed_bytes: int


class BroadcastResult(Struct, frozen=True, rename="camel"):
    """What a change of the defaults did to the connections there are."""

    affected_connections: int
    purge_results: list[ConnectionPurgeResult]


class ConnectionChanged(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The answer to a PATCH of a connection's settings."""

    settings: ConnectionSettingsView
    purge_result: PurgeResult | UnsetType = UNSET


class OrganisationChanged(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The answer to a PATCH of the organisation's settings."""

    settings: OrganisationSettingsView
    broadcast_result: BroadcastResult | UnsetType = UNSET


class RuleShare(Struct, frozen=True, rename="camel"):
    """What one rule would do."""

    rule: str
    reason: str
    variants: int
    bytes: int | None
    known_bytes: int
    unknown_sizes: int


class WouldDo(Struct, frozen=True, rename="camel"):
    """Variants and bytes; `bytes` is null where the size of some is unknown, `knownBytes` is of the others."""

    variants: int
    bytes: int | None
    known_bytes: int
    unknown_sizes: int
    by_rule: list[RuleShare]


class Simulation(Struct, frozen=True, rename="camel"):
    """What a change would do, now."""

    affected_connections: int
    would_store: WouldDo
    would_unqueue: WouldDo
    would_remove: WouldDo


@dataclass(frozen=True)
class Settings:
    """Reads, changes and simulates settings."""

    catalog: Catalog
    policing: Policing
    now: Now

    async def organisation(self, org_id: str) -> OrganisationSettingsView:
        """The defaults."""
        row = await organisations.organisation(self.catalog, org_id)
        return OrganisationSettingsView(organisation_settings(row.settings))

    async def connection(self, org_id: str, connection_id: str) -> ConnectionSettingsView:
        """What holds for a connection. Raises NotFound."""
        return await self._view(org_id, await self._configured(org_id, connection_id))

    async def change_connection(self, org_id: str, connection_id: str, patch: Any) -> ConnectionChanged:
        """Change a connection's settings and do what follows from that. Raises NotFound."""
        _check_id(connection_id)
        change = await self.catalog.run(
            configuration.change_connection,
            org_id,
            connection_id,
            partial(connection_changed, patch=patch),
            self.now(),
            is_affected,
        )
        removed = (await self.policing.carry_out(org_id, change)).of(Event.REMOVED)
        view = await self._view(org_id, change.after)
        if not removed.variants:
            return ConnectionChanged(view)
        return ConnectionChanged(view, PurgeResult(removed.variants, removed.known_bytes))

    async def change_organisation(self, org_id: str, patch: Any) -> OrganisationChanged:
        """Change the defaults, and do what follows from that in every connection."""
        new, changes = await self.catalog.run(
            configuration.change_organisation,
            org_id,
            partial(organisation_changed, patch=patch),
            partial(default_applied, patch=patch),
            self.now(),
            is_affected,
        )
        affected, purged = list(filter(is_affected, changes)), []
        outcomes = await self.policing.carry_out_all(org_id, affected)
        for change, outcome in zip(affected, outcomes, strict=True):
            removed = outcome.of(Event.REMOVED)
            if removed.variants:
                connection_id = change.after.connection_id
                purged.append(ConnectionPurgeResult(connection_id, removed.variants, removed.known_bytes))
        view = OrganisationSettingsView(organisation_settings(new))
        if not affected and not patch.vault_plus.apply_to_existing_connections:
            return OrganisationChanged(view)
        return OrganisationChanged(view, BroadcastResult(len(affected), purged))

    async def simulate_connection(self, org_id: str, connection_id: str, patch: Any) -> Simulation:
        """What `change_connection` would do now. Raises NotFound."""
        before = await self._configured(org_id, connection_id)
        return await self._simulated(org_id, [Change(before, connection_changed(before, patch))])

    async def simulate_organisation(self, org_id: str, patch: Any) -> Simulation:
        """What `change_organisation` would do now."""
        stored = (await organisations.organisation(self.catalog, org_id)).settings
        new = organisation_changed(stored, patch)
        return await self._simulated(
            org_id,
            [
                Change(before, default_applied(replace(before, organisation=new), patch))
                for before in await configuration.all_configured(self.catalog, org_id)
            ],
        )

    async def _simulated(self, org_id: str, changes: list[Change]) -> Simulation:
        total, affected = Outcome(), list(filter(is_affected, changes))
        for change in affected:
            total.include(await self.policing.forecast(org_id, change))
        would = (_would(total, event) for event in (Event.QUEUED, Event.UNQUEUED, Event.REMOVED))
        return Simulation(len(affected), *would)

    async def _configured(self, org_id: str, connection_id: str) -> Configured:
        _check_id(connection_id)
        found = await configuration.find_configured(self.catalog, org_id, connection_id)
        if found is None:
            raise NotFound("Connection not found")
        return found

    async def _view(self, org_id: str, configured: Configured) -> ConnectionSettingsView:
        live, stored, stored_bytes = await items.connection_totals(self.catalog, org_id, configured.connection_id)
        effective = policy_of(configured).settings
        limit = effective.storage_limit_bytes
        percent = round(100 * stored_bytes / limit, 2) if limit else 0.0
        return ConnectionSettingsView(
            configured.connection_id,
            ConnectionVaultPlusView(
                enabled=configured.enabled,
                settings_overrides=parsed_overrides(configured.overrides),
                effective_settings=effective,
                stats=Stats(configured.enabled, stored_bytes, limit, live, stored, percent),
            ),
        )


def _check_id(connection_id: str) -> None:
    if not is_connection_id(connection_id):
        raise NotFound("Connection not found")


def _would(outcome: Outcome, event: Event) -> WouldDo:
    rules = [
        RuleShare(code.value, reason, share.variants, _bytes(share), share.known_bytes, share.unknown_sizes)
        for (happened, code, reason), share in sorted(outcome.shares.items())
        if happened is event
    ]
    total = outcome.of(event)
    return WouldDo(total.variants, _bytes(total), total.known_bytes, total.unknown_sizes, rules)


def _bytes(share: Share) -> int | None:
    return None if share.unknown_sizes else share.known_bytes
