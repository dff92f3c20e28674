"""What an upstream answer showed of a media item."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SeenVariant:
    """One quality of a media item, as an upstream answer showed it."""

    label: str
    origin_url: bytes  #: sealed
    origin_key: str  #: digest of the URL: tells whether it changed
    origin_expires_at: int  #: Unix ms
    content_type: str  #: a guess; replaced when bytes were seen


@dataclass(frozen=True)
class SeenMedia:
    """One media item, as an upstream answer showed it."""

    media_id: str
    type: str
    duration: float | None  #: seconds
    source: str
    observed_path: str  #: path and query of the answer that showed it
    variants: tuple[SeenVariant, ...]


def joined(first: SeenMedia, second: SeenMedia) -> SeenMedia:
    """The same media twice in one answer: the labels of both, the first one's where both have it."""
    by_label = {variant.label: variant for variant in reversed((*first.variants, *second.variants))}
    return SeenMedia(
        first.media_id,
        first.type,
        first.duration if first.duration is not None else second.duration,
        first.source,
        first.observed_path,
        tuple(by_label[label] for label in sorted(by_label)),
    )
