"""Policing: what a change of policy does to what a connection has, at once; and what it would do."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from mediavault.catalog import configuration, limits, policy_changes, policy_scan
from mediavault.catalog.configuration import Change, Configured
from mediavault.catalog.database import Catalog
from mediavault.catalog.policy_changes import Unfinished
from mediavault.catalog.policy_scan import BATCH, Found, Judge
from mediavault.domain.eviction import Candidate, choose
from mediavault.domain.lifecycle import Event, Status
from mediavault.domain.policy import Effect, Policy, Rule, Standing, against_keeping, effect, touched
from mediavault.domain.settings import VaultSettings
from mediavault.domain.times import MINUTE, Now
from mediavault.errors import VaultError
from mediavault.telemetry import Events, logger
from mediavault.vault.configuring import effective_settings

#: A change that nobody has worked on for so long was left by a process that died.
ABANDONED_AFTER_MS = MINUTE
_RENEW_EVERY_MS = ABANDONED_AFTER_MS // 6


@dataclass
class Share:
    """What one rule does."""

    variants: int = 0
    known_bytes: int = 0
    unknown_sizes: int = 0  #: variants whose bytes nobody has seen yet


@dataclass
class Outcome:
    """What a change of policy did or would do, by event and rule."""

    shares: dict[tuple[Event, Rule, str], Share] = field(default_factory=dict)

    def add(self, done: Effect, size_bytes: int, *, size_known: bool = True) -> None:
        """One variant more."""
        share = self.share_of(done)
        share.variants += 1
        share.known_bytes += size_bytes if size_known else 0
        share.unknown_sizes += not size_known

    def share_of(self, done: Effect) -> Share:
        """What the rule of that effect has done so far."""
        return self.shares.setdefault((done.event, done.code, done.reason), Share())

    def include(self, other: "Outcome") -> None:
        """Another connection's outcome with this one's."""
        for rule, more in other.shares.items():
            share = self.shares.setdefault(rule, Share())
            share.variants += more.variants
            share.known_bytes += more.known_bytes
            share.unknown_sizes += more.unknown_sizes

    def of(self, event: Event) -> Share:
        """All that one event does."""
        total = Share()
        for (happened, _, _), share in self.shares.items():
            if happened is event:
                total.variants += share.variants
                total.known_bytes += share.known_bytes
                total.unknown_sizes += share.unknown_sizes
        return total


def policy_of(configured: Configured) -> Policy:
    """What the stored settings of a connection mean."""
    return Policy(effective_settings(configured.organisation, configured.overrides), configured.enabled)


def against_keeping_now(configured: Configured, standing: Standing) -> Effect | None:
    """Why a variant that is about to be stored must not be, by the settings as they are stored."""
    return against_keeping(policy_of(configured), standing)


def is_affected(change: Change) -> bool:
    """Whether anything that holds for the connection is another now."""
    stored = (change.before.enabled, change.before.overrides) != (change.after.enabled, change.after.overrides)
    return stored or policy_of(change.before) != policy_of(change.after)


class Policing:
    """Carries a change of policy out. `wake` tells the storer of this process that there is work."""

    def __init__(
        self, catalog: Catalog, forget_copy: Callable[[str], object], wake: Callable[[], None], now: Now
    ) -> None:
        self._catalog = catalog
        self._forget_copy = forget_copy
        self._wake = wake
        self._now = now

    async def carry_out(self, org_id: str, change: Change) -> Outcome:
        """Remove, unqueue and queue what the change asks for. The settings are written already.

        What a crash keeps it from doing is done by `resume`.
        """
        return (await self.carry_out_all(org_id, [change]))[0]

    async def carry_out_all(self, org_id: str, changes: Sequence[Change]) -> list[Outcome]:
        """The same for some connections of an organisation, one after another."""
        working = _Working(self._catalog, changes, self._now)
        outcomes = []
        for change in changes:
            await working.renew()
            outcomes.append(await self._carry_out(org_id, change, working))
            await working.finish(change)
        return outcomes

    async def _carry_out(self, org_id: str, change: Change, working: "_Working") -> Outcome:
        before, after = policy_of(change.before), policy_of(change.after)
        outcome, now = Outcome(), self._now()

        def judge(configured: Configured, standing: Standing) -> Effect | None:
            return effect(before, policy_of(configured), standing, now)

        for status in touched(before, after):
            async for found in self._pages(org_id, change.after.connection_id, status, now):
                await working.renew()
                hit = [each.id for each in found if effect(before, after, each.standing, now)]
                if hit:
                    await self._enact(org_id, change.after.connection_id, hit, judge, outcome, now)
        if _limits_anew(before, after):
            await self._make_room(org_id, change.after.connection_id, outcome, working)
        if outcome.of(Event.QUEUED).variants:
            self._wake()
        return outcome

    async def resume(self) -> int:
        """Carry out what processes that died had begun, with the settings that hold now. How many changes."""
        resumed, before = 0, self._now() - ABANDONED_AFTER_MS
        for left in await policy_changes.unfinished(self._catalog, before):
            try:
                resumed += await self._take_over(left, before)
            except VaultError:  # one that cannot be carried out must not keep the others
                logger().exception(Events.WORKER_FAILED, worker="policy")
        return resumed

    async def _take_over(self, left: Unfinished, before: int) -> bool:
        if not await self._catalog.run(policy_changes.take, left.id, before, self._now()):
            return False
        after = await configuration.find_configured(self._catalog, left.org_id, left.connection_id)
        if after is None:  # disconnected: everything it has is removed anyway
            await self._catalog.run(policy_changes.finish, left.id)
            return False
        held_before = Configured(left.connection_id, left.enabled, left.overrides, left.organisation)
        await self.carry_out(left.org_id, Change(held_before, after, left.id))
        return True

    async def forecast(self, org_id: str, change: Change) -> Outcome:
        """What `carry_out` would do now. Nothing is changed, nothing is locked."""
        before, after = policy_of(change.before), policy_of(change.after)
        connection_id, outcome, now = change.after.connection_id, Outcome(), self._now()
        gone: set[str] = set()
        for status in touched(before, after):
            async for found in self._pages(org_id, connection_id, status, now):
                for each in found:
                    asked = effect(before, after, each.standing, now)
                    if asked is not None:
                        size_bytes = each.standing.size_bytes
                        outcome.add(asked, size_bytes, size_known=_is_known(asked, size_bytes))
                        if asked.event is Event.REMOVED:
                            gone.add(each.id)
        if _limits_anew(before, after):
            await self._forecast_room(org_id, connection_id, after.settings, outcome, gone, now)
        return outcome

    async def _pages(self, org_id: str, connection_id: str, status: Status, now: int) -> AsyncIterator[list[Found]]:
        last = ""
        while found := await policy_scan.page(self._catalog, org_id, connection_id, status, last, now):
            yield found
            if len(found) < BATCH:
                return
            last = found[-1].id

    async def _enact(
        self, org_id: str, connection_id: str, variant_ids: Sequence[str], judge: Judge, outcome: Outcome, now: int
    ) -> None:
        for done in await self._catalog.run(policy_scan.enact, org_id, connection_id, variant_ids, judge, now):
            outcome.add(done.effect, done.size_bytes, size_known=_is_known(done.effect, done.size_bytes))
            if done.effect.event is Event.REMOVED:
                self._forget_copy(done.variant_id)

    async def _make_room(self, org_id: str, connection_id: str, outcome: Outcome, working: "_Working") -> None:
        """For the limit that holds when each batch goes: one that was raised meanwhile evicts no more."""
        while True:
            await working.renew()
            removed, reason = await self._catalog.run(
                limits.shrink, org_id, connection_id, effective_settings, self._now(), BATCH
            )
            if not removed.variant_ids:
                return
            evicted = Effect(Event.REMOVED, Rule.STORAGE_LIMIT, reason)
            outcome.share_of(evicted).variants += len(removed.variant_ids)
            outcome.share_of(evicted).known_bytes += removed.freed_bytes
            for variant_id in removed.variant_ids:
                self._forget_copy(variant_id)

    async def _forecast_room(
        self, org_id: str, connection_id: str, settings: VaultSettings, outcome: Outcome, gone: set[str], now: int
    ) -> None:
        """The eviction's choice, among what the rules before it would leave."""
        used = await policy_scan.used_bytes(self._catalog, org_id, connection_id)
        excess = used - outcome.of(Event.REMOVED).known_bytes - settings.storage_limit_bytes
        if excess <= 0:
            return
        left: list[Candidate] = []
        async for found in self._pages(org_id, connection_id, Status.STORED, now):
            for each in found:
                if each.id not in gone and each.standing.stored_at is not None:
                    standing = each.standing
                    left.append(Candidate(each.id, standing.size_bytes, each.standing.stored_at, standing.pinned))
        evicted = Effect(Event.REMOVED, Rule.STORAGE_LIMIT, limits.limit_reason(settings))
        for candidate in choose(left, settings.storage_limit_purge_strategy, excess):
            outcome.add(evicted, candidate.size_bytes)


