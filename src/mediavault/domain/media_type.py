"""Content types, told by a file's first bytes rather than by what a server says of it.

An origin whose session ran out answers a login page with 200 and whatever type it likes; only the bytes tell.
"""

import re
from collections.abc import Callable
from typing import Literal

Family = Literal["image", "video", "audio"]

#: Bytes worth handing to `sniff`: more tells it nothing.
SNIFF_BYTES = 1024

#: What a variant is taken for before its first byte was seen (contract.md, contentType).
DEFAULT_BY_TYPE: dict[str, str] = {"image": "image/jpeg", "video": "video/mp4", "audio": "audio/mpeg"}

#: Types a browser may show in place: they hold pixels and samples, never scripts.
INLINE_SAFE = frozenset(
    {
        *("image/jpeg", "image/png", "image/gif", "image/webp", "image/avif", "image/heic", "image/heif", "image/bmp"),
        *("video/mp4", "video/webm", "video/quicktime", "video/ogg", "video/3gpp", "video/x-matroska"),
        *("audio/mpeg", "audio/mp4", "audio/aac", "audio/flac", "audio/ogg", "audio/wav", "audio/webm"),
    }
)

#: Everything that counts as media; the rest is a document, or an origin's excuse.
_MEDIA = INLINE_SAFE | {"video/x-msvideo"}

#: RFC 9110 §8.3.1, and no longer than RFC 6838 §4.2 allows.
_WELL_FORMED = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,127}/[a-z0-9!#$%&'*+.^_`|~-]{1,127}")

_GENERIC = frozenset({"", "application/octet-stream", "binary/octet-stream", "application/binary"})

#: Containers whose type does not tell whether there is a picture track, or which of two siblings wrote them.
_SAME_CONTAINER = (
    frozenset({"video/mp4", "audio/mp4", "video/quicktime", "video/3gpp"}),
    frozenset({"video/webm", "audio/webm", "video/x-matroska"}),
    frozenset({"video/ogg", "audio/ogg"}),
    frozenset({"image/heic", "image/heif", "image/avif"}),
)

_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "image/x-bmp": "image/bmp",
    "video/x-m4v": "video/mp4",
    "video/avi": "video/x-msvideo",
    "audio/mp3": "audio/mpeg",
    "audio/x-mp3": "audio/mpeg",
    "audio/x-mpeg": "audio/mpeg",
    "audio/m4a": "audio/mp4",
    "audio/x-m4a": "audio/mp4",
    "audio/aacp": "audio/aac",
    "audio/x-aac": "audio/aac",
    "audio/x-flac": "audio/flac",
    "application/ogg": "audio/ogg",
    "audio/opus": "audio/ogg",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "application/xml": "text/xml",
    "application/xhtml+xml": "text/html",
    "text/json": "application/json",
}

_BY_EXTENSION = {
    **dict.fromkeys(("jpg", "jpeg", "jpe", "jfif"), "image/jpeg"),
    **{name: f"image/{name}" for name in ("png", "gif", "webp", "avif", "heic", "heif", "bmp")},
    **dict.fromkeys(("mp4", "m4v"), "video/mp4"),
    **{
        "webm": "video/webm",
        "mkv": "video/x-matroska",
        "ogv": "video/ogg",
        "3gp": "video/3gpp",
        "avi": "video/x-msvideo",
    },
    **dict.fromkeys(("mov", "qt"), "video/quicktime"),
    **dict.fromkeys(("m4a", "m4b"), "audio/mp4"),
    **dict.fromkeys(("ogg", "oga", "opus"), "audio/ogg"),
    **{"mp3": "audio/mpeg", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav"},
}

#: The first extension of each type, as it stands above.
_EXTENSIONS = {content_type: name for name, content_type in reversed(_BY_EXTENSION.items())} | {"audio/webm": "webm"}

_MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"%PDF-", "application/pdf"),
)

_RIFF_FORMS = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}

