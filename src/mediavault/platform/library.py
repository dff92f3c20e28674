"""What a creator has made: media in their qualities, vault lists, posts, messages and stories."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import msgspec

from mediavault.platform.contents import Content, Held
from mediavault.platform.creators import Creator

MEDIA_FOLDER = Path(__file__).with_name("media")

_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".mp4": "video/mp4", ".m4a": "audio/mp4"}
_DAY_SECONDS = 86_400
_FIRST_DAY = 1_735_732_800.0  #: 2025-01-01T12:00:00Z
_OUTSIDE_THE_VAULT = {"message", "story"}
_LISTS = {
    "Landscapes": ("photo-1", "photo-2", "photo-3", "photo-4"),
    "Motion": ("scene", "swing", "loop", "photo-1"),
    "Favourites": ("photo-1", "photo-2", "poster", "scene", "song", "locked"),
}


@dataclass
class Rendition:
    """A media item in one quality."""

    path: str  #: below /cdn/
    content: Content
    width: int
    height: int


@dataclass
class MediaItem:
    """A media item; without a `full` rendition it is protected, and the platform gives no URL for it."""

    id: int
    type: str  #: photo | video | audio | gif
    duration: int  #: seconds
    created_at: float  #: Unix seconds
    renditions: dict[str, Rendition] = field(default_factory=dict)


@dataclass
class MediaList:
    """A folder of the vault."""

    id: int
    name: str
    media: list[MediaItem] = field(default_factory=list)


@dataclass
class Publication:
    """A post, a message or a story."""

    id: int
    text: str
    created_at: float
    media: list[MediaItem]
    chat_id: int | None = None


@dataclass
class Library:
    """Everything of one creator."""

    creator: Creator
    avatar: Held
    vault: list[MediaItem]
    lists: list[MediaList]
    posts: list[Publication]
    messages: list[Publication]
    stories: list[Publication]

    def all_media(self) -> list[MediaItem]:
        """Each media item once, wherever it is shown."""
        shown = [item for publication in self.posts + self.messages + self.stories for item in publication.media]
        return list({item.id: item for item in self.vault + shown}.values())


class _File(msgspec.Struct):
    file: str
    width: int
    height: int


class _Entry(msgspec.Struct):
    """An entry of media/catalogue.json, as scripts/make_sandbox_media.py writes it."""

    creator: str
    name: str
    type: str
    duration: int
    files: dict[str, _File]


def library(creator: Creator) -> Library:
    """A fresh library with the creator's committed media."""
    entries = [entry for entry in _catalogue() if entry.creator == creator.username]
    made = {entry.name: _item(creator, number, entry) for number, entry in enumerate(entries, start=1)}
    lists = [
        MediaList(creator.id * 100 + number, name, [made[member] for member in members])
        for number, (name, members) in enumerate(_LISTS.items(), start=1)
    ]
    return Library(
        creator,
        held(f"{creator.username}/avatar.jpg"),
        [item for name, item in made.items() if name not in _OUTSIDE_THE_VAULT],
        lists,
        _posts(creator, made),
        _messages(creator, made),
        _stories(creator, made),
    )


@cache
def held(file: str) -> Held:
    """A committed file; its type follows its extension."""
    return Held((MEDIA_FOLDER / file).read_bytes(), _TYPES[Path(file).suffix])


@cache
def _catalogue() -> list[_Entry]:
    return msgspec.json.decode((MEDIA_FOLDER / "catalogue.json").read_bytes(), type=list[_Entry])


def _item(creator: Creator, number: int, entry: _Entry) -> MediaItem:
    """The item of a catalogue entry; items are a day apart."""
    identity = creator.id * 100_000 + number
    item = MediaItem(identity, entry.type, entry.duration, _FIRST_DAY + number * _DAY_SECONDS)
    for label, file in entry.files.items():
        path = f"{creator.username}/{identity}/{label}{Path(file.file).suffix}"
        item.renditions[label] = Rendition(path, held(file.file), file.width, file.height)
    if entry.type == "video" and "full" in item.renditions:
        full = item.renditions["full"]
        path = f"{creator.username}/{identity}/source.mp4"
        item.renditions["source"] = Rendition(path, full.content, full.width, full.height)
    return item


def _posts(creator: Creator, made: dict[str, MediaItem]) -> list[Publication]:
    return [
        Publication(creator.id * 1000 + 1, creator.about, _FIRST_DAY + 20 * _DAY_SECONDS, [made["photo-1"]]),
        Publication(
            creator.id * 1000 + 2,
            "A walk in four pictures",
            _FIRST_DAY + 21 * _DAY_SECONDS,
            [made["photo-2"], made["photo-3"], made["photo-4"], made["scene"]],
        ),
        Publication(creator.id * 1000 + 3, "No picture today", _FIRST_DAY + 22 * _DAY_SECONDS, []),
    ]


def _messages(creator: Creator, made: dict[str, MediaItem]) -> list[Publication]:
    first, second = creator.id * 10 + 1, creator.id * 10 + 2
    texts = [
        ("Good morning!", [made["message"]], first),
        ("Thank you for writing", [], first),
        ("Something to listen to", [made["song"], made["photo-1"]], second),
    ]
    return [
        Publication(creator.id * 1000 + 100 + number, text, _FIRST_DAY + (25 + number) * _DAY_SECONDS, media, chat)
        for number, (text, media, chat) in enumerate(texts, start=1)
    ]


def _stories(creator: Creator, made: dict[str, MediaItem]) -> list[Publication]:
    return [
        Publication(creator.id * 1000 + 201, "Just now", _FIRST_DAY + 30 * _DAY_SECONDS, [made["story"]]),
        Publication(creator.id * 1000 + 202, "On repeat", _FIRST_DAY + 31 * _DAY_SECONDS, [made["loop"]]),
    ]
