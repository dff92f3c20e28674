"""Storing: what policy or a person wants kept is queued for the storer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mediavault.catalog import variants
from mediavault.catalog.database import Catalog
from mediavault.catalog.variants import Variant
from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType, Source
from mediavault.domain.policy import ASKED_FOR, Decision, Facts, decide
from mediavault.domain.times import Now
from mediavault.errors import MediaNotFound
from mediavault.vault.configuring import effective_settings


@dataclass(frozen=True)
class Queued:
    """The answer to a wish to store."""

    queued: bool  #: whether this wish changed anything
    status: Status


class Storing:
    """Queues variants. `wake` tells the storer of this process that there is work."""

    def __init__(self, catalog: Catalog, now: Now, wake: Callable[[], None]) -> None:
        self._catalog = catalog
        self._now = now
        self._wake = wake

    async def store(self, variant: Variant) -> Queued:
        """A person wants it stored, whatever policy says. Raises MediaNotFound for a removed one."""
        if variant.status == Status.EDGE_ONLY:
            if await self._queue([variant.id], ASKED_FOR):
                return Queued(True, Status.PENDING)
            moved = await variants.find_variant(self._catalog, variant.id)  # by somebody else, since it was read
            if moved is None:
                raise MediaNotFound
            variant = moved
        if variant.status == Status.REMOVED:
            raise MediaNotFound
        return Queued(False, Status(variant.status))

    async def apply_policy(self, viewed: Sequence[Variant]) -> int:
        """Queue those of some edge_only variants that policy wants stored now. How many."""
        by_rule: dict[str, list[str]] = {}
        for variant in viewed:
            decision = decision_for(variant)
            if decision.keep and not variant.given_up and variant.kept_out is None:
                by_rule.setdefault(decision.rule, []).append(variant.id)
        return sum([await self._queue(ids, rule) for rule, ids in by_rule.items()])

    async def _queue(self, variant_ids: Sequence[str], reason: str) -> int:
        queued = await self._catalog.run(variants.queue, variant_ids, reason, self._now())
        if queued:
            self._wake()
        return queued


def decision_for(variant: Variant) -> Decision:
    """What policy says of a variant as the catalog has it."""
    return decide(
        effective_settings(variant.organisation_settings, variant.settings_overrides),
        Facts(
            media_type=MediaType(variant.media_type),
            label=variant.label,
            sources=[Source(source) for source in variant.sources.split(",")],
            access_count=variant.access_count,
        ),
        vault_plus_enabled=bool(variant.vault_plus_enabled),
    )
