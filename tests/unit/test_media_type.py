"""Content types from first bytes, as a table of real file heads."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain.media_type import (
    DEFAULT_BY_TYPE,
    INLINE_SAFE,
    agrees,
    by_extension,
    canonical,
    extension,
    family,
    is_document,
    is_media,
    sniff,
)


def box(kind: bytes, payload: bytes) -> bytes:
    return (len(payload) + 8).to_bytes(4, "big") + kind + payload


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    return box(b"ftyp", major + bytes(4) + b"".join(compatible)) + box(b"moov", bytes(64))


def ebml(document_type: bytes) -> bytes:
    header = b"\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08\x42\x82"
    header += bytes([0x80 | len(document_type)]) + document_type + b"\x42\x87\x81\x04"
    return b"\x1a\x45\xdf\xa3" + b"\x01" + (len(header)).to_bytes(7, "big") + header


def ogg(packet: bytes) -> bytes:
    return b"OggS\0\x02" + bytes(20) + bytes([1, len(packet)]) + packet


MEDIA = [
    (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "image/jpeg"),
    (b"\xff\xd8\xff\xe1\0\x10Exif\0\0", "image/jpeg"),
    (b"\xff\xd8\xff\xdb", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
    (b"GIF89a\x01\0\x01\0", "image/gif"),
    (b"GIF87a\x01\0\x01\0", "image/gif"),
    (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
    (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav"),
    (b"RIFF\x24\0\0\0AVI LIST", "video/x-msvideo"),
    (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "image/bmp"),
    (ftyp(b"avif", b"mif1", b"miaf"), "image/avif"),
    (ftyp(b"avis", b"avif"), "image/avif"),
    (ftyp(b"mif1", b"avif", b"miaf"), "image/avif"),
    (ftyp(b"heic", b"mif1", b"heic"), "image/heic"),
    (ftyp(b"mif1", b"heic"), "image/heic"),
    (ftyp(b"mif1", b"miaf"), "image/heif"),
    (ftyp(b"isom", b"isom", b"iso2", b"avc1", b"mp41"), "video/mp4"),
    (ftyp(b"mp42", b"isom"), "video/mp4"),
    (ftyp(b"M4V ", b"M4V ", b"mp42"), "video/mp4"),
    (ftyp(b"iso6", b"dash"), "video/mp4"),
    (ftyp(b"XYZ1", b"isom"), "video/mp4"),
    (ftyp(b"M4A ", b"M4A ", b"mp42", b"isom"), "audio/mp4"),
    (ftyp(b"M4B ", b"mp42"), "audio/mp4"),
    (ftyp(b"qt  ", b"qt  "), "video/quicktime"),
    (ftyp(b"3gp5", b"isom"), "video/3gpp"),
    (box(b"styp", b"msdh" + bytes(4) + b"iso6"), "video/mp4"),
    (box(b"wide", b"") + box(b"mdat", bytes(64)), "video/quicktime"),
    (box(b"moov", bytes(64)), "video/quicktime"),
    (ebml(b"webm"), "video/webm"),
    (ebml(b"matroska"), "video/x-matroska"),
    (b"ID3\x04\0\0\0\0\0\x00", "audio/mpeg"),
    (b"\xff\xfb\x90\x64", "audio/mpeg"),
    (b"\xff\xfb\x90\x64moov", "audio/mpeg"),
    (b"\xff\xf3\x40\xc0", "audio/mpeg"),
    (b"\xff\xe3\x40\xc0", "audio/mpeg"),
    (b"\xff\xf1\x50\x80\x02\x1f\xfc", "audio/aac"),
    (b"\xff\xf9\x4c\x80\x02\x1f\xfc", "audio/aac"),
    (b"fLaC\0\0\0\x22", "audio/flac"),
    (ogg(b"OpusHead\x01"), "audio/ogg"),
    (ogg(b"\x01vorbis"), "audio/ogg"),
    (ogg(b"\x80theora"), "video/ogg"),
]

DOCUMENTS = [
    (b"<!DOCTYPE html><html><head><title>Log in</title>", "text/html"),
    (b"<!doctype\n  HTML PUBLIC>", "text/html"),
    (b"\xef\xbb\xbf\r\n\t <HTML lang=en>", "text/html"),
    ("<html><body>Log in".encode("utf-16"), "text/html"),
    (b"\xfe\xff" + "<html>".encode("utf-16-be"), "text/html"),
    (b"<html", "text/html"),
    (b"<script>location='/login'</script>", "text/html"),
    (b"<h1>403 Forbidden</h1>", "text/html"),
    (b"<!-- served by edge --><!-- x --> <html>", "text/html"),
    (b"<!-- never closed", "text/html"),
    (b'<?xml version="1.0"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml">', "text/html"),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "text/xml"),
    (b"<Error><Code>ExpiredToken</Code></Error>", "text/xml"),
    (b'<svg xmlns="http://www.w3.org/2000/svg">', "image/svg+xml"),
    (b'<?xml version="1.0"?>\n<!-- drawn --><svg:svg xmlns:svg="x">', "image/svg+xml"),
    (b'<!-- drawn --><svg width="1">', "image/svg+xml"),
    (b"<!DOCTYPE svg PUBLIC>", "image/svg+xml"),
    (b'{"error": "Unauthorized"}', "application/json"),
    (b" \n{}", "application/json"),
    (b"[1, 2]", "application/json"),
    (b'[{"a":1}]', "application/json"),
    (b"%PDF-1.7\n", "application/pdf"),
]

UNKNOWN = [
    b"",
    b"\0" * 64,
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\xff\xfe\x10\x20",
    b"\xff\xfb\xf0\x00",
    b"\xff\xfb\x9c\x00",
    b"\xff\xf1\x3c\x80",
    b"BM, said the sheep, and went on reading",
    b"RIFF\x24\0\0\0ACON",
    b"{curly talk}",
    b"[sic] not JSON",
    b"< 5 apples",
    b"plain text",
    ftyp(b"jp2 ", b"jp2 "),
    ftyp(b"crx ", b"\0\0\0\0"),
    ebml(b"else"),
    b"\x1a\x45\xdf\xa3",
    b"OggS",
    b"\0\0\0\x18ftyp",
    gzip.compress(b"<html>"),
]


@pytest.mark.parametrize(("head", "content_type"), MEDIA + DOCUMENTS)
def test_sniffed(head, content_type):
    assert sniff(head) == content_type


@pytest.mark.parametrize("head", UNKNOWN)
def test_unknown(head):
    assert sniff(head) is None


@pytest.mark.parametrize(("head", "content_type"), MEDIA)
def test_media_are_media_of_their_family(head, content_type):
    assert is_media(sniff(head))
    assert family(content_type) == content_type.partition("/")[0]
    assert agrees(content_type, sniff(head))
    assert agrees("application/octet-stream", sniff(head))


@pytest.mark.parametrize(("head", "content_type"), DOCUMENTS)
def test_an_origins_excuse_is_never_taken_for_media(head, content_type):
    assert not is_media(sniff(head))
    assert content_type not in INLINE_SAFE
    for declared in ("image/jpeg", "video/mp4", "audio/mpeg", "application/octet-stream", "", None):
        assert not agrees(declared, sniff(head))


def test_nothing_that_can_hold_a_script_is_shown_in_place():
    assert INLINE_SAFE.isdisjoint(
        {"image/svg+xml", "text/html", "text/xml", "application/xml", "application/pdf", "application/octet-stream", ""}
    )
    assert {family(content_type) for content_type in INLINE_SAFE} == {"image", "video", "audio"}
    assert all(canonical(content_type) == content_type for content_type in INLINE_SAFE)


@pytest.mark.parametrize(
    ("declared", "sniffed", "agree"),
    [
        ("image/jpg", "image/jpeg", True),
        ("IMAGE/JPEG; q=1", "image/jpeg", True),
        ("audio/mp3", "audio/mpeg", True),
        ("video/x-m4v", "video/mp4", True),
        ("audio/mp4", "video/mp4", True),
        ("video/mp4", "video/quicktime", True),
        ("audio/webm", "video/webm", True),
        ("audio/x-wav", "audio/wav", True),
        ("binary/octet-stream", "image/png", True),
        ("video/mp4", None, True),
        ("application/xml", "text/xml", True),
        ("image/jpeg", "image/png", False),
        ("image/jpeg", "video/mp4", False),
        ("video/mp4", "text/html", False),
        ("video/mp4", "application/json", False),
        ("text/html", "video/mp4", False),
        ("image/svg+xml", "image/png", False),
    ],
)
def test_agreement(declared, sniffed, agree):
    assert agrees(declared, sniffed) is agree


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/files/a.jpg", "image/jpeg"),
        ("/files/a.JPEG", "image/jpeg"),
        ("a.png", "image/png"),
        ("/a/b.c/d.mp4", "video/mp4"),
        ("/a.m4v", "video/mp4"),
        ("/a.mov", "video/quicktime"),
        ("/a.m4a", "audio/mp4"),
        ("/a.mp3", "audio/mpeg"),
        ("/a.webm", "video/webm"),
        ("/a.tar.gif", "image/gif"),
        ("/a.jpg/original", None),
        ("/jpg", None),
        ("jpg", None),
        ("/a.", None),
        ("/a.html", None),
        ("/a.svg", None),
        ("", None),
        ("/", None),
    ],
)
def test_by_extension(path, content_type):
    assert by_extension(path) == content_type


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("image/jpeg", "image"),
        ("Video/MP4; codecs=avc1", "video"),
        ("audio/mpeg", "audio"),
        ("application/ogg", "audio"),
        ("text/html", None),
        ("application/octet-stream", None),
        ("imagery", None),
        ("", None),
        (None, None),
    ],
)
def test_family(content_type, kind):
    assert family(content_type) == kind


@pytest.mark.parametrize("content_type", sorted(INLINE_SAFE | {"video/x-msvideo"}))
def test_a_file_of_a_known_type_is_named_so_that_the_type_can_be_told(content_type):
    assert extension(content_type).isalnum()
    told = by_extension(f"/media.{extension(content_type)}")
    assert told is not None
    assert told == content_type or agrees(told, content_type)


@pytest.mark.parametrize(
    "content_type", ["text/html", "image/svg+xml", "application/pdf", "text/javascript", "x", "", None]
)
def test_what_is_no_known_medium_is_named_so_that_no_system_opens_it(content_type):
    assert extension(content_type) == "bin"


@pytest.mark.parametrize(
    ("content_type", "document"),
    [
        ("text/html", True),
        ("text/javascript", True),
        ("image/svg+xml", True),
        ("image/anything+xml", True),
        ("video/x+XML; charset=utf-8", True),
        ("", True),
        ("image/png", False),
        ("video/x-flv", False),
        ("application/ogg", False),
    ],
)
def test_documents_are_told_by_their_declared_types(content_type, document):
    assert is_document(content_type) is document


def test_the_default_of_a_type_is_of_that_type():
    assert {family(content_type): content_type for content_type in DEFAULT_BY_TYPE.values()} == DEFAULT_BY_TYPE
    assert set(DEFAULT_BY_TYPE.values()) <= INLINE_SAFE


heads = st.sampled_from([head for head, _ in MEDIA + DOCUMENTS] + UNKNOWN)


@given(st.binary(max_size=64) | heads.flatmap(lambda head: st.integers(0, len(head)).map(lambda cut: head[:cut])))
def test_no_head_raises(head):
    found = sniff(head)
    assert found is None or canonical(found) == found


@given(st.sampled_from(MEDIA), st.binary(max_size=2_000))
def test_what_follows_a_telling_head_changes_nothing(case, rest):
    head, content_type = case
    assert sniff(head + rest) == content_type


@given(st.dictionaries(st.text(), st.integers()) | st.lists(st.integers() | st.text()), st.sampled_from([None, 2]))
def test_any_json_object_or_list_is_told(document, indent):
    assert sniff(json.dumps(document, indent=indent).encode()) == "application/json"


@given(st.text(), st.text())
def test_types_and_paths_are_text_of_any_kind(one, other):
    assert agrees(one, one)
    assert isinstance(agrees(one, other), bool)
    assert is_media(one) <= (family(one) is not None)
    by_extension(one)
