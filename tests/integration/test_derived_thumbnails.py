"""Derived thumbnails through a running vault: from a setting to bytes, and from hostile media to a reason."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from fakes.catalog_rows import broken_invariants, row, rows
from fakes.vaults import AURORA, RunningVault, running_vault, until
from mediavault.platform.contents import Held
from mediavault.platform.library import Rendition
from mediavault.thumbnails.making import ThumbnailConfig


def picture(colour: str = "red", size: tuple[int, int] = (900, 600)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG")
    return out.getvalue()


async def choose(vault: RunningVault, **settings) -> None:
    """Change the organisation's defaults."""
    body = {"vaultPlus": {"defaultSettings": settings}}
    assert (await vault.call("PATCH", "/v2/account/settings", json=body)).status == 200


async def add_stored(vault: RunningVault, connection: str, **media) -> str:
    """A new item whose `full` is stored; its id."""
    added, item = await vault.add(connection, **media)
    await vault.ask("GET", item["media"]["full"]["url"])
    await vault.until_stored(connection, added.id)
    return str(added.id)


async def until_thumb(vault: RunningVault, connection: str, media_id: str, status: str = "stored"):
    async def reached():
        item = await vault.item(connection, media_id)
        return item if item["media"].get("thumb", {}).get("status") == status else None

    return await until(reached)


async def explained(vault: RunningVault, connection: str, media_id: str):
    answer = await vault.call("GET", f"/v2/vault-plus/media/{media_id}/explain", connection=connection)
    assert answer.status == 200
    return answer.json


async def until_explained(vault: RunningVault, connection: str, media_id: str, code: str):
    async def reached():
        told = await explained(vault, connection, media_id)
        return told if told["thumbnail"]["code"] == code else None

    return await until(reached)


async def test_a_stored_photo_gets_a_thumbnail_that_viewers_can_have(vault):
    connection = await vault.connect()
    await choose(vault, deriveThumbnails=True)
    media_id = await add_stored(vault, connection, type="photo", content=picture())
    item = await until_thumb(vault, connection, media_id)
    answer = await vault.ask("GET", item["media"]["thumb"]["url"])
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(answer.body)).size == (480, 320)
    part = await vault.ask("GET", item["media"]["thumb"]["url"], range="bytes=2-9")
    assert (part.status, part.body) == (206, answer.body[2:10])
    assert set(item["media"]["thumb"]) == set(item["media"]["full"])
    older = await vault.call("GET", f"/v2/vault-plus/{media_id}", connection=connection)
    assert {label: each["derived"] for label, each in older.json["media"].items()} == {"full": False, "thumb": True}
    told = await explained(vault, connection, media_id)
    assert (told["thumbnail"]["code"], told["variants"]["thumb"]["derivedFrom"]) == ("made", "full")
    assert await broken_invariants(vault.vault.foundation.catalog) == []


async def test_off_is_the_default_and_a_connection_may_differ(vault):
    connection = await vault.connect()
    media_id = await add_stored(vault, connection, type="photo", content=picture())
    told = await explained(vault, connection, media_id)
    assert told["thumbnail"]["code"] == "not_wanted"
    assert "thumb" not in (await vault.item(connection, media_id))["media"]
    body = {"vaultPlus": {"settings": {"deriveThumbnails": True}}}
    path = f"/v2/account/connections/{connection}/settings"
    assert (await vault.call("PATCH", path, json=body)).status == 200
    assert await vault.vault.lacking.look() == 1  # what was stored before the change of policy
    await until_thumb(vault, connection, media_id)
    assert await vault.vault.lacking.look() == 0


async def test_what_upstream_shows_is_left_alone(vault):
    connection = await vault.connect()
    await choose(vault, deriveThumbnails=True)
    await vault.see(connection)
    catalog = vault.vault.foundation.catalog
    with_thumb = next(each for each in await rows(catalog, "variants") if each["label"] == "thumb")
    media = await row(catalog, "media", id=with_thumb["media_pk"])
    item = await vault.item(connection, media["media_id"])
    label = next(label for label in item["media"] if label != "thumb")
    await vault.ask("GET", item["media"][label]["url"])
    await vault.until_stored(connection, media["media_id"], label)
    told = await explained(vault, connection, media["media_id"])
    assert told["thumbnail"]["code"] == "upstream"
    assert await rows(catalog, "variants", origin_key="") == []


async def test_a_thumb_that_upstream_shows_later_takes_the_place(vault):
    connection = await vault.connect()
    await choose(vault, deriveThumbnails=True)
    added, item = await vault.add(connection, type="photo", content=picture())
    await vault.ask("GET", item["media"]["full"]["url"])
    media_id = str(added.id)
    await until_thumb(vault, connection, media_id)
    theirs = picture("blue", (100, 100))
    added.renditions["thumb"] = Rendition(
        f"{AURORA.username}/{media_id}/thumb.jpg", Held(theirs, "image/jpeg"), 100, 100
    )
    vault.sandbox._offer(added)
    await vault.see(connection, "/v2/access/vault/media?limit=1")

    async def replaced():
        thumb = (await vault.item(connection, media_id))["media"]["thumb"]
        return thumb if thumb["status"] == "stored" and thumb["sizeBytes"] == len(theirs) else None

    thumb = await until(replaced)
    assert (await vault.ask("GET", thumb["url"])).body == theirs
    told = await explained(vault, connection, media_id)
    assert (told["thumbnail"]["code"], told["variants"]["thumb"]["derivedFrom"]) == ("upstream", None)
    assert await broken_invariants(vault.vault.foundation.catalog) == []


