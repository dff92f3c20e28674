"""Rows for the catalog's contract tests: made by its own operations, read back whole, and checked as a whole."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, select, text

from mediavault.catalog import blob_rows, connections, leases, observations, organisations, removals, rollups
from mediavault.catalog import variants as catalog_variants
from mediavault.catalog.blob_rows import StoredBytes
from mediavault.catalog.connections import ConnectionRow
from mediavault.catalog.database import Catalog
from mediavault.catalog.identifiers import new_connection_id, new_id
from mediavault.catalog.known_media import VariantIds
from mediavault.catalog.leases import Claim
from mediavault.catalog.seen import SeenMedia, SeenVariant
from mediavault.catalog.tables import metadata
from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType, overall_type

NOW = 1_750_000_000_000
LEASE_MS = 60_000
HOUR = 3_600_000


def shown(label: str = "full", *, key: str = "k1", expires_at: int = NOW + HOUR) -> SeenVariant:
    """One quality of a media item."""
    return SeenVariant(label, f"sealed {label} {key}".encode(), f"{label}-{key}", expires_at, "image/jpeg")


def seen(media_id: str = "100", *variants: SeenVariant, source: str = "vault", **more: Any) -> SeenMedia:
    """One media item of an upstream answer, with `full` unless told."""
    given = {"type": "image", "duration": None, "observed_path": "/v2/access/vault/media?limit=10"} | more
    return SeenMedia(media_id, source=source, variants=variants or (shown(),), **given)


def bytes_of(content: str, size_bytes: int = 1000) -> StoredBytes:
    """What a storer measured of some content."""
    digest = hashlib.sha256(content.encode()).hexdigest()
    return StoredBytes(size_bytes, digest, "image/jpeg", f"version-{content}")


@dataclass(frozen=True)
class Tenant:
    """An organisation's connection."""

    catalog: Catalog
    org_id: str
    connection_id: str

    async def observe(self, *items: SeenMedia, now: int = NOW) -> VariantIds:
        """Let an upstream answer be recorded."""
        return await self.catalog.run(observations.observe, self.org_id, self.connection_id, items, now)

    async def variant(self, media_id: str = "100", label: str = "full", **more: Any) -> str:
        """The id of a variant that was just observed."""
        ids = await self.observe(seen(media_id, shown(label, **more)))
        return ids[(media_id, label)]

    async def queue(self, *variant_ids: str, now: int = NOW) -> int:
        """Queue them."""
        return await self.catalog.run(catalog_variants.queue, variant_ids, "wanted", now)

    async def claim(self, now: int = NOW, holder: str = "storer-1") -> Claim:
        """The next claim; there must be one."""
        claim = await self.catalog.run(leases.claim, holder, LEASE_MS, now)
        assert claim is not None
        return claim

    async def store(self, content: str = "picture", media_id: str = "100", now: int = NOW) -> Claim:
        """Observe, queue, claim and settle one variant; nothing else may be pending."""
        await self.queue(await self.variant(media_id), now=now)
        claim = await self.claim(now)
        await self.catalog.run(blob_rows.settle, claim, bytes_of(content), now)
        return claim

    async def remove(self, media_id: str = "100", now: int = NOW) -> removals.Removed:
        """Remove an item."""
        return await self.catalog.run(removals.remove_item, self.org_id, self.connection_id, media_id, "deleted", now)

    async def connection(self, user: str) -> "Tenant":
        """Another connection of the organisation."""
        return Tenant(self.catalog, self.org_id, await connect(self.catalog, self.org_id, user))


async def tenant(catalog: Catalog, name: str = "default", user: str = "1", max_inflight: int = 4) -> Tenant:
    """A new organisation with a connection."""
    org_id = new_id(NOW)
    await catalog.run(organisations.create, org_id, name, "{}", NOW)
    return Tenant(catalog, org_id, await connect(catalog, org_id, user, max_inflight))


def connection_row(org_id: str, user: str, **changes: Any) -> ConnectionRow:
    """A connection that is not in the catalog yet."""
    given: dict[str, Any] = {
        "id": new_connection_id(),
        "org_id": org_id,
        "state": "active",
        "upstream_base_url": "http://127.0.0.1:1",
        "upstream_user_id": user,
        "user_data": "{}",
        "permissions": "[]",
        "client_reference_id": None,
        "session": b"sealed session",
        "vault_plus_enabled": True,
        "settings_overrides": None,
        "created_at": NOW,
        "updated_at": NOW,
        "expired_at": None,
        "last_checked_at": NOW,
        "organisation_settings": "{}",
    }
    return ConnectionRow(**(given | changes))


