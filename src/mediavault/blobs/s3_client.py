"""obstore's client for a bucket: patient with whole bodies, impatient with silence, and told everything by us."""

import atexit
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from obstore.store import S3Store

from mediavault.blobs.s3_config import S3Credentials, S3Place

if TYPE_CHECKING:
    from obstore.store import S3Config

# obstore's threads may still run when the interpreter ends, which then aborts now and then; a moment lets them end.
atexit.register(time.sleep, 0.05)


@dataclass(frozen=True)
class S3Timing:
    """How patient the client is."""

    connect_seconds: float = 10
    read_seconds: float = 60  #: without a byte
    most_retries: int = 5
    retry_seconds: float = 60
    first_backoff_seconds: float = 0.2


def new_client(place: S3Place, credentials: S3Credentials, timing: S3Timing) -> S3Store:
    """obstore's client. Whatever it would take from the environment is said here, a metadata service never asked."""
    config: S3Config = {
        "endpoint": place.service_url,
        "region": place.region,
        "virtual_hosted_style_request": not place.path_style,
        "access_key_id": credentials.access_key_id,
        "secret_access_key": credentials.secret_access_key,
        "skip_signature": False,
        "unsigned_payload": False,
        "checksum_algorithm": "sha256",
        "disable_bulk_delete": True,
    }
    if credentials.session_token is not None:
        config["session_token"] = credentials.session_token
    return S3Store(
        place.bucket,
        prefix=place.prefix or None,
        config=config,
        client_options={
            "allow_http": place.service_url.startswith("http://"),
            "connect_timeout": timedelta(seconds=timing.connect_seconds),
            "read_timeout": timedelta(seconds=timing.read_seconds),
            "timeout": timedelta(days=1),  # of a whole body
        },
        retry_config={
            "max_retries": timing.most_retries,
            "retry_timeout": timedelta(seconds=timing.retry_seconds),
            "backoff": {"init_backoff": timedelta(seconds=timing.first_backoff_seconds)},
        },
    )
