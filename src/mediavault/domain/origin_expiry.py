"""When an origin URL stops working, and what of it stays the same when it is signed anew.

Platforms sign URLs in the dialects of their CDNs. A dialect that names a moment is believed if the moment is
plausible; otherwise the contract's 24 hours from the observation hold.
"""

import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from mediavault.domain.times import DAY

#: Milliseconds a URL is taken to live where it tells no expiry (contract.md, expiresAt).
DEFAULT_LIFE = DAY

#: Plausible expiries, in Unix seconds: 2001 up to and with 2100. Read as milliseconds they are other numbers.
_EARLIEST, _LATEST = 978_307_200, 4_133_980_800

#: A CloudFront policy is a few hundred bytes; more is no policy.
_MAX_POLICY = 8_192

#: CloudFront writes `-_~` for `+=/`; a plain `+` has become a space by the decoding of the query.
_CLOUDFRONT_BASE64 = str.maketrans("-_~ ", "+=/+")

_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.[0-9]{1,9})?)?(?:Z|[+ ]00:?00)?)?"
)
_BASIC_ISO = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")
_SECONDS = re.compile(r"[0-9]{1,9}")
_MOMENT = re.compile(r"[0-9]{9,13}")
_HEX_MOMENT = re.compile(r"[0-9a-f]{8}", re.IGNORECASE)

#: Akamai's token, `exp=…` among fields parted by `~`, as a parameter's value or a segment of the path.
_TOKEN = re.compile(r"(?:^|[~=])exp=([0-9]{9,13})(?:~|\Z)")
_TOKEN_NAMES = ("hdnts", "hdnea", "hdntl", "hdnt", "__token__", "token")

#: A segment of the path that belongs to such a token; a slash in its access list cuts it in two.
_TOKEN_SEGMENT = re.compile(r"(?:^|[~=])(?:exp=[0-9]{9,13}(?:~|\Z)|hmac=)")

#: Names that say "expires" without a dialect, the plainest first.
_GENERIC_NAMES = (
    *("expires", "exp", "expiry", "expire", "expiration", "expires_at", "expiresat", "expires-at"),
    *("x-expires", "x-oss-expires", "valid_until", "validuntil", "validto", "deadline", "e"),
)
_HEX_NAMES = ("oe", "ex", "wstime")

#: Parameters that a new signature changes. With `sig` or `signature` there, Azure's short names are its own.
_VOLATILE_NAMES = frozenset(
    {
        *_TOKEN_NAMES,
        *_GENERIC_NAMES,
        *_HEX_NAMES,
        *("policy", "signature", "sig", "sign", "key-pair-id", "hmac", "hash", "md5", "auth", "auth_key", "authkey"),
        *("access_token", "accesstoken", "jwt", "awsaccesskeyid", "googleaccessid", "ossaccesskeyid", "keyname"),
        *(
            "ts",
            "t",
            "time",
            "timestamp",
            "nonce",
            "st",
            "wssecret",
            "urlprefix",
            "oh",
            "hm",
            "is",
            "verify",
            "session",
        ),
    }
)
_VOLATILE_PREFIXES = ("x-amz-", "x-goog-", "x-oss-", "x-cos-", "q-", "response-", "_nc_")
_SAS_NAMES = frozenset(
    {"sv", "ss", "srt", "sp", "st", "se", "spr", "sip", "sr", "si", "sdd", "skoid", "sktid", "skt", "ske", "sks", "skv"}
)

Parameters = dict[str, str]


def expires_at(url: str, observed_at: int) -> int:
    """Unix milliseconds at which the URL expires: as it tells itself, else 24 h after `observed_at` (ms). Never raises.

    Names are compared without case, and the dialect that can tell most exactly is asked first.
    """
    told = told_expiry(url)
    return observed_at + DEFAULT_LIFE if told is None else told


def told_expiry(url: str) -> int | None:
    """Unix milliseconds at which the URL expires by its own word; None where it has none. Never raises."""
    parameters = _parameters(url)
    if parameters:
        for read in _DIALECTS:
            if (moment := read(parameters)) is not None:
                return moment
    path = _path(url)
    if "exp" in path or "%" in path:  # without either no segment is a token, however it is written
        for segment in path.split("/"):
            if (moment := _token_moment(unquote(segment))) is not None:
                return moment
    return None


def identity(url: str) -> str:
    """The URL without what signing it again changes, to compare two sightings of one file. Never raises.

    Gone are the signature's parameters, Akamai tokens in the path, user info and fragment; other parameters stay,
    sorted by name, because some origins name the version of a file in them.
    """
    scheme, authority, path = _split(url)
    segments = [segment for segment in path.split("/") if not _TOKEN_SEGMENT.search(unquote(segment))]
    pairs = _pairs(url)
    signed_by_sas = any(name.lower() == "sig" for name, _ in pairs)
    stable = sorted((name, value) for name, value in pairs if not _is_volatile(name.lower(), signed_by_sas))
    query = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in stable)
    return f"{scheme}{authority}{'/'.join(segments)}{'?' if query else ''}{query}"


def _is_volatile(name: str, signed_by_sas: bool) -> bool:
    return name in _VOLATILE_NAMES or name.startswith(_VOLATILE_PREFIXES) or (signed_by_sas and name in _SAS_NAMES)


