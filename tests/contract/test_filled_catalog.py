"""The catalog that the page benchmark reads is one that the vault could have made."""

import asyncio
import sys
from pathlib import Path

import pytest
from sqlalchemy import literal, update

from fakes.catalog_rows import broken_invariants, rows, seen, tenant
from mediavault.catalog.database import CatalogConfig, open_catalog
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.tables import media

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fill_catalog.py"


@pytest.fixture
async def filled(database_url):
    """A small catalog, filled by the script as a reader of its docs would run it."""
    filling = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), database_url, "--variants", "3000", "--connections", "7")
    )
    assert await filling.wait() == 0
    catalog = await open_catalog(CatalogConfig(database_url))
    yield catalog
    await catalog.close()


async def test_the_filled_catalog_keeps_every_invariant_and_has_every_status(filled):
    assert await broken_invariants(filled) == []
    variants = await rows(filled, "variants")
    assert len(variants) == 3000
    assert {each["status"] for each in variants} == {"edge_only", "pending", "storing", "stored", "removed"}
    assert {each["shown_type"] for each in await rows(filled, "media")} == {"image", "video", "audio"}
    count_of = [usage["live_count"] for usage in await rows(filled, "usage")]
    assert len(count_of) == 7
    assert 0.3 < max(count_of) / sum(count_of) < 0.4


@pytest.mark.parametrize(
    ("column", "value"), [("shown_type", "audio"), ("duration_key", 7.0), ("cached_at", 5), ("status_mask", 0)]
)
async def test_a_rollup_that_is_wrong_is_noticed(catalog, column, value):
    """The check above is worth what it sees."""

    def spoil() -> Operation[None]:
        yield Do(update(media).values({column: literal(value)}))

    await (await tenant(catalog)).observe(seen("1"))
    assert await broken_invariants(catalog) == []
    await catalog.run(spoil)
    (fault,) = await broken_invariants(catalog)
    assert column in fault
