"""The older paths answer as the current ones do, with an id and a source on each variant, and say that they are old."""

import re
from typing import Any

import pytest
from starlette.routing import Route

from fakes.documents import check_answer
from fakes.vaults import CORAL, RunningVault
from mediavault.api.older import DEPRECATED_SINCE, RESERVED

OLD, NEW = "/v2/vault-plus", "/v2/vault-plus/media"


def successor(answer: Any) -> str:
    """The path that a deprecated answer names. Fails for one that does not say that it is deprecated."""
    assert answer.headers["Deprecation"] == f"@{DEPRECATED_SINCE}"
    found = re.fullmatch(r'<([^>]+)>; rel="successor-version"', answer.headers["Link"])
    assert found
    return found[1]


def current(item: Any) -> Any:
    """An older item without what the current one leaves out, and without its signed URLs' moment."""
    media = {
        label: {name: value for name, value in variant.items() if name not in {"id", "source", "derived"}}
        for label, variant in item["media"].items()
    }
    return item | {"media": media}


async def seen(vault: RunningVault, count: int = 1) -> tuple[str, list[str]]:
    """A connection, and that many photos seen, newest first."""
    connection = await vault.connect()
    ids = [str((await vault.add(connection, type="photo", size_bytes=2_000 + i))[0].id) for i in range(count)]
    return connection, ids[::-1]


async def test_an_item_is_the_current_one_with_ids_and_sources(vault: RunningVault):
    connection, (media_id,) = await seen(vault)
    older = await vault.call("GET", f"{OLD}/{media_id}", connection=connection)
    check_answer(older, "GET", OLD + "/{mediaId}")
    assert successor(older) == f"{NEW}/{media_id}"
    assert current(older.json) == await vault.item(connection, media_id)
    variant = older.json["media"]["full"]
    assert variant["source"] == "vault"
    assert re.fullmatch(r"var_[0-9a-f]{24}", variant["id"])


async def test_a_variants_id_stays_and_is_no_others(vault: RunningVault):
    connection, _ = await seen(vault)
    await vault.see(connection)
    pages = [(await vault.call("GET", f"{OLD}/list", connection=connection)).json["items"] for _ in range(2)]
    ids = [[variant["id"] for item in page for variant in item["media"].values()] for page in pages]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == len(ids[0]) > 5
    internal = [url.encode() for url in ids[0]]
    rows = await vault.vault.foundation.catalog.fetch_list(_all_variant_ids(), {})
    assert not [row for row in rows if any(row[0].encode() in told or told[4:] in row[0].encode() for told in internal)]


def _all_variant_ids() -> Any:
    from sqlalchemy import select

    from mediavault.catalog.tables import variants

    return select(variants.c.id)


async def test_the_source_is_the_first_one(vault: RunningVault):
    connection = await vault.connect()
    chat = await vault.see(connection, "/v2/access/posts?limit=10")
    shown = [media["id"] for post in chat["list"] for media in post.get("media", []) if media["files"]]
    assert shown
    await vault.see(connection)
    item = await vault.call("GET", f"{OLD}/{shown[0]}", connection=connection)
    assert {variant["source"] for variant in item.json["media"].values()} == {"posts"}


async def test_it_removes_one(vault: RunningVault):
    connection, (media_id,) = await seen(vault)
    removed = await vault.call("DELETE", f"{OLD}/{media_id}", connection=connection)
    check_answer(removed, "DELETE", OLD + "/{mediaId}")
    assert removed.json == {"success": True, "mediaId": media_id, "freedBytes": 0}
    assert successor(removed) == f"{NEW}/{media_id}"
    for path in (OLD, NEW):
        assert (await vault.call("GET", f"{path}/{media_id}", connection=connection)).status == 404
    assert (await vault.call("DELETE", f"{OLD}/{media_id}", connection=connection)).status == 404


