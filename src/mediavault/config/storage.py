"""The buckets of the configuration: what their URLs leave open is taken from AWS's own variables."""

from collections.abc import Mapping
from typing import Any

from mediavault.blobs.places import Place, StorageConfig, url_of
from mediavault.blobs.s3_config import S3Credentials, S3Place, read_s3_url
from mediavault.config.texts import read_blobs_url
from mediavault.errors import ConfigError


def read_storage(values: dict[str, Any], environment: Mapping[str, str]) -> StorageConfig:
    """Takes what is about buckets out of the values; a folder is left in them. Raises ConfigError."""
    credentials = _credentials(values, environment)
    redirect = values.pop("s3_redirect", False)
    bucket = None
    if isinstance(values.get("blobs"), str):
        bucket = _bucket("MEDIAVAULT_BLOBS_URL", values.pop("blobs"), environment)
    previous: Place | None = values.pop("blobs_previous", None)
    if isinstance(previous, str):
        previous = _bucket("MEDIAVAULT_BLOBS_PREVIOUS_URL", previous, environment)
    primary = bucket or values.get("blobs")
    if primary is not None and previous is not None and url_of(primary) == url_of(previous):
        raise ConfigError("MEDIAVAULT_BLOBS_PREVIOUS_URL is where MEDIAVAULT_BLOBS_URL is; name the other place")
    if redirect and bucket is None:
        raise ConfigError("MEDIAVAULT_S3_REDIRECT=1 needs a bucket: MEDIAVAULT_BLOBS_URL=s3://…")
    return StorageConfig(bucket, previous, credentials, redirect)


def read_place_url(name: str, text: str, environment: Mapping[str, str]) -> str:
    """The one spelling of a place that somebody named. Raises ConfigError, which says where: `name`."""
    try:
        place = read_blobs_url(text)
    except ValueError as error:
        raise ConfigError(f"{name} is not usable: {error}") from None
    return url_of(_bucket(name, place, environment) if isinstance(place, str) else place)


def _bucket(name: str, text: str, environment: Mapping[str, str]) -> S3Place:
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or None
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or None
    try:
        return read_s3_url(text, endpoint=endpoint, region=region)
    except ValueError as error:
        raise ConfigError(f"{name}, with what AWS_… says, is not usable: {error}") from None


def _credentials(values: dict[str, Any], environment: Mapping[str, str]) -> S3Credentials | None:
    """Ours before AWS's, never mixed: a key of the one with a secret of the other would only be refused."""
    ours = [values.pop(f"s3_{name}", None) for name in ("access_key_id", "secret_access_key", "session_token")]
    if not any(ours):
        prefix = "AWS_"
        ours = [
            environment.get(f"AWS_{name}") or None for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")
        ]
    else:
        prefix = "MEDIAVAULT_S3_"
    access_key_id, secret_access_key, session_token = ours
    if access_key_id is None and secret_access_key is None:
        return None
    if access_key_id is None or secret_access_key is None:
        raise ConfigError(f"{prefix}ACCESS_KEY_ID and {prefix}SECRET_ACCESS_KEY belong together; one is missing")
    return S3Credentials(access_key_id, secret_access_key, session_token)
