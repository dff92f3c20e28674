# ruff: noqa: S608 - SQL of the test's own, made of its own names
"""More damages that `verify` must find: of totals, tenants, events, secrets and policy."""

import random
from typing import Any

from fakes.clean_vault import NOW, CleanVault, add_connection, fill_catalog, write
from fakes.planted import OLD, PLANTS, Expected, change, endpoint, event, intent, organisation, plant
from mediavault.catalog.identifiers import new_id
from mediavault.domain.lifecycle import Status
from mediavault.domain.times import DAY

# -- totals --


@plant
async def a_negative_usage(vault: CleanVault) -> Expected:
    await write(vault.url, "UPDATE usage SET reserved_bytes = -5 WHERE connection_id = {0}", vault.connections[2])
    return "wrong_usage", vault.connections[2]


@plant
async def a_usage_that_counts_too_much(vault: CleanVault) -> Expected:
    sql = "UPDATE usage SET stored_count = stored_count + 1 WHERE connection_id = {0}"
    await write(vault.url, sql, vault.connections[1])
    return "wrong_usage", vault.connections[1]


@plant
async def a_rollup_of_another_status(vault: CleanVault) -> Expected:
    media_pk = vault.take("stored")["media_pk"]
    await write(vault.url, "UPDATE media SET status_mask = 0 WHERE id = {0}", media_pk)
    return "wrong_rollup", media_pk


@plant
async def a_rollup_of_another_time(vault: CleanVault) -> Expected:
    media_pk = vault.take("stored")["media_pk"]
    await write(vault.url, "UPDATE media SET cached_at = 5 WHERE id = {0}", media_pk)
    return "wrong_rollup", media_pk


@plant
async def a_type_of_no_variant(vault: CleanVault) -> Expected:
    media_pk = vault.take("stored")["media_pk"]
    await write(vault.url, "UPDATE media SET shown_type = 'audio', duration_key = -1 WHERE id = {0}", media_pk)
    return "wrongly_shown", media_pk


# -- tenants --


@plant
async def a_variant_of_another_organisation(vault: CleanVault) -> Expected:
    variant, org_id = vault.take("edge_only"), await organisation(vault, "stranger")
    await change(vault, variant, org_id=org_id, origin_url=vault.sealed_url(variant, org_id=org_id))
    return "foreign_variant", variant["id"]


@plant
async def a_list_of_another_organisation(vault: CleanVault) -> Expected:
    list_id, org_id = new_id(NOW), await organisation(vault, "list stranger")
    sql = "INSERT INTO lists (id, org_id, connection_id, list_id, created_at) VALUES ({0}, {1}, {2}, '1', 0)"
    await write(vault.url, sql, list_id, org_id, vault.connections[0])
    return "foreign_lists_connection", list_id


@plant
async def a_blob_of_nobody(vault: CleanVault) -> Expected:
    return "foreign_blobs_org", await intent(vault, vault.take("edge_only"), org_id="nobody")


# -- events --


@plant
async def a_gap_in_the_events(vault: CleanVault) -> Expected:
    org_id = await organisation(vault, "gap", event_seq=3)
    for seq in (1, 3):
        sql = (
            "INSERT INTO outbox (org_id, seq, id, connection_id, type, data, created_at) "
            "VALUES ({0}, {1}, {2}, '', 'connection.created', '{{}}', 0)"
        )
        await write(vault.url, sql, org_id, seq, new_id(NOW))
    return "gap_in_events", org_id


@plant
async def a_transition_that_is_none(vault: CleanVault) -> Expected:
    variant = vault.take("stored")
    for kind in ("removed", "stored"):
        await event(vault, variant, kind)
    return "illegal_transition", variant["id"]


@plant
async def events_that_run_backwards(vault: CleanVault) -> Expected:
    variant = vault.take("stored")
    for kind, at in (("queued", NOW), ("claimed", NOW - DAY), ("stored", NOW)):
        await event(vault, variant, kind, at=at)
    return "events_run_backwards", variant["id"]


