"""Fills an empty catalog with many variants over many connections, all of its invariants kept.

    .venv/bin/python benchmarks/fill_catalog.py sqlite:////tmp/catalog.sqlite [--variants 1000000] [--connections 60]

The first connection gets a third of everything, the others ever less. Sizes, types, times and statuses are drawn from a
fixed seed: connections are old (most is stored), young (nothing is), or have Vault+ off (nothing ever was).
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
from mediavault.domain.media import MediaType, overall_type

BEGIN = 1_700_000_000_000
FIRST_MEDIA_ID = 4_000_000_000
PER_MEDIA = 3
BATCH = 5_000  #: media a transaction
FIRST_SHARE = 1 / 3
MAX_INFLIGHT = 4
#: Media of which one variant is just being stored, where a connection is large enough: below its cap.
STORING = 3
STATUSES = (Status.STORED, Status.EDGE_ONLY, Status.PENDING, Status.REMOVED)
#: How often each of STATUSES is drawn, by the connection's number modulo three.
WEIGHTS = {0: (58, 38, 2, 2), 1: (0, 90, 9, 1), 2: (0, 100, 0, 0)}
#: What a type's three variants are, and the content types of the one that shows the type.
LABELS = {
    MediaType.IMAGE: (("full", "preview", "thumb"), (("image/jpeg", 90), ("image/png", 9), ("image/webp", 1))),
    MediaType.VIDEO: (("720", "preview", "thumb"), (("video/mp4", 99), ("video/quicktime", 1))),
    MediaType.AUDIO: (("full", "preview", "thumb"), (("audio/mpeg", 1),)),
}


@dataclass
class Rows:
    """What one transaction adds."""

    media: list[dict[str, Any]] = field(default_factory=list)
    variants: list[dict[str, Any]] = field(default_factory=list)
    blobs: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Share:
    """A connection's part of the catalog."""

    number: int  #: of the connection
    media_count: int

    @property
    def storing(self) -> frozenset[int]:
        """Numbers of the media of which a variant is being stored: spread over an old or young connection's."""
        if self.number % 3 == 2 or self.media_count < 10 * STORING:
            return frozenset()
        return frozenset((2 * part + 1) * self.media_count // (2 * STORING) for part in range(STORING))


def _whole(table: Table) -> Insert:
    return insert(table).values({column: bindparam(column.name) for column in table.c})


_ADD = {"media": _whole(media), "blobs": _whole(blobs), "variants": _whole(variants)}
_NULLS = {table.name: dict.fromkeys(table.c.keys()) for table in (media, blobs, variants)}


def add(connection_id: str, rows: Rows) -> Operation[None]:
    """Insert the rows and count them in the connection's usage."""
    for name in ("media", "blobs", "variants"):
        yield DoMany(_ADD[name], [_NULLS[name] | row for row in getattr(rows, name)])
    sizes = [row["size_bytes"] for row in rows.variants if row["status"] == Status.STORED]
    live = sum(row["status"] != Status.REMOVED for row in rows.variants)
    yield from usage.change(connection_id, live=live, stored=len(sizes), stored_bytes=sum(sizes))


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
        vault_plus_enabled=number % 3 != 2,
        settings_overrides=None,
        created_at=BEGIN,
        updated_at=BEGIN,
        expired_at=None,
        last_checked_at=None,
        organisation_settings="{}",
    )
    return await catalog.run(connections.save, row, MAX_INFLIGHT)


def generated(tenant: dict[str, str], share: Share, start: int, count: int, chance: random.Random) -> Rows:
    """`count` media from the share's number `start` on, with their variants and those variants' blobs."""
    rows = Rows()
    for number in range(start, start + count):
        at = BEGIN + number * 1000 + chance.randrange(1000)
        pk, kind = new_id(at), chance.choices(tuple(LABELS), (60, 35, 5))[0]
        statuses = chance.choices(STATUSES, WEIGHTS[share.number % 3], k=PER_MEDIA)
        if number in share.storing:
            statuses[0] = Status.STORING
        labels, types = LABELS[kind]
        shown = chance.choices([name for name, _ in types], [weight for _, weight in types])[0]
        duration = None if kind is MediaType.IMAGE else chance.randrange(1, 36_000) / 10
        mine = [
            _variant({**tenant, "media_pk": pk, "label": label, "content_type": content_type}, status, at, chance, rows)
            for label, content_type, status in zip(labels, (shown, "image/jpeg", "image/jpeg"), statuses, strict=True)
        ]
        item = {"id": pk, "media_id": str(FIRST_MEDIA_ID + number), "type": kind.value, "duration": duration}
        rows.media.append({**tenant, **item, "sources": "vault", "created_at": at, **_rollups(kind, duration, mine)})
        rows.variants += mine
    return rows