async def connect(catalog: Catalog, org_id: str, user: str, max_inflight: int = 4) -> str:
    """A connection's id."""
    return await catalog.run(connections.save, connection_row(org_id, user), max_inflight)


async def bring_to(owner: Tenant, status: Status, content: str = "picture") -> tuple[str, Claim | None]:
    """A variant in that status, by the operations that lead there, and the claim it went through."""
    variant_id = await owner.variant(own_media_id(owner))
    claim = None
    if status is not Status.EDGE_ONLY:
        await owner.queue(variant_id)
    if status in {Status.STORING, Status.STORED, Status.REMOVED}:
        claim = await owner.claim()
        assert claim.variant_id == variant_id
    if claim and status in {Status.STORED, Status.REMOVED}:
        await owner.catalog.run(blob_rows.settle, claim, bytes_of(content), NOW)
    if status is Status.REMOVED:
        await owner.remove(own_media_id(owner))
    return variant_id, claim


def own_media_id(owner: Tenant) -> str:
    """A media id of the connection's own."""
    return f"media-{owner.connection_id[-8:]}"


async def rows(catalog: Catalog, table: str, **equal: Any) -> list[dict[str, Any]]:
    """Whole rows of a table, in the order of its key."""
    return await _rows(catalog, metadata.tables[table], equal)


async def _rows(catalog: Catalog, table: Table, equal: dict[str, Any]) -> list[dict[str, Any]]:
    found = await catalog.fetch_list(select(*table.c).order_by(*table.primary_key.columns), {})
    dicts = [dict(zip(table.c.keys(), row, strict=True)) for row in found]
    return [row for row in dicts if all(row[name] == value for name, value in equal.items())]


async def row(catalog: Catalog, table: str, **equal: Any) -> dict[str, Any]:
    """The one row that fits."""
    (only,) = await rows(catalog, table, **equal)
    return only


async def dump(catalog: Catalog) -> dict[str, list[dict[str, Any]]]:
    """Everything in the catalog."""
    return {table.name: await _rows(catalog, table, {}) for table in metadata.sorted_tables}


async def sql(catalog: Catalog, statement: str) -> list[tuple[Any, ...]]:
    """Rows of a statement of the test's own, which may write on PostgreSQL."""
    return [tuple(found) for found in await catalog.fetch_list(text(statement), {})]


async def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Run coroutine functions at the same time; their results or exceptions."""
    return await asyncio.gather(*(work() for work in works), return_exceptions=True)


async def broken_invariants(catalog: Catalog) -> list[str]:
    """What the rows say against reliability's invariants 1-5, 9 and 10; empty when nothing."""
    everything = await dump(catalog)
    variants, blobs = everything["variants"], {blob["id"]: blob for blob in everything["blobs"]}
    media = {item["id"]: item for item in everything["media"]}
    broken = []
    references = Counter(
        blob_id for variant in variants for blob_id in (variant["blob_id"], variant["retained_blob_id"]) if blob_id
    )
    for blob_id, blob in blobs.items():
        if blob["refs"] != references[blob_id]:
            broken.append(f"blob {blob_id} says {blob['refs']} references and has {references[blob_id]}")
        if (blob["state"] == "live") != (references[blob_id] > 0):
            broken.append(f"blob {blob_id} is {blob['state']} with {references[blob_id]} references")
    for variant in variants:
        broken += [f"{variant['id']} ({variant['status']}): {fault}" for fault in _faults(variant, media, blobs)]
    by_id = {variant["id"]: variant for variant in variants}
    derived = [variant for variant in variants if variant["derived_from"] is not None or not variant["origin_key"]]
    broken += [f"{variant['id']}: {fault}" for variant in derived for fault in _derivation_faults(variant, by_id)]
    return broken + broken_sums(everything)


