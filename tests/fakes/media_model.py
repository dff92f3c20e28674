"""A connection's media with few different sort keys, and a plain model of what its pages hold."""

import random
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Insert, Table, bindparam, insert, update

from fakes.catalog_rows import NOW, Tenant, rows
from mediavault.catalog import rollups, usage
from mediavault.catalog.identifiers import new_id
from mediavault.catalog.operations import DoMany, Operation
from mediavault.catalog.tables import media, variants
from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType, Source, overall_type
from mediavault.domain.media_query import MediaQuery, Range, SortKey

COUNT = 60
TYPES = {"image/jpeg": "image", "image/png": "image", "video/mp4": "video", "audio/mpeg": "audio"}


@dataclass
class Item:
    """What a media row and its variants say."""

    row: dict[str, Any]
    variants: list[dict[str, Any]]

    @property
    def live(self) -> list[dict[str, Any]]:
        return [each for each in self.variants if each["status"] != "removed"]

    @property
    def shown_type(self) -> str:
        return overall_type([each["content_type"] for each in self.live], MediaType(self.row["type"])).value

    def key(self, key: SortKey) -> Any:
        """The sort key as the contract defines it, from the variants alone."""
        if key is SortKey.CREATED_AT:
            return self.row["created_at"]
        if key is SortKey.CACHED_AT:
            return max([each["stored_at"] for each in self.live if each["stored_at"] is not None], default=None)
        return None if self.shown_type == "image" else self.row["duration"]


def add_many(media_rows: list[dict[str, Any]], variant_rows: list[dict[str, Any]]) -> Operation[None]:
    yield DoMany(_ADD_MEDIA, [dict.fromkeys(media.c.keys()) | each for each in media_rows])
    yield DoMany(_ADD_VARIANTS, [dict.fromkeys(variants.c.keys()) | each for each in variant_rows])
    for each in media_rows:
        yield from rollups.refresh(each["id"])
    live = sum(each["status"] != "removed" for each in variant_rows)
    yield from usage.change(variant_rows[0]["connection_id"], live=live)


def renumber(column: str, ids: list[str]) -> Operation[None]:
    """0, 1, 2, … for the media of these ids."""
    given = update(media).where(media.c.id == bindparam("pk")).values({column: bindparam("number")})
    yield DoMany(given, [{"pk": pk, "number": number} for number, pk in enumerate(ids)])


def _whole(table: Table) -> Insert:
    return insert(table).values({column: bindparam(column.name) for column in table.c})


_ADD_MEDIA = _whole(media)
_ADD_VARIANTS = _whole(variants)


def generated(owner: Tenant, random_: random.Random, count: int = COUNT) -> tuple[list[Any], list[Any]]:
    """Media with few different sort keys, so that ties and missing keys abound. No variant is stored: no blob."""
    media_rows, variant_rows = [], []
    tenant_values = {"org_id": owner.org_id, "connection_id": owner.connection_id}
    for _ in range(count):
        pk = new_id(NOW + random_.randrange(3))
        kind = random_.choice(["image", "video", "audio"])
        duration = None if kind == "image" and random_.random() < 0.5 else random_.choice([None, 0.5, 3.25, 3.25, 60])
        sources = random_.choice(["vault", "messages", "vault,posts", "messages,stories,vault"])
        media_rows.append(
            {
                **tenant_values,
                "id": pk,
                "media_id": pk,
                "type": kind,
                "duration": duration,
                "sources": sources,
                "created_at": NOW + random_.randrange(5) * 1000,
                "status_mask": 0,
                "shown_type": kind,
                "cached_at": rollups.NONE,
                "duration_key": rollups.NONE,
            }
        )
        for label in random_.sample(["full", "thumb", "720"], random_.randrange(1, 4)):
            variant_rows.append(variant_row(tenant_values, pk, label, random_))
    return media_rows, variant_rows


