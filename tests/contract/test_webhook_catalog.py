"""Fan-out and claims of webhook deliveries, on both engines."""

import pytest

from fakes.catalog_rows import LEASE_MS, NOW, Tenant, at_once, row, rows, tenant
from mediavault.catalog import connections, deliveries, notices, outbox, webhooks
from mediavault.catalog.database import Catalog
from mediavault.catalog.deliveries import Outcome
from mediavault.catalog.notices import Ahead
from mediavault.catalog.tables import DeliveryState
from mediavault.catalog.webhooks import EndpointRow
from mediavault.errors import Conflict, LimitReached, NotFound

AHEAD = Ahead(pending=1000, share=1000, in_all=1000)


async def endpoint(owner: Tenant, name: str = "we_1", event_types: str | None = None) -> str:
    made = EndpointRow(
        name, owner.org_id, "http://127.0.0.1:1/", None, event_types, "enabled", b"s", None, None, None, 0, NOW, NOW
    )
    await owner.catalog.run(webhooks.create, made, 20)
    return name


async def expire(owner: Tenant) -> None:
    await owner.catalog.run(connections.expire, owner.org_id, owner.connection_id, NOW)


async def fan_out(catalog: Catalog, name: str = "we_1") -> None:
    while await catalog.run(notices.fan_out, name, 2, AHEAD, NOW):
        continue


async def claim(catalog: Catalog, now: int = NOW, at_once: int = 4):
    return await catalog.run(deliveries.claim, LEASE_MS, at_once, now)


async def test_a_new_endpoint_starts_at_the_present_and_is_told_each_event_once(catalog: Catalog):
    owner = await tenant(catalog)  # recorded connection.created before the endpoint was there
    await endpoint(owner)
    await expire(owner)
    assert await notices.behind(catalog) == ["we_1"]
    await fan_out(catalog)
    await fan_out(catalog)
    assert [each["type"] for each in await rows(catalog, "webhook_deliveries")] == ["connection.expired"]
    assert await notices.behind(catalog) == []


async def test_moves_of_variants_are_told_only_to_who_names_them(catalog: Catalog):
    owner = await tenant(catalog)
    await endpoint(owner)
    await endpoint(owner, "we_2", '["vault.media.queued"]')
    await owner.queue(await owner.variant())
    await fan_out(catalog)
    await fan_out(catalog, "we_2")
    told = [(each["endpoint_id"], each["type"]) for each in await rows(catalog, "webhook_deliveries")]
    assert told == [("we_2", "vault.media.queued")]


async def test_only_the_oldest_of_a_connection_is_claimed_and_another_connection_is_not_held_up(catalog: Catalog):
    owner = await tenant(catalog)
    await endpoint(owner)
    other = await owner.connection("2")
    await expire(other)
    await expire(owner)
    await fan_out(catalog)
    taken = [await claim(catalog) for _ in range(3)]
    assert {each.connection_id for each in taken[:2]} == {owner.connection_id, other.connection_id}
    assert taken[2] is None
    held = next(each for each in taken if each.connection_id == other.connection_id)
    dead = Outcome(DeliveryState.DEAD, 5, NOW, 500, "no")
    assert await catalog.run(deliveries.settle, held, dead, NOW)
    after_it = await claim(catalog)
    assert after_it.connection_id == other.connection_id
    assert "connection.expired" in after_it.body


async def test_a_lost_lease_is_claimed_again_and_its_first_holder_settles_nothing(catalog: Catalog):
    owner = await tenant(catalog)
    await endpoint(owner)
    await expire(owner)
    await fan_out(catalog)
    first = await claim(catalog)
    assert await claim(catalog, NOW + LEASE_MS - 1) is None
    second = await claim(catalog, NOW + LEASE_MS)
    assert second.id == first.id
    delivered = Outcome(DeliveryState.DELIVERED, 1, NOW, 200, delivered_at=NOW)
    assert not await catalog.run(deliveries.settle, first, delivered, NOW)
    assert await catalog.run(deliveries.settle, second, delivered, NOW)
    assert (await row(catalog, "webhook_deliveries"))["state"] == "delivered"


