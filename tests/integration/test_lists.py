"""Lists through the API, with the sandbox as their upstream."""

import asyncio
from functools import partial

import pytest

from fakes.clocks import Clock
from fakes.vaults import AURORA, CORAL, RunningVault, running_vault, until
from mediavault.catalog import connections
from mediavault.domain.times import DAY
from mediavault.platform.faults import Fault
from mediavault.platform.library import MediaList
from mediavault.storer.sweeps import SweepConfig
from mediavault.vault.syncing import ListConfig

LISTS = "/v2/vault-plus/lists"


def folder(vault: RunningVault, *, items: int = 0, number: int = 90, creator=AURORA) -> MediaList:
    """A new list upstream with so many new photos."""
    shelf = vault.sandbox.library(creator.username)
    made = MediaList(creator.id * 100 + number, f"List {number}")
    made.media.extend(vault.sandbox.add_media(creator.username, type="photo", seed=n) for n in range(items))
    shelf.lists.append(made)
    return made


async def put(vault, connection, listed, verb="sync", **more):
    return await vault.call("PUT", f"{LISTS}/{listed.id}/{verb}", connection=connection, **more)


async def synced(vault, connection, listed, query=""):
    answer = await vault.call("PUT", f"{LISTS}/{listed.id}/sync{query}", connection=connection)
    assert answer.status == 200, answer.body
    return answer.json


def counts(answer):
    names = ("seen", "addedItems", "updatedItems", "removedItems", "unchangedItems", "adoptedItems")
    return tuple(answer[name] for name in names)


async def contents(vault, connection, listed):
    answer = await vault.call("GET", f"{LISTS}/{listed.id}/media", connection=connection)
    assert answer.status == 200, answer.body
    return answer.json["items"]


async def test_a_first_sync_caches_the_list_and_its_media_get_stored(vault):
    connection = await vault.connect()
    listed = folder(vault, items=3)
    answer = await synced(vault, connection, listed)
    assert answer["synced"] is True
    assert answer["listId"] == str(listed.id)
    assert counts(answer) == (3, 3, 0, 0, 0, 0)
    for item in listed.media:
        await vault.until_stored(connection, item.id)
    items = await contents(vault, connection, listed)
    assert {item["mediaId"] for item in items} == {str(item.id) for item in listed.media}
    assert all(item["status"] == "stored" and item["ofMediaId"] == item["mediaId"] for item in items)


async def test_a_second_sync_finds_everything_unchanged(vault):
    connection = await vault.connect()
    listed = folder(vault, items=3)
    await synced(vault, connection, listed)
    assert counts(await synced(vault, connection, listed)) == (3, 0, 0, 0, 3, 0)


async def test_media_that_left_the_list_are_purged_and_their_rows_leave_it(vault):
    connection = await vault.connect()
    listed = folder(vault, items=4)
    await synced(vault, connection, listed)
    gone = listed.media.pop()
    assert counts(await synced(vault, connection, listed)) == (3, 0, 0, 1, 3, 0)
    assert (await vault.call("GET", f"/v2/vault-plus/media/{gone.id}", connection=connection)).status == 404
    assert str(gone.id) not in {item["mediaId"] for item in await contents(vault, connection, listed)}
    assert counts(await synced(vault, connection, listed)) == (3, 0, 0, 0, 3, 0)


async def test_media_that_another_cached_list_has_stay_and_are_no_removal(vault):
    connection = await vault.connect()
    first, second = folder(vault, items=2), folder(vault, number=91)
    second.media.append(first.media[0])
    await synced(vault, connection, first)
    assert counts(await synced(vault, connection, second)) == (1, 0, 0, 0, 0, 1)
    shared = first.media.pop(0)
    assert counts(await synced(vault, connection, first)) == (1, 0, 0, 0, 1, 0)
    await vault.item(connection, shared.id)
    second.media.clear()
    assert counts(await synced(vault, connection, second)) == (0, 0, 0, 1, 0, 0)