def broken_sums(everything: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Usage, rollups and event numbers that do not follow from the variants."""
    return _broken_totals(everything) + _broken_rollups(everything) + _broken_numbers(everything)


def _broken_totals(everything: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Usage is what COUNT and SUM say."""
    broken = []
    for usage in everything["usage"]:
        mine = [each for each in everything["variants"] if each["connection_id"] == usage["connection_id"]]
        stored = [each["size_bytes"] for each in mine if each["status"] == "stored"]
        counted = {
            "live_count": sum(each["status"] != "removed" for each in mine),
            "stored_count": len(stored),
            "stored_bytes": sum(stored),
            "reserved_bytes": sum(each["reserved_bytes"] for each in mine),
        }
        broken += [f"usage says {n} {usage[n]}, not {count}" for n, count in counted.items() if usage[n] != count]
    return broken


def _broken_rollups(everything: dict[str, list[dict[str, Any]]]) -> list[str]:
    """A media item's rollups are those of its live variants."""
    variants_of: dict[str, list[dict[str, Any]]] = {}
    for each in everything["variants"]:
        variants_of.setdefault(each["media_pk"], []).append(each)
    broken = []
    for item in everything["media"]:
        wanted = _rollups_of(item, [each for each in variants_of.get(item["id"], []) if each["status"] != "removed"])
        broken += [
            f"media {item['media_id']} has {name} {item[name]}, its variants say {value}"
            for name, value in wanted.items()
            if item[name] != value
        ]
    return broken


def _rollups_of(item: dict[str, Any], live: list[dict[str, Any]]) -> dict[str, Any]:
    stored = [each["stored_at"] for each in live if each["stored_at"] is not None]
    shown_type = overall_type([each["content_type"] for each in live], MediaType(item["type"]))
    has_key = shown_type is not MediaType.IMAGE and item["duration"] is not None
    return {
        "status_mask": sum({rollups.STATUS_BITS[Status(each["status"])] for each in live}),
        "cached_at": max(stored, default=rollups.NONE),
        "shown_type": shown_type.value,
        "duration_key": item["duration"] if has_key else rollups.NONE,
    }


def _broken_numbers(everything: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Events are numbered per organisation, from 1 and without gaps."""
    broken = []
    for organisation in everything["organisations"]:
        numbers = sorted(each["seq"] for each in everything["outbox"] if each["org_id"] == organisation["id"])
        if numbers != list(range(1, organisation["event_seq"] + 1)):
            broken.append(f"organisation {organisation['name']} has events {numbers}")
    return broken


def _derivation_faults(variant: dict[str, Any], by_id: dict[str, Any]) -> list[str]:
    """A derived thumbnail has an original of its own item, and lives no longer than that; only thumbs are derived."""
    original, has_origin = by_id.get(variant["derived_from"]), bool(variant["origin_key"])
    checks = {
        "no thumb and derived": variant["label"] == "thumb",
        "derived of nothing, or of another item": original is not None
        and original["media_pk"] == variant["media_pk"]
        and original["id"] != variant["id"],
        "edge_only without an origin": has_origin or variant["status"] != "edge_only",
        "alive without an origin, and its original removed": has_origin
        or variant["status"] == "removed"
        or (original is not None and original["status"] != "removed"),
    }
    return [fault for fault, holds in checks.items() if not holds]


def _faults(variant: dict[str, Any], media: dict[str, Any], blobs: dict[str, Any]) -> list[str]:
    status = variant["status"]
    referred = [blobs.get(variant[name]) for name in ("blob_id", "retained_blob_id") if variant[name] is not None]
    intents = [b for b in blobs.values() if b["variant_id"] == variant["id"] and b["fence"] == variant["fence"]]
    checks = {
        "stored without a blob, or not stored with one": (status == "stored") == (variant["blob_id"] is not None),
        "refers to a blob that is not there": None not in referred,
        "refers to a blob of another organisation": all(
            b is None or b["org_id"] == variant["org_id"] for b in referred
        ),
        "stored with retained bytes": status != "stored" or variant["retained_blob_id"] is None,
        "storing without a lease, or a lease without storing": (status == "storing")
        == (variant["lease_holder"] is not None)
        == (variant["lease_expires_at"] is not None),
        "storing without its intent": status != "storing" or any(b["state"] == "writing" for b in intents),
        "has another organisation or connection than its media": all(
            media[variant["media_pk"]][name] == variant[name] for name in ("org_id", "connection_id")
        ),
        "has another size than its blob": status != "stored"
        or blobs[variant["blob_id"]]["size_bytes"] == variant["size_bytes"],
        "stored_at without being stored": (status == "stored") == (variant["stored_at"] is not None),
        "removed_at without being removed": status != "removed" or variant["removed_at"] is not None,
    }
    return [fault for fault, holds in checks.items() if not holds]
