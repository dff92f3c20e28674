"""Signatures of a delivery: Standard Webhooks (Svix) and the older `OFAuth-Signature` (contract.md, "Webhooks").

While a secret is being rotated both are used: a receiver takes the delivery when one of the signatures fits.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with


def secret_text(key: bytes) -> str:
    """A secret as it is shown: `whsec_` and the key in base64."""
    return SECRET_PREFIX + base64.b64encode(key).decode()


def signing_key(secret: str) -> bytes:
    """The key inside a secret. Raises ValueError for what is none."""
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("a webhook secret is whsec_ and base64") from error


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,<base64>` over `{id}.{timestamp}.{body}`; the timestamp is in Unix seconds."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(signing_key(secret), signed, hashlib.sha256)).decode()


def older_signature(secret: str, timestamp: int, body: bytes) -> str:
    """`<hex>` over `{t}.{body}`, keyed with the secret's whole text."""
    return hmac.digest(secret.encode(), b"%d.%s" % (timestamp, body), hashlib.sha256).hex()


def signature_headers(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Every header that a receiver may check, signed with each of the secrets."""
    signatures = " ".join(signature(secret, message_id, timestamp, body) for secret in secrets)
    named = {"id": message_id, "timestamp": str(timestamp), "signature": signatures}
    older = [f"v1={older_signature(secret, timestamp, body)}" for secret in secrets]
    return {
        **{f"svix-{name}": value for name, value in named.items()},
        **{f"webhook-{name}": value for name, value in named.items()},
        "OFAuth-Signature": ",".join([f"t={timestamp}", *older]),
    }
