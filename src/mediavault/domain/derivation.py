"""Derived thumbnails: which media get one, and of which stored copy it is made."""

from collections.abc import Collection

from mediavault.domain.media import MediaType
from mediavault.domain.policy import Facts, unsuitable
from mediavault.domain.settings import VaultSettings

#: The label a derived thumbnail has: the one that media lack upstream.
LABEL = "thumb"

#: Originals that are decoded as pictures, and those of which a frame is taken.
PICTURES = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif", "image/avif"})
VIDEOS = frozenset({"video/mp4", "video/quicktime", "video/3gpp", "video/webm", "video/x-matroska"})

#: The expiry of what depends on no URL: the last millisecond of the year 9999, which every client can show.
NEVER = 253_402_300_799_999

#: A cropped picture is no picture of the whole.
_NOT_WHOLE = frozenset({LABEL, "squarePreview"})
_BEST_FIRST = ("full", "source")


def can_be_source(label: str, content_type: str, makeable: Collection[str]) -> bool:
    """Whether a thumbnail could be made of a stored variant."""
    return label not in _NOT_WHOLE and content_type in makeable


def preference(label: str) -> tuple[int, int]:
    """The sort key of sources, the best one first: the original, then the largest rendition, then a preview."""
    if label in _BEST_FIRST:
        return 0, _BEST_FIRST.index(label)
    if label.isascii() and label.isdigit():
        return 1, -int(label[:9])
    return 2, 0


def is_wanted(settings: VaultSettings, facts: Facts, *, vault_plus_enabled: bool) -> bool:
    """Whether policy wants a thumbnail made where there is none upstream; `facts` are the thumbnail's own."""
    if not vault_plus_enabled or not settings.derive_thumbnails or facts.media_type is MediaType.AUDIO:
        return False
    return unsuitable(settings, facts) is None
