"""What webhooks refuse: addresses inside, bodies that cannot be right, and other organisations."""

import pytest

from fakes.documents import check_answer
from fakes.vaults import RunningVault, until

ENDPOINTS = "/v2/webhooks/endpoints"
ENDPOINT = ENDPOINTS + "/{endpointId}"
NO_ID = "0" * 32
GOOD = "https://receiver.example/hook"


async def created(vault: RunningVault, url: str = GOOD) -> str:
    answer = await vault.call("POST", ENDPOINTS, json={"url": url})
    check_answer(answer, "POST", ENDPOINTS)
    assert answer.status == 200, answer.body
    return str(answer.json["id"])


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:1/", "http://10.0.0.1/", "https://[::1]/", "http://[::ffff:10.0.0.1]/", "http://0.0.0.0/"),
        *("ftp://receiver.example/", "https://", "https:///x", "receiver.example", "", "https://a@b.example/"),
        *("https://receiver.example/#a", "https://receiver.example:0/", "https://receiver.example:99999/"),
        *("https://receiver.example/a b", "https://receiver.example\\@10.0.0.1/", "https://r\u00e9.example/"),
        "https://receiver.example/" + "a" * 2001,
    ],
)
async def test_a_url_that_may_not_be_dialled_is_refused(vault: RunningVault, url: str):
    answer = await vault.call("POST", ENDPOINTS, json={"url": url})
    check_answer(answer, "POST", ENDPOINTS)
    assert answer.status == 400


async def test_a_name_that_stands_for_a_private_address_is_never_dialled(vault: RunningVault):
    endpoint_id = await created(vault, f"http://localhost:{vault.api_url.rpartition(':')[2]}/livez")
    await vault.call("POST", f"{ENDPOINTS}/{endpoint_id}/test")

    async def tried() -> str | None:
        answer = await vault.call("GET", f"{ENDPOINTS}/{endpoint_id}/deliveries")
        line = answer.json["items"][0]
        return str(line["lastError"]) if line["attempts"] else None

    error = await until(tried)
    assert "may not be dialled" in error or "not allowed" in error or "denied" in error, error


BODIES = [
    *([], "x", {}, {"url": 5}, {"url": None}),
    *({"url": GOOD, "eventTypes": []}, {"url": GOOD, "eventTypes": ["x"]}, {"url": GOOD, "eventTypes": "x"}),
    *({"url": GOOD, "description": "a\nb"}, {"url": GOOD, "description": "a" * 501}),
]


@pytest.mark.parametrize("body", BODIES, ids=str)
async def test_a_body_that_cannot_be_right_is_refused(vault: RunningVault, body):
    answer = await vault.call("POST", ENDPOINTS, json=body)
    check_answer(answer, "POST", ENDPOINTS)
    assert answer.status == 400


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PATCH", "", {"state": "asleep"}, 400),
        ("PATCH", "", {"url": "http://10.0.0.1/"}, 400),
        ("POST", "/rotate", {"overlapHours": -1}, 400),
        ("POST", "/rotate", {"overlapHours": 169}, 400),
        ("POST", "/rotate", {"overlapHours": "1"}, 400),
        ("POST", "/replay", {}, 400),
        ("POST", "/replay", {"eventId": "evt_1"}, 404),
        ("POST", "/replay", {"eventId": "evt_" + NO_ID}, 404),
        ("GET", "/deliveries?state=lost", None, 400),
        ("GET", "/deliveries?cursor=x", None, 400),
        ("GET", "/deliveries?limit=0", None, 400),
    ],
)
async def test_a_request_about_an_endpoint_that_cannot_be_right_is_refused(
    vault: RunningVault, method, path, body, status
):
    endpoint_id = await created(vault)
    answer = await vault.call(method, f"{ENDPOINTS}/{endpoint_id}{path}", json=body)
    check_answer(answer, method, ENDPOINT + path.partition("?")[0])
    assert answer.status == status


CALLS = [
    *(("GET", "", None), ("PATCH", "", {"description": "x"}), ("DELETE", "", None), ("POST", "/rotate", {})),
    *(("POST", "/test", None), ("GET", "/deliveries", None), ("POST", "/replay", {"eventId": "evt_" + NO_ID})),
]


async def test_another_organisation_sees_and_moves_nothing(vault: RunningVault):
    endpoint_id = await created(vault)
    sent = (await vault.call("POST", f"{ENDPOINTS}/{endpoint_id}/test")).json
    authorising = vault.vault.foundation.authorising
    await authorising.create_organisation("other")
    key = (await authorising.create_key("other", ["ACCOUNT", "ACCESS"])).secret
    for method, path, body in CALLS:
        for named in (endpoint_id, "we_" + NO_ID, "we_x", "%00"):
            answer = await vault.call(method, f"{ENDPOINTS}/{named}{path}", json=body, key=key)
            check_answer(answer, method, ENDPOINT + path)
            assert answer.status == 404, (method, path, named)
    for delivery_id in (sent["id"], NO_ID, "x"):
        answer = await vault.call("POST", f"/v2/webhooks/deliveries/{delivery_id}/redeliver", key=key)
        check_answer(answer, "POST", "/v2/webhooks/deliveries/{deliveryId}/redeliver")
        assert answer.status == 404
    assert (await vault.call("GET", ENDPOINTS, key=key)).json == {"list": []}
    assert (await vault.call("GET", f"{ENDPOINTS}/{endpoint_id}")).json["description"] is None


async def test_without_a_key_for_the_account_nothing_is_answered(vault: RunningVault):
    key = (await vault.vault.foundation.authorising.create_key("default", ["ACCESS"])).secret
    for given in (None, "wrong-key-0123456789", key):
        for method, path, body in CALLS:
            assert (await vault.call(method, f"{ENDPOINTS}/x{path}", json=body, key=given)).status == 401
        assert (await vault.call("GET", "/v2/events", key=given)).status == 401


async def test_an_organisation_has_a_bounded_number_of_endpoints(vault: RunningVault):
    for _ in range(20):
        await created(vault)
    answer = await vault.call("POST", ENDPOINTS, json={"url": GOOD})
    check_answer(answer, "POST", ENDPOINTS)
    assert (answer.status, answer.json["type"]) == (403, "LIMIT_REACHED")
