"""The lifecycle on real rows: every (status, event) pair, on both engines."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from fakes.catalog_rows import LEASE_MS, NOW, Tenant, bring_to, broken_sums, dump, row, rows, sql, tenant
from mediavault.catalog import transitions
from mediavault.catalog.operations import Operation
from mediavault.catalog.transitions import Moved
from mediavault.domain.lifecycle import BY_LEASEHOLDER, LIVE, TRANSITIONS, Event, Status, advance
from mediavault.errors import CatalogError, IllegalTransition, LostRace

Row = dict[str, Any]

LATER = NOW + 5_000
GENERATOR = Path(__file__).parents[2] / "scripts" / "generate_docs.py"


async def move(owner: Tenant, variant_id: str, event: Event, fence: int, blob_id: str | None) -> Moved:
    """Let the event happen, with the columns its callers give."""
    columns: dict[str, Any] = {
        Event.CLAIMED: {"lease_holder": "storer-2", "lease_expires_at": LATER + LEASE_MS},
        Event.STORED: {"blob_id": blob_id, "stored_at": LATER},
    }.get(event, {})  # type: ignore[assignment]
    held = fence if event in BY_LEASEHOLDER else None
    return await owner.catalog.run(
        transitions.apply, variant_id, event, at=LATER, fence=held, reason=f"because {event}", **columns
    )


@pytest.mark.parametrize("event", Event)
async def test_an_event_moves_the_variants_it_may_and_no_other(catalog, event):
    owner = await tenant(catalog)
    prepared = []
    for status in reversed(Status):  # those that go through a claim before one is left pending
        here = await owner.connection(f"user with a {status} one")
        prepared.append((status, here, *await bring_to(here, status, content=f"content of {status}")))
    for status, here, variant_id, claim in prepared:
        before = await dump(catalog)
        variant = await row(catalog, "variants", id=variant_id)
        assert variant["status"] == status
        blob_id = claim.blob_id if claim else "none"
        if status in TRANSITIONS[event].sources:
            moved = await move(here, variant_id, event, variant["fence"], blob_id)
            await check_moved(here, variant, moved, event, before)
        else:
            with pytest.raises(LostRace):
                await move(here, variant_id, event, variant["fence"], blob_id)
            assert await dump(catalog) == before


async def check_moved(here: Tenant, before: Row, moved: Moved, event: Event, everything: dict[str, list[Row]]) -> None:
    """The row stands where the table says, and exactly one event was recorded."""
    after = await row(here.catalog, "variants", id=before["id"])
    assert after["status"] == moved.status == advance(Status(before["status"]), event) == TRANSITIONS[event].target
    assert after["changed_at"] == LATER
    assert after["fence"] == moved.fence == before["fence"] + (event is Event.CLAIMED)
    assert (after["lease_holder"] is not None) == (after["status"] == "storing")
    known = [recorded["id"] for recorded in everything["outbox"]]
    (recorded,) = [each for each in await rows(here.catalog, "outbox") if each["id"] not in known]
    assert {name: recorded[name] for name in ("org_id", "connection_id", "variant_id", "type")} == {
        "org_id": here.org_id,
        "connection_id": here.connection_id,
        "variant_id": before["id"],
        "type": transitions.EVENT_TYPES[event],
    }
    told = json.loads(recorded["data"])
    assert (told["status"], told["quality"], told["reason"]) == (moved.status, before["label"], f"because {event}")
    assert recorded["seq"] == len(everything["outbox"]) + 1
    assert broken_sums(await dump(here.catalog)) == []
    others = [each for each in everything["variants"] if each["id"] != before["id"]]
    assert [each for each in (await dump(here.catalog))["variants"] if each["id"] != before["id"]] == others


@pytest.mark.parametrize("event", sorted(BY_LEASEHOLDER))
async def test_a_stale_fence_changes_nothing(catalog, event):
    owner = await tenant(catalog)
    variant_id, claim = await bring_to(owner, Status.STORING)
    assert claim is not None
    before = await dump(catalog)
    for stale in (claim.fence - 1, claim.fence + 1, 0):
        with pytest.raises(LostRace):
            await move(owner, variant_id, event, stale, claim.blob_id)
    assert await dump(catalog) == before


@pytest.mark.parametrize("event", Event)
async def test_exactly_the_leaseholders_events_need_a_fence(catalog, event):
    fence = None if event in BY_LEASEHOLDER else 1
    with pytest.raises(TypeError):
        await catalog.run(transitions.apply, "anything", event, at=NOW, fence=fence)


async def test_a_move_and_its_event_share_the_fate_of_their_transaction(catalog):
    owner = await tenant(catalog)
    variant_id, _ = await bring_to(owner, Status.EDGE_ONLY)
    before = await dump(catalog)

    def move_then_fail() -> Operation[None]:
        yield from transitions.apply(variant_id, Event.QUEUED, at=LATER)
        raise LostRace("later in the same operation")

    with pytest.raises(LostRace):
        await catalog.run(move_then_fail)
    assert await dump(catalog) == before


async def test_what_was_removed_without_bytes_cannot_be_restored(catalog):
    owner = await tenant(catalog)
    variant_id, _ = await bring_to(owner, Status.EDGE_ONLY)
    await catalog.run(transitions.apply, variant_id, Event.REMOVED, at=NOW)
    before = await dump(catalog)
    with pytest.raises(LostRace):
        await catalog.run(transitions.apply, variant_id, Event.RESTORED, at=LATER)
    assert await dump(catalog) == before


async def test_the_events_of_a_variant_keep_their_order_within_one_millisecond(catalog):
    owner = await tenant(catalog)
    variant_id, _ = await bring_to(owner, Status.STORED)
    await owner.remove(f"media-{owner.connection_id[-8:]}")
    recorded = [each["type"] for each in await rows(catalog, "outbox", variant_id=variant_id)]
    assert recorded == [f"vault.media.{event}" for event in ("queued", "claimed", "stored", "removed")]


async def constraint_texts(catalog) -> str:
    """The CHECK constraints of `variants` as the database has them."""
    if catalog.shared:
        found = await sql(
            catalog,
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conrelid = 'variants'::regclass AND contype = 'c'",
        )
    else:
        found = await sql(catalog, "SELECT sql FROM sqlite_master WHERE name = 'variants'")
    return "\n".join(text for (text,) in found)


async def test_the_database_takes_exactly_the_statuses_of_the_enum(catalog):
    texts = await constraint_texts(catalog)
    listed = re.search(r"status (?:IN \(|= ANY \(+ARRAY\[)([^\])]+)", texts)
    assert listed, texts
    assert sorted(re.findall(r"'(\w+)'", listed[1])) == sorted(status.value for status in Status)


async def test_the_database_refuses_a_status_that_contradicts_its_row(catalog):
    """Columns given beside an event cannot make a row the checks forbid, and nothing of the move stays."""
    owner = await tenant(catalog)
    variant_id, _ = await bring_to(owner, Status.PENDING)
    before = await dump(catalog)
    with pytest.raises(CatalogError):
        await catalog.run(transitions.apply, variant_id, Event.CLAIMED, at=LATER)  # storing, by nobody
    assert await dump(catalog) == before


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("status", Status)
def test_the_table_alone_decides_a_step(status, event):
    if status in TRANSITIONS[event].sources:
        assert advance(status, event) is TRANSITIONS[event].target
    else:
        with pytest.raises(IllegalTransition):
            advance(status, event)


def test_only_what_is_not_removed_is_live():
    assert set(Status) - LIVE == {Status.REMOVED}


def test_the_document_of_the_lifecycle_is_fresh(tmp_path):
    spec = importlib.util.spec_from_file_location("generate_docs", GENERATOR)
    assert spec
    assert spec.loader
    generate_docs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate_docs)
    assert generate_docs.stale() == []
    (tmp_path / "lifecycle.md").write_text(generate_docs.lifecycle_page() + "edited by hand\n")
    assert generate_docs.stale(tmp_path) == ["lifecycle.md"]