def _quoted(text: str) -> str:
    """Enough escaping that two different lists of parameters never read alike."""
    return text.replace("%", "%25").replace("&", "%26").replace("=", "%3D").replace("#", "%23")


def _split(url: str) -> tuple[str, str, str]:
    """`https://`, `host:port` and path. By hand: the standard splitter raises on half of what is no URL."""
    bare = url.partition("#")[0].partition("?")[0]
    scheme, mark, rest = bare.partition("://")
    if not mark:
        return "", "", bare
    authority, slash, path = rest.partition("/")
    scheme, host = scheme.lower(), authority.rpartition("@")[2].lower()
    host = host.removesuffix({"https": ":443", "http": ":80"}.get(scheme, "\0"))
    return f"{scheme}://", host, slash + path


def _path(url: str) -> str:
    return _split(url)[2]


def _pairs(url: str) -> list[tuple[str, str]]:
    """As the standard parser of queries, which is slow where nothing is escaped: almost always."""
    pairs = []
    for field in url.partition("#")[0].partition("?")[2].split("&"):
        if field:
            name, _, value = field.partition("=")
            pairs.append((_unescaped(name), _unescaped(value)))
    return pairs


def _unescaped(text: str) -> str:
    return unquote(text.replace("+", " ")) if "%" in text or "+" in text else text


def _parameters(url: str) -> Parameters:
    """By lower-case name; the first of a name counts."""
    return {name.lower(): value for name, value in reversed(_pairs(url))}


def _plausible(moment: int) -> int | None:
    """Milliseconds of a moment in seconds or milliseconds, if it lies in our century."""
    for milliseconds in (moment * 1_000, moment):
        if _EARLIEST * 1_000 <= milliseconds < _LATEST * 1_000:
            return milliseconds
    return None


def _moment(text: str) -> int | None:
    """Milliseconds of a text that is a Unix time or an ISO 8601 date in UTC."""
    if _MOMENT.fullmatch(text):
        return _plausible(int(text))
    return _calendar_moment(_ISO.fullmatch(text))


def _calendar_moment(found: re.Match[str] | None) -> int | None:
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(group or 0) for group in found.groups())
    try:
        then = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return _plausible(int(then.timestamp()))


def _token_moment(token: str) -> int | None:
    found = _TOKEN.search(token)
    return _plausible(int(found[1])) if found else None


def _read_cloudfront(parameters: Parameters) -> int | None:
    """The earliest end that the statements of a custom policy set."""
    policy = parameters.get("policy", "").translate(_CLOUDFRONT_BASE64).rstrip("=")
    if not 0 < len(policy) <= _MAX_POLICY:
        return None
    try:
        document = json.loads(b64decode(policy + "=" * (-len(policy) % 4), validate=True))
    except (ValueError, RecursionError):
        return None
    return min(_policy_ends(document), default=None)


def _policy_ends(document: Any) -> Iterator[int]:
    statements = _member(document, "Statement")
    for statement in statements if isinstance(statements, list) else [statements]:
        end = _member(_member(_member(statement, "Condition"), "DateLessThan"), "AWS:EpochTime")
        if isinstance(end, int | str) and (moment := _moment(str(end))) is not None:
            yield moment


def _member(document: Any, name: str) -> Any:
    return document.get(name) if isinstance(document, dict) else None


def _read_signed_at(prefix: str) -> Callable[[Parameters], int | None]:
    """A dialect that tells when it was signed and for how many seconds: S3, GCS."""

    def read(parameters: Parameters) -> int | None:
        if f"{prefix}-date" not in parameters:
            return None
        signed_at = _calendar_moment(_BASIC_ISO.fullmatch(parameters.get(f"{prefix}-date", "")))
        seconds = parameters.get(f"{prefix}-expires", "")
        if signed_at is None or not _SECONDS.fullmatch(seconds):
            return None
        return _plausible(signed_at + int(seconds) * 1_000)

    return read


def _read_token(parameters: Parameters) -> int | None:
    if parameters.keys().isdisjoint(_TOKEN_NAMES):
        return None
    return _first(_token_moment(parameters.get(name, "")) for name in _TOKEN_NAMES)


def _read_sas(parameters: Parameters) -> int | None:
    """Azure's shared access signature."""
    if "se" not in parameters:
        return None
    return _calendar_moment(_ISO.fullmatch(parameters.get("se", "")))


def _read_generic(parameters: Parameters) -> int | None:
    if parameters.keys().isdisjoint(_GENERIC_NAMES):
        return None
    return _first(_moment(parameters.get(name, "")) for name in _GENERIC_NAMES)


def _read_hexadecimal(parameters: Parameters) -> int | None:
    if parameters.keys().isdisjoint(_HEX_NAMES):
        return None
    texts = (parameters.get(name, "") for name in _HEX_NAMES)
    return _first(_plausible(int(text, 16)) for text in texts if _HEX_MOMENT.fullmatch(text))


def _first(moments: Iterator[int | None]) -> int | None:
    return next((moment for moment in moments if moment is not None), None)


_DIALECTS: tuple[Callable[[Parameters], int | None], ...] = (
    _read_cloudfront,
    _read_signed_at("x-amz"),
    _read_signed_at("x-goog"),
    _read_token,
    _read_sas,
    _read_generic,
    _read_hexadecimal,
)
