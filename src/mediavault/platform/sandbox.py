"""The sandbox: what the platform holds, and the handles by which a demo or a test moves it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from urllib.parse import quote

from mediavault.platform.contents import Content, Held, Synthetic
from mediavault.platform.creators import Creator, creators
from mediavault.platform.faults import Faults
from mediavault.platform.library import Library, MediaItem, Rendition, held, library
from mediavault.platform.request_log import RequestLog
from mediavault.platform.signing import Signer

_PUBLIC = "public/"
_FIRST_ADDED_ID = 4_900_000_001
_SEEDS = {"photo": "seeds/photo.jpg", "video": "seeds/video.mp4", "gif": "seeds/video.mp4", "audio": "seeds/audio.m4a"}
_EXTENSIONS = {"photo": ".jpg", "video": ".mp4", "gif": ".mp4", "audio": ".m4a"}


class UnknownName(LookupError):
    """The sandbox has no creator or media item of this name."""


@dataclass(frozen=True)
class ServedFile:
    """A file as the media host serves it."""

    content: Content
    modified_at: int  #: Unix seconds


class Sandbox:
    """Creators with their libraries and sessions, a clock, faults, and a log of the requests.

    `base_url` is what URLs in answers begin with; None means the Host the client asked. `url_lifetime_seconds` is how
    long a media URL lives at least. `now` gives Unix seconds.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        url_lifetime_seconds: int = 3600,
        now: Callable[[], float] = time.time,
        signing_key: bytes = b"mediavault sandbox",
    ) -> None:
        self.base_url = base_url
        self.url_lifetime_seconds = url_lifetime_seconds
        self.faults = Faults()
        self.log = RequestLog()
        self.libraries = {creator.username: library(creator) for creator in creators()}
        self._clock, self._advanced_seconds = now, 0.0
        self._signing_key, self._key_number = signing_key, 1
        self._expired_sessions: set[str] = set()
        self._added_ids, self._post_ids = count(_FIRST_ADDED_ID), count(1)
        self._files: dict[str, ServedFile] = {}
        for shelf in self.libraries.values():
            self._files[f"{_PUBLIC}{shelf.creator.username}.jpg"] = ServedFile(shelf.avatar, 0)
            for item in shelf.all_media():
                self._offer(item)

    # Time

    def now(self) -> float:
        """Unix seconds by the sandbox's clock."""
        return self._clock() + self._advanced_seconds

    def advance(self, seconds: float) -> None:
        """Put the clock forward: URLs expire as if the time had passed."""
        self._advanced_seconds += seconds

    def expire_urls(self) -> None:
        """Refuse every media URL given so far; the next answers carry new ones."""
        self._key_number += 1

    # Sessions

    def signed_in(self, session: str | None) -> Creator | None:
        """The creator this session token belongs to, unless it was expired."""
        for shelf in self.libraries.values():
            creator = shelf.creator
            if creator.session == session and creator.username not in self._expired_sessions:
                return creator
        return None

    def expire_session(self, username: str) -> None:
        """Sign the creator out: the API answers 401. Raises UnknownName."""
        self._expired_sessions.add(self.library(username).creator.username)

    def restore_session(self, username: str) -> None:
        """Let the same session token in again. Raises UnknownName."""
        self._expired_sessions.discard(self.library(username).creator.username)

    # Media

    def library(self, username: str) -> Library:
        """A creator's library; its lists may be changed in place. Raises UnknownName."""
        if username not in self.libraries:
            raise UnknownName(f"no creator is called {username!r}")
        return self.libraries[username]

    def media(self, media_id: int) -> MediaItem:
        """Raises UnknownName."""
        for shelf in self.libraries.values():
            for item in shelf.all_media():
                if item.id == media_id:
                    return item
        raise UnknownName(f"no media item has the id {media_id}")

    def add_media(
        self,
        username: str,
        *,
        type: str = "video",
        size_bytes: int | None = None,
        seed: int = 0,
        content: bytes | None = None,
        content_type: str | None = None,
    ) -> MediaItem:
        """Put a media item with only a `full` file in front of a creator's vault.

        The file is synthetic, of exactly `size_bytes` (default: 100,000), or else `content`, taken as it is. The seed
        decides the filler. Raises UnknownName for the creator, ValueError for a type or size that cannot be.
        """
        shelf = self.library(username)
        bytes_of_it = _content(type, size_bytes, seed, content, content_type)
        item = MediaItem(next(self._added_ids), type, 0 if type == "photo" else 1, self.now())
        path = f"{username}/{item.id}/full{_EXTENSIONS[type]}"
        item.renditions["full"] = Rendition(path, bytes_of_it, 64, 64)
        shelf.vault.append(item)
        self._offer(item)
        return item

    def change_media(
        self,
        media_id: int,
        *,
        size_bytes: int | None = None,
        seed: int = 0,
        content: bytes | None = None,
        content_type: str | None = None,
        new_url: bool = False,
    ) -> MediaItem:
        """Give a media item another `full` file, under the same path or (`new_url`) another. Raises as add_media."""
        item = self.media(media_id)
        full = item.renditions.get("full")
        if full is None:
            raise ValueError(f"media item {media_id} is protected: it has no full file to change")
        full.content = _content(item.type, size_bytes, seed, content, content_type)
        if new_url:
            del self._files[full.path]
            stem, dot, extension = full.path.rpartition(".")
            full.path = f"{stem}-changed{dot}{extension}"
        self._offer(item, modified_at=int(self.now()))
        return item

    def remove_media(self, media_id: int) -> None:
        """Take a media item out of everything; its URLs answer 404. Raises UnknownName."""
        item = self.media(media_id)
        for rendition in item.renditions.values():
            self._files.pop(rendition.path, None)
        for shelf in self.libraries.values():
            publications = shelf.posts + shelf.messages + shelf.stories
            places = [shelf.vault, *(folder.media for folder in shelf.lists), *(each.media for each in publications)]
            for place in places:
                place[:] = [member for member in place if member is not item]

    # The media host

    def media_url(self, path: str, base_url: str) -> str:
        """A signed URL of the media host for a path such as `item.renditions["full"].path`."""
        return f"{base_url}/cdn/{quote(path)}?{self._signer().query(path, self.now())}"

    def avatar_url(self, creator: Creator, base_url: str) -> str:
        """A plain URL, valid for ever."""
        return f"{base_url}/cdn/{_PUBLIC}{creator.username}.jpg"

    def signed_file(self, path: str, query: str) -> ServedFile | None:
        """What lies at a path of the media host, or None. Raises signing.Refused where the query does not open it."""
        if not path.startswith(_PUBLIC):
            self._signer().verify(path, query, self.now())
        return self._files.get(path)

    def next_post_id(self) -> int:
        """An id for something that was posted."""
        return next(self._post_ids)

    def _signer(self) -> Signer:
        return Signer(self._signing_key, f"SANDBOX{self._key_number}", self.url_lifetime_seconds)

    def _offer(self, item: MediaItem, modified_at: int | None = None) -> None:
        for rendition in item.renditions.values():
            self._files[rendition.path] = ServedFile(rendition.content, modified_at or int(item.created_at))


def _content(
    media_type: str, size_bytes: int | None, seed: int, content: bytes | None, content_type: str | None
) -> Content:
    if media_type not in _SEEDS:
        raise ValueError(f"type must be one of {', '.join(_SEEDS)}, not {media_type!r}")
    seed_file = held(_SEEDS[media_type])
    if content is not None:
        return Held(content, content_type or seed_file.content_type)
    size = 100_000 if size_bytes is None else size_bytes
    return Synthetic(seed_file.data, content_type or seed_file.content_type, size, seed)