async def test_the_first_sync_after_an_add_adopts_and_removes_nothing(vault):
    connection = await vault.connect()
    listed = folder(vault, items=3)
    answer = await put(vault, connection, listed, "add")
    assert answer.json == {
        "added": True,
        "listId": str(listed.id),
        "seen": 3,
        "addedItems": 3,
        "unchangedItems": 0,
        "notStorableItems": 0,
    }
    gone = listed.media.pop()
    assert counts(await synced(vault, connection, listed)) == (2, 0, 0, 0, 0, 2)
    await vault.item(connection, gone.id)


async def test_an_add_removes_nothing_and_hides_no_change_from_the_next_sync(vault):
    connection = await vault.connect()
    listed = folder(vault, items=2)
    await synced(vault, connection, listed)
    changed, gone = listed.media[0], listed.media.pop()
    vault.sandbox.change_media(changed.id, size_bytes=50_000)
    added = (await put(vault, connection, listed, "add")).json
    assert (added["addedItems"], added["unchangedItems"]) == (0, 1)
    await vault.item(connection, gone.id)
    assert counts(await synced(vault, connection, listed)) == (1, 0, 1, 1, 0, 0)


async def test_an_item_that_was_seen_before_is_adopted_and_stored(vault):
    connection = await vault.connect()
    listed = folder(vault, items=1)
    await vault.see(connection)
    assert counts(await synced(vault, connection, listed)) == (1, 0, 0, 0, 0, 1)
    await vault.until_stored(connection, listed.media[0].id)


async def test_a_changed_item_is_fetched_again_and_its_old_bytes_serve_until_the_new_are_stored(vault):
    connection = await vault.connect()
    listed = folder(vault, items=1)
    item = listed.media[0]
    await synced(vault, connection, listed)
    stored = await vault.until_stored(connection, item.id)
    before = await vault.ask("GET", stored["media"]["full"]["url"])
    fault = vault.sandbox.faults.add(Fault(path=item.renditions["full"].path, status=503))
    vault.sandbox.change_media(item.id, size_bytes=70_000)
    assert counts(await synced(vault, connection, listed)) == (1, 0, 1, 0, 0, 0)

    async def tried():
        return fault.hits

    await until(tried)
    meanwhile = await vault.item(connection, item.id)
    assert meanwhile["media"]["full"]["status"] in {"pending", "storing"}
    still = await vault.ask("GET", meanwhile["media"]["full"]["url"])
    assert (still.status, still.body, still.headers["ETag"]) == (200, before.body, before.headers["ETag"])
    vault.sandbox.faults.clear()
    renewed = await vault.until_stored(connection, item.id)
    after = await vault.ask("GET", renewed["media"]["full"]["url"])
    assert (len(after.body), after.headers["ETag"] != before.headers["ETag"]) == (70_000, True)
    assert counts(await synced(vault, connection, listed)) == (1, 0, 0, 0, 1, 0)


async def test_old_bytes_of_a_changed_item_that_cannot_be_fetched_any_more_are_kept_and_served(tmp_path):
    clock, never = Clock(), SweepConfig(every_seconds=10**6)
    async with running_vault(tmp_path / "data", now=clock, sweep=never) as vault:
        connection = await vault.connect()
        listed = folder(vault, items=1)
        item = listed.media[0]
        await synced(vault, connection, listed)
        stored = await vault.until_stored(connection, item.id)
        before = await vault.ask("GET", stored["media"]["full"]["url"])
        vault.sandbox.change_media(item.id, size_bytes=70_000)
        vault.sandbox.faults.add(Fault(path=item.renditions["full"].path, status=451))
        assert counts(await synced(vault, connection, listed)) == (1, 0, 1, 0, 0, 0)

        async def given_up():
            path = f"/v2/vault-plus/media/{item.id}/explain"
            full = (await vault.call("GET", path, connection=connection)).json["variants"]["full"]
            return full if full["next"]["code"] == "given_up" else None

        assert "older bytes are kept" in (await until(given_up))["next"]["text"]
        clock.forward(3 * DAY)
        await vault.vault.sweeps.sweep()
        url = (await vault.item(connection, item.id))["media"]["full"]["url"]
        still = await vault.ask("GET", url)
        assert (still.status, still.body, still.headers["ETag"]) == (200, before.body, before.headers["ETag"])

        vault.sandbox.faults.clear()
        assert (await vault.ask("POST", url)).status == 202
        renewed = await vault.until_stored(connection, item.id)
        assert renewed["media"]["full"]["sizeBytes"] == 70_000


