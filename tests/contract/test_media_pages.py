"""Pages of media: every order and filter against a plain model of the rows, on both engines."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fakes.catalog_rows import NOW, Tenant, broken_invariants, seen, tenant
from fakes.media_model import COUNT, QUERIES, add_many, expected, fits, generated, model, renumber
from mediavault.catalog import media_pages, planning, rollups
from mediavault.catalog.database import Catalog
from mediavault.catalog.page_statements import COMMON_TYPE, CONTENT_TYPE, Filter
from mediavault.domain.cursor import Position, read_cursor, write_cursor
from mediavault.domain.lifecycle import LIVE, Status
from mediavault.domain.media import MediaType
from mediavault.domain.media_query import MediaQuery, Range, Sort, SortKey


@pytest.fixture
async def owner(catalog: Catalog) -> Tenant:
    """A connection with media, beside another one with some of its own."""
    made = await tenant(catalog)
    random_ = random.Random(7)
    for each in (made, await made.connection("2")):
        await catalog.run(add_many, *generated(each, random_))
    return made


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


async def read_by(owner: Tenant, query: MediaQuery, by: Filter | None) -> list[str]:
    """Every page, read from that index whatever the race says."""
    values = {"org_id": owner.org_id, "connection_id": owner.connection_id, **media_pages._filter_values(query)}
    first = replace(await media_pages._shape(owner.catalog, query, values | {"wanted": 5}), gathered=by)
    found = []
    for keyed in (True, False) if media_pages._has_keyless(query) else (True,):
        position = None
        while rows := await media_pages._part(owner.catalog, replace(first, keyed=keyed), values, 5, position):
            found += [row[0] for row in rows]
            position = Position(rows[-1][1] if keyed else None, rows[-1][0])
    return found


async def test_pages_are_the_same_whichever_index_they_are_read_from(owner):
    items, ways = await model(owner), set()
    for query in QUERIES:
        if query.status is Status.REMOVED or not media_pages._types(query):
            continue
        for sort in (Sort.CREATED_AT_ASC, Sort.CACHED_AT_DESC, Sort.DURATION_ASC):
            asked = replace(query, sort=sort)
            narrowing: list[Filter | None] = [None]
            narrowing += [key for key in SortKey if key != sort.key and media_pages._range_of(asked, key).is_bounded]
            if asked.content_type not in {None, COMMON_TYPE}:
                narrowing.append(CONTENT_TYPE)
            for by in narrowing:
                assert await read_by(owner, asked, by) == expected(items, asked), (asked, by)
                ways.add((sort.key, by))
    assert len(ways) == 3 * len([None, *SortKey, CONTENT_TYPE]) - len(SortKey)


async def way(owner: Tenant, query: MediaQuery) -> Filter | None:
    """What the race says."""
    values = {"org_id": owner.org_id, "connection_id": owner.connection_id, "wanted": query.limit + 1}
    shape = await media_pages._shape(owner.catalog, query, values | media_pages._filter_values(query))
    return shape.gathered


async def test_a_range_is_walked_to_where_its_order_meets_it_soon_and_gathered_where_not(owner, monkeypatch):
    monkeypatch.setattr(planning, "START", 8)
    ids = [item.row["id"] for item in sorted(await model(owner), key=lambda item: item.row["created_at"]) if item.live]
    rows_of = {"created_at": ids, "cached_at": ids}  # both grow along the ids
    for column, in_order in rows_of.items():
        await owner.catalog.run(renumber, column, in_order)
    count = len(ids)
    assert count > 40
    everywhere, last, first = Range(low=0), Range(low=count - 12), Range(high=11)
    for sort in (Sort.CREATED_AT_ASC, Sort.CREATED_AT_DESC):
        query = MediaQuery(sort=sort, limit=3)
        assert await way(owner, query) is None
        assert await way(owner, replace(query, cached_at=everywhere)) is None
        assert await way(owner, replace(query, cached_at=last)) is SortKey.CACHED_AT
        assert await way(owner, replace(query, cached_at=first)) is SortKey.CACHED_AT
        assert await way(owner, replace(query, cached_at=last, status=Status.PENDING)) is None


async def test_a_content_type_that_few_media_have_is_gathered(owner, monkeypatch):
    having = sum(fits(item, MediaQuery(content_type="audio/mpeg")) for item in await model(owner))
    for most, expected_way in ((COUNT * 3, CONTENT_TYPE), (having // 2, None)):
        monkeypatch.setattr(media_pages, "_RARE", most)
        assert await way(owner, MediaQuery(content_type="audio/mpeg")) == expected_way
        assert await way(owner, MediaQuery(content_type=COMMON_TYPE)) is None


async def test_what_is_stored_is_listed_in_every_order(catalog):
    """It is found by when it was cached: whatever is stored has been."""
    made = await tenant(catalog)
    await made.observe(*(seen(str(number)) for number in range(200, 220)))
    for number in range(3):
        await made.store(f"picture {number}", media_id=str(number), now=NOW + number)
    items = await model(made)
    for sort in Sort:
        query = MediaQuery(sort=sort, status=Status.STORED)
        wanted = expected(items, query)
        assert len(wanted) == 3
        assert await walk(made, query, limits=2) == wanted
        assert await walk(made, replace(query, cached_at=Range(high=NOW + 1)), limits=2) == expected(
            items, replace(query, cached_at=Range(high=NOW + 1))
        )


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
