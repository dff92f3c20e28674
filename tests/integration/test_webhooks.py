"""Webhooks from the change to the receiver: signed, in order, tried again, seen in the log, apart by organisation."""

import warnings
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import standardwebhooks

from fakes.receivers import Received
from fakes.told import ENDPOINT, ENDPOINTS, QUICK, REDELIVER, Told, told_vault
from fakes.vaults import AURORA, CORAL
from mediavault.domain.webhook_signing import older_signature

with warnings.catch_warnings():
    warnings.simplefilter("ignore", SyntaxWarning)  # the published client's own, where it is compiled
    warnings.simplefilter("ignore", DeprecationWarning)  # what it is before Python 3.12
    from onlyfans_sdk import webhooks as published


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[Told]:
    async with told_vault(tmp_path) as running:
        yield running


def verify(received: Received, secret: str) -> None:
    """Both published verifiers, and the older signature."""
    standardwebhooks.Webhook(secret).verify(received.body, received.headers)
    event = published.verify_webhook_payload(received.body, received.headers, secret)
    assert event["eventType"] == received.type
    timestamp, *older = received.headers["ofauth-signature"].split(",")
    assert "v1=" + older_signature(secret, int(timestamp.removeprefix("t=")), received.body) in older


async def test_a_stored_media_item_reaches_the_receiver_signed(told: Told):
    endpoint = await told.endpoint()
    connection = await told.vault.connect(AURORA, clientReferenceId="creator-17")
    photo, item = await told.vault.add(connection, type="photo", size_bytes=2_000)
    await told.vault.ask("GET", item["media"]["full"]["url"])
    await told.vault.until_stored(connection, photo.id)
    created, stored = (await told.receiver.until(2))[:2]
    for received in (created, stored):
        verify(received, endpoint["secret"])
        assert received.path == "/hook"
        assert received.headers["content-type"] == "application/json"
        assert received.headers["svix-id"] == received.headers["webhook-id"]
    assert (created.type, stored.type) == ("connection.created", "vault.media.stored")
    assert created.json["data"]["connection"]["id"] == connection
    assert created.json["data"]["clientReferenceId"] == "creator-17"
    assert stored.json["live"] is True
    assert stored.json["data"]["mediaId"] == str(photo.id)
    assert AURORA.cookie.encode() not in created.body


async def test_events_of_a_connection_come_in_their_order_over_retries(told: Told):
    await told.endpoint()
    told.receiver.answers.extend([500, 503])
    connection = await told.vault.connect()
    path = f"/v2/account/connections/{connection}/invalidate"
    assert (await told.vault.call("POST", path)).status == 200
    received = await told.receiver.until(4)
    assert [(each.type, each.answered) for each in received] == [
        ("connection.created", 500),
        ("connection.created", 503),
        ("connection.created", 200),
        ("connection.expired", 200),
    ]
    assert len({each.headers["svix-id"] for each in received[:3]}) == 1


async def test_a_connection_does_not_wait_for_another(told: Told):
    endpoint = await told.endpoint()
    told.receiver.answers.extend([500] * QUICK.tries)
    aurora = await told.vault.connect()
    dead = (await told.until_logged(endpoint["id"], "dead"))[0]
    coral = await told.vault.connect(CORAL)
    delivered = (await told.until_logged(endpoint["id"], "delivered"))[0]
    assert (dead["connectionId"], delivered["connectionId"]) == (aurora, coral)


async def test_what_no_try_delivers_is_dead_and_can_be_delivered_again(told: Told):
    endpoint = await told.endpoint()
    told.receiver.answers.extend([500] * QUICK.tries)
    await told.vault.connect()
    (dead,) = await told.until_logged(endpoint["id"], "dead")
    assert (dead["attempts"], dead["lastStatus"], dead["nextAttemptAt"]) == (QUICK.tries, 500, None)
    assert dead["lastError"] == "the receiver answered 500: as told"
    again = await told.call("POST", REDELIVER.replace("{deliveryId}", dead["id"]), REDELIVER)
    assert (again.json["state"], again.json["attempts"]) == ("pending", 0)
    (delivered,) = await told.until_logged(endpoint["id"], "delivered")
    assert (delivered["id"], delivered["lastStatus"], delivered["lastError"]) == (dead["id"], 200, None)
    assert len(told.receiver.received) == QUICK.tries + 1


async def test_while_a_secret_rotates_both_verify_and_without_overlap_only_the_new_one(told: Told):
    endpoint = await told.endpoint()
    path, operation = f"{ENDPOINTS}/{endpoint['id']}/rotate", ENDPOINT + "/rotate"
    second = (await told.call("POST", path, operation, json={"overlapHours": 2.0})).json
    assert second["secret"] != endpoint["secret"]
    assert second["previousSecretUntil"] is not None
    await told.test(endpoint["id"])
    overlapping = (await told.receiver.until(1))[0]
    verify(overlapping, endpoint["secret"])
    verify(overlapping, second["secret"])
    third = (await told.call("POST", path, operation, json={"overlapHours": 0})).json
    assert third["previousSecretUntil"] is None
    await told.test(endpoint["id"])
    alone = (await told.receiver.until(2))[1]
    verify(alone, third["secret"])
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(second["secret"]).verify(alone.body, alone.headers)
    shown = (await told.call("GET", f"{ENDPOINTS}/{endpoint['id']}", ENDPOINT)).body
    assert b"whsec_" not in shown