async def test_of_a_changed_item_what_upstream_does_not_show_any_more_stays_stored(vault):
    """There is nothing to fetch it from: it may be the only copy."""
    connection = await vault.connect()
    listed = folder(vault)
    shelf = vault.sandbox.library(AURORA.username).vault
    item = next(each for each in shelf if each.type == "photo" and {"full", "preview"} <= set(each.renditions))
    listed.media.append(item)
    await synced(vault, connection, listed)
    stored = await vault.until_stored(connection, item.id)
    for label in stored["media"]:
        await vault.until_stored(connection, item.id, label)
    before = await vault.ask("GET", stored["media"]["preview"]["url"])
    vault.sandbox.change_media(item.id, size_bytes=70_000)
    del item.renditions["preview"]
    assert counts(await synced(vault, connection, listed)) == (1, 0, 1, 0, 0, 0)

    async def renewed():
        now = await vault.item(connection, item.id)
        return now if now["media"]["full"]["sizeBytes"] == 70_000 else None

    preview = (await until(renewed))["media"]["preview"]
    assert preview["status"] == "stored"
    still = await vault.ask("GET", preview["url"])
    assert (still.status, still.body, still.headers["ETag"]) == (200, before.body, before.headers["ETag"])
    assert counts(await synced(vault, connection, listed)) == (1, 0, 0, 0, 1, 0)


async def test_a_url_that_is_signed_anew_is_no_change(vault):
    connection = await vault.connect()
    listed = folder(vault, items=2)
    await synced(vault, connection, listed)
    vault.sandbox.expire_urls()
    assert counts(await synced(vault, connection, listed))[2] == 0


async def test_an_item_that_a_person_deleted_is_added_again(vault):
    connection = await vault.connect()
    listed = folder(vault, items=1)
    await synced(vault, connection, listed)
    await vault.call("DELETE", f"/v2/vault-plus/media/{listed.media[0].id}", connection=connection)
    (shown,) = await contents(vault, connection, listed)
    assert (shown["status"], shown["media"]) == ("removed", {})
    assert counts(await synced(vault, connection, listed)) == (1, 1, 0, 0, 0, 0)
    await vault.until_stored(connection, listed.media[0].id)


@pytest.mark.parametrize("number", [3])
async def test_protected_media_without_a_full_url_are_cached_in_what_they_show(vault, number):
    connection = await vault.connect()
    listed = vault.sandbox.library(AURORA.username).lists[number - 1]
    answer = await synced(vault, connection, listed)
    assert answer["seen"] == len(listed.media) == answer["addedItems"] + answer["notStorableItems"]


class TestPartialReads:
    """Nothing is removed unless the list was read whole."""

    @pytest.mark.parametrize(
        "fault",
        [
            {"status": 503},
            {"status": 404},
            {"status": 429, "retry_after": 7},
            {"truncate_at": 20},
            {"body": '{"list":[],"hasMore":true}', "content_type": "application/json", "status": 200},
            {"body": '{"list":[]}', "content_type": "application/json", "status": 200},
            {"body": "<html>", "status": 200},
        ],
    )
    async def test_a_failure_changes_nothing(self, vault, fault):
        connection = await vault.connect()
        listed = folder(vault, items=3)
        await synced(vault, connection, listed)
        listed.media.pop()
        before = await contents(vault, connection, listed)
        vault.sandbox.faults.add(Fault(path=f"/vault/lists/{listed.id}/media", **fault))
        answer = await put(vault, connection, listed)
        assert answer.status in {404, 429, 502}
        assert [item["lastSyncedAt"] for item in await contents(vault, connection, listed)] == [
            item["lastSyncedAt"] for item in before
        ]
        vault.sandbox.faults.clear()
        assert counts(await synced(vault, connection, listed)) == (2, 0, 0, 1, 2, 0)


