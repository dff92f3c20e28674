"""Which variants are kept, and by which rule."""

from collections.abc import Collection
from dataclasses import dataclass

from mediavault.domain.media import MediaType, Source, quality_of_label
from mediavault.domain.settings import VaultSettings


@dataclass(frozen=True)
class Facts:
    """What policy may know of a variant."""

    media_type: MediaType
    label: str
    sources: Collection[Source]  #: everywhere the media was seen; any enabling one suffices
    access_count: int


@dataclass(frozen=True)
class Decision:
    """Keep it or not, and the rule that decided, in words for people."""

    keep: bool
    rule: str


def decide(settings: VaultSettings, facts: Facts, *, vault_plus_enabled: bool) -> Decision:
    """Whether this variant is to be stored now. Rules are asked from the broadest to the narrowest."""
    if not vault_plus_enabled:
        return Decision(keep=False, rule="Vault+ is off for this connection")
    return _by_type(settings, facts) or _by_quality(settings, facts) or _by_source(settings, facts)


def _by_type(settings: VaultSettings, facts: Facts) -> Decision | None:
    kept = {
        MediaType.IMAGE: settings.cache_images,
        MediaType.VIDEO: settings.cache_videos,
        MediaType.AUDIO: settings.cache_audio,
    }
    return None if kept[facts.media_type] else Decision(keep=False, rule=f"{facts.media_type} media are not kept")


def _by_quality(settings: VaultSettings, facts: Facts) -> Decision | None:
    quality = quality_of_label(facts.media_type, facts.label)
    kept = settings.image_qualities if facts.media_type is MediaType.IMAGE else settings.video_qualities
    if quality is None or quality in kept:
        return None
    return Decision(keep=False, rule=f"{facts.media_type} quality {quality} is not kept")


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
        return Decision(keep=False, rule=f"auto-cache is off for every source it was seen in ({seen})")
    fewest, source = min(wanted)
    if facts.access_count < fewest:
        return Decision(keep=False, rule=f"viewed {facts.access_count} times of the {fewest} that {source} asks for")
    return Decision(keep=True, rule=f"{source} media are kept from view {fewest} on")
