# ruff: noqa: S608 - SQL of the test's own, made of its own names
"""Damages that `verify` must find: each is planted alone, so that all else stays as promised.

A plant takes media that nobody else took, spoils one thing, and says the finding it must become: `(code, id)`.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

from fakes.clean_vault import NOW, CleanVault, write
from mediavault.catalog.identifiers import new_id
from mediavault.catalog.rollups import STATUS_BITS
from mediavault.domain.times import DAY

Expected = tuple[str, str]
Plant = Callable[[CleanVault], Awaitable[Expected]]
PLANTS: dict[str, Plant] = {}
OLD = NOW - 3 * DAY


def plant(made: Plant) -> Plant:
    PLANTS[made.__name__] = made
    return made


async def change(vault: CleanVault, variant: dict[str, Any], **values: Any) -> None:
    names = list(values)
    sets = ", ".join(f"{name} = {{{n}}}" for n, name in enumerate(names))
    await write(vault.url, f"UPDATE variants SET {sets} WHERE id = {{{len(names)}}}", *values.values(), variant["id"])


async def use(vault: CleanVault, variant: dict[str, Any], **more: int) -> None:
    for name, by in more.items():
        sql = f"UPDATE usage SET {name} = {name} + {{0}} WHERE connection_id = {{1}}"
        await write(vault.url, sql, by, variant["connection_id"])


async def change_blob(vault: CleanVault, blob_id: str, **values: Any) -> None:
    for name, value in values.items():
        await write(vault.url, f"UPDATE blobs SET {name} = {{0}} WHERE id = {{1}}", value, blob_id)


async def intent(vault: CleanVault, variant: dict[str, Any], *, at: int = NOW, **values: Any) -> str:
    row = {"id": new_id(at), "org_id": vault.org_id, "state": "writing", "variant_id": variant["id"], "fence": 0}
    row |= {"size_bytes": 0, "refs": 0, "created_at": at} | values
    places = ", ".join(f"{{{n}}}" for n in range(len(row)))
    await write(vault.url, f"INSERT INTO blobs ({', '.join(row)}) VALUES ({places})", *row.values())
    return str(row["id"])


async def organisation(vault: CleanVault, name: str, event_seq: int = 0) -> str:
    org_id = new_id(NOW)
    sql = "INSERT INTO organisations (id, name, settings, event_seq, created_at) VALUES ({0}, {1}, '{{}}', {2}, {3})"
    await write(vault.url, sql, org_id, name, event_seq, NOW)
    return org_id


async def event(vault: CleanVault, variant: dict[str, Any], kind: str, *, at: int = NOW) -> None:
    """The next event of the organisation."""
    await write(vault.url, "UPDATE organisations SET event_seq = event_seq + 1 WHERE id = {0}", vault.org_id)
    sql = (
        "INSERT INTO outbox (org_id, seq, id, connection_id, variant_id, type, data, created_at) "
        "SELECT id, event_seq, {0}, {1}, {2}, {3}, '{{}}', {4} FROM organisations WHERE id = {5}"
    )
    values = (f"evt_{new_id(at)}", variant["connection_id"], variant["id"], f"vault.media.{kind}", at, vault.org_id)
    await write(vault.url, sql, *values)


async def endpoint(vault: CleanVault, org_id: str, *, cursor: int = 0, sealed_for: str | None = None) -> str:
    endpoint_id = new_id(NOW)
    secret = vault.sealer.seal(b"s", ("webhook_endpoints", "secret", org_id, sealed_for or endpoint_id))
    sql = (
        "INSERT INTO webhook_endpoints (id, org_id, url, state, secret, cursor_seq, created_at, updated_at) "
        "VALUES ({0}, {1}, 'http://127.0.0.1:1', 'enabled', {2}, {3}, 0, 0)"
    )
    await write(vault.url, sql, endpoint_id, org_id, secret, cursor)
    return endpoint_id


# -- bytes --


@plant
async def a_flipped_bit(vault: CleanVault) -> Expected:
    blob_id = vault.take("stored")["blob_id"]
    content = bytearray(vault.path(blob_id).read_bytes())
    content[3] ^= 4
    vault.path(blob_id).write_bytes(content)
    return "blob_digest", blob_id


@plant
async def a_truncated_file(vault: CleanVault) -> Expected:
    blob_id = vault.take("stored")["blob_id"]
    os.truncate(vault.path(blob_id), 5)
    return "blob_size", blob_id


@plant
async def an_empty_file(vault: CleanVault) -> Expected:
    blob_id = vault.take("stored")["blob_id"]
    os.truncate(vault.path(blob_id), 0)
    return "blob_size", blob_id


@plant
async def a_longer_file(vault: CleanVault) -> Expected:
    blob_id = vault.take("stored")["blob_id"]
    with vault.path(blob_id).open("ab") as file:
        file.write(b"more")
    return "blob_size", blob_id


@plant
async def a_missing_file(vault: CleanVault) -> Expected:
    blob_id = vault.take("stored")["blob_id"]
    vault.path(blob_id).unlink()
    return "blob_missing", blob_id


@plant
async def a_symbolic_link(vault: CleanVault) -> Expected:
    blob_id = vault.take("stored")["blob_id"]
    aside = vault.path(blob_id).rename(vault.root / ".elsewhere")
    vault.path(blob_id).symlink_to(aside)
    return "blob_no_file", blob_id


@plant
async def a_directory(vault: CleanVault) -> Expected:
    blob_id = vault.take("stored")["blob_id"]
    vault.path(blob_id).unlink()
    vault.path(blob_id).mkdir()
    return "blob_no_file", blob_id


@plant
async def a_pipe(vault: CleanVault) -> Expected:
    blob_id = vault.take("stored")["blob_id"]
    vault.path(blob_id).unlink()
    os.mkfifo(vault.path(blob_id))
    return "blob_no_file", blob_id


@plant
async def an_orphan_older_than_the_grace(vault: CleanVault) -> Expected:
    blob_id = new_id(OLD)
    vault.path(blob_id).parent.mkdir(parents=True, exist_ok=True)
    vault.path(blob_id).write_bytes(b"nobody's")
    return "orphan_blob", blob_id


@plant
async def a_blob_under_another_organisation(vault: CleanVault) -> Expected:
    blob_id = new_id(OLD)
    path = vault.root / "anotherorganisation" / blob_id[-2:] / blob_id
    path.parent.mkdir(parents=True)
    path.write_bytes(b"elsewhere")
    return "orphan_blob", blob_id


@plant
async def a_staging_leftover(vault: CleanVault) -> Expected:
    (vault.root / ".staging" / "leftover.0123").write_bytes(b"half")
    return "staging_leftover", "leftover.0123"


# -- variants and their blobs --


@plant
async def stored_without_a_blob(vault: CleanVault) -> Expected:
    variant = vault.take("stored")
    await change(vault, variant, blob_id=None)
    await write(vault.url, "DELETE FROM blobs WHERE id = {0}", variant["blob_id"])
    vault.path(variant["blob_id"]).unlink()
    return "stored_without_blob", variant["id"]


@plant
async def stored_in_a_doomed_blob(vault: CleanVault) -> Expected:
    variant = vault.take("stored")
    await change_blob(vault, variant["blob_id"], refs=0, state="doomed")
    return "stored_without_blob", variant["id"]


@plant
async def another_size_than_its_blob(vault: CleanVault) -> Expected:
    variant = vault.take("stored")
    await change(vault, variant, size_bytes=variant["size_bytes"] + 1)
    await use(vault, variant, stored_bytes=1)
    return "size_of_another_blob", variant["id"]


@plant
async def bytes_without_being_stored(vault: CleanVault) -> Expected:
    variant, other = vault.take("edge_only"), vault.take("stored")
    await change(vault, variant, blob_id=other["blob_id"])
    await change_blob(vault, other["blob_id"], refs=2)
    return "bytes_without_stored", variant["id"]


@plant
async def reserved_without_being_stored(vault: CleanVault) -> Expected:
    variant = vault.take("pending")
    await change(vault, variant, reserved_bytes=7)
    await use(vault, variant, reserved_bytes=7)
    return "reserved_without_storing", variant["id"]


@plant
async def a_stale_lease(vault: CleanVault) -> Expected:
    variant = vault.take("storing")
    await change(vault, variant, lease_expires_at=NOW - 600_000)
    return "stale_lease", variant["id"]


@plant
async def wrong_references(vault: CleanVault) -> Expected:
    blob_id = vault.take("stored")["blob_id"]
    await change_blob(vault, blob_id, refs=2)
    return "wrong_references", blob_id


@plant
async def retained_bytes_that_are_gone(vault: CleanVault) -> Expected:
    variant = vault.take("removed")
    await change(vault, variant, retained_blob_id="nothing", removed_at=NOW)
    return "retained_without_blob", variant["id"]


@plant
async def retained_bytes_past_the_window(vault: CleanVault) -> Expected:
    variant, other = vault.take("removed"), vault.take("stored")
    await change(vault, variant, retained_blob_id=other["blob_id"])
    await change_blob(vault, other["blob_id"], refs=2)
    return "retained_past_the_window", variant["id"]


@plant
async def an_abandoned_intent(vault: CleanVault) -> Expected:
    return "abandoned_intent", await intent(vault, vault.take("edge_only"), at=OLD)


@plant
async def a_store_that_was_not_announced(vault: CleanVault) -> Expected:
    variant = vault.take("storing")
    await write(vault.url, "DELETE FROM blobs WHERE variant_id = {0}", variant["id"])
    return "storing_unannounced", variant["id"]


@plant
async def two_claims_under_one_fence(vault: CleanVault) -> Expected:
    variant = vault.take("edge_only")
    await intent(vault, variant)
    await intent(vault, variant)
    return "two_claims", variant["id"]


@plant
async def a_fence_that_fell(vault: CleanVault) -> Expected:
    variant = vault.take("edge_only")
    await intent(vault, variant, fence=9, state="doomed")
    return "fence_fell", variant["id"]


@plant
async def a_lease_without_a_store(vault: CleanVault) -> Expected:
    variant = vault.take("edge_only")
    await change(vault, variant, lease_holder="somebody", lease_expires_at=NOW)
    return "lease_without_storing", variant["id"]


@plant
async def removed_and_yet_stored(vault: CleanVault) -> Expected:
    variant = vault.take("removed")
    await change(vault, variant, stored_at=NOW)
    return "removed_in_part", variant["id"]


@plant
async def a_status_of_no_lifecycle(vault: CleanVault) -> Expected:
    variant = vault.take("pending")
    await change(vault, variant, status="lost")
    bits = " ".join(f"WHEN '{status}' THEN {bit}" for status, bit in STATUS_BITS.items())
    of_others = f"SELECT COALESCE(SUM(DISTINCT CASE status {bits} ELSE 0 END), 0) FROM variants WHERE media_pk = {{0}}"
    await write(vault.url, f"UPDATE media SET status_mask = ({of_others}) WHERE id = {{0}}", variant["media_pk"])
    return "no_status", variant["id"]


@plant
async def times_that_run_backwards(vault: CleanVault) -> Expected:
    variant = vault.take("edge_only")
    await change(vault, variant, changed_at=variant["created_at"] - DAY)
    return "times_run_backwards", variant["id"]


@plant
async def views_below_nothing(vault: CleanVault) -> Expected:
    variant = vault.take("edge_only")
    await change(vault, variant, access_count=-1)
    return "impossible_views", variant["id"]


@plant
async def a_negative_size(vault: CleanVault) -> Expected:
    variant = vault.take("edge_only")
    await change(vault, variant, size_bytes=-1)
    return "negative_size", variant["id"]
