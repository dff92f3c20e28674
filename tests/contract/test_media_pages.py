"""Pages of media: every order and filter against a plain model of the rows, on both engines."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import ClauseElement, Insert, Table, bindparam, insert, text

from fakes.catalog_rows import NOW, Tenant, broken_invariants, rows, tenant
from mediavault.catalog import items, media_pages, rollups, usage
from mediavault.catalog.database import Catalog
from mediavault.catalog.identifiers import new_id
from mediavault.catalog.operations import DoMany, Operation
from mediavault.catalog.tables import media, variants
from mediavault.domain.cursor import read_cursor, write_cursor
from mediavault.domain.lifecycle import LIVE, Status
from mediavault.domain.media import MediaType, Source, overall_type
from mediavault.domain.media_query import MediaQuery, Range, Sort, SortKey

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


@pytest.fixture
async def owner(catalog: Catalog) -> Tenant:
    """A connection with media, beside another one with some of its own."""
    made = await tenant(catalog)
    random_ = random.Random(7)
    for each in (made, await made.connection("2")):
        await catalog.run(add_many, *generated(each, random_))
    return made


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


async def walk(
    owner: Tenant, query: MediaQuery, between: Callable[[int], Any] | None = None, limits: int = 7
) -> list[str]:
    """Every page by its cursors as a client has them; `between` pages something may happen."""
    found: list[str] = []
    query, number = replace(query, limit=limits), 0
    while True:
        position = read_cursor(query, owner.connection_id)
        ids, last = await media_pages.page(owner.catalog, owner.org_id, owner.connection_id, query, position)
        assert len(ids) <= query.limit
        found += ids
        if last is None:
            return found
        assert len(ids) == query.limit
        query = replace(query, cursor=write_cursor(last, query, owner.connection_id))
        number += 1
        if between is not None:
            await between(number)


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


async def test_every_order_and_filter_gives_what_the_contract_says(owner):
    items = await model(owner)
    seen_lengths = set()
    for query in QUERIES:
        for sort in Sort:
            asked = replace(query, sort=sort)
            wanted = expected(items, asked)
            assert await walk(owner, asked) == wanted, asked
            seen_lengths.add(len(wanted))
    assert len(seen_lengths) > 10
    assert max(seen_lengths) == sum(bool(item.live) for item in items) > 50


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_any_page_size_gives_the_same(owner, limit):
    items = await model(owner)
    for sort in Sort:
        assert await walk(owner, MediaQuery(sort=sort), limits=limit) == expected(items, MediaQuery(sort=sort))


async def test_the_last_full_page_gives_no_cursor_to_an_empty_one(owner):
    live = sum(bool(item.live) for item in await model(owner))
    query = MediaQuery(limit=live)
    ids, last = await media_pages.page(owner.catalog, owner.org_id, owner.connection_id, query, None)
    assert (len(ids), last) == (live, None)


async def test_strangers_see_nothing(owner, catalog):
    stranger = await tenant(catalog, "second")
    for org_id, connection_id in ((stranger.org_id, owner.connection_id), (owner.org_id, stranger.connection_id)):
        assert await media_pages.page(catalog, org_id, connection_id, MediaQuery(), None) == ([], None)


@pytest.mark.parametrize("seed", range(3))
async def test_each_surviving_item_comes_once_while_others_come_and_go(owner, catalog, seed):
    """Keyset pages do not care what is inserted or removed before or behind them."""
    random_ = random.Random(seed)
    for sort in Sort:
        before = {item.row["id"] for item in await model(owner) if item.live}
        removed: set[str] = set()

        async def change(number: int, *, removed: set[str] = removed, before: set[str] = before) -> None:
            await catalog.run(add_many, *generated(owner, random_, 2))
            victim = random_.choice(sorted(before - removed))
            await owner.remove(victim)
            removed.add(victim)

        found = await walk(owner, MediaQuery(sort=sort), change, limits=9)
        assert len(found) == len(set(found))
        assert before - removed <= set(found)
        assert removed


async def test_an_item_with_everything_removed_is_gone_and_comes_back_where_it_was(owner, catalog):
    ids = await walk(owner, MediaQuery())
    await owner.remove(ids[10])
    assert await walk(owner, MediaQuery()) == ids[:10] + ids[11:]


async def plan_of(catalog: Any, statement: ClauseElement) -> str:
    """What SQLite means to do; PostgreSQL's plan depends on its statistics: `benchmarks/pages.py` measures it."""
    sql = catalog._compile(statement).sql
    return " ".join(row[3] for row in await catalog.fetch_list(text("EXPLAIN QUERY PLAN " + sql.replace("?", "1")), {}))


@pytest.fixture
def on_sqlite(database_url: str) -> None:
    if not database_url.startswith("sqlite"):
        pytest.skip("the plan of PostgreSQL depends on its statistics: benchmarks/pages.py measures it")


@pytest.mark.usefixtures("on_sqlite")
@pytest.mark.parametrize("status", [None, Status.STORED, Status.PENDING, Status.STORING])
@pytest.mark.parametrize("goes_on", [False, True])
async def test_sqlite_reads_every_page_from_the_orders_own_index(catalog, goes_on, status):
    plans = []
    for sort in Sort:
        for keyed in (True, False) if sort.key is not SortKey.CREATED_AT else (True,):
            others = frozenset(SortKey) - {sort.key}
            for by_content_type in (False, True):
                shape = media_pages._Shape(sort, keyed, goes_on, status, others, by_content_type, by_content_type)
                plan = await plan_of(catalog, media_pages._statement(shape))
                key = media_pages._COLUMN[sort.key].name
                if status in {None, Status.STORED}:
                    assert plan.count(f"SEARCH media USING INDEX ix_media_by_{key} (connection_id=?") == 1, plan
                    assert "TEMP B-TREE" not in plan
                else:
                    stretch = f"SEARCH media USING INDEX ix_media_waiting_{key} (connection_id=? AND status_mask=?"
                    assert plan.count(stretch) == plan.count("SEARCH media") == 8, plan
                    merged = len(re.findall(r"SCAN anon_[1-8] USE TEMP B-TREE", plan))  # a page of each, no more
                    assert plan.count("TEMP B-TREE") == merged == 8, plan
                plans.append(plan)
    assert len(plans) == 20


@pytest.mark.usefixtures("on_sqlite")
async def test_sqlite_looks_up_the_items_of_a_page_by_their_keys(catalog):
    """It once read every media item of the connection for each page."""
    plan = await plan_of(catalog, items._ROWS)
    assert "SEARCH media USING INDEX sqlite_autoindex_media_1 (id=?)" in plan, plan


async def test_a_content_type_that_the_shown_type_excludes_is_on_no_page(owner):
    query = MediaQuery(content_type="video/mp4")
    assert await walk(owner, query)
    for shown in (MediaType.IMAGE, MediaType.AUDIO):
        assert await walk(owner, replace(query, type=shown)) == []
    audio = MediaQuery(content_type="audio/mpeg")
    shown_with_audio = {item.shown_type for item in await model(owner) if fits(item, audio)}
    assert shown_with_audio == {"video", "audio"}


async def test_no_live_status_is_without_a_bit(catalog):
    assert set(rollups.STATUS_BITS) == LIVE
    assert await broken_invariants(catalog) == []
