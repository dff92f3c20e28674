"""`GET /v2/vault-plus/media/{mediaId}`: every answer it gives, held against the API document and the seed."""

import asyncio
from typing import Any

import pytest

from fakes.documents import check_answer
from fakes.raw_http import raw
from fakes.vaults import AURORA, CORAL, KEY, RunningVault, running_vault, until
from mediavault.catalog import organisations
from mediavault.errors import NotPermitted
from mediavault.platform.faults import Fault
from mediavault.vault.authorising import Authorising, Scope

PATH = "/v2/vault-plus/media/{mediaId}"
NOBODY = "conn_" + "0" * 24


async def ask(vault: RunningVault, media_id, **how):
    answer = await vault.call(how.pop("method", "GET"), f"/v2/vault-plus/media/{media_id}", **how)
    check_answer(answer, "GET", PATH)
    return answer


async def second_organisation(vault: RunningVault, scopes=tuple(Scope)) -> str:
    authorising = vault.vault.foundation.authorising
    await authorising.create_organisation("other")
    return str((await authorising.create_key("other", scopes)).secret)


@pytest.mark.parametrize(
    ("kind", "shown", "content_type"),
    [
        ("photo", "image", "image/jpeg"),
        ("video", "video", "video/mp4"),
        ("gif", "video", "video/mp4"),
        ("audio", "audio", "audio/mp4"),
    ],
)
async def test_an_item_on_its_way_from_seen_to_stored(vault: RunningVault, kind, shown, content_type):
    connection = await vault.connect()
    added, _ = await vault.add(connection, type=kind, size_bytes=30_000)
    gate = vault.sandbox.faults.add(Fault(path="/cdn/", stall_at=20_000))
    seen = (await ask(vault, added.id, connection=connection)).json
    assert (seen["id"], seen["type"], seen["duration"]) == (str(added.id), shown, None if kind == "photo" else 1)
    variant = seen["media"]["full"]
    assert (variant["status"], variant["sizeBytes"], variant["storedAt"]) == ("edge_only", 0, None)
    assert (variant["accessCount"], variant["contentType"]) == (0, content_type)
    assert variant["lastAccessedAt"] == variant["createdAt"]

    viewing = asyncio.create_task(vault.ask("GET", variant["url"]))

    async def under_way():
        item = (await ask(vault, added.id, connection=connection)).json
        return item if item["media"]["full"]["status"] in {"pending", "storing"} else None

    waiting = (await until(under_way))["media"]["full"]
    assert (waiting["storedAt"], waiting["sizeBytes"]) == (None, 0)
    gate.clear()
    assert len((await viewing).body) == 30_000
    await vault.until_stored(connection, added.id)
    stored = (await ask(vault, added.id, connection=connection)).json
    assert (stored["type"], stored["media"]["full"]["contentType"]) == (shown, content_type)
    kept = stored["media"]["full"]
    assert (kept["sizeBytes"], kept["accessCount"]) == (30_000, 1)
    assert kept["createdAt"] <= kept["lastAccessedAt"] <= kept["storedAt"] < kept["expiresAt"]
    assert await vault.call("DELETE", f"/v2/vault-plus/media/{added.id}", connection=connection)
    assert (await ask(vault, added.id, connection=connection)).status == 404


async def test_every_variant_of_a_real_item_has_its_label(vault: RunningVault):
    connection = await vault.connect()
    seen = await vault.see(connection)
    for shown in seen["list"]:
        answer = await ask(vault, shown["id"], connection=connection)
        assert answer.status == 200
        for label, variant in answer.json["media"].items():
            assert variant["quality"] == label
    video = next(shown for shown in seen["list"] if shown["type"] == "video" and shown["files"]["full"]["url"])
    item = (await ask(vault, video["id"], connection=connection)).json
    assert {"full", "thumb", "preview", "squarePreview", "240", "720"} <= set(item["media"])
    assert item["media"]["thumb"]["contentType"] == "image/jpeg"


async def test_without_a_usable_key_it_is_401_before_anything_else(vault: RunningVault):
    connection = await vault.connect()
    item, _ = await vault.add(connection)
    authorising = vault.vault.foundation.authorising
    access_only = (await authorising.create_key("default", ["ACCESS"])).secret
    revoked = await authorising.create_key("default", ["ACCOUNT"])
    assert (await ask(vault, item.id, key=revoked.secret, connection=connection)).status == 200
    await authorising.revoke_key(revoked.id)
    for key in (None, "", "x", KEY[:-1], KEY + "x", access_only, revoked.secret, "x" * 5000, "clé"):
        for asked in (connection, None, NOBODY):
            answer = await ask(vault, item.id, key=key, connection=asked)
            assert (answer.status, answer.json["error"], answer.json["type"]) == (401, "Unauthorized", "UNAUTHORIZED")


async def test_a_missing_or_empty_connection_is_400(vault: RunningVault):
    for connection in (None, ""):
        answer = await ask(vault, "1", connection=connection)
        assert (answer.status, answer.json["error"]) == (400, "x-connection-id header is required")


