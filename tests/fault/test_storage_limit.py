"""Four hundred stores at once against a storage limit that a hundred of them fill: never a byte over it.

Every change of a connection's totals is seen, also what a transaction writes between two others that nobody ever reads:
a trigger of the database keeps the most that there ever was.
"""

import asyncio
import itertools
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from fakes.catalog_rows import NOW, Tenant, broken_invariants, bytes_of, rows, seen, sql, tenant
from mediavault.catalog import blob_rows, leases, limits
from mediavault.catalog.database import Catalog, CatalogConfig, open_catalog
from mediavault.catalog.leases import Claim
from mediavault.catalog.operations import Do
from mediavault.domain.lifecycle import Event
from mediavault.domain.settings import VaultSettings
from mediavault.errors import LimitReached, RoomPromised

STORES = 400
SIZE = 100
LIMIT = 100 * SIZE
_MOST = "CREATE TABLE seen_totals (total BIGINT NOT NULL)"
_TRIGGERS = {
    "sqlite": [
        "CREATE TRIGGER see_totals AFTER UPDATE ON usage BEGIN "
        "INSERT INTO seen_totals VALUES (NEW.stored_bytes + NEW.reserved_bytes); END"
    ],
    "postgresql": [
        "CREATE FUNCTION see_totals() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO seen_totals VALUES (NEW.stored_bytes + NEW.reserved_bytes); RETURN NEW; END $$",
        "CREATE TRIGGER see_totals AFTER UPDATE ON usage FOR EACH ROW EXECUTE FUNCTION see_totals()",
    ],
}


def folded(**changes: Any) -> limits.Fold:
    """Settings that hold whatever is stored in the rows."""
    settings = msgspec.structs.replace(VaultSettings(), **changes)
    return lambda _organisation, _overrides: settings


def watched(database_url: str) -> Any:
    """Write down what the totals are at every change from now on."""
    for statement in (_MOST, *_TRIGGERS[database_url.partition(":")[0]]):
        yield Do(text(statement))


async def outcome(catalog: Catalog, claim: Claim, fold: limits.Fold, number: int) -> str:
    """One store: room first, then it is settled, refused, or its storer fails and gives the room back."""
    while True:
        try:
            await catalog.run(limits.reserve, claim, SIZE, fold, NOW + number)
        except RoomPromised:
            await asyncio.sleep(0)
            continue
        except LimitReached as error:
            await catalog.run(limits.refuse, claim, str(error), NOW + number)
            return "refused"
        if number % 7 == 0:
            failure = leases.Failure(Event.GIVEN_UP, "it broke", None, 1)
            await catalog.run(leases.fail, claim, failure, NOW + number)
            return "failed"
        await catalog.run(blob_rows.settle, claim, bytes_of(str(number), SIZE), NOW + number)
        return "stored"


async def claimed(owner: Tenant) -> list[Claim]:
    ids = await owner.observe(*(seen(str(number)) for number in range(STORES)))
    await owner.queue(*ids.values())
    return [await owner.claim() for _ in range(STORES)]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["purge_oldest", "block_new"])
async def test_four_hundred_stores_at_once_never_exceed_a_limit_of_a_hundred(catalog, database_url, strategy):
    owner = await tenant(catalog, max_inflight=STORES)
    claims = await claimed(owner)
    await catalog.run(watched, database_url)
    fold = folded(storage_limit_bytes=LIMIT, storage_limit_purge_strategy=strategy)
    processes = [catalog]
    if catalog.shared:
        processes += [await open_catalog(CatalogConfig(database_url)) for _ in range(3)]
    try:
        works = zip(itertools.cycle(processes), claims, range(STORES), strict=False)
        outcomes = await asyncio.gather(*(outcome(at, claim, fold, number) for at, claim, number in works))
    finally:
        for each in processes[1:]:
            await each.close()

    ((most,),) = await sql(catalog, "SELECT MAX(total) FROM seen_totals")
    assert most == LIMIT
    assert len(outcomes) == STORES
    assert ("refused" in outcomes) == (strategy == "block_new")
    stored = [each for each in await rows(catalog, "variants") if each["status"] == "stored"]
    assert LIMIT / SIZE >= len(stored) > LIMIT / SIZE * 0.8  # where a store failed, nobody may have come after it
    assert await broken_invariants(catalog) == []
