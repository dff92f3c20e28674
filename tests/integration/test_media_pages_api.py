"""`GET` and `DELETE /v2/vault-plus/media` of a served vault."""

import pytest

from fakes.documents import check_answer
from fakes.vaults import CORAL, RunningVault

PATH = "/v2/vault-plus/media"


async def pages(vault: RunningVault, connection: str, query: str = "") -> list[str]:
    """Every page's item ids."""
    ids: list[str] = []
    cursor = ""
    while True:
        answer = await vault.call("GET", f"{PATH}?limit=7.0{query}{cursor}", connection=connection)
        assert answer.status == 200, answer.body
        check_answer(answer, "get", PATH)
        ids += [item["id"] for item in answer.json["items"]]
        if "nextCursor" not in answer.json:
            return ids
        cursor = f"&cursor={answer.json['nextCursor']}"


async def test_the_pages_of_every_order_hold_each_item_once_as_the_item_call_shows_it(vault: RunningVault):
    connection = await vault.connect()
    seen = {str(media["id"]) for media in (await vault.see(connection))["list"] if media["files"]["full"]["url"]}
    whole = (await vault.call("GET", PATH, connection=connection)).json
    assert {item["id"] for item in whole["items"]} >= seen
    assert len(whole["items"]) > 7
    for sort in ("createdAt_desc", "createdAt_asc", "cachedAt_desc", "cachedAt_asc", "duration_desc", "duration_asc"):
        ids = await pages(vault, connection, f"&sort={sort}")
        assert sorted(ids) == sorted(item["id"] for item in whole["items"])
    first = whole["items"][0]
    shown = await vault.item(connection, first["id"])
    assert {key: shown[key] for key in ("id", "type", "duration")} == {
        key: first[key] for key in ("id", "type", "duration")
    }
    assert set(shown["media"]) == set(first["media"])


async def test_durations_are_in_the_order_asked_and_images_come_last(vault: RunningVault):
    connection = await vault.connect()
    await vault.see(connection)
    for sort, descends in (("duration_desc", True), ("duration_asc", False)):
        items = (await vault.call("GET", f"{PATH}?sort={sort}", connection=connection)).json["items"]
        durations = [item["duration"] for item in items]
        timed = [duration for duration in durations if duration is not None]
        assert timed == sorted(timed, reverse=descends)
        assert timed
        assert durations == timed + [None] * (len(durations) - len(timed))


@pytest.mark.parametrize(
    "query", ["status=gone", "limit=0", "sort=size", "durationMin=-1", "cachedAtTo=soon", "cursor=A"]
)
async def test_what_cannot_be_right_is_400_with_its_name(vault: RunningVault, query: str):
    connection = await vault.connect()
    answer = await vault.call("GET", f"{PATH}?{query}", connection=connection)
    check_answer(answer, "get", PATH)
    assert answer.status == 400
    assert query.partition("=")[0] in answer.json["error"]


async def test_the_connection_is_checked_before_the_parameters(vault: RunningVault):
    for connection, key in ((None, "k"), ("conn_unknown", None)):
        answer = await vault.call("GET", f"{PATH}?limit=0", connection=connection, **({"key": key} if key else {}))
        assert (answer.status, "limit" in answer.json["error"]) == (401 if key else 400, False)


async def test_a_cursor_of_another_connection_is_refused(vault: RunningVault):
    mine, other = await vault.connect(), await vault.connect(CORAL)
    await vault.see(mine)
    cursor = (await vault.call("GET", f"{PATH}?limit=1", connection=mine)).json["nextCursor"]
    assert (await vault.call("GET", f"{PATH}?cursor={cursor}", connection=mine)).status == 200
    assert (await vault.call("GET", f"{PATH}?cursor={cursor}", connection=other)).status == 400


async def test_a_purge_takes_everything_of_one_connection(vault: RunningVault):
    mine, other = await vault.connect(), await vault.connect(CORAL)
    await vault.see(mine)
    await vault.see(other)
    known = (await vault.call("GET", "/v2/vault-plus/status", connection=mine)).json
    nothing = await vault.call("DELETE", PATH + "/", connection=mine)
    assert nothing.status == 404
    kept = await pages(vault, other)
    assert await pages(vault, mine)
    answer = await vault.call("DELETE", PATH, connection=mine)
    check_answer(answer, "delete", PATH)
    assert answer.json == {"success": True, "purgedCount": known["pendingCount"], "freedBytes": 0}
    assert await pages(vault, mine) == []
    assert await pages(vault, other) == kept
    again = await vault.call("DELETE", PATH, connection=mine)
    assert again.json == {"success": True, "purgedCount": 0, "freedBytes": 0}
