"""The storage limit, retention and pins in the catalog, on both engines."""

import asyncio
from typing import Any

import msgspec
import pytest

from fakes.catalog_rows import HOUR, NOW, Tenant, broken_invariants, bytes_of, row, rows, tenant
from mediavault.catalog import blob_rows, leases, limits, pins, retention
from mediavault.catalog.database import Catalog
from mediavault.catalog.removals import Removed
from mediavault.domain.lifecycle import Event
from mediavault.domain.settings import VaultSettings
from mediavault.errors import LimitReached, RoomPromised

DAY = 24 * HOUR


def folded(**changes: object):
    """Settings that hold whatever is stored in the rows."""
    settings = msgspec.structs.replace(VaultSettings(), **changes)
    return lambda _organisation, _overrides: settings


def limited(limit: int, strategy: str = "purge_oldest"):
    return folded(storage_limit_bytes=limit, storage_limit_purge_strategy=strategy)


async def store(owner: Tenant, media_id: str, size: int, fold, now: int = NOW) -> None:
    """Queue, claim, reserve and settle one variant; nothing else may be pending."""
    await owner.queue(await owner.variant(media_id), now=now)
    claim = await owner.claim(now)
    await owner.catalog.run(limits.reserve, claim, size, fold, now)
    await owner.catalog.run(blob_rows.settle, claim, bytes_of(media_id, size), now)


async def statuses(catalog: Catalog) -> dict[str, str]:
    media = {each["id"]: each["media_id"] for each in await rows(catalog, "media")}
    return {media[each["media_pk"]]: each["status"] for each in await rows(catalog, "variants")}


@pytest.mark.parametrize(("strategy", "gone"), [("purge_oldest", "a"), ("purge_largest", "b"), ("purge_smallest", "c")])
async def test_each_strategy_evicts_its_own_and_spares_the_rest(catalog: Catalog, strategy: str, gone: str):
    owner = await tenant(catalog)
    for at, (media_id, size) in enumerate([("a", 300), ("b", 500), ("c", 200)]):
        await store(owner, media_id, size, limited(1000, strategy), NOW + at)

    await store(owner, "d", 200, limited(1000, strategy), NOW + 9)

    assert {media_id for media_id, status in (await statuses(catalog)).items() if status == "removed"} == {gone}
    evicted = next(each for each in await rows(catalog, "variants", status="removed"))
    assert strategy in evicted["kept_out"]
    assert await broken_invariants(catalog) == []


async def test_block_new_refuses_and_tells_and_evicts_nothing(catalog: Catalog):
    owner = await tenant(catalog)
    await store(owner, "a", 900, limited(1000, "block_new"))
    await owner.queue(await owner.variant("b"))
    claim = await owner.claim()

    with pytest.raises(LimitReached, match="block_new") as refused:
        await catalog.run(limits.reserve, claim, 200, limited(1000, "block_new"), NOW)
    await catalog.run(limits.refuse, claim, f"{refused.value}\0", NOW)

    assert await statuses(catalog) == {"a": "stored", "b": "edge_only"}
    assert (await row(catalog, "outbox", type="vault.limit.reached"))["connection_id"] == owner.connection_id
    assert await broken_invariants(catalog) == []


async def test_a_pin_spares_from_eviction_and_an_expired_one_does_not(catalog: Catalog):
    owner = await tenant(catalog)
    await store(owner, "a", 900, limited(1000))
    await catalog.run(pins.pin, owner.org_id, owner.connection_id, "a", "evidence", NOW + 10, NOW)
    await owner.queue(await owner.variant("b"))
    claim = await owner.claim()
    with pytest.raises(LimitReached, match="pinned"):
        await catalog.run(limits.reserve, claim, 200, limited(1000), NOW + 9)

    await catalog.run(limits.reserve, claim, 200, limited(1000), NOW + 10)

    assert (await statuses(catalog))["a"] == "removed"
    assert await broken_invariants(catalog) == []


