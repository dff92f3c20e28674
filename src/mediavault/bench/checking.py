"""Whether both contenders give the right bytes: looked at before anything is measured."""

import hashlib
import http.client
from dataclasses import dataclass

from mediavault.bench.load import Target
from mediavault.errors import VaultError

_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Checked:
    """An answer, its body reduced to length and digest."""

    status: int
    headers: dict[str, str]  #: names in lower case
    size_bytes: int
    sha256: str
    start: bytes  #: of the body


def fetch(target: Target) -> Checked:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(target.host, target.port, timeout=60)
    try:
        connection.request(target.method, target.path, headers=dict(target.headers))
        answer = connection.getresponse()
        digest, size, start = hashlib.sha256(), 0, b""
        while piece := answer.read(_READ_BYTES):
            digest.update(piece)
            size += len(piece)
            start = start or piece
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Checked(answer.status, headers, size, digest.hexdigest(), start)
    finally:
        connection.close()


def check_bytes(who: str, target: Target, sha256: str) -> None:
    """Raises VaultError unless the answer has that digest."""
    answer = fetch(target)
    if answer.status != target.status or answer.sha256 != sha256:
        raise VaultError(f"{who} gave other bytes than the origin has: {answer.status}, {answer.size_bytes} bytes")


def check_bodiless(who: str, target: Target, announced: int | None) -> None:
    """Raises VaultError unless it is answered without a body; HEAD must announce the length all the same."""
    answer = fetch(target)
    length = answer.headers.get("content-length")
    if answer.status != target.status or answer.size_bytes or (announced is not None and length != str(announced)):
        raise VaultError(f"{who} answered {target.method} with {answer.status}, length {length}")


def etag(target: Target) -> str:
    """The entity tag of what a target gives. Raises VaultError where it has none."""
    found = fetch(target).headers.get("etag")
    if found is None:
        raise VaultError(f"{target.url[:80]} has no entity tag to ask with")
    return found