async def test_a_batch_keeps_the_order(vault: RunningVault):
    connection, ids = await seen(vault, 3)
    wanted = {"mediaIds": [ids[1], "404", ids[0], ids[1]]}
    batch = await vault.call("POST", f"{OLD}/batch", connection=connection, json=wanted)
    check_answer(batch, "POST", OLD + "/batch")
    assert [item["id"] for item in batch.json["items"]] == [ids[1], ids[0]]
    assert successor(batch) == f"{NEW}/batch"
    empty = await vault.call("POST", f"{OLD}/batch", connection=connection, json={"mediaIds": []})
    assert empty.json == {"items": []}


async def test_a_list_is_paged(vault: RunningVault):
    connection, ids = await seen(vault, 5)
    walked, cursor = [], ""
    for _ in range(3):
        page = await vault.call("GET", f"{OLD}/list?limit=2.0{cursor}", connection=connection)
        check_answer(page, "GET", OLD + "/list")
        assert successor(page) == NEW
        walked += [item["id"] for item in page.json["items"]]
        cursor = f"&cursor={page.json.get('nextCursor')}"
    assert (walked, cursor) == (ids, "&cursor=None")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("source=vault", 1),
        ("source=posts", 0),
        ("status=edge_only", 1),
        ("status=stored", 0),
        ("contentType=image%2Fjpeg", 1),
        ("contentType=image", 0),
        ("type=video&sort=none&durationMin=-", 1),
    ],
)
async def test_a_list_is_filtered_by_its_own_parameters_alone(vault: RunningVault, query: str, found: int):
    connection, _ = await seen(vault)
    page = await vault.call("GET", f"{OLD}/list?{query}", connection=connection)
    assert (page.status, len(page.json["items"])) == (200, found)


@pytest.mark.parametrize("query", ["source=elsewhere", "status=gone", "limit=0", "limit=101", "cursor=AAAA", "limit="])
async def test_a_list_refuses_what_it_cannot_take(vault: RunningVault, query: str):
    connection, _ = await seen(vault)
    assert (await vault.call("GET", f"{OLD}/list?{query}", connection=connection)).status == 400


async def test_a_purge_is_of_one_connection(vault: RunningVault):
    connection, _ = await seen(vault, 2)
    other = await vault.connect(CORAL)
    kept = (await vault.see(other))["list"][0]["id"]
    purged = await vault.call("DELETE", f"{OLD}/purge", connection=connection)
    check_answer(purged, "DELETE", OLD + "/purge")
    assert purged.json == {"success": True, "purgedCount": 2, "freedBytes": 0}
    assert successor(purged) == NEW
    assert (await vault.call("GET", f"{OLD}/list", connection=connection)).json == {"items": []}
    assert (await vault.item(other, kept))["id"] == str(kept)


async def test_counts(vault: RunningVault):
    connection, _ = await seen(vault, 2)
    status = await vault.call("GET", f"{OLD}/store/status", connection=connection)
    check_answer(status, "GET", OLD + "/store/status")
    now = await vault.call("GET", f"{OLD}/status", connection=connection)
    assert status.json == now.json | {"totalMedia": 2}
    stats = await vault.call("GET", f"{OLD}/store/stats")
    assert stats.json == (await vault.call("GET", f"{OLD}/stats")).json
    assert (successor(status), successor(stats)) == (f"{OLD}/status", f"{OLD}/stats")


@pytest.mark.parametrize("path", ["/v2/vault-plus/store/list/", "/v2/vault/cache/list/"])
async def test_a_list_is_stored_in_the_background(vault: RunningVault, path: str):
    connection = await vault.connect()
    listed = (await vault.see(connection, "/v2/access/vault/lists"))["list"][0]["id"]
    queued = await vault.call("POST", f"{path}{listed}", connection=connection)
    check_answer(queued, "POST", path + "{listId}")
    assert (queued.json["queued"], queued.json["listId"]) == (True, str(listed))
    assert successor(queued) == f"{OLD}/lists/{listed}/add"
    missing = await vault.call("POST", f"{path}999999", connection=connection)
    assert missing.status == 404
    odd = await vault.call("POST", f"{path}a%20b", connection=connection)
    assert odd.status == 400


