"""Stored bytes that are found damaged: never served, fetched again, reported; whoever finds them."""

import asyncio
import hashlib
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fakes.catalog_rows import broken_invariants, row, rows
from fakes.vaults import running_vault
from mediavault.platform.faults import Fault
from mediavault.storer.scrub import Scrub, ScrubConfig


def blob_path(vault, blob):
    return vault.vault.config.blobs / blob["org_id"] / blob["id"][-2:] / blob["id"]


async def stored(vault, connection=None, **media):
    """A stored item: `(the sandbox's, the vault's, its blob's row, its path)`."""
    connection = connection or await vault.connect()
    before = {blob["id"] for blob in await rows(vault.vault.foundation.catalog, "blobs")}
    added, item = await vault.add(connection, **{"size_bytes": 300_000} | media)
    assert (await vault.ask("POST", item["media"]["full"]["url"])).status == 202
    item = await vault.until_stored(connection, added.id)
    (blob,) = [each for each in await rows(vault.vault.foundation.catalog, "blobs") if each["id"] not in before]
    vault.vault.media.edge.drop(blob["variant_id"])  # what is served from here on is served from the blob
    return added, item, blob, blob_path(vault, blob)


def scrub_of(vault, **config) -> Scrub:
    """A scrub of the test's own, as quick as it goes; the vault's has just ended its first round."""
    given = ScrubConfig(**{"bytes_per_second": 1 << 50, "round_every_ms": 0} | config)
    media = vault.vault.media
    return Scrub(media.catalog, media.blobs, media.damaging, vault.vault.now, given)


def digest(media):
    return media.renditions["full"].content.sha256()


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        byte = file.read(1)
        file.seek(0)
        file.write(bytes([byte[0] ^ 1]))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def symlink(path: Path) -> None:
    real = path.with_name("elsewhere")
    path.rename(real)
    path.symlink_to(real)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


SEEN_BY_READERS = {
    "missing": Path.unlink,
    "shorter": truncate,
    "longer": lengthen,
    "a link": symlink,
    "a folder": directory,
}


@pytest.mark.parametrize("spoil", SEEN_BY_READERS.values(), ids=SEEN_BY_READERS)
async def test_a_viewer_of_a_damaged_blob_is_given_the_media_from_the_origin_and_it_is_stored_again(vault, spoil):
    media, item, blob, path = await stored(vault)
    connection = next(iter(vault.connections.values()))
    spoil(path)
    with capture_logs() as logs:
        answer = await vault.ask("GET", item["media"]["full"]["url"])
    assert (answer.status, hashlib.sha256(answer.body).hexdigest()) == (200, digest(media))
    assert [log["blob_id"] for log in logs if log["event"] == "blob_damaged"] == [blob["id"]]
    again = await vault.until_stored(connection, media.id)
    catalog = vault.vault.foundation.catalog
    (new,) = await rows(catalog, "blobs")
    assert new["id"] != blob["id"]
    assert hashlib.sha256(blob_path(vault, new).read_bytes()).hexdigest() == digest(media)
    answer = await vault.ask("GET", again["media"]["full"]["url"])
    assert hashlib.sha256(answer.body).hexdigest() == digest(media)
    types = [event["type"] for event in await rows(catalog, "outbox") if event["variant_id"] == blob["variant_id"]]
    assert types[-4:] == [f"vault.media.{name}" for name in ("stored", "damaged", "claimed", "stored")]
    assert await broken_invariants(catalog) == []


async def test_what_was_damaged_is_set_aside_and_never_deleted(vault):
    _, item, blob, path = await stored(vault)
    truncate(path)
    damaged = path.read_bytes()
    await vault.ask("GET", item["media"]["full"]["url"])
    await vault.vault.sweeps.sweep()
    (aside,) = (vault.vault.config.blobs / ".quarantine").iterdir()
    assert aside.name.startswith(f"{blob['org_id']}.{blob['id']}.")
    assert aside.read_bytes() == damaged
    assert not path.exists()


