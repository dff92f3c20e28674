"""Whose turn it is: however much waits for one connection, the others of its endpoint are not behind it."""

from collections import Counter

import pytest
from sqlalchemy import text

from fakes.catalog_rows import LEASE_MS, NOW, Tenant, rows, tenant
from mediavault.catalog import deliveries, events, notices, outbox, webhooks
from mediavault.catalog.database import Catalog
from mediavault.catalog.deliveries import Claimed, Outcome
from mediavault.catalog.notices import Ahead
from mediavault.catalog.tables import DeliveryState
from mediavault.catalog.webhooks import EndpointRow

ENDPOINT = "we_1"
TYPE = "connection.expired"


async def told_owner(catalog: Catalog) -> Tenant:
    owner = await tenant(catalog)
    row = EndpointRow(ENDPOINT, owner.org_id, "u", None, None, "enabled", b"s", None, None, None, 0, NOW, NOW)
    await catalog.run(webhooks.create, row, 20)
    return owner


async def record(owner: Tenant, count: int) -> None:
    """So many events of the connection, in one transaction."""

    def recorded():
        for _ in range(count):
            yield from events.record(owner.org_id, TYPE, {}, connection_id=owner.connection_id, at=NOW)

    await owner.catalog.run(recorded)


async def fan_out(catalog: Catalog, ahead: Ahead, now: int = NOW) -> None:
    while await catalog.run(notices.fan_out, ENDPOINT, 200, ahead, now):
        continue


async def claimed(catalog: Catalog, now: int, at_once: int = 4) -> Claimed:
    taken = await catalog.run(deliveries.claim, LEASE_MS, at_once, now)
    assert taken is not None
    return taken


async def settled(catalog: Catalog, taken: Claimed, now: int, state: DeliveryState = DeliveryState.DELIVERED) -> None:
    assert await catalog.run(deliveries.settle, taken, Outcome(state, 1, now), now)


async def test_connections_take_turns_however_much_waits_for_each(catalog: Catalog):
    owner = await told_owner(catalog)
    busy = [owner, await owner.connection("2"), await owner.connection("3")]
    for each in busy:
        await record(each, 30)
    await fan_out(catalog, Ahead())
    quiet = await owner.connection("4")  # its first event is behind ninety others
    await fan_out(catalog, Ahead(), NOW + 50)
    served = []
    for moment in range(100, 116):
        taken = await claimed(catalog, NOW + moment, at_once=1)
        served.append(taken.connection_id)
        await settled(catalog, taken, NOW + moment)
    assert quiet.connection_id in served[:4]
    assert {served.count(each.connection_id) for each in busy} == {5}
    assert served[4:7] == served[7:10] == served[10:13]


async def test_the_next_of_a_connection_is_due_at_once_and_in_its_order_also_after_a_dead_one(catalog: Catalog):
    owner = await told_owner(catalog)
    await record(owner, 6)
    await fan_out(catalog, Ahead())
    told = []
    for state in (DeliveryState.DELIVERED, DeliveryState.DEAD) * 3:
        taken = await claimed(catalog, NOW + 10)
        assert await catalog.run(deliveries.claim, LEASE_MS, 4, NOW + 10) is None
        told.append(taken.event_id)
        await settled(catalog, taken, NOW + 10, state)
    assert told == [event.id for event in await outbox.after(catalog, owner.org_id, 1, 10)]


async def test_a_retry_does_not_bring_the_next_one_forward(catalog: Catalog):
    owner = await told_owner(catalog)
    await record(owner, 2)
    await fan_out(catalog, Ahead())
    first = await claimed(catalog, NOW)
    assert await catalog.run(deliveries.settle, first, Outcome(DeliveryState.PENDING, 1, NOW + 500), NOW)
    assert await catalog.run(deliveries.claim, LEASE_MS, 4, NOW + 499) is None
    assert (await claimed(catalog, NOW + 500)).id == first.id


