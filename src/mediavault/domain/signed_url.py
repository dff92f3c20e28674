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
from functools import lru_cache

from mediavault.errors import BadSignature

_VERSION = 1
_HEAD = struct.Struct(">BBBI")
_MAC_BYTES = 32
_VARIANT_ID_BYTES = 16
_LARGEST_TOKEN = 8192
_SHORT_TOKEN = 128  #: a variant's: what it allows is remembered, and takes little room
#: URLs of variants, and tokens, that are kept: equal questions have equal answers until their rounded expiry passes.
_MOST_KEPT = 16_384


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
        self.generation = 0  #: of the keys: grows when others are used
        self.use(keys, signing_key_id)

    def use(self, keys: Mapping[int, bytes], signing_key_id: int) -> None:
        """Verify with these keys from now on, and sign with the one of that id."""
        self.generation += 1
        self._macs: dict[int, Callable[[bytes], bytes]] = {key_id: _mac(key) for key_id, key in keys.items()}
        self._key_id = signing_key_id
        self._variant_url = lru_cache(_MOST_KEPT)(self._variant_url_until)
        self._known = lru_cache(_MOST_KEPT)(self._grant)  # what is raised is not kept: forgeries push nothing out

    def sign_variant(self, variant_id: str, *, ttl_seconds: int, now: int) -> str:
        """A URL for a variant. `now` in Unix milliseconds; equal questions give equal URLs for a while."""
        return self._variant_url(variant_id, rounded_expiry(now, ttl_seconds))

    def _variant_url_until(self, variant_id: str, expiry: int) -> str:
        return self._sign(Purpose.VARIANT, bytes.fromhex(variant_id), expiry)

    def sign_direct(self, sealed_url: bytes, *, ttl_seconds: int, now: int) -> str:
        """A URL for an origin URL that was sealed by the caller."""
        return self._sign(Purpose.DIRECT, sealed_url, rounded_expiry(now, ttl_seconds))

    def _sign(self, purpose: Purpose, subject: bytes, expiry: int) -> str:
        body = _HEAD.pack(_VERSION, self._key_id, purpose, expiry) + subject
        token = base64.urlsafe_b64encode(body + self._macs[self._key_id](body)).rstrip(b"=")
        return self._prefix + token.decode("ascii")

    def verify(self, token: str, *, now: int) -> Grant:
        """What the token allows at `now` (Unix milliseconds). Raises BadSignature."""
        grant = self._known(token) if len(token) <= _SHORT_TOKEN else self._grant(token)
        if now >= grant.expires_at:
            raise BadSignature("The media URL has expired")
        return grant

    def _grant(self, token: str) -> Grant:
        """What the token allows until it expires. Raises BadSignature."""
        raw = _decode(token)
        if len(raw) < _HEAD.size + _VARIANT_ID_BYTES + _MAC_BYTES:
            raise BadSignature
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        version, key_id, purpose, expiry = _HEAD.unpack_from(body)
        # A key id that is none of ours takes the same way as a wrong signature: one MAC, one comparison.
        sign = self._macs.get(key_id, self._macs[self._key_id])
        is_signed = hmac.compare_digest(sign(body), mac)
        if not is_signed or key_id not in self._macs or version != _VERSION:
            raise BadSignature
        if purpose == Purpose.VARIANT and len(body) != _HEAD.size + _VARIANT_ID_BYTES:
            raise BadSignature
        if purpose not in _PURPOSES:  # signed by a newer version
            raise BadSignature
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
