"""Deriving: whether policy wants a thumbnail made where upstream has none, and how its state is explained."""

from collections.abc import Sequence

from msgspec import Struct

from mediavault.catalog.configuration import Configured
from mediavault.catalog.explanations import ExplainedRow
from mediavault.domain.derivation import LABEL, can_be_source, is_wanted
from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType, Source
from mediavault.domain.policy import Facts, unsuitable
from mediavault.domain.settings import VaultSettings
from mediavault.thumbnails.making import ThumbnailMaker
from mediavault.vault.configuring import effective_settings


class ThumbnailView(Struct, frozen=True, rename="camel"):
    """Whether a thumbnail is made of an item, and why not."""

    code: str
    text: str


def wants_thumbnail(configured: Configured, facts: Facts) -> bool:
    """Whether the policy that is stored wants a thumbnail made; `facts` are the thumbnail's own."""
    settings = effective_settings(configured.organisation, configured.overrides)
    return is_wanted(settings, facts, vault_plus_enabled=configured.enabled)


def thumbnail_view(
    rows: Sequence[ExplainedRow], settings: VaultSettings, maker: ThumbnailMaker, *, enabled: bool
) -> ThumbnailView:
    """What holds for one item, from the first thing that decides; `maker` is this machine's."""
    thumb = next((row for row in rows if row.label == LABEL), None)
    if thumb is not None and thumb.origin_key:
        return ThumbnailView("upstream", "Upstream has a thumb, so none is made.")
    if thumb is not None and thumb.status == Status.STORED:
        return ThumbnailView("made", "It was made from a stored copy.")
    if thumb is not None and thumb.status in {Status.PENDING, Status.STORING}:
        return ThumbnailView("being_made", "It is being made from a stored copy.")
    if thumb is not None:
        why = thumb.last_error or thumb.decided_by or "It was removed."
        return ThumbnailView("failed" if thumb.attempts else "removed", why)
    return _unmade(rows, settings, maker, enabled=enabled)


def _unmade(
    rows: Sequence[ExplainedRow], settings: VaultSettings, maker: ThumbnailMaker, *, enabled: bool
) -> ThumbnailView:
    facts = Facts(MediaType(rows[0].media_type), LABEL, [Source(each) for each in rows[0].sources.split(",")], 0)
    if not is_wanted(settings, facts, vault_plus_enabled=enabled):
        against = unsuitable(settings, facts)
        off = "deriveThumbnails is off, or there is nothing to be seen in it."
        return ThumbnailView("not_wanted", off if against is None else against.rule)
    stored = [row for row in rows if row.status == Status.STORED]
    if any(can_be_source(row.label, row.content_type, maker.makeable()) for row in stored):
        return ThumbnailView("waiting", "A storer is about to look for it.")
    lacking = [text for row in stored if (text := maker.lacking(row.content_type)) is not None]
    if lacking:
        return ThumbnailView("lacking", lacking[0])
    return ThumbnailView("no_original", "Nothing is stored that it could be made of.")