async def test_explain_tells_that_the_bytes_were_damaged_while_the_origin_does_not_give_them_again(vault):
    media, item, blob, path = await stored(vault)
    connection = next(iter(vault.connections.values()))
    vault.sandbox.faults.add(Fault(path=media.renditions["full"].path, status=503))
    path.unlink()
    answer = await vault.ask("GET", item["media"]["full"]["url"])
    assert answer.status == 502
    events = [each for each in await rows(vault.vault.foundation.catalog, "outbox") if each["type"].endswith("damaged")]
    assert len(events) == 1
    assert "missing" in events[0]["data"] or "no blob" in events[0]["data"]
    variant = await row(vault.vault.foundation.catalog, "variants", id=blob["variant_id"])
    assert variant["status"] in {"pending", "storing", "edge_only"}
    explained = await vault.call("GET", f"/v2/vault-plus/media/{media.id}/explain", connection=connection)
    assert explained.json["variants"]["full"]["lastError"]


async def test_a_head_and_a_304_of_a_damaged_blob_need_no_bytes_and_the_next_view_is_right(vault):
    _, item, _, path = await stored(vault)
    path.unlink()
    url = item["media"]["full"]["url"]
    assert (await vault.ask("HEAD", url)).status == 200
    answer = await vault.ask("GET", url, Range="bytes=10-19")
    assert (answer.status, len(answer.body)) == (206, 10)


async def test_many_viewers_of_one_damaged_blob_cost_one_quarantine_and_one_fetch(vault):
    media, item, _, path = await stored(vault)
    fetched = len(vault.sandbox.log.records(media.renditions["full"].path))
    path.unlink()
    url = item["media"]["full"]["url"]
    answers = await asyncio.gather(*(vault.ask("GET", url) for _ in range(20)))
    assert {(each.status, hashlib.sha256(each.body).hexdigest()) for each in answers} == {(200, digest(media))}
    assert len(vault.sandbox.log.records(media.renditions["full"].path)) == fetched + 1
    events = [each for each in await rows(vault.vault.foundation.catalog, "outbox") if each["type"].endswith("damaged")]
    assert len(events) == 1


async def test_a_store_that_is_not_mounted_loses_nothing(vault):
    """Every file is away at once: the vault says so and waits, and serves again when they are back."""
    connection = await vault.connect()
    items = [await stored(vault, connection, size_bytes=200_000 + number) for number in range(4)]
    blobs = vault.vault.config.blobs
    blobs.rename(blobs.with_name("unmounted"))
    blobs.mkdir()
    answer = await vault.ask("GET", items[0][1]["media"]["full"]["url"])
    assert (answer.status, answer.json["code"]) == (503, "STORAGE_UNAVAILABLE")
    assert {each["state"] for each in await rows(vault.vault.foundation.catalog, "blobs")} == {"live"}
    done = await scrub_of(vault).scrub()
    assert done is not None
    assert (done.damaged, done.unreadable) == (0, 4)
    blobs.rmdir()
    blobs.with_name("unmounted").rename(blobs)
    answer = await vault.ask("GET", items[0][1]["media"]["full"]["url"])
    assert hashlib.sha256(answer.body).hexdigest() == digest(items[0][0])


async def test_the_scrub_finds_a_flipped_bit_that_no_reader_sees(tmp_path, database_url):
    off = ScrubConfig(bytes_per_second=0)
    async with running_vault(tmp_path / "data", database_url=database_url, scrub=off) as vault:
        media, _, blob, path = await stored(vault)
        connection = next(iter(vault.connections.values()))
        flip(path)
        done = await scrub_of(vault).scrub()
        assert done is not None
        assert done.blobs in {1, 2}  # the new one may be there before the round ends
        assert (done.bytes, done.damaged, done.unreadable) == (done.blobs * 300_000, 1, 0)
        item = await vault.until_stored(connection, media.id)
        answer = await vault.ask("GET", item["media"]["full"]["url"])
        assert hashlib.sha256(answer.body).hexdigest() == digest(media)
        assert await broken_invariants(vault.vault.foundation.catalog) == []
        assert blob["id"] not in [each["id"] for each in await rows(vault.vault.foundation.catalog, "blobs")]
