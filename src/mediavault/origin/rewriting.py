"""Finds the media in an upstream's JSON, and puts other URLs in their place. Everything else stays as it was."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mediavault.domain.media import TYPE_OF_UPSTREAM, MediaType, Source, is_media_id
from mediavault.errors import UpstreamError

#: Labels come from the upstream's own keys; what does not look like one is no label of ours.
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
_HEIGHT = re.compile(r"([1-9][0-9]{0,4})(?:\.0+)?", re.ASCII)
_PREFIX = re.compile(r"/v2/access(?:/proxy)?(?:/api2/v2)?(?=/|$)")
_SOURCE_OF_SEGMENT = {
    "vault": Source.VAULT,
    "messages": Source.MESSAGES,
    "chats": Source.MESSAGES,
    "posts": Source.POSTS,
    "stories": Source.STORIES,
}


def source_of_path(path: str) -> Source:
    """Where upstream an answer came from, by the first telling segment after the gateway's prefix."""
    rest = _PREFIX.sub("", path.partition("?")[0], count=1)
    for segment in rest.split("/"):
        if segment in _SOURCE_OF_SEGMENT:
            return _SOURCE_OF_SEGMENT[segment]
    return Source.POSTS  # shown somewhere on the profile; not stored by default


@dataclass
class FoundUrl:
    """One media URL and where in the document it stands."""

    label: str | None  #: None where the document gives it no name the vault can use
    url: str
    holder: dict[str, Any]
    key: str


@dataclass
class FoundMedia:
    """One media object of the document."""

    media_id: str | None  #: None where the id is none the vault can address
    type: MediaType
    duration: float | None
    urls: list[FoundUrl] = field(default_factory=list)


#: Numbers with a point keep their spelling; whole numbers of any length are exact anyway.
_DECODER = msgspec.json.Decoder(float_hook=lambda text: msgspec.Raw(text.encode()))


#: Every escape of a JSON string; what matches as `lone` is half of a surrogate pair.
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)


def decode(body: bytes) -> Any:
    """The document. Raises UpstreamError for what is not JSON."""
    try:
        return _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        pass  # a text that was cut in the middle of an emoji is JSON, and no Unicode
    try:
        return _DECODER.decode(_ESCAPE.sub(lambda found: b"\\ufffd" if found["lone"] else found[0], body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UpstreamError("the upstream's answer is not JSON") from error


def encode(document: Any) -> bytes:
    """The document as JSON."""
    try:
        return msgspec.json.encode(document)
    except (RecursionError, UnicodeEncodeError) as error:
        raise UpstreamError("the upstream's answer cannot be written as JSON again") from error


def media_in(document: Any) -> Iterator[FoundMedia]:
    """Every media object, however deep: one with an `id` and `files` or `videoSources`."""
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(reversed(node))
        elif isinstance(node, dict):
            if "id" in node and (isinstance(node.get("files"), dict) or isinstance(node.get("videoSources"), dict)):
                yield _media(node)
            waiting.extend(value for value in reversed(node.values()) if isinstance(value, (dict, list)))


def _media(node: dict[str, Any]) -> FoundMedia:
    media_type = node.get("type")
    return FoundMedia(
        media_id=_media_id(node["id"]),
        type=TYPE_OF_UPSTREAM.get(media_type, MediaType.IMAGE) if isinstance(media_type, str) else MediaType.IMAGE,
        duration=_duration(node.get("duration")),
        urls=list(_urls(node)),
    )


def _media_id(given: Any) -> str | None:
    if isinstance(given, bool) or not isinstance(given, int | str):
        return None
    text = str(given)
    return text if is_media_id(text) else None


def _duration(given: Any) -> float | None:
    """Seconds; a picture's 0 is no duration."""
    try:
        seconds = float(bytes(given)) if isinstance(given, msgspec.Raw) else given
    except ValueError:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return seconds if 0 < seconds < 10**9 else None


def _urls(node: dict[str, Any]) -> Iterator[FoundUrl]:
    files = _object(node.get("files"))
    for label, file in files.items():
        if isinstance(file, dict):
            yield from _url(label, file, "url")
            yield from _sources(file)
        else:
            yield from _url(label, files, label)
    heights = _object(node.get("videoSources"))
    for label in heights:
        yield from _url(label, heights, label)


def _object(given: Any) -> dict[str, Any]:
    return given if isinstance(given, dict) else {}


def _sources(file: dict[str, Any]) -> Iterator[FoundUrl]:
    """`files.*.sources[]`: a label each, by height."""
    sources = file.get("sources")
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, dict):
            yield from _url(_height(source.get("height")), source, "url")


def _height(given: Any) -> str:
    """A label; nothing for what is no height."""
    text = bytes(given).decode() if isinstance(given, msgspec.Raw) else str(given)
    found = None if isinstance(given, bool) else _HEIGHT.fullmatch(text)
    return found[1] if found else ""


def _url(label: str, holder: dict[str, Any], key: str) -> Iterator[FoundUrl]:
    url = holder.get(key)
    if isinstance(url, str) and url[:8].lower().startswith(("http://", "https://")):
        yield FoundUrl(label if _LABEL.fullmatch(label) else None, url, holder, key)