async def test_room_that_is_promised_to_a_store_under_way_may_be_had_later(catalog: Catalog):
    owner = await tenant(catalog)
    await owner.queue(await owner.variant("a"), await owner.variant("b"))
    first, second = await owner.claim(), await owner.claim()
    await catalog.run(limits.reserve, first, 900, limited(1000), NOW)
    with pytest.raises(RoomPromised):
        await catalog.run(limits.reserve, second, 900, limited(1000), NOW)
    await catalog.run(blob_rows.settle, first, bytes_of("a", 900), NOW)

    evicted = await catalog.run(limits.reserve, second, 900, limited(1000), NOW)

    assert evicted.freed_bytes == 900
    assert await broken_invariants(catalog) == []


@pytest.mark.parametrize("strategy", ["purge_oldest", "purge_largest", "purge_smallest", "block_new"])
async def test_a_hundred_stores_at_once_never_exceed_the_limit(catalog: Catalog, strategy: str):
    owner = await tenant(catalog, max_inflight=100)
    await owner.queue(*[await owner.variant(str(number)) for number in range(100)])
    claims = [await owner.claim() for _ in range(100)]
    limit, fold, done = 10_000, limited(10_000, strategy), asyncio.Event()
    looked: list[int] = []

    async def look() -> None:
        while not done.is_set():
            for used in await rows(catalog, "usage"):
                looked.append(used["stored_bytes"] + used["reserved_bytes"])
            await asyncio.sleep(0)

    async def one(number: int) -> str:
        size = 100 + number * 17 % 900
        while True:
            try:
                await catalog.run(limits.reserve, claims[number], size, fold, NOW)
            except RoomPromised:
                await asyncio.sleep(0)
                continue
            except LimitReached as error:
                await catalog.run(limits.refuse, claims[number], str(error), NOW)
                return "refused"
            await catalog.run(blob_rows.settle, claims[number], bytes_of(str(number), size), NOW)
            return "stored"

    looking = asyncio.create_task(look())
    outcomes = await asyncio.gather(*(one(number) for number in range(100)))
    done.set()
    await looking
    assert max(looked) <= limit
    assert ("refused" in outcomes) == (strategy == "block_new")
    assert max(looked) > limit - 1000
    assert await broken_invariants(catalog) == []


async def test_retention_and_access_expiry_remove_what_is_past_them_and_spare_pins(catalog: Catalog):
    owner = await tenant(catalog)
    for media_id, at in (("old", NOW), ("pinned", NOW), ("new", NOW + 2 * DAY)):
        await store(owner, media_id, 100, folded(), at)
    await catalog.run(pins.pin, owner.org_id, owner.connection_id, "pinned", "evidence", None, NOW)

    async def expire(fold: Any, now: int) -> Removed:
        return await catalog.run(retention.expire_some, owner.org_id, owner.connection_id, fold, now)

    for fold in (folded(retention_days=3), folded(access_expiry_days=3)):
        assert (await expire(fold, NOW + 3 * DAY - 1)).variant_ids == ()
    assert len((await expire(folded(retention_days=3), NOW + 3 * DAY)).variant_ids) == 1
    assert (await statuses(catalog)) == {"old": "removed", "pinned": "stored", "new": "stored"}
    assert len((await expire(folded(access_expiry_days=3), NOW + 5 * DAY)).variant_ids) == 1
    assert (await statuses(catalog)) == {"old": "removed", "pinned": "stored", "new": "removed"}
    assert await broken_invariants(catalog) == []


async def test_a_failure_of_an_old_url_costs_nothing_once_a_new_one_was_seen(catalog: Catalog):
    owner = await tenant(catalog)
    await owner.queue(await owner.variant("a"))
    claim = await owner.claim()
    tried = (await row(catalog, "variants"))["origin_key"]
    await owner.variant("a", key="k2")
    failure = leases.Failure(Event.GIVEN_UP, "403\0", tried, 1, not_before=NOW + HOUR)

    await catalog.run(leases.fail, claim, failure, NOW)

    after = await row(catalog, "variants")
    assert (after["status"], after["attempts"], after["not_before"]) == ("pending", 0, 0)
