"""Page, item and batch reads of a large catalog: p50 and p99 of the first and the 1,000th page of each question.

    .venv/bin/python benchmarks/pages.py sqlite:////tmp/catalog.sqlite [--variants 1000000] [--limit 20] [--depth 1000]

The database must be empty, or not there yet: it is filled first. Prints a Markdown table. On PostgreSQL run ANALYZE's
daemon (autovacuum is on by default). A question with fewer pages is measured at its last one, which is then named.
"""

import argparse
import asyncio
import random
import resource
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from statistics import quantiles

from fill_catalog import fill
from mediavault.catalog import items, media_pages
from mediavault.catalog.database import Catalog, CatalogConfig, open_catalog
from mediavault.domain.cursor import Position
from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType
from mediavault.domain.media_query import MediaQuery, Range, Sort

QUESTIONS = {
    **{sort.value: MediaQuery(sort=sort) for sort in Sort},
    "status=stored": MediaQuery(status=Status.STORED),
    "status=pending": MediaQuery(status=Status.PENDING),
    "type=video": MediaQuery(type=MediaType.VIDEO),
    "contentType=video/mp4": MediaQuery(content_type="video/mp4"),
    "durationMin=60, createdAt_desc": MediaQuery(duration=Range(low=60)),
    "createdAtFrom=…, cachedAt_desc": MediaQuery(sort=Sort.CACHED_AT_DESC, created_at=Range(low=1_700_010_000_000)),
}


class Reads:
    """Reads of one connection as the vault makes them."""

    def __init__(self, catalog: Catalog, org_id: str, connection_id: str) -> None:
        self._of = (catalog, org_id, connection_id)

    async def page(self, query: MediaQuery, position: Position | None) -> Position | None:
        """One page with its variants; where the next one begins."""
        ids, last = await media_pages.page(*self._of, query, position)
        await items.items_of_rows(*self._of, ids)
        return last

    async def at_depth(self, query: MediaQuery, depth: int) -> tuple[int, Position | None]:
        """The number and the position of a page, reached by cursors; of the last full one where there are fewer."""
        number, position = 1, None
        while number < depth:
            _, last = await media_pages.page(*self._of, query, position)
            if last is None:
                break
            number, position = number + 1, last
        return number, position

    async def item(self) -> None:
        """One item."""
        await items.connection_and_item(*self._of, str(4_000_000_000 + random.randrange(1000)))

    async def batch(self) -> None:
        """A hundred items."""
        await items.items(*self._of, [str(4_000_000_000 + number) for number in random.sample(range(1000), 100)])


async def measured(read: Callable[[], Awaitable[object]], times: int) -> tuple[float, float]:
    """`(p50, p99)` in milliseconds."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await read()
        took.append((time.perf_counter() - began) * 1000)
    cuts = quantiles(took, n=100)
    return cuts[49], cuts[98]


async def report(reads: Reads, limit: int, depth: int, times: int) -> None:
    """Measure every question and print its row."""
    print("| question | first page p50 / p99 ms | deep page | p50 / p99 ms | ratio of p50 |\n|---|--:|--:|--:|--:|")
    for name, asked in QUESTIONS.items():
        query = replace(asked, limit=limit)
        number, position = await reads.at_depth(query, depth)
        first = await measured(lambda query=query: reads.page(query, None), times)  # type: ignore[misc]
        deep = await measured(lambda query=query, at=position: reads.page(query, at), times)  # type: ignore[misc]
        print(
            f"| {name} | {first[0]:.2f} / {first[1]:.2f} | {number:,} | {deep[0]:.2f} / {deep[1]:.2f} "
            f"| {deep[0] / first[0]:.2f} |",
            flush=True,
        )
    for name, read in (("one item", reads.item), ("batch of 100", reads.batch)):
        p50, p99 = await measured(read, times)
        print(f"| {name} | {p50:.2f} / {p99:.2f} | | | |", flush=True)


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--variants", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--depth", type=int, default=1000)
    parser.add_argument("--times", type=int, default=100)
    options = parser.parse_args()
    catalog = await open_catalog(CatalogConfig(options.url))
    began = time.perf_counter()
    org_id, connection_id = await fill(catalog, options.variants, options.connections)
    print(f"{options.variants:,} variants, {options.connections} connections, filled in", end=" ")
    print(f"{time.perf_counter() - began:.0f} s; pages of {options.limit}\n", flush=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await report(Reads(catalog, org_id, connection_id), options.limit, options.depth, options.times)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"\nPeak RSS after filling {before / 1024:.0f} MiB; the reads added {grown / 1024:.1f} MiB to the peak.")
    await catalog.close()


if __name__ == "__main__":
    asyncio.run(_main())
