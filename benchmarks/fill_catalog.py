"""Fills an empty catalog with many variants over many connections, all of its invariants kept.

    .venv/bin/python benchmarks/fill_catalog.py sqlite:////tmp/catalog.sqlite [--variants 1000000] [--connections 50]

The first connection gets two fifths of everything. Sizes, types, times and statuses are drawn from a fixed seed.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Insert, Table, bindparam, insert

from mediavault.catalog import connections, organisations, rollups, usage
from mediavault.catalog.connections import ConnectionRow
from mediavault.catalog.database import Catalog, CatalogConfig, open_catalog
from mediavault.catalog.identifiers import new_connection_id, new_id
from mediavault.catalog.operations import DoMany, Operation
from mediavault.catalog.tables import blobs, media, variants
from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType

BEGIN = 1_700_000_000_000
PER_MEDIA = 3
LABELS = ("full", "preview", "thumb")
BATCH = 5_000  #: media a transaction
STATUSES = (Status.STORED, Status.EDGE_ONLY, Status.PENDING)
KINDS = {MediaType.IMAGE: "image/jpeg", MediaType.VIDEO: "video/mp4", MediaType.AUDIO: "audio/mpeg"}
FIRST_SHARE = 0.4


@dataclass
class Rows:
    """What one transaction adds."""

    media: list[dict[str, Any]] = field(default_factory=list)
    variants: list[dict[str, Any]] = field(default_factory=list)
    blobs: list[dict[str, Any]] = field(default_factory=list)


def _whole(table: Table) -> Insert:
    return insert(table).values({column: bindparam(column.name) for column in table.c})


_ADD = {"media": _whole(media), "blobs": _whole(blobs), "variants": _whole(variants)}
_NULLS = {table.name: dict.fromkeys(table.c.keys()) for table in (media, blobs, variants)}


def add(connection_id: str, rows: Rows) -> Operation[None]:
    """Insert the rows and count them in the connection's usage."""
    for name in ("media", "blobs", "variants"):
        yield DoMany(_ADD[name], [_NULLS[name] | row for row in getattr(rows, name)])
    stored = sum(row["size_bytes"] for row in rows.blobs)
    yield from usage.change(connection_id, live=len(rows.variants), stored=len(rows.blobs), stored_bytes=stored)


async def connect(catalog: Catalog, org_id: str, number: int) -> str:
    """A new connection's id."""
    row = ConnectionRow(
        id=new_connection_id(),
        org_id=org_id,
        state="active",
        upstream_base_url="http://127.0.0.1:1",
        upstream_user_id=str(number),
        user_data="{}",
        permissions="[]",
        client_reference_id=None,
        session=b"sealed",
        vault_plus_enabled=True,
        settings_overrides=None,
        created_at=BEGIN,
        updated_at=BEGIN,
        expired_at=None,
        last_checked_at=None,
        organisation_settings="{}",
    )
    return await catalog.run(connections.save, row, 4)


def generated(tenant: dict[str, str], start: int, count: int, chance: random.Random) -> Rows:
    """`count` media with their variants and the blobs of those that are stored."""
    rows = Rows()
    for number in range(start, start + count):
        created_at = BEGIN + number * 1000 + chance.randrange(1000)
        pk, kind = new_id(created_at), chance.choices(list(KINDS), (60, 35, 5))[0]
        mine = [_variant(tenant, pk, label, kind, created_at, chance, rows) for label in LABELS]
        duration = None if kind is MediaType.IMAGE else chance.randrange(1, 36_000) / 10
        rows.media.append(
            {
                **tenant,
                "id": pk,
                "media_id": str(4_000_000_000 + number),
                "type": kind.value,
                "duration": duration,
                "sources": "vault",
                "created_at": created_at,
                "status_mask": sum({rollups.STATUS_BITS[Status(each["status"])] for each in mine}),
                "shown_type": kind.value,
                "cached_at": max((each["stored_at"] for each in mine if each["stored_at"]), default=rollups.NONE),
                "duration_key": rollups.duration_key(kind, duration),
            }
        )
        rows.variants += mine
    return rows


def _variant(
    tenant: dict[str, str], pk: str, label: str, kind: MediaType, at: int, chance: random.Random, rows: Rows
) -> dict[str, Any]:
    status = chance.choices(STATUSES, (55, 42, 3))[0]
    variant_id, stored = new_id(at), status is Status.STORED
    size_bytes = chance.randrange(20_000, 5_000_000) if stored else 0
    blob_id = new_id(at) if stored else None
    if blob_id is not None:
        blob = {"id": blob_id, "org_id": tenant["org_id"], "state": "live", "variant_id": variant_id, "fence": 1}
        rows.blobs.append(blob | {"sha256": blob_id * 2, "size_bytes": size_bytes, "refs": 1, "created_at": at})
    zeroes = dict.fromkeys(("attempts", "crashes", "not_before", "reserved_bytes"), 0)
    times = dict.fromkeys(("changed_at", "created_at", "last_accessed_at", "run_at"), at)
    return {
        **tenant,
        **zeroes,
        **times,
        "id": variant_id,
        "media_pk": pk,
        "label": label,
        "status": status.value,
        "content_type": KINDS[kind] if label == "full" else "image/jpeg",
        "size_bytes": size_bytes,
        "access_count": chance.randrange(20),
        "stored_at": at + chance.randrange(1, 10_000_000) if stored else None,
        "origin_url": b"sealed" * 20,
        "origin_key": variant_id,
        "origin_expires_at": at + 86_400_000,
        "observed_path": "/v2/access/vault/media?limit=100",
        "version": variant_id if stored else None,
        "blob_id": blob_id,
        "fence": 1 if stored else 0,
    }


def shares(media_count: int, connection_count: int) -> Iterator[int]:
    """How many media each connection gets."""
    first = media_count if connection_count == 1 else int(media_count * FIRST_SHARE)
    yield first
    for number in range(1, connection_count):
        yield (media_count - first) // (connection_count - 1) + (
            number <= (media_count - first) % (connection_count - 1)
        )


async def fill(catalog: Catalog, variant_count: int, connection_count: int) -> tuple[str, str]:
    """Fill it; `(organisation, its largest connection)`."""
    org_id, chance = new_id(BEGIN), random.Random(1)
    await catalog.run(organisations.create, org_id, "benchmark", "{}", BEGIN)
    ids = []
    for number, share in enumerate(shares(variant_count // PER_MEDIA, connection_count)):
        ids.append(await connect(catalog, org_id, number))
        tenant = {"org_id": org_id, "connection_id": ids[-1]}
        for start in range(0, share, BATCH):
            rows = generated(tenant, start, min(BATCH, share - start), chance)
            await catalog.run(add, ids[-1], rows)
    return org_id, ids[0]


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--variants", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=50)
    options = parser.parse_args()
    catalog = await open_catalog(CatalogConfig(options.url))
    began = time.perf_counter()
    org_id, connection_id = await fill(catalog, options.variants, options.connections)
    await catalog.close()
    print(f"{options.variants:,} variants in {time.perf_counter() - began:.0f} s: {org_id} {connection_id}")


if __name__ == "__main__":
    asyncio.run(_main())
