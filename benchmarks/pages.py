"""Page, item and batch reads of a large catalog: p50 and p99 of the first and the 1,000th page of each question.

    .venv/bin/python benchmarks/pages.py [--postgres "$(scripts/postgres url)"] [--reuse] [--only REGEX] [--write FILE]

Fills `catalog.sqlite` in `--folder`, and with `--postgres` the database `mediavault_pages` on that server, then reads
each from a process of its own. With `--reuse` it reads what an earlier run has filled. A question with fewer pages is
measured at its last one, which is then named. Prints Markdown.
"""

import argparse
import asyncio
import json
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlsplit

import psutil
from sqlalchemy import func, select

from fill_catalog import BEGIN, FIRST_MEDIA_ID
from mediavault.catalog import items, media_pages
from mediavault.catalog.database import Catalog, CatalogConfig, open_catalog, sqlite_path
from mediavault.catalog.tables import media, usage
from mediavault.domain.cursor import Position
from mediavault.domain.lifecycle import LIVE, Status
from mediavault.domain.media import MediaType
from mediavault.domain.media_query import MediaQuery, Range, Sort

DATABASE = "mediavault_pages"
MEDIA = 111_000  #: in the largest connection of a million variants; a second of creation each
EARLY, LATE = (BEGIN + MEDIA * 1000 // 10, BEGIN + MEDIA * 1000 * 9 // 10)
QUESTIONS = {
    **{sort.value: MediaQuery(sort=sort) for sort in Sort},
    **{f"status={status.value}": MediaQuery(status=status) for status in Status if status in LIVE},
    **{
        f"status={status.value}, {sort.value}": MediaQuery(sort=sort, status=status)
        for status in (Status.STORING, Status.PENDING)
        for sort in (Sort.CACHED_AT_DESC, Sort.DURATION_ASC)
    },
    **{f"type={kind.value}": MediaQuery(type=kind) for kind in MediaType},
    "contentType=video/mp4": MediaQuery(content_type="video/mp4"),
    "contentType=image/webp": MediaQuery(content_type="image/webp"),
    "contentType=video/none": MediaQuery(content_type="video/none"),
    "durationMin=60, createdAt_desc": MediaQuery(duration=Range(low=60)),
    "durationMin=60, durationMax=61": MediaQuery(duration=Range(60, 61)),
    "durationMin=60, durationMax=600, duration_asc": MediaQuery(sort=Sort.DURATION_ASC, duration=Range(60, 600)),
    "createdAtFrom=(last tenth)": MediaQuery(created_at=Range(low=LATE)),
    "createdAtFrom=(last nine tenths), cachedAt_desc": MediaQuery(
        sort=Sort.CACHED_AT_DESC, created_at=Range(low=EARLY)
    ),
    "createdAtTo=(first tenth), cachedAt_desc": MediaQuery(sort=Sort.CACHED_AT_DESC, created_at=Range(high=EARLY)),
    "createdAtFrom=(last tenth), duration_desc": MediaQuery(sort=Sort.DURATION_DESC, created_at=Range(low=LATE)),
    "cachedAtFrom=(last tenth)": MediaQuery(cached_at=Range(low=LATE)),
    "cachedAtTo=(first tenth), cachedAt_desc": MediaQuery(sort=Sort.CACHED_AT_DESC, cached_at=Range(high=EARLY)),
    "cachedAtTo=(first tenth), createdAt_desc": MediaQuery(cached_at=Range(high=EARLY)),
    "status=stored, type=video, cachedAt_desc": MediaQuery(
        sort=Sort.CACHED_AT_DESC, status=Status.STORED, type=MediaType.VIDEO
    ),
}


class Reads:
    """Reads of one connection as the vault makes them."""

    def __init__(self, catalog: Catalog, org_id: str, connection_id: str, media_count: int) -> None:
        self._of = (catalog, org_id, connection_id)
        self._ids = range(FIRST_MEDIA_ID, FIRST_MEDIA_ID + media_count)

    async def page(self, query: MediaQuery, position: Position | None) -> None:
        """One page with its variants."""
        ids, _ = await media_pages.page(*self._of, query, position)
        await items.items_of_rows(*self._of, ids)

    async def at_depth(self, query: MediaQuery, depth: int) -> tuple[int, Position | None]:
        """The number and the position of a page, reached by cursors; of the last one where there are fewer."""
        number, position = 1, None
        while number < depth:
            _, last = await media_pages.page(*self._of, query, position)
            if last is None:
                break
            number, position = number + 1, last
        return number, position

    async def item(self) -> None:
        """One item."""
        await items.connection_and_item(*self._of, str(random.choice(self._ids)))

    async def batch(self) -> None:
        """A hundred items."""
        await items.items(*self._of, [str(number) for number in random.sample(self._ids, 100)])


async def measured(reads: list[Callable[[], Awaitable[object]]], times: int) -> list[tuple[float, float]]:
    """`(p50, p99)` in milliseconds of each read; they take turns, so that a noisy moment meets all of them."""
    took: list[list[float]] = [[] for _ in reads]
    for _ in range(times):
        for read, mine in zip(reads, took, strict=True):
            began = time.perf_counter()
            await read()
            mine.append((time.perf_counter() - began) * 1000)
    cuts = [quantiles(mine, n=100) for mine in took]
    return [(each[49], each[98]) for each in cuts]


async def report(reads: Reads, limit: int, depth: int, times: int, only: str) -> None:
    """Measure the questions whose names match and print their rows."""
    process = psutil.Process()
    resident = [("before", process.memory_info().rss)]
    print("| question | first page p50 / p99 ms | deep page | p50 / p99 ms | ratio of p50 |\n|---|--:|--:|--:|--:|")
    for name, asked in QUESTIONS.items():
        if not re.search(only, name):
            continue
        query = replace(asked, limit=limit)
        number, position = await reads.at_depth(query, depth)
        both: list[Callable[[], Awaitable[object]]] = [
            lambda query=query, at=at: reads.page(query, at)  # type: ignore[misc]
            for at in (None, position)
        ]
        first, deep = await measured(both, times)
        told = f"{number:,} | {deep[0]:.2f} / {deep[1]:.2f} | {deep[0] / first[0]:.2f}" if position else "1 | |"
        print(f"| {name} | {first[0]:.2f} / {first[1]:.2f} | {told} |", flush=True)
        if len(resident) == 1:
            resident.append(("after the first question", process.memory_info().rss))
    for name, read in (("one item", reads.item), ("batch of 100", reads.batch)):
        ((p50, p99),) = await measured([read], 10 * times)
        print(f"| {name} | {p50:.3f} / {p99:.3f} | | | |", flush=True)
    resident.append(("after all of them", process.memory_info().rss))
    print("\nResident memory of the reading process:", end=" ")
    print(", ".join(f"{rss / 2**20:.1f} MiB {when}" for when, rss in resident) + ".")


async def read_catalog(url: str, limit: int, depth: int, times: int, only: str) -> None:
    """Read a catalog that is filled: the pages of its largest connection."""
    catalog = await open_catalog(CatalogConfig(url))
    largest = select(usage.c.org_id, usage.c.connection_id).order_by(usage.c.live_count.desc()).limit(1)
    org_id, connection_id = (await catalog.fetch_list(largest, {}))[0]
    mine = select(func.count()).select_from(media).where(media.c.connection_id == connection_id)
    totals = select(func.sum(usage.c.live_count), func.count()).select_from(usage)
    media_count = (await catalog.fetch_list(mine, {}))[0][0]
    live, count = (await catalog.fetch_list(totals, {}))[0]
    print(f"{live:,} live variants, {count} connections; the one that is read has {media_count:,} media.", end=" ")
    print(f"Pages of {limit}; each figure of {times} reads.\n", flush=True)
    await report(Reads(catalog, org_id, connection_id, media_count), limit, depth, times, only)
    await catalog.close()


async def make_anew(url: str, server: str | None) -> None:
    """An empty place for the catalog, whatever was there."""
    path = sqlite_path(url)
    if path is not None:
        for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            each.unlink(missing_ok=True)
        return
    import asyncpg

    connection = await asyncpg.connect(server)
    await connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE {DATABASE}")
    await connection.close()


async def settle(url: str) -> None:
    """What the server's autovacuum would do soon after such a fill."""
    if sqlite_path(url) is None:
        import asyncpg

        connection = await asyncpg.connect(url)
        await connection.execute("VACUUM ANALYZE")
        await connection.close()


def sections(options: argparse.Namespace) -> Iterator[str]:
    """Each engine's part of the report."""
    urls = {"SQLite": f"sqlite:///{options.folder.absolute() / 'catalog.sqlite'}"}
    if options.postgres:
        urls["PostgreSQL"] = urlsplit(options.postgres)._replace(path=f"/{DATABASE}").geturl()
    size = ["--variants", str(options.variants), "--connections", str(options.connections)]
    for engine, url in urls.items():
        if not options.reuse:
            asyncio.run(make_anew(url, options.postgres))
            script = Path(__file__).with_name("fill_catalog.py")
            subprocess.run([sys.executable, str(script), url, *size], check=True, stdout=subprocess.DEVNULL)
            asyncio.run(settle(url))
        reading = json.dumps([url, options.limit, options.depth, options.times, options.only])
        command = [sys.executable, __file__, "--read", "-"]
        answer = subprocess.run(command, input=reading, check=True, stdout=subprocess.PIPE, text=True)
        print(f"## {engine}\n\n{answer.stdout}", flush=True)
        yield f"## {engine}\n\n{answer.stdout}"


ABOUT = """# Page benchmark

    .venv/bin/python benchmarks/pages.py --postgres "$(scripts/postgres url)" --write docs/benchmarks-pages.md

Written by that command; with `--reuse` it reads what an earlier run has filled. Every page is both of its queries: the
ids by keyset, then those items with their variants. The deep page is the one that the 1,000th cursor leads to, or the
last one where there are fewer. The catalog is filled by `benchmarks/fill_catalog.py`, whose rows keep every invariant
of the catalog (`tests/contract/test_filled_catalog.py`).

The goal is that no page costs more than twice the first one. It holds by design for every sort, for what is pending or
storing, for every range and for content types that few media have:

- What is pending or storing, and every range over what is sorted by, have an index in the page's own order.
- A range over another key is walked along the sort's index, or gathered from its own and sorted, whichever is cheaper;
  a short race finds out, and each page pays for the same one (`catalog/planning.py`). A range that lies together at one
  end of an order, as the last tenth by `cachedAt` does in the order of `createdAt`, is gathered: its first page costs
  what all others do, some milliseconds, where a walk would begin ten times faster and end a hundred times slower.
- Of another content type than `image/jpeg`, up to 2,000 media are gathered from an index of such types.

What is left is asked of each media item on the way along the sort's index: a type, `edge_only`, a content type that
more media have, and a range with `pending` or `storing`. Where media of that kind are spread over the order they are
met soon. Where there are none, or all lie together, a page reads past the rest: of a connection of this size in 10 ms
for a type, 50 ms for a status, half a second for a content type.

The indexes that this takes are 20 MB of a catalog of 1.14 GB. A change of what a media item is sorted by writes 6 %
more to SQLite's log where many share a commit and 19 % where it has one of its own, a new variant of an indexed content
type 20 %.

SQLite's process grows until the page caches of its five reading connections are full, 2 MiB each: with the questions
asked six times over it had 73.1, 75.4, 76.1, 76.8, 77.0 and 77.3 MiB, and 9 MiB less with a tenth of these caches.
"""


def main() -> None:
    """Fill, read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mediavault-pages")
    parser.add_argument("--postgres", metavar="URL", help="a server where a database may be made")
    parser.add_argument("--reuse", action="store_true", help="read what an earlier run has filled")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the report there too")
    parser.add_argument("--variants", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=60)
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--depth", type=int, default=1000)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--only", default="", metavar="REGEX", help="only questions whose names match")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        asyncio.run(read_catalog(*json.load(sys.stdin)))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    machine = f"{psutil.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}."
    report = [ABOUT, machine + "\n", *sections(options)]
    if options.write:
        options.write.write_text("\n".join(report))


if __name__ == "__main__":
    main()
