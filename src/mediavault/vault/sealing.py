"""Secrets at rest: AES-256-GCM, each bound to the place it lies in, under keys derived from a ring of master keys.

A ciphertext is

    version 1 | id of its master key 4 | nonce 12 | AES-256-GCM of the secret, its place as associated data

so that every one says which key it needs. One key of the ring seals and signs; all of them open and verify.
"""

import hashlib
import hmac
import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mediavault.catalog.sealed import PREFIX_BYTES
from mediavault.errors import BadSignature, ConfigError, WrongMasterKey

MASTER_KEY_BYTES = 32
MOST_KEYS = 8  #: in a ring
_VERSION = b"\2"
_VERSION_WITHOUT_KEY_ID = b"\1"  #: written before there was a ring: whichever key opens it
_KEY_ID_BYTES = PREFIX_BYTES - len(_VERSION)
_NONCE_BYTES = 12


class MasterKey:
    """What is derived from one master key. Its id tells it from others and nothing about it."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != MASTER_KEY_BYTES:
            raise WrongMasterKey(f"the master key must be {MASTER_KEY_BYTES} bytes")
        key_id = _derived(master_key, b"key id 2")
        self.id = key_id[:_KEY_ID_BYTES].hex()
        self.prefix = _VERSION + key_id[:_KEY_ID_BYTES]
        self.url_key_id = key_id[_KEY_ID_BYTES]
        self.url_key = _derived(master_key, b"media URLs 1")
        self.at_rest = AESGCM(_derived(master_key, b"secrets at rest 1"))
        self.direct = AESGCM(_derived(master_key, b"direct URLs 1"))
        self.direct_nonce = _derived(master_key, b"direct URLs' nonces 1")


class DirectUrl(NamedTuple):
    """An origin URL that lies sealed in a media-host URL, and whose it is."""

    org_id: str
    connection_id: str
    url: str


class Sealer:
    """Seals and opens secrets. A ciphertext opens only in its own place: `(table, column, organisation, row)`."""

    def __init__(self, master_key: bytes, *previous: bytes) -> None:
        self._followers: list[Callable[[], None]] = []
        self.use(master_key, *previous)

    def use(self, master_key: bytes, *previous: bytes) -> None:
        """Seal and sign with the first key from now on, open with all. Raises WrongMasterKey, ConfigError."""
        keys = [MasterKey(each) for each in dict.fromkeys((master_key, *previous))]
        if len(keys) > MOST_KEYS:
            raise ConfigError(f"there are more than {MOST_KEYS} master keys; retire those that are not needed")
        by_prefix, url_keys = {key.prefix: key for key in keys}, {key.url_key_id: key.url_key for key in keys}
        if len(url_keys) < len(keys):  # one pair in 256: one byte of a URL tells its key
            raise ConfigError("two of the master keys cannot stand side by side by chance; make another new one")
        self.keys = tuple(keys)
        self.current = keys[0]
        self._by_prefix = by_prefix
        #: Verify media-host URLs, by key id; the current one signs.
        self.url_keys = url_keys
        self.url_key_id = self.current.url_key_id
        for follow in self._followers:
            follow()

    def follow(self, changed: Callable[[], None]) -> None:
        """Have that called after every change of keys."""
        self._followers.append(changed)

    def seal(self, secret: bytes, place: tuple[str, ...]) -> bytes:
        """Encrypt for one place."""
        nonce = os.urandom(_NONCE_BYTES)
        return self.current.prefix + nonce + self.current.at_rest.encrypt(nonce, secret, _aad(place))

    def open(self, sealed: bytes, place: tuple[str, ...]) -> bytes:
        """Decrypt what was sealed for that place. Raises WrongMasterKey."""
        if sealed[:1] == _VERSION_WITHOUT_KEY_ID:
            opened = self._opened_by_any(sealed[1:], place)
        else:
            key = self._by_prefix.get(sealed[:PREFIX_BYTES])
            if key is None:
                raise WrongMasterKey("a stored secret was sealed with a master key that was not given")
            opened = _decrypted(key.at_rest, sealed[PREFIX_BYTES:], _aad(place))
        if opened is None:
            raise WrongMasterKey("a stored secret does not open with this master key in this place")
        return opened

    def _opened_by_any(self, sealed: bytes, place: tuple[str, ...]) -> bytes | None:
        opened = (_decrypted(key.at_rest, sealed, _aad(place)) for key in self.keys)
        return next((secret for secret in opened if secret is not None), None)

    def is_current(self, sealed: bytes) -> bool:
        """Whether it needs no key but the current one."""
        return sealed[:PREFIX_BYTES] == self.current.prefix

    def seal_direct(self, url: str, org_id: str, connection_id: str) -> bytes:
        """An origin URL inside a media-host URL. Equal URLs seal equally: the nonce is a MAC of what is sealed."""
        plain = "\0".join((org_id, connection_id, url)).encode()
        nonce = hmac.digest(self.current.direct_nonce, plain, hashlib.sha256)[:_NONCE_BYTES]
        return nonce + self.current.direct.encrypt(nonce, plain, b"direct")

    def open_direct(self, sealed: bytes) -> DirectUrl:
        """What was sealed. Raises BadSignature."""
        opened = map(partial(_decrypted, sealed=sealed, aad=b"direct"), (key.direct for key in self.keys))
        plain = next((secret for secret in opened if secret is not None), None)
        if plain is None:
            raise BadSignature
        return DirectUrl(*plain.decode().split("\0", 2))


def _decrypted(cipher: AESGCM, sealed: bytes, aad: bytes) -> bytes | None:
    """None for what was sealed otherwise, or altered."""
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], aad)
    except (InvalidTag, ValueError):
        return None


def _derived(master_key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=b"mediavault", info=purpose).derive(master_key)


def _aad(place: tuple[str, ...]) -> bytes:
    return "\0".join(place).encode()
