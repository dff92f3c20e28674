"""The table of the environment's variables, and how the text of each is read."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from mediavault.config.settings import Config, Role
from mediavault.data_folder import parse_master_key
from mediavault.edge.cache import EdgeConfig
from mediavault.origin.addresses import AllowList

PREFIX = "MEDIAVAULT_"


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


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65_535:
        raise ValueError("a port is 0 to 65535")
    return int(text)


def _bytes(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ValueError("a whole number of bytes")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 86_400:
        raise ValueError("a number of seconds, 0 to 86400")
    return seconds


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


def _base_url(text: str) -> str:
    expected = "an http or https URL without credentials, query or fragment"
    parts = _url_parts(text, expected)
    credentials = parts.username is not None or parts.password is not None
    if parts.scheme not in {"http", "https"} or not parts.hostname or credentials or "?" in text or "#" in text:
        raise ValueError(expected)
    return text.rstrip("/")


def _database_url(text: str) -> str:
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


def _blobs_path(text: str) -> Path:
    expected = "file:///absolute/path (S3 comes later)"
    parts = _url_parts(text, expected)
    if parts.scheme != "file" or parts.netloc or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise ValueError(expected)
    return Path(unquote(parts.path))


def _bootstrap_key(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{16,256}", text):
        raise ValueError("a key is 16 to 256 visible ASCII characters, without spaces")
    return text


@dataclass(frozen=True)
class Variable:
    """A setting in the environment."""

    field: str  #: what it fills
    read: Callable[[str], Any]  #: raises ValueError or ConfigError for what it cannot be
    meaning: str
    default: str
    secret: bool = False  #: may also lie in the file that NAME_FILE names; never shown


#: Every variable there is, by its name without the prefix. `docs/configuration.md` is written from this.
VARIABLES: dict[str, Variable] = {
    "DATA": Variable("data", Path, "The folder for everything that is not elsewhere.", "`./mediavault-data`"),
    "ROLE": Variable(
        "role",
        read_role,
        "Which part this process is: `all`, `api`, `media` or `storer`; parts need PostgreSQL.",
        "`all`",
    ),
    "HOST": Variable("host", read_host, "The address to listen on.", f"`{Config.host}`"),
    "API_PORT": Variable("api_port", _port, "The API's port; 0 picks a free one.", f"`{Config.api_port}`"),
    "MEDIA_PORT": Variable("media_port", _port, "The media host's port; 0 picks a free one.", f"`{Config.media_port}`"),
    "DATABASE_URL": Variable(
        "database_url",
        _database_url,
        "The catalog: `sqlite:////absolute/path` or `postgresql://user:password@host/database`.",
        "`catalog.sqlite` in the data folder",
        secret=True,
    ),
    "BLOBS_URL": Variable(
        "blobs", _blobs_path, "Where stored bytes lie: `file:///absolute/path`.", "`blobs` in the data folder"
    ),
    "MEDIA_BASE_URL": Variable(
        "media_base_url",
        _base_url,
        "How viewers reach the media host. Needed with a host that is not loopback, and with every role but `all`.",
        "the media host's own address",
    ),
    "UPSTREAM_URL": Variable(
        "upstream_url", _base_url, "The Access API behind connections that name none.", "none: they must name one"
    ),
    "MASTER_KEY": Variable(
        "master_key",
        parse_master_key,
        "What every secret at rest is sealed with: 64 hexadecimal digits. Needed with every role but `all`.",
        "`master.key` in the data folder, made at the first start",
        secret=True,
    ),
    "ORIGIN_ALLOW": Variable(
        "origin_allow",
        AllowList.parse,
        "What may be dialled although it is not public: `host:port` or CIDR, comma-separated.",
        "nothing",
    ),
    "BOOTSTRAP_API_KEY": Variable(
        "bootstrap_api_key",
        _bootstrap_key,
        "At the first start this key is created, with all scopes; later it is ignored.",
        "a key is made, and shown once",
        secret=True,
    ),
    "EDGE_CAPACITY_BYTES": Variable(
        "edge_capacity_bytes",
        _bytes,
        "What all copies at the edge together may take, bytes; 0 keeps none.",
        f"`{EdgeConfig.capacity_bytes}`",
    ),
    "FREE_FLOOR_BYTES": Variable(
        "free_floor_bytes",
        _bytes,
        "Nothing is fetched or stored that would leave less of the disk free, bytes.",
        f"`{EdgeConfig.free_floor_bytes}`",
    ),
    "DRAIN_SECONDS": Variable(
        "drain_seconds",
        _seconds,
        "How long downloads and stores may still run after SIGTERM, seconds; then they are cut.",
        f"`{Config.drain_seconds}`",
    ),
}
