"""How the text of a setting is read. Each raises ValueError for what it cannot be."""

import math
import os
import re
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from mediavault.blobs.s3_config import read_s3_url
from mediavault.config.settings import Role


def read_role(text: str) -> Role:
    """A role by its name. Raises ValueError."""
    if text not in set(Role):
        raise ValueError(f"a role is one of {', '.join(Role)}")
    return Role(text)


def read_host(text: str) -> str:
    """An address to listen on, an IPv6 one with or without brackets. Raises ValueError."""
    if text != text.strip() or not text.isprintable() or "/" in text:
        raise ValueError("an address to listen on, without a port")
    return text.removeprefix("[").removesuffix("]")


def read_port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65_535:
        raise ValueError("a port is 0 to 65535")
    return int(text)


def read_bytes(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ValueError("a whole number of bytes")
    return int(text)


def read_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 86_400:
        raise ValueError("a number of seconds, 0 to 86400")
    return seconds


def read_long_seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise ValueError("a whole number of seconds")
    return int(text)


def read_share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise ValueError("a share, 0 to 1")
    return share


def read_count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:10]) <= 10**9 or len(text) > 10:
        raise ValueError("a whole number, 1 to 1000000000")
    return int(text)


def read_program(text: str) -> str:
    """A program by its absolute path."""
    path = Path(text)
    if not path.is_absolute() or not path.is_file() or not os.access(path, os.X_OK):
        raise ValueError("the absolute path of a program")
    return text


def read_limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) > 10**9:
        raise ValueError("a whole number, 0 to 1000000000; 0 is no limit")
    return int(text)


def read_rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 <= rate <= 1e6:
        raise ValueError("a number per second, 0 to 1000000; 0 is no limit")
    return rate


def _url_parts(text: str, expected: str) -> SplitResult:
    """The parts of a URL. What is wrong is said without the URL: it may hold a password."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"{expected}; anything else than letters, digits and signs must be percent-encoded")
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  # looked at because it raises
    except ValueError:
        raise ValueError(f"{expected}; signs in a password must be percent-encoded") from None
    return parts


def read_base_url(text: str) -> str:
    expected = "an http or https URL without credentials, query or fragment"
    parts = _url_parts(text, expected)
    credentials = parts.username is not None or parts.password is not None
    if parts.scheme not in {"http", "https"} or not parts.hostname or credentials or "?" in text or "#" in text:
        raise ValueError(expected)
    return text.rstrip("/")


def read_database_url(text: str) -> str:
    expected = "sqlite:////absolute/path or postgresql://user:password@host/database"
    if text.startswith("sqlite:///"):
        path = Path(text.removeprefix("sqlite:///"))
        if not path.name or path.name == "..":
            raise ValueError(expected)
        return f"sqlite:///{path.absolute()}"
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError(expected)
    _url_parts(text, expected)
    return text


def read_blobs_url(text: str) -> Path | str:
    """A folder, or the URL of a bucket, checked; what it does not say is filled in later. Raises ValueError."""
    if text.startswith("s3://"):
        read_s3_url(text)
        return text
    expected = "file:///absolute/path or s3://bucket/prefix"
    parts = _url_parts(text, expected)
    if parts.scheme != "file" or parts.netloc or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise ValueError(expected)
    return Path(unquote(parts.path))


def read_access_key(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{1,4096}", text):
        raise ValueError("visible ASCII characters, without spaces")
    return text


def read_yes_or_no(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError("1 or 0")
    return text == "1"


def read_bootstrap_key(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{16,256}", text):
        raise ValueError("a key is 16 to 256 visible ASCII characters, without spaces")
    return text