def _rollups(kind: MediaType, duration: float | None, mine: list[dict[str, Any]]) -> dict[str, Any]:
    live = [each for each in mine if each["status"] != Status.REMOVED]
    shown_type = overall_type([each["content_type"] for each in live], kind)
    return {
        "status_mask": sum({rollups.STATUS_BITS[Status(each["status"])] for each in live}),
        "shown_type": shown_type.value,
        "cached_at": max((each["stored_at"] for each in live if each["stored_at"]), default=rollups.NONE),
        "duration_key": rollups.duration_key(shown_type, duration),
    }


def _variant(values: dict[str, Any], status: Status, at: int, chance: random.Random, rows: Rows) -> dict[str, Any]:
    variant_id, stored, storing = new_id(at), status is Status.STORED, status is Status.STORING
    size_bytes = chance.randrange(20_000, 5_000_000) if stored else 0
    blob_id = new_id(at) if stored or storing else None
    if blob_id is not None:
        blob = {"id": blob_id, "org_id": values["org_id"], "variant_id": variant_id, "fence": 1, "created_at": at}
        known = {"state": "live", "sha256": blob_id * 2, "refs": 1} if stored else {"state": "writing", "refs": 0}
        rows.blobs.append(blob | known | {"size_bytes": size_bytes})
    return {
        **values,
        **dict.fromkeys(("attempts", "crashes", "not_before", "reserved_bytes"), 0),
        **dict.fromkeys(("changed_at", "created_at", "last_accessed_at", "run_at"), at),
        "id": variant_id,
        "status": status.value,
        "size_bytes": size_bytes,
        "access_count": chance.randrange(20),
        "stored_at": at + chance.randrange(1, 10_000_000) if stored else None,
        "removed_at": at if status is Status.REMOVED else None,
        "origin_url": b"sealed" * 20,
        "origin_key": variant_id,
        "origin_expires_at": at + 86_400_000,
        "observed_path": "/v2/access/vault/media?limit=100",
        "version": variant_id if stored else None,
        "blob_id": blob_id if stored else None,
        "fence": 1 if stored or storing else 0,
        "lease_holder": "storer" if storing else None,
        "lease_expires_at": at + 60_000 if storing else None,
    }


def shares(media_count: int, connection_count: int) -> Iterator[Share]:
    """How many media each connection gets: a third, then ever less."""
    first = media_count if connection_count == 1 else int(media_count * FIRST_SHARE)
    yield Share(0, first)
    weights = [1 / (number + 2) for number in range(1, connection_count)]
    given = 0
    for number, weight in enumerate(weights, 1):
        is_last = number == len(weights)
        rest = media_count - first
        count = rest - given if is_last else int(rest * weight / sum(weights))
        given += count
        yield Share(number, count)


async def fill(catalog: Catalog, variant_count: int, connection_count: int) -> tuple[str, str]:
    """Fill it; `(organisation, its largest connection)`."""
    org_id, chance = new_id(BEGIN), random.Random(1)
    await catalog.run(organisations.create, org_id, "benchmark", "{}", BEGIN)
    ids = []
    for share in shares(variant_count // PER_MEDIA, connection_count):
        ids.append(await connect(catalog, org_id, share.number))
        tenant = {"org_id": org_id, "connection_id": ids[-1]}
        for start in range(0, share.media_count, BATCH):
            rows = generated(tenant, share, start, min(BATCH, share.media_count - start), chance)
            await catalog.run(add, ids[-1], rows)
    return org_id, ids[0]


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--variants", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=60)
    options = parser.parse_args()
    catalog = await open_catalog(CatalogConfig(options.url))
    began = time.perf_counter()
    org_id, connection_id = await fill(catalog, options.variants, options.connections)
    await catalog.close()
    print(f"{options.variants:,} variants in {time.perf_counter() - began:.0f} s: {org_id} {connection_id}")


if __name__ == "__main__":
    asyncio.run(_main())