async def test_anothers_connection_answers_like_one_that_does_not_exist(vault: RunningVault):
    theirs = await vault.connect()
    item, _ = await vault.add(theirs)
    key = await second_organisation(vault)
    answers = []
    for connection in (theirs, NOBODY, "conn_x", "' OR 1=1 --", "x" * 3000):
        answer = await ask(vault, item.id, key=key, connection=connection)
        assert answer.status == 400
        answers.append((answer.body.replace(answer.headers["X-Request-Id"].encode(), b"ID"), _stable(answer)))
    assert answers == answers[:1] * len(answers)


def _stable(answer: Any) -> list[tuple[str, str]]:
    return sorted(
        (name, value) for name, value in answer.headers.items() if name.lower() not in {"date", "x-request-id"}
    )


@pytest.mark.parametrize(
    "media_id",
    [
        "4492994399",
        "0",
        "x" * 64,
        "x" * 65,
        "%31",
        "a%00b",
        "%C3%A9",
        "%FF",
        "%0A",
        "a.b",
        "*",
        "..",
        "-1",
        "1.5",
    ],
)
async def test_an_item_that_is_not_there_is_404(vault: RunningVault, media_id):
    connection = await vault.connect()
    answer = await raw(vault.api_url, "GET", f"/v2/vault-plus/media/{media_id}", _headers(connection))
    assert answer is not None
    assert (answer.status, answer.json["error"]) == (404, "Media not found")


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_batch_is_no_id_but_a_path_of_its_own(vault: RunningVault, method):
    connection = await vault.connect()
    answer = await raw(vault.api_url, method, "/v2/vault-plus/media/batch", _headers(connection))
    assert answer is not None
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_a_percent_encoded_or_float_id_is_the_id(vault: RunningVault):
    connection = await vault.connect()
    item, _ = await vault.add(connection)
    encoded = "".join(f"%{ord(digit):02x}" for digit in str(item.id))
    for spelled in (encoded, f"{item.id}.0", f"{item.id}.000"):
        answer = await raw(vault.api_url, "GET", f"/v2/vault-plus/media/{spelled}", _headers(connection))
        assert answer is not None
        assert (answer.status, answer.json["id"]) == (200, str(item.id))


async def test_another_connections_item_is_404(vault: RunningVault):
    aurora, coral = await vault.connect(AURORA), await vault.connect(CORAL)
    item, _ = await vault.add(aurora)
    assert (await ask(vault, item.id, connection=coral)).status == 404


async def test_head_answers_like_get_without_the_body(vault: RunningVault):
    connection = await vault.connect()
    item, _ = await vault.add(connection)
    for media_id, given, status in ((item.id, connection, 200), ("1", connection, 404), ("1", NOBODY, 400)):
        got = await raw(vault.api_url, "GET", f"/v2/vault-plus/media/{media_id}", _headers(given))
        headed = await raw(vault.api_url, "HEAD", f"/v2/vault-plus/media/{media_id}", _headers(given))
        assert got is not None
        assert headed is not None
        assert (headed.status, headed.body) == (got.status, b"") == (status, b"")
        assert set(headed.headers) == set(got.headers)
        for name in ("content-length", "content-type", "cache-control"):
            assert headed.headers[name] == got.headers[name]


def _headers(connection: str) -> list[tuple[bytes, bytes]]:
    return [(b"apiKey", KEY.encode()), (b"x-connection-id", connection.encode())]


async def test_the_same_answers_on_both_engines(tmp_path, database_url):
    async with running_vault(tmp_path / "data", database_url=database_url) as vault:
        connection = await vault.connect()
        item, _ = await vault.add(connection, type="video")
        assert (await ask(vault, item.id, connection=connection)).json["type"] == "video"
        for odd in ("a%00b", "%ED%A0%80", "x" * 65, "9" * 64):
            assert (await ask(vault, odd, connection=connection)).status == 404
        assert (await ask(vault, item.id, connection=NOBODY)).status == 400
        for path in ("%00", "conn_x", NOBODY, "%F0%9F%98%80"):
            answer = await vault.call("POST", f"/v2/account/connections/{path}/invalidate")
            assert (answer.status, answer.json["error"]) == (404, "Connection not found")


async def test_a_revoked_key_is_refused_within_a_second_by_a_process_that_saw_it_alive(vault: RunningVault):
    """Another process revokes in the catalog; this one has the key in memory."""
    catalog, now = vault.vault.foundation.catalog, [1_000_000]
    authorising = Authorising(catalog, lambda: now[0])
    key = await authorising.create_key("default", ["ACCOUNT"])
    await authorising.principal(key.secret, Scope.ACCOUNT)
    await catalog.run(organisations.revoke_key, key.id, now[0])
    now[0] += 999
    await authorising.principal(key.secret, Scope.ACCOUNT)
    now[0] += 1
    with pytest.raises(NotPermitted):
        await authorising.principal(key.secret, Scope.ACCOUNT)


async def test_a_clock_that_was_put_back_keeps_no_revoked_key_alive(vault: RunningVault):
    catalog, now = vault.vault.foundation.catalog, [10_000_000]
    authorising = Authorising(catalog, lambda: now[0])
    key = await authorising.create_key("default", ["ACCOUNT"])
    await authorising.principal(key.secret, Scope.ACCOUNT)
    await catalog.run(organisations.revoke_key, key.id, now[0])
    now[0] -= 3_600_000
    with pytest.raises(NotPermitted):
        await authorising.principal(key.secret, Scope.ACCOUNT)