def variant_row(tenant_values: dict[str, str], pk: str, label: str, random_: random.Random) -> dict[str, Any]:
    numbers = ("size_bytes", "access_count", "last_accessed_at", "origin_expires_at", "run_at", "attempts", "crashes")
    given = dict.fromkeys((*numbers, "not_before", "fence", "reserved_bytes"), 0)
    return {
        **tenant_values,
        **given,
        "id": new_id(NOW),
        "media_pk": pk,
        "label": label,
        "status": random_.choice(["edge_only", "edge_only", "pending", "removed"]),
        "changed_at": NOW,
        "created_at": NOW,
        "content_type": random_.choice(list(TYPES)),
        # The rollup looks at stored_at alone; a variant that is stored would need its blob.
        "stored_at": random_.choice([None, None, NOW + 1000, NOW + 2000]),
        "origin_url": b"sealed",
        "origin_key": "k",
        "observed_path": "/v2/access/vault/media",
    }


async def model(owner: Tenant) -> list[Item]:
    found = await rows(owner.catalog, "variants", connection_id=owner.connection_id)
    return [
        Item(row, [each for each in found if each["media_pk"] == row["id"]])
        for row in await rows(owner.catalog, "media", connection_id=owner.connection_id)
    ]


def expected(items: list[Item], query: MediaQuery) -> list[str]:
    """The contract in plain Python: those that fit, by key then id, those without a key last."""
    fitting = [item for item in items if item.live and fits(item, query)]
    sign = -1 if query.sort.descends else 1

    def place(item: Item) -> tuple[bool, float, int]:
        key = item.key(query.sort.key)
        return (key is None, 0 if key is None else sign * key, sign * int(item.row["id"], 16))

    return [item.row["id"] for item in sorted(fitting, key=place)]


def fits(item: Item, query: MediaQuery) -> bool:
    ranges = (
        (SortKey.CREATED_AT, query.created_at),
        (SortKey.CACHED_AT, query.cached_at),
        (SortKey.DURATION, query.duration),
    )
    return (
        (query.status is None or query.status in {each["status"] for each in item.live})
        and (query.type is None or item.shown_type == query.type)
        and (query.content_type is None or query.content_type in {each["content_type"] for each in item.live})
        and (query.source is None or query.source in item.row["sources"].split(","))
        and all(inside(item.key(key), bounds) for key, bounds in ranges)
    )


def inside(value: float | None, bounds: Range) -> bool:
    if not bounds.is_bounded:
        return True
    return value is not None and (bounds.low or 0) <= value <= (bounds.high if bounds.high is not None else 2**53)


QUERIES: list[MediaQuery] = [
    MediaQuery(),
    *(MediaQuery(status=status) for status in Status),
    *(MediaQuery(type=media_type) for media_type in MediaType),
    *(MediaQuery(content_type=content_type) for content_type in (*TYPES, "IMAGE/JPEG", "image/jpe%", "none/such")),
    *(MediaQuery(source=source) for source in Source),
    MediaQuery(duration=Range(low=3.25)),
    MediaQuery(duration=Range(high=3.25)),
    MediaQuery(duration=Range(0, 0.5)),
    MediaQuery(duration=Range(60, 1)),
    MediaQuery(created_at=Range(low=NOW + 1000, high=NOW + 3000)),
    MediaQuery(created_at=Range(high=NOW + 1000)),
    MediaQuery(created_at=Range(high=-1)),
    MediaQuery(cached_at=Range(low=NOW + 2000)),
    MediaQuery(cached_at=Range(high=NOW + 1000)),
    MediaQuery(cached_at=Range(low=-(10**15), high=10**15)),
    MediaQuery(cached_at=Range(high=-1)),
    MediaQuery(status=Status.PENDING, type=MediaType.VIDEO, duration=Range(low=1), cached_at=Range(low=0)),
    *(
        MediaQuery(content_type=content_type, type=media_type)
        for content_type in (*TYPES, "Video/mp4", "video", "audio/")
        for media_type in MediaType
    ),
    *(MediaQuery(status=status, type=MediaType.AUDIO, duration=Range(low=1)) for status in Status),
    MediaQuery(content_type="image/png", source=Source.VAULT, created_at=Range(low=NOW + 1000)),
]
