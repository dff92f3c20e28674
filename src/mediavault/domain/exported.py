"""The format of an export, version 1: what its JSON says, and how its files are named. `docs/backup.md` describes it.

Whoever reads one believes nothing: `decoded` refuses what is not of the format, and a file's name must be one that
`is_media_name` takes before anything is opened by it.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType, Source
from mediavault.domain.media_type import extension
from mediavault.domain.settings import SettingsOverrides, VaultSettings
from mediavault.errors import InvalidRequest

T = TypeVar("T")

FORMAT = "mediavault-export"
VERSION = 1

#: The members of an export beside its media.
HEAD, ITEMS, LISTS, MEMBERS, README = "export.json", "items.jsonl", "lists.jsonl", "list-items.jsonl", "README.txt"
DOCUMENTS = (README, ITEMS, LISTS, MEMBERS, HEAD)  #: the head last: an export that has one is whole
#: No line of JSON in an export is longer, bytes.
LONGEST_LINE = 1 << 20

_MEDIA_NAME = re.compile(r"media/[0-9]{4}-[0-9]{2}/[0-9A-Za-z][0-9A-Za-z._~-]{0,180}", re.ASCII)

#: With its folders and its extension a name fits into the 100 characters that every tar header has for it.
_LONGEST_STEM = 72

_LAST_MILLISECOND = 253_402_300_799_999  # of the year 9999
Time = Annotated[int, Meta(ge=0, le=_LAST_MILLISECOND)]
Size = Annotated[int, Meta(ge=0, le=2**53)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
MediaId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
Label = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,32}\Z")]
# Without NUL, which no database takes; it would end an import in its middle.
ListId = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]+\Z")]
ShortText = Annotated[str, Meta(max_length=500, pattern=r"^[^\x00]*\Z")]
#: No text that tells why bytes are not there is longer: an import hands it on in a header.
LONGEST_REASON = 500


class ExportedUser(Struct, frozen=True, rename="camel"):
    """Whose media they are, as the upstream named the user."""

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
    name: ShortText
    username: ShortText


class ExportedConnection(Struct, frozen=True, rename="camel"):
    """The connection, without its session."""

    id: Annotated[str, Meta(max_length=100)]
    user: ExportedUser
    created_at: Time
    client_reference_id: ShortText | None
    vault_plus_enabled: bool
    settings: VaultSettings  #: those that held
    settings_overrides: Any  #: the connection's own part of them, or null


class _Version(Struct, frozen=True):
    """What is asked of `export.json` first: another version may have another shape."""

    format: Literal["mediavault-export"]
    version: int


class ExportHead(Struct, frozen=True, rename="camel"):
    """`export.json`."""

    format: Literal["mediavault-export"]
    version: int
    created_at: Time
    program: str
    connection: ExportedConnection
    items: Count
    variants: Count
    files: Count
    file_bytes: Size
    lists: Count


class ExportedVariant(Struct, frozen=True, rename="camel"):
    """One quality of an item. `file` is null where its bytes are not in the export; `sha256` then too."""

    status: Status
    file: Annotated[str, Meta(max_length=200)] | None
    sha256: Digest | None
    size_bytes: Size
    content_type: Annotated[str, Meta(max_length=255, pattern=r"^[^\x00]*\Z")]
    access_count: Count
    created_at: Time
    expires_at: Time
    stored_at: Time | None
    last_accessed_at: Time
    derived: bool = False  #: the vault made it itself
    error: Annotated[str, Meta(max_length=LONGEST_REASON)] | UnsetType = (
        UNSET  #: why the bytes of a stored one are not in the export
    )


class ExportedPin(Struct, frozen=True, rename="camel"):
    """What keeps an item from policy's removal."""

    pinned_at: Time
    until: Time | None
    reason: ShortText | None


class ExportedItem(Struct, frozen=True, rename="camel"):
    """A line of `items.jsonl`."""

    id: MediaId
    type: MediaType  #: as shown
    upstream_type: MediaType
    duration: Annotated[float, Meta(ge=0, le=1e9)] | None  #: seconds
    sources: Annotated[list[Source], Meta(min_length=1, max_length=4)]  #: first seen first
    created_at: Time
    pin: ExportedPin | None
    variants: Annotated[dict[Label, ExportedVariant], Meta(max_length=200)]


class ExportedList(Struct, frozen=True, rename="camel"):
    """A line of `lists.jsonl`: one of the creator's lists upstream."""

    id: ListId
    name: ShortText | None
    type: ShortText | None
    created_at: Time
    last_added_at: Time | None
    last_synced_at: Time | None


class ExportedMember(Struct, frozen=True, rename="camel"):
    """A line of `list-items.jsonl`: a media item in a list."""

    list_id: ListId
    media_id: MediaId
    first_added_at: Time
    last_added_at: Time
    last_seen_at: Time
    last_synced_at: Time | None


_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (_Version, ExportHead, ExportedItem, ExportedList, ExportedMember)
}


def decoded(content: bytes, kind: type[T], where: str) -> T:
    """One JSON document of an export. Raises InvalidRequest, with `where` it stood."""
    if len(content) > LONGEST_LINE:
        raise InvalidRequest(f"{where} is longer than {LONGEST_LINE} bytes")
    try:
        document: T = _DECODERS[kind].decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"{where} is not as the format says: {error}") from None
    return document


def decoded_head(content: bytes) -> ExportHead:
    """`export.json`, of a version that this program reads. Raises InvalidRequest."""
    version = decoded(content, _Version, HEAD).version
    if version != VERSION:
        raise InvalidRequest(f"the export is of version {version}, and this program reads version {VERSION}")
    return decoded(content, ExportHead, HEAD)


def overrides_of(connection: ExportedConnection) -> Any | None:
    """The connection's own settings. Raises InvalidRequest."""
    if connection.settings_overrides is None:
        return None
    try:
        return msgspec.convert(connection.settings_overrides, SettingsOverrides)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{HEAD}: settingsOverrides: {error}") from None


def is_media_name(name: str) -> bool:
    """Whether a name is one that an export may give a media file: nothing that leads anywhere else."""
    return _MEDIA_NAME.fullmatch(name) is not None and ".." not in name and not name.endswith((".", "~"))


def media_name(media_id: str, label: str, content_type: str, created_at: int, taken: set[str]) -> str:
    """A readable name nobody has yet, also where a file system knows no case; `taken` learns it."""
    at = datetime.fromtimestamp(created_at // 1000, UTC)
    stem = f"media/{at:%Y-%m}/" + f"{at:%Y-%m-%d}_{media_id}_{label}"[:_LONGEST_STEM]
    suffix, number = "", 1
    while f"{stem}{suffix}".lower() in taken:
        number += 1
        suffix = f"~{number}"
    taken.add(f"{stem}{suffix}".lower())
    return f"{stem}{suffix}.{extension(content_type)}"