class TestBrake:
    """A list that shrinks suddenly is not believed at once."""

    async def test_it_says_what_it_would_do_and_does_it_when_confirmed(self, vault):
        connection = await vault.connect()
        listed = folder(vault, items=8)
        await synced(vault, connection, listed)
        del listed.media[3:]
        answer = await put(vault, connection, listed)
        assert (answer.status, answer.json["code"]) == (409, "CONFLICT")
        assert answer.json["details"] == {
            "listId": str(listed.id),
            "seen": 3,
            "baselineItems": 8,
            "wouldRemoveItems": 5,
            "wouldAddItems": 0,
            "wouldUpdateItems": 0,
        }
        assert len(await contents(vault, connection, listed)) == 8
        assert counts(await synced(vault, connection, listed, "?confirm=true")) == (3, 0, 0, 5, 3, 0)

    async def test_an_empty_list_of_few_is_believed(self, vault):
        connection = await vault.connect()
        listed = folder(vault, items=4)
        await synced(vault, connection, listed)
        listed.media.clear()
        assert counts(await synced(vault, connection, listed)) == (0, 0, 0, 4, 0, 0)


async def test_two_syncs_at_once_are_one(vault):
    connection = await vault.connect()
    listed = folder(vault, items=3)
    vault.sandbox.faults.add(Fault(path=f"/vault/lists/{listed.id}/media", latency_ms=200))
    first, second = await asyncio.gather(synced(vault, connection, listed), synced(vault, connection, listed))
    assert first == second
    assert len(vault.sandbox.log.records(f"/v2/access/vault/lists/{listed.id}/media")) == 1


async def test_a_caller_who_hangs_up_stops_nothing(vault):
    connection = await vault.connect()
    listed = folder(vault, items=2)
    fault = vault.sandbox.faults.add(Fault(path=f"/vault/lists/{listed.id}/media", latency_ms=300))
    asking = asyncio.create_task(put(vault, connection, listed))

    async def arrived():
        return fault.hits

    await until(arrived)
    asking.cancel()
    for item in listed.media:
        await until(partial(_found, vault, connection, item.id))


async def _found(vault, connection, media_id):
    return (await vault.call("GET", f"/v2/vault-plus/media/{media_id}", connection=connection)).status == 200


async def test_a_refused_session_is_401_and_the_connection_expires(vault):
    connection = await vault.connect()
    listed = folder(vault, items=1)
    vault.sandbox.expire_session(AURORA.username)
    answer = await put(vault, connection, listed)
    assert (answer.status, answer.json["code"]) == (401, "SESSION_EXPIRED")
    (told,) = (await vault.call("GET", "/v2/account/connections")).json["list"]
    assert told["status"] == "expired"


@pytest.mark.parametrize("verb", ["add", "sync"])
async def test_a_list_that_the_upstream_has_not_is_404_and_is_not_cached(vault, verb):
    connection = await vault.connect()
    answer = await vault.call("PUT", f"{LISTS}/999/{verb}", connection=connection)
    assert (answer.status, answer.json["error"]) == (404, "List not found")
    assert (await vault.call("GET", LISTS, connection=connection)).json == {"list": [], "hasMore": False}


@pytest.mark.parametrize("list_id", ["a.b", "~", "x" * 65, "a%20b", "%C3%A4", "a?limit"])
async def test_an_id_that_could_be_no_lists_never_reaches_the_upstream(vault, list_id):
    connection = await vault.connect()
    asked = len(vault.sandbox.log.records())
    for method, verb in [("GET", "media"), ("PUT", "add"), ("PUT", "sync")]:
        answer = await vault.call(method, f"{LISTS}/{list_id}/{verb}", connection=connection)
        assert answer.status in {400, 404, 405}
    assert len(vault.sandbox.log.records()) == asked


