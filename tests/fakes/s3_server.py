"""The S3 server that scripts/ceph starts, and a bucket of a test's own in it."""

import http.client
import secrets
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

from mediavault.blobs.s3_config import S3Credentials, S3Place
from mediavault.blobs.s3_signing import presigned

_SCRIPT = Path(__file__).parents[2] / "scripts" / "ceph"
_LIFECYCLE = (
    "<LifecycleConfiguration><Rule><ID>tidy</ID><Status>{status}</Status><Filter><Prefix>{prefix}</Prefix></Filter>"
    "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>"
    "</Rule></LifecycleConfiguration>"
)


class CephMissing(Exception):
    """There is no server, and none could be started."""


def server_url() -> str:
    """The URL of the running server, started if need be: `http://access:secret@127.0.0.1:port`."""
    started = subprocess.run([_SCRIPT, "start"], capture_output=True, text=True)
    if started.returncode != 0:
        raise CephMissing(started.stderr.strip())
    return started.stdout.strip()


def credentials_of(url: str) -> S3Credentials:
    """Who may ask there."""
    parts = urlsplit(url)
    return S3Credentials(parts.username or "", parts.password or "")


def place_of(url: str, bucket: str, prefix: str = "") -> S3Place:
    """A bucket there."""
    return S3Place(bucket, prefix, f"http://127.0.0.1:{urlsplit(url).port}", path_style=True)


def new_bucket(url: str) -> str:
    """Make a bucket with a name of its own."""
    name = f"test-{secrets.token_hex(8)}"
    asked(url, "PUT", name)
    return name


def set_lifecycle(url: str, bucket: str, *, prefix: str = "", status: str = "Enabled") -> None:
    """Give the bucket a rule that aborts unfinished uploads."""
    body = _LIFECYCLE.format(prefix=prefix, status=status).encode()
    asked(url, "PUT", bucket, {"lifecycle": ""}, body)


def asked(url: str, method: str, path: str, query: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """One signed request of the server's owner."""
    address = f"http://127.0.0.1:{urlsplit(url).port}"
    signed = presigned(
        method,
        f"{address}/{path}",
        query or {},
        credentials=credentials_of(url),
        region="us-east-1",
        seconds=60,
        now=time.time_ns() // 1_000_000,
    )
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(url).port or 80, timeout=30)
    try:
        connection.request(method, signed.removeprefix(address), body)
        response = connection.getresponse()
        content = response.read()
        if response.status >= 300:
            raise AssertionError(f"{method} {path}: {response.status} {content[:300]!r}")
        return content
    finally:
        connection.close()