#: Brands of an ISO base media file, the telling ones before the general ones.
_BRANDS = (
    (frozenset({b"avif", b"avis"}), "image/avif"),
    (frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}), "image/heic"),
    (frozenset({b"mif1", b"msf1"}), "image/heif"),
    (frozenset({b"M4A ", b"M4B ", b"F4A ", b"F4B "}), "audio/mp4"),
    (frozenset({b"qt  "}), "video/quicktime"),
    (frozenset({b"3gp4", b"3gp5", b"3gp6", b"3gp7", b"3g2a"}), "video/3gpp"),
    (frozenset({b"M4V ", b"M4VH", b"M4VP", b"F4V ", b"MSNV", b"dash", b"avc1", b"mmp4"}), "video/mp4"),
    (frozenset({b"isom", b"mp41", b"mp42", b"mp71", *(b"iso%d" % n for n in range(2, 10))}), "video/mp4"),
)
_GENERAL_IMAGE_BRANDS = frozenset({b"mif1", b"msf1"})

_QUICKTIME_ATOMS = frozenset({b"moov", b"mdat", b"wide", b"pnot"})

_HTML_TAG = re.compile(
    rb"<(?:!doctype[\t\n\f\r ]+html|html|head|body|title|meta|link|base|script|style|iframe|form|table|center|font"
    rb"|div|span|h[1-6]|pre|img|br|a|b|p)(?=[\t\n\f\r />]|\Z)",
    re.IGNORECASE,
)
_SVG_TAG = re.compile(rb"<(?:[\w-]+:)?svg(?=[\t\n\f\r />]|\Z)", re.IGNORECASE)
_XML_START = re.compile(rb"<[?!/A-Za-z_]")
_JSON_START = re.compile(rb"""\{[\t\n\r ]*+(?:["}]|\Z)|\[[\t\n\r ]*+(?:[\[\]{"0-9tfn-]|\Z)""")
_WHITESPACE = b"\t\n\f\r "


def canonical(content_type: str | None) -> str:
    """The bare type in lower case, without parameters, under its common name; "" for none, or what is no type."""
    bare = (content_type or "").partition(";")[0].strip().lower()
    return _ALIASES.get(bare, bare) if _WELL_FORMED.fullmatch(bare) else ""


def family(content_type: str | None) -> Family | None:
    """What kind of media a content type names."""
    match canonical(content_type).partition("/")[0]:
        case "image" | "video" | "audio" as kind:
            return kind
    return None


def is_generic(content_type: str | None) -> bool:
    """Whether a declared type says nothing of the bytes."""
    return canonical(content_type) in _GENERIC


def is_media(sniffed: str | None) -> bool:
    """Whether the bytes are pictures or sound; an SVG is a document that may hold scripts, so it is not."""
    return canonical(sniffed) in _MEDIA


def is_document(declared: str | None) -> bool:
    """Whether a declared type names no media; browsers parse whatever ends in `+xml`, pictures by name included."""
    said = canonical(declared)
    return family(said) is None or said.endswith("+xml")


def agrees(declared: str | None, sniffed: str | None) -> bool:
    """Whether a declared type can be true of bytes that were sniffed.

    Unknown bytes contradict nothing; a type that says nothing (octet-stream, none) is true of any media.
    """
    said, seen = canonical(declared), canonical(sniffed)
    if not seen or said == seen:
        return True
    if is_generic(said):
        return seen in _MEDIA
    return any(said in group and seen in group for group in _SAME_CONTAINER)


def may_be(declared: str, head: bytes) -> bool:
    """Whether bytes that `sniff` knows nothing of can be what they are declared as.

    Everything that browsers show has a sniffer, so unknown bytes are none of it, but for MP4 of a brand nobody listed.
    """
    said = canonical(declared)
    return said not in INLINE_SAFE or (said in _SAME_CONTAINER[0] and head[4:8] == b"ftyp")


def by_extension(url_path: str) -> str | None:
    """The type that the extension of a URL's path promises, if it is one of media."""
    _, dot, extension = url_path.rpartition("/")[2].rpartition(".")
    return _BY_EXTENSION.get(extension.lower()) if dot else None


def extension(content_type: str | None) -> str:
    """What a file of that type is named with; `bin`, which no system opens, for all that is not known media."""
    return _EXTENSIONS.get(canonical(content_type), "bin")


def sniff(head: bytes) -> str | None:
    """The content type of a file that begins with `head`, or None if nothing known does. Never raises."""
    head = head[:SNIFF_BYTES]
    for magic, content_type in _MAGIC:
        if head.startswith(magic):
            return content_type
    for look in _SNIFFERS:
        if found := look(head):
            return found
    return None


