"""Where an S3 bucket is and who asks: read from `s3://bucket/prefix?endpoint=…&region=…&path_style=1`."""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_ENDPOINT = re.compile(r"[A-Za-z0-9.:\[\]-]+")
_PARAMETERS = {"endpoint", "region", "path_style"}
_YES_OR_NO = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True)
class S3Credentials:
    """Who asks. Never logged, never part of a URL that is shown."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class S3Place:
    """A bucket, a prefix in it, and how it is reached; without the credentials."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None  #: `http(s)://host[:port]`; the region's own at Amazon unless given
    region: str = "us-east-1"
    path_style: bool = False  #: the bucket in the path instead of in the host's name

    @property
    def url(self) -> str:
        """One spelling for one place, without secrets."""
        prefix = f"/{self.prefix}" if self.prefix else ""
        endpoint = f"?endpoint={self.endpoint}" if self.endpoint else ""
        return f"s3://{self.bucket}{prefix}{endpoint}"

    @property
    def base_url(self) -> str:
        """What the URLs of the bucket begin with, without a slash at the end."""
        return f"{self.service_url}/{self.bucket}" if self.path_style else self.service_url

    @property
    def service_url(self) -> str:
        """Scheme and host, which names the bucket unless its name stands in the path."""
        endpoint = self.endpoint or f"https://s3.{self.region}.amazonaws.com"
        scheme, _, host = endpoint.partition("://")
        return endpoint if self.path_style else f"{scheme}://{self.bucket}.{host}"


def read_s3_url(text: str, *, endpoint: str | None = None, region: str | None = None) -> S3Place:
    """A place from its URL; `endpoint` and `region` are for a URL that names none. Raises ValueError."""
    expected = "s3://bucket/prefix?endpoint=https://host&region=name&path_style=1"
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(expected)
    parts = urlsplit(text)
    if parts.scheme != "s3" or parts.fragment:
        raise ValueError(expected)
    if "@" in parts.netloc:
        raise ValueError(f"{expected}; credentials belong into MEDIAVAULT_S3_ACCESS_KEY_ID and …_SECRET_ACCESS_KEY")
    given = _parameters(parts.query, expected)
    where = given.get("endpoint") or endpoint
    prefix = parts.path.strip("/")
    if not _BUCKET.fullmatch(parts.netloc) or ".." in parts.netloc:
        raise ValueError(f"{expected}; a bucket's name is 3 to 63 of a-z, 0-9, dots and hyphens")
    if prefix and (not _PREFIX.fullmatch(prefix) or len(prefix) > 512):
        raise ValueError(f"{expected}; a prefix is made of letters, digits, dots, hyphens, underscores and slashes")
    return S3Place(
        bucket=parts.netloc,
        prefix=prefix,
        endpoint=None if where is None else _endpoint(where),
        region=_region(given.get("region") or region or "us-east-1"),
        path_style=_path_style(given.get("path_style"), by_default=where is not None),
    )


def _parameters(query: str, expected: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    if not set(names) <= _PARAMETERS or len(names) != len(set(names)):
        raise ValueError(f"{expected}; there are {', '.join(sorted(_PARAMETERS))}, each at most once")
    return dict(pairs)


def _endpoint(text: str) -> str:
    expected = "an endpoint is http://host:port or https://host:port"
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  # looked at because it raises
    except ValueError:
        raise ValueError(expected) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
        raise ValueError(expected)
    if parts.query or parts.fragment or not _ENDPOINT.fullmatch(parts.netloc):
        raise ValueError(expected)
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise ValueError("a region is made of a-z, 0-9 and hyphens")
    return text


def _path_style(text: str | None, *, by_default: bool) -> bool:
    """Servers of one's own seldom have a name for every bucket."""
    if text is None:
        return by_default
    if text not in _YES_OR_NO:
        raise ValueError("path_style is 1 or 0")
    return _YES_OR_NO[text]
