"""One picture from bytes that strangers chose: decoded within a pixel cap, turned upright, made small, stripped.

Only the listed formats are tried, whatever the bytes pretend to be.
"""

import io
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError, features

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", *(("AVIF",) if features.check("avif") else ()))
#: Decoders of other names are not even loaded.
_PLUGINS = ("JpegImagePlugin", "PngImagePlugin", "WebPImagePlugin", "GifImagePlugin", "AvifImagePlugin")
#: What those read the camera's notes with: never tried as decoders, since `FORMATS` does not name them.
_READ_BY_THEM = ("MpoImagePlugin", "TiffImagePlugin")
_QUALITY = 80
_ORIENTATION = 0x0112


class Refused(Exception):
    """These bytes will never give a thumbnail."""


@dataclass(frozen=True)
class Small:
    """A thumbnail."""

    data: bytes
    content_type: str
    width: int
    height: int


def load_decoders() -> None:
    """Import what decoding needs, while files can still be opened."""
    for name in (*_PLUGINS[: len(FORMATS)], *_READ_BY_THEM):
        __import__(f"PIL.{name}")
    _practise()
    _encoded(Image.new("RGB", (8, 8)))
    _encoded(Image.new("RGBA", (8, 8)))
    if "AVIF" in FORMATS:
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    Image.init = lambda: False  # it would look for decoders that are not on the list
    Image.MAX_IMAGE_PIXELS = None  # the cap below is ours, and is no warning


def _practise() -> None:
    """Decode a turned picture of every format: what is imported on the way is imported now."""
    notes = Image.Exif()
    notes[_ORIENTATION] = 6
    for name in FORMATS:
        out = io.BytesIO()
        Image.new("RGB", (16, 8)).save(out, name, **({} if name == "GIF" else {"exif": notes.tobytes()}))
        shrink(io.BytesIO(out.getvalue()), 8, 1000)


def shrink(source: BinaryIO, edge: int, most_pixels: int) -> Small:
    """The picture at most `edge` pixels wide and high, never larger than it was. Raises Refused, MemoryError."""
    try:
        with Image.open(source, formats=FORMATS) as opened:
            width, height = opened.size
            if width * height > most_pixels:
                raise Refused(f"it has {width} x {height} pixels, more than {most_pixels}")
            # JPEG decodes at a fraction of its size for next to nothing.
            opened.draft("RGB", (edge * 2, edge * 2))
            turned = ImageOps.exif_transpose(opened)
            small = _in_colours(turned)
    except UnidentifiedImageError:
        raise Refused("it is no picture of a format that is allowed") from None
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise Refused(f"it cannot be decoded ({type(error).__name__})") from None
    small.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    small.info.clear()  # where it was taken, by whom and with what is nobody's business
    data, content_type = _encoded(small)
    return Small(data, content_type, *small.size)


def _in_colours(image: Image.Image) -> Image.Image:
    """Three colours, or four channels where something shows through."""
    image.load()
    has_alpha = image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info
    if image.mode in {"I", "I;16", "I;16B", "I;16L", "F"}:
        image = image.point(lambda value: value / 256).convert("L")
    converted = image.convert("RGBA" if has_alpha else "RGB")
    if has_alpha and converted.getchannel("A").getextrema() == (255, 255):
        converted = converted.convert("RGB")
    return converted


def _encoded(image: Image.Image) -> tuple[bytes, str]:
    out = io.BytesIO()
    if image.mode == "RGBA":
        image.save(out, "WEBP", quality=_QUALITY, method=4, exif=b"", xmp=b"", icc_profile=b"")
        return out.getvalue(), "image/webp"
    image.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue(), "image/jpeg"