OPERATIONS = [("GET", "/1"), ("DELETE", "/1"), ("POST", "/batch"), ("GET", "/list"), ("DELETE", "/purge")]
OPERATIONS += [("GET", "/store/status"), ("POST", "/store/list/1")]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_the_key_is_asked_for_before_the_connection(vault: RunningVault, method: str, path: str):
    await seen(vault)
    nobody = await vault.call(method, OLD + path, key=None)
    assert (nobody.status, nobody.json["error"]) == (401, "Unauthorized")
    unnamed = await vault.call(method, OLD + path)
    assert (unnamed.status, unnamed.json["error"]) == (400, "x-connection-id header is required")
    unknown = await vault.call(method, OLD + path, connection="conn_" + "0" * 24)
    assert (unknown.status, unknown.json["error"]) == (400, "x-connection-id header is invalid")


async def test_errors_say_too_that_the_path_is_deprecated(vault: RunningVault):
    connection, _ = await seen(vault)
    nobody = await vault.call("GET", f"{OLD}/404", key=None)
    assert (nobody.status, successor(nobody)) == (401, f"{NEW}/404")
    missing = await vault.call("GET", f"{OLD}/404", connection=connection)
    assert (missing.status, successor(missing)) == (404, f"{NEW}/404")
    refused = await vault.call("POST", f"{OLD}/batch", connection=connection, json={"mediaIds": 1})
    assert (refused.status, successor(refused)) == (400, f"{NEW}/batch")
    odd = await vault.call("GET", f"{OLD}/a%0d%0ab%3e", connection=connection)
    assert (odd.status, successor(odd)) == (404, f"{NEW}/a%0D%0Ab%3E")
    for path in (f"{NEW}/404", "/v2/vault-plus/status"):
        assert "Deprecation" not in (await vault.call("GET", path, connection=connection)).headers


@pytest.mark.parametrize("path", [f"{OLD}/batch", f"{NEW}/batch"])
async def test_a_batch_takes_ids_as_integral_floats(vault: RunningVault, path: str):
    connection, (second, first) = await seen(vault, 2)
    for asked in (float(first), f"{first}.0", int(first), first):
        answer = await vault.call("POST", path, connection=connection, json={"mediaIds": [asked, second]})
        assert [item["id"] for item in answer.json["items"]] == [first, second], asked
    for wrong in (float(first) + 0.5, 1e300, f"{first}.5", f"{first}.", 1e20, True):
        answer = await vault.call("POST", path, connection=connection, json={"mediaIds": [wrong]})
        assert (answer.status, answer.json["type"]) == (400, "BAD_REQUEST"), wrong


@pytest.mark.parametrize("media_id", ["a b", "%2e%2e", "a" * 65, "é", "1%00"])
async def test_what_is_no_id_is_not_found(vault: RunningVault, media_id: str):
    connection, _ = await seen(vault)
    for method in ("GET", "DELETE"):
        assert (await vault.call(method, f"{OLD}/{media_id}", connection=connection)).status == 404


async def test_a_path_of_its_own_is_no_id(vault: RunningVault):
    """Nothing is removed by a wrong method on another path."""
    connection, (media_id,) = await seen(vault)
    for method, path in (("DELETE", "status"), ("DELETE", "list"), ("DELETE", "lists"), ("GET", "purge")):
        assert (await vault.call(method, f"{OLD}/{path}", connection=connection)).status == 405
    for path in ("", "/", "/media/", "/store", "/purge/"):
        assert (await vault.call("DELETE", OLD + path, connection=connection)).status in {404, 405}
    assert await vault.item(connection, media_id)


async def test_every_path_beside_the_older_ids_is_reserved(vault: RunningVault):
    routes: list[Route] = list(vault.vault.api._routes.routes)
    beside = {route.path.split("/")[3] for route in routes if route.path.startswith(OLD + "/")}
    assert beside - {"{media_id}"} <= RESERVED
