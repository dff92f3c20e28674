"""Any order of operations leaves rows that agree with each other (reliability, invariants 1-5, 9, 10)."""

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fakes.catalog_rows import LEASE_MS, NOW, Tenant, broken_invariants, bytes_of, rows, seen, shown, tenant
from mediavault.catalog import blob_rows, items, leases, transitions
from mediavault.catalog import variants as catalog_variants
from mediavault.catalog.database import CatalogConfig, open_catalog
from mediavault.catalog.leases import Claim
from mediavault.catalog.operations import Operation
from mediavault.domain.lifecycle import BY_LEASEHOLDER, TRANSITIONS, Event, Status
from mediavault.errors import LostRace

CONTENT = st.sampled_from(["a", "b"])


class Catalogs(RuleBasedStateMachine):
    """Three connections of two organisations, two media each, storers that may be late or dead."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.now = NOW
        self.claims: list[Claim] = []
        self.fences: dict[str, int] = {}
        self.views: dict[str, tuple[int, int]] = {}
        self.events = 0
        self.runner.run(self._open())

    async def _open(self) -> None:
        self.catalog = await open_catalog(CatalogConfig(f"sqlite:///{Path(self.folder.name) / 'catalog.sqlite'}"))
        first, second = await tenant(self.catalog, "first"), await tenant(self.catalog, "second")
        self.owners: list[Tenant] = [first, await first.connection("2"), second]

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.catalog.close())
            self.runner.close()
            self.folder.cleanup()

    def _run(self, operation: Callable[..., Operation[Any]], *args: Any) -> Any:
        return self.runner.run(self.catalog.run(operation, *args))

    @rule(media_ids=st.sampled_from([("1",), ("1", "2")]), key=st.sampled_from(["k1", "k2"]))
    def observe(self, media_ids: tuple[str, ...], key: str) -> None:
        for owner in self.owners:
            answer = [seen(media_id, shown(key=key)) for media_id in media_ids]
            self.runner.run(owner.observe(*answer, now=self.now))

    @rule()
    def queue_everything(self) -> None:
        ids = [variant["id"] for variant in self.runner.run(rows(self.catalog, "variants"))]
        self._run(catalog_variants.queue, ids, "wanted", self.now)

    @rule()
    def claim(self) -> None:
        claim = self._run(leases.claim, "storer", LEASE_MS, self.now)
        if claim is not None:
            self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), content=CONTENT)
    def settle(self, data: st.DataObject, content: str) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        with suppress(LostRace):
            self._run(blob_rows.settle, claim, bytes_of(content), self.now)

    @rule(content=CONTENT)
    def store_all_there_is_room_for(self, content: str) -> None:
        """A storer that works: what is pending is claimed and settled."""
        self.queue_everything()
        while (claim := self._run(leases.claim, "storer", LEASE_MS, self.now)) is not None:
            self._run(blob_rows.settle, claim, bytes_of(content), self.now)

    @rule(owner=st.integers(0, 2), media_ids=st.sampled_from([("1",), ("1", "2")]))
    def remove(self, owner: int, media_ids: tuple[str, ...]) -> None:
        for media_id in media_ids:
            self.runner.run(self.owners[owner].remove(media_id, now=self.now))

    @rule(event=st.sampled_from([Event.RESTORED, Event.DAMAGED, Event.UNQUEUED]))
    def happen_to_all(self, event: Event) -> None:
        for variant in self.runner.run(rows(self.catalog, "variants")):
            with suppress(LostRace):
                self.runner.run(self.catalog.run(transitions.apply, variant["id"], event, at=self.now))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), event=st.sampled_from([Event.RELEASED, Event.GIVEN_UP]))
    def fail(self, data: st.DataObject, event: Event) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        with suppress(LostRace):
            self.runner.run(
                self.catalog.run(transitions.apply, claim.variant_id, event, at=self.now, fence=claim.fence)
            )

    @rule(passed=st.sampled_from([1, LEASE_MS, 10 * LEASE_MS]))
    def time_passes(self, passed: int) -> None:
        self.now += passed

    @rule()
    def sweep(self) -> None:
        self._run(leases.reclaim, self.now)
        self._run(blob_rows.doom_dead_intents)
        self._run(blob_rows.release_retained, self.now - 5 * LEASE_MS)
        for blob_id, _ in self._run(blob_rows.doomed, 100):
            self._run(blob_rows.forget, blob_id)

    @rule(late=st.integers(-10, 10))
    def view_everything(self, late: int) -> None:
        ids = [variant["id"] for variant in self.runner.run(rows(self.catalog, "variants"))]
        self._run(catalog_variants.count_views, [catalog_variants.Views(each, 1, self.now + late) for each in ids])

    @invariant()
    def rows_agree(self) -> None:
        if not hasattr(self, "runner"):
            return
        assert self.runner.run(broken_invariants(self.catalog)) == []
        variants = self.runner.run(rows(self.catalog, "variants"))
        for variant in variants:
            views = (variant["access_count"], variant["last_accessed_at"])
            assert variant["fence"] >= self.fences.get(variant["id"], 0)
            assert all(now >= before for now, before in zip(views, self.views.get(variant["id"], (0, 0)), strict=True))
            self.fences[variant["id"]], self.views[variant["id"]] = variant["fence"], views
        self._totals_agree(variants)

    def _totals_agree(self, variants: list[dict[str, Any]]) -> None:
        for owner in self.owners:
            mine = [each for each in variants if each["connection_id"] == owner.connection_id]
            stored = [each["size_bytes"] for each in mine if each["status"] == "stored"]
            live = sum(each["status"] != "removed" for each in mine)
            totals = self.runner.run(items.connection_totals(self.catalog, owner.org_id, owner.connection_id))
            assert totals == (live, len(stored), sum(stored))

    @invariant()
    def the_outbox_tells_the_story(self) -> None:
        """Played through the table, each variant's events lead to where it stands."""
        if not hasattr(self, "runner"):
            return
        told = self.runner.run(rows(self.catalog, "outbox"))
        for variant in self.runner.run(rows(self.catalog, "variants")):
            status = Status.EDGE_ONLY
            for event in (_EVENT_OF[each["type"]] for each in told if each["variant_id"] == variant["id"]):
                assert status in TRANSITIONS[event].sources
                status = TRANSITIONS[event].target
            assert status == variant["status"]


_EVENT_OF = {kind: event for event, kind in transitions.EVENT_TYPES.items()}
assert {Event.RELEASED, Event.GIVEN_UP} < BY_LEASEHOLDER

# Shrinking a failure to its shortest story takes minutes, and is worth them.
TestCatalogs = pytest.mark.slow(pytest.mark.timeout(900)(Catalogs.TestCase))
TestCatalogs.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