async def test_many_claimers_at_once_never_hold_one_delivery_twice(catalog: Catalog):
    owner = await tenant(catalog)
    await endpoint(owner)
    for user in "234":
        await owner.connection(user)
    await fan_out(catalog)
    taken = [each for each in await at_once(*[lambda: claim(catalog, at_once=99)] * 8) if each is not None]
    assert len({each.id for each in taken}) == len(taken)
    taken += [each for each in [await claim(catalog, at_once=99) for _ in range(3)] if each is not None]
    assert len({each.id for each in taken}) == len(taken) == 3


async def test_a_receiver_that_is_gone_disables_its_endpoint_and_says_why(catalog: Catalog):
    owner = await tenant(catalog)
    await endpoint(owner)
    await expire(owner)
    await fan_out(catalog)
    gone = Outcome(DeliveryState.DEAD, 1, NOW, 410, "gone", gone=True)
    await catalog.run(deliveries.settle, await claim(catalog), gone, NOW)
    kept = await row(catalog, "webhook_endpoints")
    assert (kept["state"], kept["disabled_reason"]) == ("disabled", "the receiver answered 410")
    with pytest.raises(Conflict):
        await catalog.run(notices.send_test, owner.org_id, "we_1", NOW)


async def test_a_replay_from_an_event_tells_everything_from_it_on_once(catalog: Catalog):
    owner = await tenant(catalog)
    await endpoint(owner)
    await expire(owner)
    other = await owner.connection("2")
    await expire(other)
    await fan_out(catalog)
    events = await outbox.after(catalog, owner.org_id, 1, 10)
    assert await catalog.run(notices.replay_from, owner.org_id, "we_1", events[1].id, NOW) == 2
    await fan_out(catalog)
    told = sorted(each["seq"] for each in await rows(catalog, "webhook_deliveries"))
    assert told == [event.seq for event in events]


async def test_another_organisations_endpoint_and_event_are_unknown(catalog: Catalog):
    owner, stranger = await tenant(catalog), await tenant(catalog, "stranger")
    await endpoint(owner)
    await endpoint(stranger, "we_2")
    (event,) = await outbox.after(catalog, owner.org_id, 0, 10)
    for org_id, name in ((stranger.org_id, "we_1"), (stranger.org_id, "we_2")):
        with pytest.raises(NotFound):
            await catalog.run(notices.replay_one, org_id, name, event.id, NOW)
    with pytest.raises(NotFound):
        await catalog.run(webhooks.remove, stranger.org_id, "we_1")


async def test_endpoints_are_limited_even_when_made_at_once(catalog: Catalog):
    owner = await tenant(catalog)

    def made(number: int):
        row = EndpointRow(f"we_{number}", owner.org_id, "u", None, None, "enabled", b"", None, None, None, 0, NOW, NOW)
        return lambda: catalog.run(webhooks.create, row, 3)

    results = await at_once(*(made(number) for number in range(8)))
    assert sum(isinstance(result, LimitReached) for result in results) == 5
    assert len(await rows(catalog, "webhook_endpoints")) == 3


async def test_events_are_forgotten_from_the_front_and_never_before_an_endpoint_was_told(catalog: Catalog):
    owner = await tenant(catalog)
    await endpoint(owner)
    await expire(owner)
    latest = await outbox.latest(catalog, owner.org_id)
    assert await catalog.run(outbox.forget, owner.org_id, latest, NOW + 1, 10) == 1
    assert await outbox.oldest(catalog, owner.org_id) == 2
    await fan_out(catalog)
    assert await catalog.run(outbox.forget, owner.org_id, latest, NOW, 10) == 0
    assert await catalog.run(outbox.forget, owner.org_id, latest, NOW + 1, 10) == 1
    assert await outbox.latest(catalog, owner.org_id) == 2
