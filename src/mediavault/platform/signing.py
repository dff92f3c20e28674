"""Signed, expiring URLs of the media host, with the three query parameters that CDNs of this kind use."""

import base64
import hmac
import math
from dataclasses import dataclass
from urllib.parse import parse_qsl

_PARAMETERS = ["Expires", "Signature", "Key-Pair-Id"]


class Refused(Exception):
    """The URL was altered or has expired."""


@dataclass(frozen=True)
class Signer:
    """Signs paths with one key pair."""

    key: bytes
    key_pair_id: str
    lifetime_seconds: int

    def query(self, path: str, now: float) -> str:
        """The query that opens a path for its lifetime, and up to a quarter more: equal questions get equal URLs."""
        step = max(1, self.lifetime_seconds // 4)
        expires = math.ceil((now + self.lifetime_seconds) / step) * step
        return f"Expires={expires}&Signature={self._signature(path, str(expires))}&Key-Pair-Id={self.key_pair_id}"

    def verify(self, path: str, query: str, now: float) -> None:
        """Raises Refused unless the query is one that `query` made for this path, and its time has not come."""
        parameters = parse_qsl(query, keep_blank_values=True)
        if [name for name, _ in parameters] != _PARAMETERS:
            raise Refused("MissingKey")
        expires, signature, key_pair_id = (value for _, value in parameters)
        genuine = self._signature(path, expires)
        if key_pair_id != self.key_pair_id or not hmac.compare_digest(genuine.encode(), signature.encode()):
            raise Refused("AccessDenied")
        if now >= int(expires):
            raise Refused("AccessDenied")

    def _signature(self, path: str, expires: str) -> str:
        text = "\n".join((path, expires, self.key_pair_id)).encode()
        return base64.urlsafe_b64encode(hmac.digest(self.key, text, "sha256")).decode().rstrip("=")
