"""The shapes of the Access API, and how the library's things look in them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from mediavault.platform.library import MediaItem, MediaList, Publication, Rendition

LinkOf = Callable[[str], str]  #: a signed URL for a path of the media host

_VIDEO_HEIGHTS = ("240", "720")


class Source(msgspec.Struct):
    url: str
    width: int
    height: int
    type: str


class File(msgspec.Struct):
    url: str | None
    width: int
    height: int
    size: int
    sources: list[Source] = []


class Files(msgspec.Struct, rename="camel"):
    full: File
    thumb: File | None
    preview: File | None
    square_preview: File | None


class Media(msgspec.Struct, rename="camel"):
    id: int
    type: str
    duration: int
    created_at: str
    is_ready: bool
    has_error: bool
    can_view: bool
    files: Files
    video_sources: dict[str, str | None]


class ListOfMedia(msgspec.Struct, rename="camel"):
    id: int
    type: str
    name: str
    has_media: bool
    can_update: bool
    can_delete: bool
    photos_count: int
    videos_count: int
    gifs_count: int
    audios_count: int


class Published(msgspec.Struct, rename="camel"):
    """A post, a message or a story."""

    id: int
    text: str
    created_at: str
    media_count: int
    media: list[Media]


class Page(msgspec.Struct, rename="camel"):
    list: Sequence[object]
    has_more: bool


class Account(msgspec.Struct, rename="camel"):
    """The creator who is signed in."""

    id: int
    username: str
    name: str
    about: str
    avatar: str
    is_auth: bool = True


def media(item: MediaItem, link: LinkOf) -> Media:
    """A media object; a protected one has no URL for its full quality, and tells its size as 0."""
    renditions = item.renditions
    full = _file(renditions.get("full"), link) or File(None, 0, 0, 0)
    if "source" in renditions:
        source = renditions["source"]
        full.sources = [Source(link(source.path), source.width, source.height, source.content.content_type)]
    return Media(
        item.id,
        item.type,
        item.duration,
        iso_time(item.created_at),
        is_ready=True,
        has_error=False,
        can_view=True,
        files=Files(full, *(_file(renditions.get(label), link) for label in ("thumb", "preview", "squarePreview"))),
        video_sources={height: _url(renditions.get(height), link) for height in _VIDEO_HEIGHTS},
    )


def list_of_media(folder: MediaList) -> ListOfMedia:
    counts = [sum(item.type == kind for item in folder.media) for kind in ("photo", "video", "gif", "audio")]
    return ListOfMedia(folder.id, "custom", folder.name, bool(folder.media), True, True, *counts)


def published(publication: Publication, link: LinkOf) -> Published:
    shown = [media(item, link) for item in publication.media]
    return Published(publication.id, publication.text, iso_time(publication.created_at), len(shown), shown)


def iso_time(at: float) -> str:
    """Unix seconds as ISO 8601, in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _file(rendition: Rendition | None, link: LinkOf) -> File | None:
    if rendition is None:
        return None
    return File(link(rendition.path), rendition.width, rendition.height, rendition.content.size)


def _url(rendition: Rendition | None, link: LinkOf) -> str | None:
    return link(rendition.path) if rendition else None
