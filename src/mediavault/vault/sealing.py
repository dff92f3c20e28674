"""Secrets at rest: AES-256-GCM, each bound to the place it lies in, under keys derived from the master key."""

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mediavault.catalog import organisations
from mediavault.catalog.database import Catalog
from mediavault.errors import BadSignature, WrongMasterKey

MASTER_KEY_BYTES = 32
_KEY_ID = 1
_NONCE_BYTES = 12
_CHECK_PLACE = ("installation", "content", "", "master_key_check")


class Sealer:
    """Seals and opens secrets. A ciphertext opens only in its own place: `(table, column, organisation, row)`."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != MASTER_KEY_BYTES:
            raise WrongMasterKey(f"the master key must be {MASTER_KEY_BYTES} bytes")
        self._rest = AESGCM(_derived(master_key, b"secrets at rest 1"))
        self._direct = AESGCM(_derived(master_key, b"direct URLs 1"))
        self._direct_nonce = _derived(master_key, b"direct URLs' nonces 1")
        #: Signs media-host URLs, by key id.
        self.url_keys = {_KEY_ID: _derived(master_key, b"media URLs 1")}
        self.url_key_id = _KEY_ID

    def seal(self, secret: bytes, place: tuple[str, ...]) -> bytes:
        """Encrypt for one place."""
        nonce = os.urandom(_NONCE_BYTES)
        return bytes([_KEY_ID]) + nonce + self._rest.encrypt(nonce, secret, _aad(place))

    def open(self, sealed: bytes, place: tuple[str, ...]) -> bytes:
        """Decrypt what was sealed for that place. Raises WrongMasterKey."""
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._rest.decrypt(nonce, ciphertext, _aad(place))
        except (InvalidTag, ValueError):
            raise WrongMasterKey("a stored secret does not open with this master key in this place") from None

    def seal_direct(self, url: str, org_id: str, connection_id: str) -> bytes:
        """An origin URL inside a media-host URL. Equal URLs seal equally: the nonce is a MAC of what is sealed."""
        plain = "\0".join((org_id, connection_id, url)).encode()
        nonce = hmac.digest(self._direct_nonce, plain, hashlib.sha256)[:_NONCE_BYTES]
        return nonce + self._direct.encrypt(nonce, plain, b"direct")

    def open_direct(self, sealed: bytes) -> str:
        """The origin URL again. Raises BadSignature."""
        try:
            plain = self._direct.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], b"direct")
        except (InvalidTag, ValueError):
            raise BadSignature from None
        return plain.decode().split("\0", 2)[2]


async def check_master_key(catalog: Catalog, sealer: Sealer) -> None:
    """Raise WrongMasterKey unless this vault's secrets were sealed with this key; a new vault takes it as its own."""
    fact = await catalog.run(organisations.remember_fact, "master_key_check", sealer.seal(b"mediavault", _CHECK_PLACE))
    try:
        sealer.open(fact, _CHECK_PLACE)
    except WrongMasterKey:
        raise WrongMasterKey from None


def _derived(master_key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=b"mediavault", info=purpose).derive(master_key)


def _aad(place: tuple[str, ...]) -> bytes:
    return "\0".join(place).encode()
