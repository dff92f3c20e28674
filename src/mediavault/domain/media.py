"""Media items, their labels, and how labels and policy qualities correspond."""

import re
from enum import StrEnum

from mediavault.errors import MediaNotFound

_MEDIA_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class MediaType(StrEnum):
    """The contract's three types."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


class Source(StrEnum):
    """Where upstream a media item was seen."""

    VAULT = "vault"
    MESSAGES = "messages"
    POSTS = "posts"
    STORIES = "stories"


#: The upstream's words for types (contract.md, "The media object").
TYPE_OF_UPSTREAM = {
    "photo": MediaType.IMAGE,
    "image": MediaType.IMAGE,
    "gif": MediaType.VIDEO,
    "video": MediaType.VIDEO,
    "audio": MediaType.AUDIO,
}

_IMAGE_QUALITY = {"thumb": "thumb", "preview": "preview", "squarePreview": "preview"}
_VIDEO_QUALITY = {
    "preview": "preview",
    "squarePreview": "preview",
    "thumb": "preview",
    "source": "source",
    "full": "source",
}
_VIDEO_HEIGHTS = ((240, "preview"), (720, "720p"), (1080, "1080p"))


def quality_of_label(media_type: MediaType, label: str) -> str | None:
    """The policy quality a label belongs to; None for audio, which has no qualities.

    A height between the named ones counts as the next one up, so that a policy that keeps 720p keeps 480 too.
    """
    if media_type is MediaType.AUDIO:
        return None
    if media_type is MediaType.IMAGE:
        return _IMAGE_QUALITY.get(label, "full")
    if label in _VIDEO_QUALITY:
        return _VIDEO_QUALITY[label]
    if label.isascii() and label.isdigit():
        height = int(label[:9])
        return next((quality for limit, quality in _VIDEO_HEIGHTS if height <= limit), "source")
    return "source"


def check_media_id(text: str) -> str:
    """A raw media id as it may stand in a path: 1-64 of `[A-Za-z0-9_-]`. Raises MediaNotFound: no such id exists."""
    if not _MEDIA_ID.fullmatch(text):
        raise MediaNotFound
    return text


def is_media_id(text: str) -> bool:
    """Whether the text could be a raw media id."""
    return _MEDIA_ID.fullmatch(text) is not None


def overall_type(content_types: list[str], upstream: MediaType) -> MediaType:
    """An item's type from its variants' content types: video over audio over image (a video has a JPEG thumb).

    `content_types` are those of variants whose bytes were seen; without any, the upstream's word stands.
    """
    families = {content_type.partition("/")[0] for content_type in content_types}
    if upstream is not MediaType.IMAGE and families == {"image"}:
        return upstream  # only the poster has been seen yet
    for media_type in (MediaType.VIDEO, MediaType.AUDIO, MediaType.IMAGE):
        if media_type in families:
            return media_type
    return upstream