async def test_hostile_media_are_stored_and_their_thumbnail_is_refused_once_with_a_reason(vault):
    connection = await vault.connect()
    await choose(vault, deriveThumbnails=True)
    media_id = await add_stored(vault, connection, type="photo", content=picture()[:400])
    told = await until_explained(vault, connection, media_id, "failed")
    assert "no thumbnail can be made of it" in told["thumbnail"]["text"]
    assert told["variants"]["thumb"]["attempts"] == 1
    assert list((await vault.item(connection, media_id))["media"]) == ["full"]
    assert await vault.vault.lacking.look() == 0
    assert await broken_invariants(vault.vault.foundation.catalog) == []


async def test_a_process_that_is_killed_is_tried_a_few_times_and_no_more(tmp_path):
    slow = ThumbnailConfig(wall_seconds=0.01)
    async with running_vault(tmp_path / "data", thumbnails=slow) as vault:
        connection = await vault.connect()
        await choose(vault, deriveThumbnails=True)
        media_id = await add_stored(vault, connection, type="photo", content=picture())
        told = await until_explained(vault, connection, media_id, "failed")
        assert "was killed" in told["thumbnail"]["text"]
        assert told["variants"]["thumb"]["attempts"] == 3


async def test_an_item_is_removed_and_restored_with_its_thumbnail(vault):
    connection = await vault.connect()
    await choose(vault, deriveThumbnails=True)
    media_id = await add_stored(vault, connection, type="photo", content=picture())
    url = (await until_thumb(vault, connection, media_id))["media"]["thumb"]["url"]
    totals = (await vault.call("GET", "/v2/vault-plus/status", connection=connection)).json
    path = f"/v2/vault-plus/media/{media_id}"
    removed = (await vault.call("DELETE", path, connection=connection)).json
    assert removed["freedBytes"] == totals["totalSizeBytes"]
    assert (await vault.ask("GET", url)).status == 404
    assert (await vault.call("POST", path + "/restore", connection=connection)).status == 200
    assert (await vault.ask("GET", url)).status == 200
    assert await broken_invariants(vault.vault.foundation.catalog) == []


async def test_a_thumbnail_that_is_not_made_yet_is_pending_and_asks_nobody(tmp_path):
    async with running_vault(tmp_path / "data", thumbnails=ffmpeg(tmp_path, "exec /bin/sleep 600")) as vault:
        connection = await vault.connect()
        await choose(vault, deriveThumbnails=True)
        media_id = await add_stored(vault, connection, type="video")
        item = await until_thumb(vault, connection, media_id, "storing")
        answer = await vault.ask("GET", item["media"]["thumb"]["url"])
        assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "THUMBNAIL_PENDING", "5")
        posted = await vault.ask("POST", item["media"]["thumb"]["url"])
        assert (posted.status, posted.json["queued"]) == (202, False)


def ffmpeg(folder: Path, does: str) -> ThumbnailConfig:
    """A stand-in for the decoder of videos, which does that."""
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)  # where the vault is root, its decoder is nobody
    return ThumbnailConfig(ffmpeg=str(program))


async def test_a_frame_of_a_video_becomes_its_thumbnail(tmp_path):
    out = io.BytesIO()
    Image.new("RGB", (426, 240), "green").save(out, "PNG")
    (tmp_path / "frame").write_bytes(out.getvalue())
    config = ffmpeg(tmp_path, f"exec /bin/cat {tmp_path / 'frame'}")
    async with running_vault(tmp_path / "data", thumbnails=config) as vault:
        connection = await vault.connect()
        await choose(vault, deriveThumbnails=True)
        media_id = await add_stored(vault, connection, type="video")
        item = await until_thumb(vault, connection, media_id)
        answer = await vault.ask("GET", item["media"]["thumb"]["url"])
        assert Image.open(io.BytesIO(answer.body)).size == (426, 240)
        assert item["type"] == "video"


@pytest.mark.parametrize("does", ["exit 1", "echo nonsense", "exec /bin/cat /dev/zero", "kill -SEGV $$"])
async def test_a_decoder_that_fails_costs_the_thumbnail_and_nothing_else(tmp_path, does):
    async with running_vault(tmp_path / "data", thumbnails=ffmpeg(tmp_path, does)) as vault:
        connection = await vault.connect()
        await choose(vault, deriveThumbnails=True)
        media_id = await add_stored(vault, connection, type="video")
        told = await until_explained(vault, connection, media_id, "failed")
        assert told["variants"]["full"]["status"] == "stored"
        assert told["variants"]["thumb"]["attempts"] <= 3


async def test_a_machine_without_ffmpeg_says_so_and_makes_nothing_of_videos(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    async with running_vault(tmp_path / "data") as vault:
        connection = await vault.connect()
        await choose(vault, deriveThumbnails=True)
        media_id = await add_stored(vault, connection, type="video")
        told = await explained(vault, connection, media_id)
        assert told["thumbnail"]["code"] == "lacking"
        assert "ffmpeg is not installed" in told["thumbnail"]["text"]
        assert list((await vault.item(connection, media_id))["media"]) == ["full"]


async def test_events_tell_which_variant_is_derived(vault):
    connection = await vault.connect()
    await choose(vault, deriveThumbnails=True)
    media_id = await add_stored(vault, connection, type="photo", content=picture())
    await until_thumb(vault, connection, media_id)
    told = [json.loads(each["data"]) for each in await rows(vault.vault.foundation.catalog, "outbox")]
    derived = {each["quality"] for each in told if each.get("mediaId") == media_id and each.get("derived")}
    assert derived == {"thumb"}