def _sniff_riff(head: bytes) -> str | None:
    return _RIFF_FORMS.get(head[8:12]) if head.startswith(b"RIFF") else None


def _sniff_iso_media(head: bytes) -> str | None:
    """MP4 and its kin, after the brands of the file type box; QuickTime is older than that box."""
    kind = head[4:8]
    if kind in _QUICKTIME_ATOMS:
        return "video/quicktime"
    if kind not in (b"ftyp", b"styp"):
        return None
    end = max(int.from_bytes(head[:4], "big"), 12)
    major, compatible = head[8:12], {head[at : at + 4] for at in range(16, min(end, len(head)), 4)}
    if major in _GENERAL_IMAGE_BRANDS:
        return _type_of_brands(compatible) or "image/heif"
    return _type_of_brands({major}) or _type_of_brands(compatible)


def _type_of_brands(brands: set[bytes]) -> str | None:
    return next((content_type for known, content_type in _BRANDS if not brands.isdisjoint(known)), None)


def _sniff_matroska(head: bytes) -> str | None:
    """EBML: the document type (element 0x4282, a short string) tells WebM from Matroska."""
    if not head.startswith(b"\x1aE\xdf\xa3"):
        return None
    at = head.find(b"\x42\x82")
    if at < 0 or len(head) < at + 3:
        return None
    name = head[at + 3 : at + 3 + (head[at + 2] & 0x7F)].rstrip(b"\0")
    return {b"webm": "video/webm", b"matroska": "video/x-matroska"}.get(name)


def _sniff_ogg(head: bytes) -> str | None:
    if not head.startswith(b"OggS") or len(head) < 27:
        return None
    packet = head[27 + head[26] :]
    return "video/ogg" if packet.startswith(b"\x80theora") else "audio/ogg"


def _sniff_bitmap(head: bytes) -> str | None:
    """Two letters prove little, so the reserved bytes and the length of the second header must fit too."""
    if not head.startswith(b"BM") or head[6:10] != bytes(4):
        return None
    return "image/bmp" if int.from_bytes(head[14:18], "little") in (12, 40, 52, 56, 64, 108, 124) else None


def _sniff_audio_frame(head: bytes) -> str | None:
    """A bare AAC (ADTS) or MP3 frame: a sync word, and no field with a value that the format forbids."""
    if len(head) < 4 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "audio/aac" if (head[2] >> 2) & 0x0F < 13 else None
    is_layer_three = head[1] & 0xE6 == 0xE2 and head[1] & 0x18 != 0x08
    return "audio/mpeg" if is_layer_three and head[2] >> 4 not in (0, 15) and (head[2] >> 2) & 3 != 3 else None


def _sniff_document(head: bytes) -> str | None:
    """HTML, SVG, XML or JSON, behind a byte order mark, white space and comments."""
    text = _as_ascii(head).lstrip(_WHITESPACE)
    if _JSON_START.match(text):
        return "application/json"
    commented = text.startswith(b"<!--")
    while text.startswith(b"<!--"):
        text = text.partition(b"-->")[2].lstrip(_WHITESPACE)
    if _HTML_TAG.match(text):
        return "text/html"
    if not _XML_START.match(text):
        return "text/html" if commented else None
    if _SVG_TAG.search(text) or text[:13].lower() == b"<!doctype svg":
        return "image/svg+xml"
    return "text/html" if b"<html" in text.lower() else "text/xml"


def _as_ascii(head: bytes) -> bytes:
    """The text without its byte order mark; UTF-16 loses its high bytes, which no markup needs."""
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if head.startswith(mark):
            return head[2:].decode(encoding, "replace").encode("ascii", "replace")
    return head.removeprefix(b"\xef\xbb\xbf")


#: Frames come first: their sync word would be the size of a 4 GB box, so that no other format is shadowed.
_SNIFFERS: tuple[Callable[[bytes], str | None], ...] = (
    _sniff_audio_frame,
    _sniff_riff,
    _sniff_iso_media,
    _sniff_matroska,
    _sniff_ogg,
    _sniff_bitmap,
    _sniff_document,
)