async def test_a_test_event_is_not_live_and_is_in_the_log(told: Told):
    endpoint = await told.endpoint(eventTypes=["vault.list.synced"], description="ours")
    sent = await told.test(endpoint["id"])
    assert (sent["eventType"], sent["state"], sent["connectionId"]) == ("webhook.test", "pending", None)
    received = (await told.receiver.until(1))[0]
    assert (received.type, received.json["live"]) == ("webhook.test", False)
    assert [each["id"] for each in await told.until_logged(endpoint["id"], "delivered")] == [sent["id"]]


async def test_the_log_comes_in_pages_newest_first(told: Told):
    endpoint = await told.endpoint()
    sent = [(await told.test(endpoint["id"]))["id"] for _ in range(3)]
    path = f"{ENDPOINTS}/{endpoint['id']}/deliveries"
    first = (await told.call("GET", f"{path}?limit=2.0", ENDPOINT + "/deliveries")).json
    rest = (await told.call("GET", f"{path}?limit=2&cursor={first['nextCursor']}", ENDPOINT + "/deliveries")).json
    assert [each["id"] for each in first["items"] + rest["items"]] == sorted(sent, reverse=True)
    assert "nextCursor" not in rest


async def test_a_kept_event_and_all_behind_it_can_be_told_again(told: Told):
    endpoint = await told.endpoint()
    connection = await told.vault.connect()
    await told.vault.call("POST", f"/v2/account/connections/{connection}/invalidate")
    first = (await told.receiver.until(2))[0]
    event_id = first.headers["svix-id"]
    path, operation = f"{ENDPOINTS}/{endpoint['id']}/replay", ENDPOINT + "/replay"
    one = await told.call("POST", path, operation, json={"eventId": event_id})
    assert one.json == {"success": True, "eventCount": 1}
    assert (await told.receiver.until(3))[2].headers["svix-id"] == event_id
    all_of_them = await told.call("POST", path, operation, json={"eventId": event_id, "andLater": True})
    assert all_of_them.json["eventCount"] == 2
    assert [each.type for each in (await told.receiver.until(5))[3:]] == ["connection.created", "connection.expired"]


async def test_a_disabled_endpoint_is_told_nothing_and_starts_at_the_present_again(told: Told):
    endpoint = await told.endpoint()
    path = f"{ENDPOINTS}/{endpoint['id']}"
    disabled = (await told.call("PATCH", path, ENDPOINT, json={"state": "disabled"})).json
    assert (disabled["state"], disabled["disabledReason"]) == ("disabled", "disabled by its owner")
    assert (await told.call("POST", path + "/test", ENDPOINT + "/test")).status == 409
    await told.vault.connect()
    changed = {"state": "enabled", "description": None, "url": told.receiver.url + "/second"}
    enabled = (await told.call("PATCH", path, ENDPOINT, json=changed)).json
    assert (enabled["state"], enabled["disabledReason"]) == ("enabled", None)
    await told.vault.connect(CORAL)
    received = (await told.receiver.until(1))[0]
    assert (received.path, received.json["data"]["connection"]["userData"]["username"]) == ("/second", CORAL.username)


async def test_a_receiver_that_is_gone_disables_its_endpoint(told: Told):
    endpoint = await told.endpoint()
    told.receiver.answers.append(410)
    await told.test(endpoint["id"])
    await told.until_logged(endpoint["id"], "dead")
    shown = (await told.call("GET", f"{ENDPOINTS}/{endpoint['id']}", ENDPOINT)).json
    assert (shown["state"], shown["disabledReason"]) == ("disabled", "the receiver answered 410")


async def test_endpoints_are_listed_and_removed(told: Told):
    first, second = await told.endpoint(), await told.endpoint(eventTypes=["connection.created"])
    listed = (await told.call("GET", ENDPOINTS, ENDPOINTS)).json["list"]
    assert [(each["id"], each["eventTypes"]) for each in listed] == [
        (first["id"], None),
        (second["id"], ["connection.created"]),
    ]
    path = f"{ENDPOINTS}/{first['id']}"
    assert (await told.call("DELETE", path, ENDPOINT)).json == {"success": True}
    assert (await told.call("DELETE", path, ENDPOINT)).status == 404
    assert [each["id"] for each in (await told.call("GET", ENDPOINTS, ENDPOINTS)).json["list"]] == [second["id"]]