class _Working:
    """The sign of life of whoever carries changes out, for as long as that takes."""

    def __init__(self, catalog: Catalog, changes: Sequence[Change], now: Now) -> None:
        self._catalog = catalog
        self._notes = {change.note for change in changes if change.note is not None}
        self._now = now
        self._renewed_at = now()

    async def renew(self) -> None:
        """Say so when it is time to."""
        now = self._now()
        if self._notes and now - self._renewed_at >= _RENEW_EVERY_MS:
            await self._catalog.run(policy_changes.renew, tuple(self._notes), now)
            self._renewed_at = now

    async def finish(self, change: Change) -> None:
        """All that followed from it is done."""
        if change.note is not None:
            await self._catalog.run(policy_changes.finish, change.note)
            self._notes.discard(change.note)


def _is_known(done: Effect, size_bytes: int) -> bool:
    """Whether the size is one that was measured: of what was never fetched nobody knows it."""
    return done.event is Event.REMOVED or size_bytes > 0


def _limits_anew(before: Policy, after: Policy) -> bool:
    """Whether a limit holds that did not hold like this before."""

    def limit(policy: Policy) -> tuple[object, ...]:
        settings = policy.settings
        return policy.enabled, settings.storage_limit_bytes, settings.storage_limit_purge_strategy

    return after.enabled and after.settings.storage_limit_bytes > 0 and limit(before) != limit(after)
