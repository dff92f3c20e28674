"""Files that are two things at once, or not what they are declared as; each calls the canary if anything in it runs."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

#: What an origin says of bytes; `None` tells no type at all.
Declared = str


@dataclass(frozen=True)
class Polyglot:
    """Bytes that a hostile origin serves."""

    name: str
    declared: Declared
    data: bytes


def polyglots(canary: str) -> list[Polyglot]:
    """All of them, calling `{canary}/{name}` where they come to life."""
    return [
        Polyglot(name, declared, make(f"{canary}/{name}".encode()))
        for name, (declared, make) in (_MEDIA_AND_SCRIPT | _PAGES | _DOCUMENTS | _SCRIPTS).items()
    ]


def _js(url: bytes) -> bytes:
    """A classic script, a module and a worker alike: it needs no document."""
    return b"fetch('" + url + b"',{mode:'no-cors',keepalive:true});console.log('CANARY " + url + b"');"


def _html(url: bytes) -> bytes:
    """A page: its script, its event handlers and its mere markup call the canary."""
    return (
        b"<html><head><link rel=stylesheet href='" + url + b"?css'></head><body><script>" + _js(url) + b"</script>"
        b"<img src='" + url + b"?img' onload='alert(1)' onerror=\"" + _js(url).replace(b'"', b"") + b'">'
        b"<iframe src='" + url + b"?frame'></iframe></body></html>"
    )


def _svg(url: bytes) -> bytes:
    return (
        b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" onload="'
        + _js(url)
        + b'">'
        b"<script>" + _js(url) + b'</script><image xlink:href="' + url + b'?svg" width="9" height="9"/>'
        b'<foreignObject width="9" height="9"><body xmlns="http://www.w3.org/1999/xhtml"><img src="' + url + b'?fo"/>'
        b"</body></foreignObject></svg>"
    )


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(text: bytes) -> bytes:
    """One red pixel, and a comment."""
    header = _png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixel = _png_chunk(b"IDAT", zlib.compress(b"\0\xff\0\0"))
    return b"\x89PNG\r\n\x1a\n" + header + _png_chunk(b"tEXt", b"x\0" + text) + pixel + _png_chunk(b"IEND", b"")


def _jpeg(comment: bytes) -> bytes:
    """The head of a JPEG with a comment: enough for any sniffer."""
    jfif = b"\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
    return b"\xff\xd8" + jfif + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + b"\xff\xd9"


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def _mp4(inside: bytes) -> bytes:
    return _box(b"ftyp", b"isom\0\0\x02\0isommp41") + _box(b"free", inside) + _box(b"moov", b"")


def _gif(inside: bytes) -> bytes:
    """A one-pixel GIF with a comment extension."""
    screen = b"GIF89a\x01\0\x01\0\x80\0\0\xff\0\0\0\0\xff"
    comment = b"!\xfe" + b"".join(
        bytes([len(part)]) + part for part in (inside[at : at + 255] for at in range(0, len(inside), 255))
    )
    return screen + comment + b"\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"


def _pdf(url: bytes) -> bytes:
    return (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(app.launchURL\\('"
        + url
        + b"'\\))>>>>"
        b"endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj 3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]"
        b"/AA<</O<</S/URI/URI(" + url + b")>>>>>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
    )


def _mhtml(url: bytes) -> bytes:
    page = _html(url)
    return (
        b'MIME-Version: 1.0\r\nContent-Type: multipart/related; type="text/html"; boundary="x"\r\n\r\n--x\r\n'
        b"Content-Type: text/html\r\nContent-Location: http://127.0.0.1/\r\n\r\n" + page + b"\r\n--x--\r\n"
    )


def _named(start: bytes) -> Callable[[bytes], bytes]:
    """A script whose first bytes are a container's magic, read as a variable's name or a comment."""
    return lambda url: start + _js(url)


def _xslt(url: bytes) -> bytes:
    return b"<?xml version='1.0'?><?xml-stylesheet type='text/xsl' href='" + url + b"?xsl'?>" + _svg(url)


def _xhtml(url: bytes) -> bytes:
    body = b"<script>" + _js(url) + b"</script><img src='" + url + b"?x'/>"
    return b"<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'><body>" + body + b"</body></html>"


_Table = dict[str, tuple[Declared, Callable[[bytes], bytes]]]

#: True media by their first bytes, with a script or a page in them, declared as what would wake it.
_MEDIA_AND_SCRIPT: _Table = {
    "gif-js": ("text/javascript", _named(b"GIF89a/*\0\0*/=1;")),
    "gif-js-as-gif": ("image/gif", _named(b"GIF89a/*\0\0*/=1;")),
    "gif-html": ("text/html", lambda url: _gif(_html(url))),
    "png-html": ("text/html", lambda url: _png(_html(url))),
    "jpeg-html": ("text/html", lambda url: _jpeg(_html(url))),
    "jpeg-html-as-jpeg": ("image/jpeg", lambda url: _jpeg(_html(url))),
    "jpeg-pdf": ("application/pdf", lambda url: _jpeg(_pdf(url))),
    "jpeg-svg": ("image/svg+xml", lambda url: _jpeg(_svg(url))),
    "mp4-html": ("text/html", lambda url: _mp4(_html(url))),
    "mp4-html-as-mp4": ("video/mp4", lambda url: _mp4(_html(url))),
    "wav-js": ("application/javascript", _named(b"RIFF=/*xWAVEfmt */1;")),
    "bmp-js": ("application/javascript", _named(b"BM=/*\0\0\0\0\0\x36\0\0\0\x28\0\0\0*/1;")),
    "id3-js": ("text/javascript", _named(b"ID3=1;")),
    "flac-js": ("text/javascript", _named(b"fLaC=1;")),
    "ogg-js": ("text/javascript", _named(b"OggS=1;var _=`" + b" " * 40 + b"`;")),
    "mp4-js": ("text/javascript", _named(b"\0\0\0\x20ftypisom=1;/*    */")),
    "webp-html": ("text/html", lambda url: b"RIFF\xff\0\0\0WEBPVP8 " + _html(url)),
    "mkv-html": ("text/html", lambda url: b"\x1aE\xdf\xa3\x93B\x82\x88matroska" + _html(url)),
}

#: Pages, under every coat that hides one.
_PAGES: _Table = {
    "html": ("text/html", _html),
    "html-as-png": ("image/png", _html),
    "html-as-mp4": ("video/mp4", _html),
    "html-as-bytes": ("application/octet-stream", _html),
    "html-untyped": ("", _html),
    "html-bom": ("text/html", lambda url: b"\xef\xbb\xbf" + _html(url)),
    "html-padded": ("text/html", lambda url: b"\r\n\t " * 8 + _html(url)),
    "html-padded-far-as-mp4": ("video/mp4", lambda url: b"\n" * 4000 + _html(url)),
    "html-padded-far-as-bytes": ("application/octet-stream", lambda url: b"\n" * 4000 + _html(url)),
    "html-commented-far": ("image/gif", lambda url: b"<!--" + b"x" * 3000 + b"-->" + _html(url)),
    "html-utf16le": ("text/html; charset=utf-16", lambda url: b"\xff\xfe" + _html(url).decode().encode("utf-16-le")),
    "html-utf16be": ("text/html; charset=utf-16", lambda url: b"\xfe\xff" + _html(url).decode().encode("utf-16-be")),
    "html-utf16-unmarked": ("image/png", lambda url: _html(url).decode().encode("utf-16-le")),
    "html-utf7": ("text/html; charset=utf-7", lambda url: _html(url).replace(b"<", b"+ADw-").replace(b">", b"+AD4-")),
    "html-in-text": ("text/plain", lambda url: b"Dear reader, " + _html(url)),
    "html-in-text-as-mp4": ("video/mp4", lambda url: b"Dear reader, " + _html(url)),
    "html-after-nul": ("image/jpeg", lambda url: b"\0\0" + _html(url)),
    "html-type-with-comma": ("video/mp4, text/html", _html),
    "html-type-with-parameter": ("video/mp4; x=text/html; charset=utf-7", lambda url: b"Dear reader, " + _html(url)),
    "xhtml": ("application/xhtml+xml", _xhtml),
    "xhtml-as-image": ("image/x+xml", lambda url: b" " * 2000 + _xhtml(url)),
    "mhtml": ("multipart/related", _mhtml),
    "mhtml-as-message": ("message/rfc822", _mhtml),
    "mhtml-as-bytes": ("application/octet-stream", _mhtml),
}

#: Documents that carry scripts.
_DOCUMENTS: _Table = {
    "svg": ("image/svg+xml", _svg),
    "svg-as-png": ("image/png", _svg),
    "svg-padded-as-svg": ("image/svg+xml", lambda url: b" " * 3000 + _svg(url)),
    "svg-padded-as-png": ("image/png", lambda url: b" " * 3000 + _svg(url)),
    "svg-with-doctype": ("image/svg+xml", lambda url: b"<!DOCTYPE svg [<!ENTITY a 'b'>]>" + _svg(url)),
    "svg-styled": ("text/xml", _xslt),
    "xml-as-image": ("image/foo+xml", lambda url: _svg(url).decode().encode("utf-16-be")),
    "pdf": ("application/pdf", _pdf),
    "pdf-as-jpeg": ("image/jpeg", _pdf),
    "pdf-behind-text": ("application/octet-stream", lambda url: b"hello\n" * 20 + _pdf(url)),
}

#: Scripts and styles by themselves, which no first byte tells.
_SCRIPTS: _Table = {
    "js": ("text/javascript", _js),
    "js-as-bytes": ("application/octet-stream", _js),
    "js-untyped": ("", _js),
    "js-as-mp4": ("video/mp4", _js),
    "js-as-png": ("image/png", _js),
    "js-as-audio": ("audio/mpeg", _js),
    "js-as-font": ("font/woff2", _js),
    "css": ("text/css", lambda url: b"body{background:url(" + url + b")}"),
    "css-as-bytes": ("application/octet-stream", lambda url: b"body{background:url(" + url + b")}"),
    "css-as-gif": ("image/gif", lambda url: b"a{}body{background:url(" + url + b")}"),
    "json-as-mp4": ("video/mp4", lambda url: b'{"a":1}//' + _js(url)),
}
