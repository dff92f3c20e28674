"""Which variants are kept, by which rule, and what a change of the rules does to those that are there."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from mediavault.domain.lifecycle import Event, Status
from mediavault.domain.media import MediaType, Source, quality_of_label
from mediavault.domain.settings import PurgeStrategy, VaultSettings
from mediavault.domain.times import DAY


class Rule(StrEnum):
    """The rules, for programs."""

    KEPT = "kept"  #: a source it was seen in is cached, and it was viewed often enough
    VAULT_PLUS_OFF = "vault_plus_off"
    TYPE = "type_not_kept"
    QUALITY = "quality_not_kept"
    SOURCE = "source_not_cached"
    ACCESS_COUNT = "not_viewed_enough"
    RETENTION = "retention_ended"
    ACCESS_EXPIRY = "access_expired"
    STORAGE_LIMIT = "storage_limit"


@dataclass(frozen=True)
class Facts:
    """What policy may know of a variant."""

    media_type: MediaType
    label: str
    sources: Collection[Source]  #: everywhere the media was seen; any enabling one suffices
    access_count: int


@dataclass(frozen=True)
class Decision:
    """Keep it or not, and the rule that decided, in words for people and as a code."""

    keep: bool
    rule: str
    code: Rule


@dataclass(frozen=True)
class Policy:
    """What holds for a connection."""

    settings: VaultSettings
    enabled: bool  #: whether Vault+ is on; while it is off, policy removes nothing: not for its time, not for room

    @property
    def evicts_by(self) -> PurgeStrategy:
        """How room is made for what is to be stored."""
        return self.settings.storage_limit_purge_strategy if self.enabled else "block_new"


@dataclass(frozen=True)
class Standing:
    """A variant as a change of policy finds it."""

    facts: Facts
    status: Status
    size_bytes: int
    stored_at: int | None  #: Unix ms
    last_accessed_at: int  #: Unix ms
    pinned: bool = False  #: by a pin that holds now
    given_up: bool = False  #: storing it failed for good
    kept_out: bool = False  #: the storage limit refused or evicted it
    decided_by: str | None = None  #: what wanted it


@dataclass(frozen=True)
class Effect:
    """What happens to a variant, and by which rule."""

    event: Event  #: REMOVED, UNQUEUED or QUEUED
    code: Rule
    reason: str


@dataclass(frozen=True)
class Ending:
    """When a stored variant's time is over, and by which rule."""

    at: int  #: Unix ms
    code: Rule
    reason: str


def decide(settings: VaultSettings, facts: Facts, *, vault_plus_enabled: bool) -> Decision:
    """Whether this variant is to be stored now. Rules are asked from the broadest to the narrowest."""
    if not vault_plus_enabled:
        return Decision(keep=False, rule="Vault+ is off for this connection", code=Rule.VAULT_PLUS_OFF)
    return unsuitable(settings, facts) or _by_source(settings, facts)


def unsuitable(settings: VaultSettings, facts: Facts) -> Decision | None:
    """The decision against a variant's type or quality, wherever it was seen; None when both are kept."""
    return _by_type(settings, facts) or _by_quality(settings, facts)


def _by_type(settings: VaultSettings, facts: Facts) -> Decision | None:
    kept = {
        MediaType.IMAGE: settings.cache_images,
        MediaType.VIDEO: settings.cache_videos,
        MediaType.AUDIO: settings.cache_audio,
    }
    if kept[facts.media_type]:
        return None
    return Decision(keep=False, rule=f"{facts.media_type} media are not kept", code=Rule.TYPE)


def _by_quality(settings: VaultSettings, facts: Facts) -> Decision | None:
    quality = quality_of_label(facts.media_type, facts.label)
    kept = settings.image_qualities if facts.media_type is MediaType.IMAGE else settings.video_qualities
    if quality is None or quality in kept:
        return None
    return Decision(keep=False, rule=f"{facts.media_type} quality {quality} is not kept", code=Rule.QUALITY)


def _by_source(settings: VaultSettings, facts: Facts) -> Decision:
    enabled = {
        Source.VAULT: (settings.auto_cache_vault, settings.min_access_count_vault),
        Source.MESSAGES: (settings.auto_cache_messages, settings.min_access_count_messages),
        Source.POSTS: (settings.auto_cache_posts, settings.min_access_count_posts),
        Source.STORIES: (settings.auto_cache_stories, settings.min_access_count_stories),
    }
    wanted = [(enabled[source][1], source) for source in facts.sources if enabled[source][0]]
    if not wanted:
        seen = ", ".join(facts.sources) or "nowhere"
        rule = f"auto-cache is off for every source it was seen in ({seen})"
        return Decision(keep=False, rule=rule, code=Rule.SOURCE)
    fewest, source = min(wanted)
    if facts.access_count < fewest:
        rule = f"viewed {facts.access_count} times of the {fewest} that {source} asks for"
        return Decision(keep=False, rule=rule, code=Rule.ACCESS_COUNT)
    return Decision(keep=True, rule=f"{source}{_KEPT_FROM}{fewest} on", code=Rule.KEPT)


_KEPT_FROM = " media are kept from view "


