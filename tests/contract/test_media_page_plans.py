"""Which indexes SQLite reads pages of media from. PostgreSQL's plans depend on statistics: `benchmarks/pages.py`."""

import re
from typing import Any

import pytest
from sqlalchemy import ClauseElement, text

from mediavault.catalog import items, page_statements
from mediavault.catalog.page_statements import CONTENT_TYPE, Shape
from mediavault.domain.lifecycle import Status
from mediavault.domain.media_query import Sort, SortKey


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
                shape = page_statements.Shape(sort, keyed, goes_on, status, others, by_content_type, by_content_type)
                plan = await plan_of(catalog, page_statements.page(shape))
                key = page_statements._COLUMN[sort.key].name
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


@pytest.mark.usefixtures("on_sqlite")
@pytest.mark.parametrize("goes_on", [False, True])
async def test_sqlite_gathers_from_the_index_of_a_filter(catalog, goes_on):
    plans = 0
    for sort in Sort:
        for by in {*SortKey, CONTENT_TYPE} - {sort.key}:
            for keyed in (True, False):
                shape = Shape(sort, keyed, goes_on, None, frozenset(SortKey) - {sort.key}, True, False, by)
                plan = await plan_of(catalog, page_statements.page(shape))
                if by == CONTENT_TYPE:
                    assert "SEARCH variants USING INDEX ix_variants_content_type (connection_id=? AND" in plan
                    assert "SEARCH media USING INDEX sqlite_autoindex_media_1 (id=?)" in plan, plan
                else:
                    key = page_statements._COLUMN[by].name
                    assert f"SEARCH media USING INDEX ix_media_by_{key} (connection_id=? AND {key}>?" in plan, plan
                plans += 1
    assert plans == 6 * 3 * 2


async def looks(catalog: Any, statement: ClauseElement) -> int:
    """How often SQLite's program takes something from a media item's row, where an index has not got it."""
    sql = "EXPLAIN " + catalog._compile(statement).sql.replace("?", "1")
    program = await catalog.fetch_list(text(sql), {})
    root = (await catalog.fetch_list(text("SELECT rootpage FROM sqlite_master WHERE name = 'media'"), {}))[0][0]
    rows = {step[2] for step in program if step[1] == "OpenRead" and step[3] == root}
    return sum(step[1] == "Column" and step[2] in rows for step in program)


@pytest.mark.usefixtures("on_sqlite")
async def test_no_range_and_no_type_needs_a_look_into_a_row(catalog):
    for sort in Sort:
        others = frozenset(SortKey) - {sort.key}
        for by in (None, *others):
            shape = Shape(sort, True, True, None, others, False, False, by)
            assert await looks(catalog, page_statements.page(shape)) == 0
        assert await looks(catalog, page_statements.ends(sort.key, others, keyed=True)) == 0
        assert await looks(catalog, page_statements.passed(sort.key)) == 0
    with_status = Shape(Sort.CREATED_AT_ASC, True, True, Status.STORED, frozenset(), False, False)
    assert await looks(catalog, page_statements.page(with_status)) > 0
