"""The documents of an export: what is written is read back the same, and whatever is read is of the format."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain import exported
from mediavault.domain.exported import (
    ExportedItem,
    ExportedList,
    ExportedMember,
    ExportedPin,
    ExportedVariant,
    is_media_name,
    media_name,
)
from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType, Source
from mediavault.errors import InvalidRequest

_ID = "abcXYZ0189_-"
_TIMES = st.integers(0, 253_402_300_799_999)
_TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
_COUNTS = st.integers(0, 2**53)
_VARIANTS = st.builds(
    ExportedVariant,
    status=st.sampled_from(Status),
    file=st.none() | st.text(max_size=30).filter(lambda text: text.isprintable()),
    sha256=st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
    size_bytes=_COUNTS,
    content_type=_TEXTS,
    access_count=_COUNTS,
    created_at=_TIMES,
    expires_at=_TIMES,
    stored_at=st.none() | _TIMES,
    last_accessed_at=_TIMES,
    derived=st.booleans(),
    error=st.just(msgspec.UNSET) | _TEXTS,
)
_ITEMS = st.builds(
    ExportedItem,
    id=st.text(_ID, min_size=1, max_size=64),
    type=st.sampled_from(MediaType),
    upstream_type=st.sampled_from(MediaType),
    duration=st.none() | st.floats(0, 1e9),
    sources=st.lists(st.sampled_from(Source), min_size=1, max_size=4),
    created_at=_TIMES,
    pin=st.none() | st.builds(ExportedPin, pinned_at=_TIMES, until=st.none() | _TIMES, reason=st.none() | _TEXTS),
    variants=st.dictionaries(st.text(_ID, min_size=1, max_size=32), _VARIANTS, max_size=3),
)
_LISTS = st.builds(
    ExportedList,
    id=_TEXTS.filter(bool),
    name=st.none() | _TEXTS,
    type=st.none() | _TEXTS,
    created_at=_TIMES,
    last_added_at=st.none() | _TIMES,
    last_synced_at=st.none() | _TIMES,
)
_MEMBERS = st.builds(
    ExportedMember,
    list_id=_TEXTS.filter(bool),
    media_id=st.text(_ID, min_size=1, max_size=64),
    first_added_at=_TIMES,
    last_added_at=_TIMES,
    last_seen_at=_TIMES,
    last_synced_at=st.none() | _TIMES,
)
_DOCUMENTS = st.one_of(_ITEMS, _LISTS, _MEMBERS)


@given(_DOCUMENTS)
def test_what_is_written_is_read_back_the_same_from_one_line(document):
    line = msgspec.json.encode(document)
    assert b"\n" not in line
    assert exported.decoded(line + b"\n", type(document), "here") == document


@given(_DOCUMENTS, st.data())
def test_a_line_with_other_bytes_is_refused_or_of_the_format(document, data):
    line = bytearray(msgspec.json.encode(document))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(line) - 1))
        line[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        if not line:
            return
    try:
        found = exported.decoded(bytes(line), type(document), "here")
    except InvalidRequest:
        return
    again = msgspec.json.encode(found)
    assert exported.decoded(again, type(document), "here") == found
    assert rb"\u0000" not in again or b"file" in again or b"error" in again


@pytest.mark.parametrize("kind", [ExportedItem, ExportedList, ExportedMember])
@given(content=st.binary(max_size=200))
def test_what_is_no_document_is_refused(kind, content):
    with pytest.raises(InvalidRequest):
        exported.decoded(content, kind, "here")


@given(
    st.lists(
        st.tuples(
            st.text(_ID, min_size=1, max_size=64),
            st.text(_ID, min_size=1, max_size=32),
            st.sampled_from(
                ["image/jpeg", "IMAGE/PNG; x", "video/mp4", "application/octet-stream", "../../x", "", "a/\0"]
            ),
            _TIMES,
        ),
        max_size=20,
    )
)
def test_every_file_has_a_name_of_its_own_that_an_import_takes(files):
    taken: set[str] = set()
    names = [media_name(media_id, label, kind, at, taken) for media_id, label, kind, at in files]
    assert len({name.lower() for name in names}) == len(names)
    assert all(is_media_name(name) and len(name) <= 100 for name in names)