def wanted_by_policy(decided_by: str | None) -> bool:
    """Whether it was policy that queued a variant, and not a person's wish or a list."""
    return decided_by is not None and _KEPT_FROM in decided_by


def retention_reason(days: int) -> str:
    """Why retention removes."""
    return f"kept for {days} days after storing, which are over"


def access_expiry_reason(days: int) -> str:
    """Why access expiry removes."""
    return f"not viewed for {days} days"


def ending(settings: VaultSettings, stored_at: int, last_accessed_at: int) -> Ending | None:
    """When a stored variant's time is over; None while no setting says so. A fresh copy counts as viewed.

    Policy removes it then if Vault+ is on, and when it is turned on again if not.
    """
    ends = []
    if settings.retention_days:
        reason = retention_reason(settings.retention_days)
        ends.append(Ending(stored_at + settings.retention_days * DAY, Rule.RETENTION, reason))
    if settings.access_expiry_days:
        reason = access_expiry_reason(settings.access_expiry_days)
        viewed_at = max(stored_at, last_accessed_at)
        ends.append(Ending(viewed_at + settings.access_expiry_days * DAY, Rule.ACCESS_EXPIRY, reason))
    return min(ends, key=lambda end: end.at, default=None)


def effect(before: Policy, after: Policy, standing: Standing, now: int) -> Effect | None:
    """What a policy does to a variant that the one before it left alone; None when nothing.

    Turning Vault+ off leaves what is there and stops what is under way by policy; it removes nothing, and nothing is
    removed by policy until it is on again. What is over by then goes at once.
    """
    if standing.status is Status.STORED:
        return None if standing.pinned or not after.enabled else _removal(after.settings, standing, now)
    if standing.status in {Status.PENDING, Status.STORING}:
        return None if standing.pinned else _unqueueing(after, standing)
    if standing.status is Status.EDGE_ONLY:
        return _queueing(before, after, standing)
    return None


#: What wanted a variant that a person asked for.
ASKED_FOR = "asked for"


def against_keeping(policy: Policy, standing: Standing) -> Effect | None:
    """Why a variant whose bytes have just come must not be stored after all: policy changed since it was queued.

    What a person asked for is stored whatever policy says; a change of policy afterwards unqueues that by itself.
    """
    if not policy.enabled or standing.pinned or standing.decided_by == ASKED_FOR:
        return None
    against = unsuitable(policy.settings, standing.facts)
    return None if against is None else Effect(Event.UNQUEUED, against.code, against.rule)


def _removal(settings: VaultSettings, standing: Standing, now: int) -> Effect | None:
    against = unsuitable(settings, standing.facts)
    if against is not None:
        return Effect(Event.REMOVED, against.code, against.rule)
    if standing.stored_at is None:
        return None
    end = ending(settings, standing.stored_at, standing.last_accessed_at)
    return Effect(Event.REMOVED, end.code, end.reason) if end is not None and end.at <= now else None


def _unqueueing(after: Policy, standing: Standing) -> Effect | None:
    """What a person or a list wants goes on waiting, unless it would be removed as soon as it is stored."""
    decision = decide(after.settings, standing.facts, vault_plus_enabled=after.enabled)
    if decision.keep:
        return None
    if decision.code not in {Rule.TYPE, Rule.QUALITY} and not wanted_by_policy(standing.decided_by):
        return None
    return Effect(Event.UNQUEUED, decision.code, decision.rule)


def _queueing(before: Policy, after: Policy, standing: Standing) -> Effect | None:
    """Only what is newly wanted: what was wanted before and is not stored has its reason."""
    if standing.given_up or standing.kept_out:
        return None
    if decide(before.settings, standing.facts, vault_plus_enabled=before.enabled).keep:
        return None
    decision = decide(after.settings, standing.facts, vault_plus_enabled=after.enabled)
    return Effect(Event.QUEUED, decision.code, decision.rule) if decision.keep else None


def touched(before: Policy, after: Policy) -> tuple[Status, ...]:
    """The statuses a change of policy can have an effect on, in the order to look at them.

    It is the order of a variant's way: what moves on meanwhile is met again, as what it has become.
    """
    if before == after:
        return ()
    statuses = []
    wants_anew = before.enabled != after.enabled or _wanting(before.settings) != _wanting(after.settings)
    if wants_anew:
        statuses += [Status.PENDING, Status.STORING]
    if after.enabled and (not before.enabled or _keeping(before.settings) != _keeping(after.settings)):
        statuses.append(Status.STORED)
    if wants_anew:
        statuses.append(Status.EDGE_ONLY)
    return tuple(statuses)


def _suiting(settings: VaultSettings) -> tuple[object, ...]:
    types = (settings.cache_images, settings.cache_videos, settings.cache_audio)
    return (*types, frozenset(settings.image_qualities), frozenset(settings.video_qualities))


def _keeping(settings: VaultSettings) -> tuple[object, ...]:
    """What decides over stored variants."""
    return (*_suiting(settings), settings.retention_days, settings.access_expiry_days)


def _wanting(settings: VaultSettings) -> tuple[object, ...]:
    """What decides over variants that are not stored."""
    return (
        *_suiting(settings),
        *(getattr(settings, f"auto_cache_{source}") for source in Source),
        *(getattr(settings, f"min_access_count_{source}") for source in Source),
    )
