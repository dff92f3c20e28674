"""URLs of S3 that carry their signature: AWS Signature Version 4 in the query.

obstore signs too, but neither a bucket's own questions nor what an answer's headers shall say.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from mediavault.blobs.s3_config import S3Credentials

#: Longer than this no signature may live (the service's own limit).
LONGEST_SECONDS = 7 * 24 * 3600

_ALGORITHM = "AWS4-HMAC-SHA256"


def presigned(
    method: str,
    url: str,
    query: Mapping[str, str],
    *,
    credentials: S3Credentials,
    region: str,
    seconds: int,
    now: int,
) -> str:
    """`url` with `query` and a signature good for `seconds` from `now` (Unix ms). `url` has no query of its own."""
    at = datetime.fromtimestamp(now // 1000, UTC)
    stamp, day = at.strftime("%Y%m%dT%H%M%SZ"), at.strftime("%Y%m%d")
    scope = f"{day}/{region}/s3/aws4_request"
    parts = urlsplit(url)
    signing = {
        **query,
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{credentials.access_key_id}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(max(1, min(seconds, LONGEST_SECONDS))),
        "X-Amz-SignedHeaders": "host",
    }
    if credentials.session_token is not None:
        signing["X-Amz-Security-Token"] = credentials.session_token
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in signing.items())
    canonical_query = "&".join(f"{name}={value}" for name, value in pairs)
    path = quote(parts.path or "/", safe="/-_.~")
    canonical = f"{method}\n{path}\n{canonical_query}\nhost:{_host(url)}\n\nhost\nUNSIGNED-PAYLOAD"
    to_sign = f"{_ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = _key(credentials.secret_access_key, day, region)
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    return f"{parts.scheme}://{parts.netloc}{path}?{canonical_query}&X-Amz-Signature={signature}"


def _host(url: str) -> str:
    """As clients send it: the scheme's own port is not named."""
    parts = urlsplit(url)
    own = {"http": ":80", "https": ":443"}[parts.scheme]
    return parts.netloc.removesuffix(own)


def _key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
