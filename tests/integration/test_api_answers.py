"""What the small routes answer, held against the API document."""

from fakes.documents import check_answer
from fakes.vaults import RunningVault


async def test_whoami_and_totals_answer_as_described(vault: RunningVault):
    connection = await vault.connect()
    await vault.add(connection, type="photo")
    for path, given in (
        ("/v2/account/whoami", None),
        ("/v2/vault-plus/stats", None),
        ("/v2/vault-plus/status", connection),
    ):
        check_answer(await vault.call("GET", path, connection=given), "GET", path)
    who = await vault.call("GET", "/v2/account/whoami")
    assert (who.json["name"], who.json["permissions"]) == ("default", ["ACCESS", "ACCOUNT"])
    totals = (await vault.call("GET", "/v2/vault-plus/status", connection=connection)).json
    assert totals == {"connectionId": connection, "storedCount": 0, "pendingCount": 1, "totalSizeBytes": 0}


async def test_a_batch_keeps_the_order_and_leaves_out_what_is_not_there(vault: RunningVault):
    connection = await vault.connect()
    first, _ = await vault.add(connection, type="photo")
    second, _ = await vault.add(connection, type="audio")
    path = "/v2/vault-plus/media/batch"
    wanted = [str(second.id), "404", first.id, str(second.id), *["x"] * 90]
    answer = await vault.call("POST", path, connection=connection, json={"mediaIds": wanted})
    check_answer(answer, "POST", path)
    assert [item["id"] for item in answer.json["items"]] == [str(second.id), str(first.id)]
    assert answer.json["items"][1] == await vault.item(connection, first.id)
    empty = await vault.call("POST", path, connection=connection, json={"mediaIds": []})
    assert empty.json == {"items": []}


async def test_every_answer_has_a_request_id_of_its_own(vault: RunningVault):
    ids = set()
    for path in ("/livez", "/readyz", "/v2/account/whoami", "/nowhere", "/v2/vault-plus/stats"):
        ids.add((await vault.call("GET", path)).headers["X-Request-Id"])
    assert len(ids) == 5


async def test_health_needs_no_key(vault: RunningVault):
    for path in ("/livez", "/readyz"):
        answer = await vault.call("GET", path, key=None)
        check_answer(answer, "GET", path)
        assert (answer.status, answer.json["status"]) == (200, "ok")


async def test_what_does_not_work_is_not_ready(vault: RunningVault):
    blobs = vault.vault.config.blobs
    blobs.rename(blobs.with_name("elsewhere"))
    blobs.write_bytes(b"a file where the folder should be")
    answer = await vault.call("GET", "/readyz", key=None)
    check_answer(answer, "GET", "/readyz")
    assert (answer.status, answer.json["status"], answer.json["checks"]["database"]) == (503, "unavailable", "ok")
    blobs.unlink()
    blobs.with_name("elsewhere").rename(blobs)
    assert (await vault.call("GET", "/readyz", key=None)).status == 200