@plant
async def a_move_without_an_event(vault: CleanVault) -> Expected:
    variant = vault.take("edge_only")
    await event(vault, variant, "queued")
    return "moved_without_event", variant["id"]


@plant
async def an_endpoint_ahead_of_the_events(vault: CleanVault) -> Expected:
    return "told_of_the_future", await endpoint(vault, await organisation(vault, "early"), cursor=7)


# -- secrets --


@plant
async def a_session_in_the_clear(vault: CleanVault) -> Expected:
    await write(vault.url, "UPDATE connections SET session = {0} WHERE id = {1}", b"cookie=1", vault.connections[3])
    return "session_in_the_clear", vault.connections[3]


@plant
async def an_origin_url_in_the_clear(vault: CleanVault) -> Expected:
    variant = vault.take("edge_only")
    await change(vault, variant, origin_url=b"http://127.0.0.1:1/x.jpg")
    return "origin_url_in_the_clear", variant["id"]


@plant
async def a_ciphertext_of_another_row(vault: CleanVault) -> Expected:
    variant, other = vault.take("edge_only"), vault.take("edge_only")
    await change(vault, variant, origin_url=other["origin_url"])
    return "origin_url_unopened", variant["id"]


@plant
async def a_webhook_secret_of_another_endpoint(vault: CleanVault) -> Expected:
    return "secret_unopened", await endpoint(vault, vault.org_id, sealed_for="another")


@plant
async def an_api_key_in_the_clear(vault: CleanVault) -> Expected:
    key_id = new_id(NOW)
    columns = "id, org_id, prefix, sha256, scopes, created_at"
    sql = f"INSERT INTO api_keys ({columns}) VALUES ({{0}}, {{1}}, 'mv_', 'mv_key', 'ACCESS', 0)"
    await write(vault.url, sql, key_id, vault.org_id)
    return "key_in_the_clear", key_id


# -- policy --


class _OneStored(random.Random):
    """Draws an item of which one variant is stored, and the others are removed."""

    def choices(self, population: Any, *more: Any, **options: Any) -> Any:
        if population is fill_catalog.STATUSES:
            return [Status.STORED, Status.REMOVED, Status.REMOVED]
        return super().choices(population, *more, **options)


async def _one_stored(vault: CleanVault) -> tuple[str, dict[str, Any]]:
    """A connection of its own with that item, stored long ago, which no other plant takes."""
    share = fill_catalog.Share(3 * (10 + len(vault.connections)), 1)
    connection_id = await add_connection(vault, share, _OneStored(1))
    variant = vault.variants["stored"][-1]
    assert vault.take("stored") is variant
    return connection_id, variant


@plant
async def media_past_their_retention(vault: CleanVault) -> Expected:
    connection_id, variant = await _one_stored(vault)
    sql = "UPDATE connections SET settings_overrides = {0} WHERE id = {1}"
    await write(vault.url, sql, '{"retentionDays": 2}', connection_id)
    return "past_retention", variant["id"]


@plant
async def media_past_their_access_expiry(vault: CleanVault) -> Expected:
    connection_id, variant = await _one_stored(vault)
    sql = "UPDATE connections SET settings_overrides = {0} WHERE id = {1}"
    await write(vault.url, sql, '{"accessExpiryDays": 2}', connection_id)
    return "past_access_expiry", variant["id"]


@plant
async def media_that_a_disconnect_left(vault: CleanVault) -> Expected:
    connection_id, variant = await _one_stored(vault)
    await write(vault.url, "UPDATE connections SET disconnected_at = {0} WHERE id = {1}", OLD, connection_id)
    return "left_by_a_disconnect", variant["id"]


@plant
async def a_move_that_died(vault: CleanVault) -> Expected:
    return "abandoned_move", await intent(vault, vault.take("edge_only"), at=OLD, keep_until=OLD)


@plant
async def an_old_copy_that_no_sweep_deleted(vault: CleanVault) -> Expected:
    variant = vault.take("edge_only")
    return "old_copy_left", await intent(vault, variant, at=OLD, keep_until=OLD, state="doomed")


__all__ = ["PLANTS"]