async def test_two_thousand_waiting_deliveries_of_one_connection_hold_up_no_other(catalog: Catalog):
    owner = await told_owner(catalog)
    await record(owner, 2_500)
    await fan_out(catalog, Ahead())
    other = await owner.connection("2")
    await fan_out(catalog, Ahead(), NOW + 1)
    stuck = await claimed(catalog, NOW)
    assert stuck.connection_id == owner.connection_id
    assert await catalog.run(deliveries.settle, stuck, Outcome(DeliveryState.PENDING, 1, NOW + 10**6), NOW)
    assert (await claimed(catalog, NOW + 1)).connection_id == other.connection_id


async def test_what_is_made_ahead_is_bounded_for_one_connection_and_for_many(catalog: Catalog):
    owner = await told_owner(catalog)
    await record(owner, 900)
    await fan_out(catalog, Ahead(pending=300, share=250, in_all=600))
    assert len(await rows(catalog, "webhook_deliveries")) == 600
    others = [await owner.connection(str(number)) for number in range(2, 5)]
    for each in others:
        await record(each, 200)
    await fan_out(catalog, Ahead(pending=300, share=100, in_all=10_000))
    made = Counter(each["connection_id"] for each in await rows(catalog, "webhook_deliveries"))
    assert made[owner.connection_id] == 900, "they are first in the outbox"
    assert made[others[-1].connection_id] < 200, "three hundred are counted: no more is made"


async def test_disabled_endpoints_have_no_turn(catalog: Catalog):
    owner = await told_owner(catalog)
    await record(owner, 2)
    await fan_out(catalog, Ahead())
    await catalog.run(webhooks.change, owner.org_id, ENDPOINT, {"state": "disabled"}, NOW)
    assert await catalog.run(deliveries.claim, LEASE_MS, 4, NOW) is None


async def test_two_deliveries_of_one_event_go_one_after_the_other(catalog: Catalog):
    owner = await told_owner(catalog)
    await record(owner, 1)
    await fan_out(catalog, Ahead())
    first = await claimed(catalog, NOW)
    await settled(catalog, first, NOW)
    await catalog.run(notices.replay_one, owner.org_id, ENDPOINT, first.event_id, NOW + 1)
    await catalog.run(notices.redeliver, owner.org_id, ENDPOINT, first.id, NOW + 1)
    again = await claimed(catalog, NOW + 1)
    assert again.id == first.id
    assert await catalog.run(deliveries.claim, LEASE_MS, 4, NOW + 1) is None
    await settled(catalog, again, NOW + 2)
    second = await claimed(catalog, NOW + 2)
    assert (second.event_id, second.id == first.id) == (first.event_id, False)


async def test_old_finished_deliveries_are_forgotten_and_neither_young_nor_waiting_ones(catalog: Catalog):
    owner = await told_owner(catalog)
    await record(owner, 3)
    await fan_out(catalog, Ahead())
    for state in (DeliveryState.DELIVERED, DeliveryState.DEAD):
        await settled(catalog, await claimed(catalog, NOW), NOW, state)
    assert await catalog.run(deliveries.forget, NOW, 10) == 0
    assert await catalog.run(deliveries.forget, NOW + 1, 1) == 1
    assert await catalog.run(deliveries.forget, NOW + 1, 10) == 1
    assert [each["state"] for each in await rows(catalog, "webhook_deliveries")] == ["pending"]


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("_FORGET", "ix_webhook_deliveries_finished (created_at<?"),
        ("_NEXT", "ix_webhook_deliveries_due (endpoint_id=? AND connection_id=?"),
        ("_NEXT", "ix_webhook_deliveries_leased (endpoint_id=?"),
        ("_END_TURN", "ix_webhook_deliveries_due (endpoint_id=? AND connection_id=?"),
    ],
)
async def test_sqlite_answers_from_the_indexes(catalog, database_url: str, statement: str, index: str):
    if not database_url.startswith("sqlite"):
        pytest.skip("the plan of PostgreSQL depends on its statistics")
    sql = catalog._compile(getattr(deliveries, statement)).sql.replace("?", "1")
    plan = [row[3] for row in await catalog.fetch_list(text("EXPLAIN QUERY PLAN " + sql), {})]
    assert any(index in step for step in plan), plan
    assert not any(step.startswith("SCAN webhook_deliveries") for step in plan), plan
