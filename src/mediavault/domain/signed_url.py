"""Signed media-host URLs: `{media base}/v2/<token>`, opaque to clients (contract.md, "Media host").

A token is base64url without padding of

    version 1 | key id 1 | purpose 1 | expiry 4 (Unix seconds) | subject | HMAC-SHA256 32

where the subject is the variant's 16-byte id, or for `direct` the sealed origin URL. Only the canonical
encoding is taken: a lenient decoder would take up to a quarter of tokens with their last character changed.
"""

import base64
import hashlib
import hmac
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from mediavault.errors import BadSignature

_VERSION = 1
_HEAD = struct.Struct(">BBBI")
_MAC_BYTES = 32
_VARIANT_ID_BYTES = 16
_LARGEST_TOKEN = 8192


class Purpose(IntEnum):
    """What a URL may be used for."""

    VARIANT = 1  #: the bytes of an observed variant
    DIRECT = 2  #: an origin URL of a connection whose Vault+ is off: streamed, never kept


_PURPOSES = frozenset(Purpose)


@dataclass(frozen=True)
class Grant:
    """What a verified token allows."""

    purpose: Purpose
    subject: bytes  #: the variant's id, or the sealed origin URL
    expires_at: int  #: Unix milliseconds

    @property
    def variant_id(self) -> str:
        """The variant's id as the catalog writes it."""
        return self.subject.hex()


class UrlSigner:
    """Signs and verifies tokens. Several keys may be valid at once; one signs."""

    def __init__(self, media_base_url: str, keys: Mapping[int, bytes], signing_key_id: int) -> None:
        self._prefix = f"{media_base_url.rstrip('/')}/v2/"
        self._macs: dict[int, Callable[[bytes], bytes]] = {key_id: _mac(key) for key_id, key in keys.items()}
        self._key_id = signing_key_id

    def sign_variant(self, variant_id: str, *, ttl_seconds: int, now: int) -> str:
        """A URL for a variant. `now` in Unix milliseconds; equal questions give equal URLs for a while."""
        return self._sign(Purpose.VARIANT, bytes.fromhex(variant_id), rounded_expiry(now, ttl_seconds))

    def sign_direct(self, sealed_url: bytes, *, ttl_seconds: int, now: int) -> str:
        """A URL for an origin URL that was sealed by the caller."""
        return self._sign(Purpose.DIRECT, sealed_url, rounded_expiry(now, ttl_seconds))

    def _sign(self, purpose: Purpose, subject: bytes, expiry: int) -> str:
        body = _HEAD.pack(_VERSION, self._key_id, purpose, expiry) + subject
        token = base64.urlsafe_b64encode(body + self._macs[self._key_id](body)).rstrip(b"=")
        return self._prefix + token.decode("ascii")

    def verify(self, token: str, *, now: int) -> Grant:
        """What the token allows at `now` (Unix milliseconds). Raises BadSignature."""
        raw = _decode(token)
        if len(raw) < _HEAD.size + _VARIANT_ID_BYTES + _MAC_BYTES:
            raise BadSignature
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        version, key_id, purpose, expiry = _HEAD.unpack_from(body)
        sign = self._macs.get(key_id)
        if sign is None or version != _VERSION or not hmac.compare_digest(sign(body), mac):
            raise BadSignature
        if purpose == Purpose.VARIANT and len(body) != _HEAD.size + _VARIANT_ID_BYTES:
            raise BadSignature
        if purpose not in _PURPOSES:  # signed by a newer version
            raise BadSignature
        if now >= expiry * 1000:
            raise BadSignature("The media URL has expired")
        return Grant(Purpose(purpose), body[_HEAD.size :], expiry * 1000)


def rounded_expiry(now: int, ttl_seconds: int) -> int:
    """Unix seconds, at least `ttl_seconds` after `now` (ms), rounded up to a quarter of that life."""
    quarter = max(1, ttl_seconds // 4)
    earliest = -(-now // 1000) + ttl_seconds
    return -(-earliest // quarter) * quarter


def _mac(key: bytes) -> Callable[[bytes], bytes]:
    template = hmac.new(key, digestmod=hashlib.sha256)

    def sign(message: bytes) -> bytes:
        mac = template.copy()  # half the cost of keying anew
        mac.update(message)
        return mac.digest()

    return sign


def _decode(token: str) -> bytes:
    if len(token) > _LARGEST_TOKEN:
        raise BadSignature
    try:
        ascii_token = token.encode("ascii")
        raw = base64.urlsafe_b64decode(ascii_token + b"=" * (-len(ascii_token) % 4))
    except ValueError:
        raise BadSignature from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != ascii_token:
        raise BadSignature
    return raw