async def test_an_integral_float_is_the_list_of_that_number(vault):
    connection = await vault.connect()
    listed = folder(vault, items=1)
    answer = await vault.call("PUT", f"{LISTS}/{listed.id}.0/sync", connection=connection)
    assert (answer.status, answer.json["listId"]) == (200, str(listed.id))


async def test_lists_are_told_with_counts_names_and_times(vault):
    connection = await vault.connect()
    listed = folder(vault, items=2)
    await synced(vault, connection, listed)
    await vault.call("DELETE", f"/v2/vault-plus/media/{listed.media[0].id}", connection=connection)
    (told,) = (await vault.call("GET", LISTS, connection=connection)).json["list"]
    assert (told["id"], told["name"], told["type"]) == (str(listed.id), "List 90", "custom")
    assert (told["itemCount"], told["cachedCount"], told["baselineCount"]) == (2, 1, 2)
    assert told["lastSyncedAt"].endswith("Z")
    assert told["lastAddedAt"] is None


async def test_a_lists_media_come_in_pages_each_once(vault):
    connection = await vault.connect()
    listed = folder(vault, items=5)
    await synced(vault, connection, listed)
    seen, cursor = [], ""
    while True:
        answer = await vault.call("GET", f"{LISTS}/{listed.id}/media?limit=2{cursor}", connection=connection)
        seen += [item["mediaId"] for item in answer.json["items"]]
        if "nextCursor" not in answer.json:
            break
        cursor = f"&cursor={answer.json['nextCursor']}"
    assert sorted(seen) == sorted(str(item.id) for item in listed.media)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=", "cursor=zz", "cursor=" + "G" * 32])
async def test_odd_pages_are_400(vault, query):
    connection = await vault.connect()
    answer = await vault.call("GET", f"{LISTS}/1/media?{query}", connection=connection)
    assert answer.status == 400


async def test_another_connections_lists_are_not_told(vault):
    mine, theirs = await vault.connect(), await vault.connect(CORAL)
    listed = folder(vault, items=1)
    await synced(vault, mine, listed)
    assert (await vault.call("GET", LISTS, connection=theirs)).json["list"] == []
    assert (await vault.call("GET", f"{LISTS}/{listed.id}/media", connection=theirs)).status == 404


async def test_a_list_of_many_pages_is_read_whole_and_done_in_parts(tmp_path):
    async with running_vault(tmp_path / "data", lists=ListConfig(media_a_transaction=50)) as vault:
        connection = await vault.connect()
        listed = folder(vault, items=230)
        assert counts(await synced(vault, connection, listed)) == (230, 230, 0, 0, 0, 0)
        del listed.media[:60]
        assert counts(await synced(vault, connection, listed)) == (170, 0, 0, 60, 170, 0)


async def test_a_list_larger_than_the_bound_is_refused(tmp_path):
    async with running_vault(tmp_path / "data", lists=ListConfig(most_media=5)) as vault:
        connection = await vault.connect()
        assert (await put(vault, connection, folder(vault, items=6))).status == 502


async def test_with_vault_plus_off_nothing_is_synced(vault):
    connection = await vault.connect()
    listed = folder(vault, items=1)
    row = await _row(vault, connection)
    await vault.vault.foundation.catalog.run(
        connections.configure, row.org_id, row.id, enabled=False, overrides=None, now=vault.vault.now()
    )
    assert (await put(vault, connection, listed)).status == 409
    assert (await put(vault, connection, listed, "add")).status == 409


async def _row(vault, connection):
    """The connection as the vault's verbs take it."""
    org_id = (await vault.call("GET", "/v2/account/whoami")).json["id"]
    row = await connections.find_connection(vault.vault.foundation.catalog, org_id, connection)
    assert row is not None
    return row


async def test_a_started_add_answers_with_an_estimate_and_goes_on(vault):
    connection = await vault.connect()
    listed = folder(vault, items=2)
    row = await _row(vault, connection)
    started = await vault.vault.syncing.start_add(row, str(listed.id))
    assert (started.queued, started.estimated_items) == (True, 2)
    for item in listed.media:
        await until(partial(_found, vault, connection, item.id))
        await vault.until_stored(connection, item.id)
