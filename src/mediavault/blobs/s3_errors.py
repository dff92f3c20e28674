"""What S3's answers mean to the users of a blob store. Messages name the service's code, never a whole answer.

An answer may quote what was sent, the access key and the signed text among it; only codes and statuses are told.
"""

import re

from mediavault.errors import BlobNotFound, BlobUnavailable, ConfigError, DiskFull, VaultError

_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")

#: Refusals that no waiting mends, and what the operator is to look at.
_ADVICE = {
    "NoSuchBucket": "the bucket does not exist; create it, or correct MEDIAVAULT_BLOBS_URL",
    "InvalidBucketName": "the service takes no bucket of that name",
    "AccessDenied": "the credentials may not use the bucket",
    "AllAccessDisabled": "the credentials may not use the bucket",
    "InvalidAccessKeyId": "the service does not know the access key",
    "SignatureDoesNotMatch": "the secret key is not the access key's",
    "InvalidToken": "the session token is not valid",
    "ExpiredToken": "the session token has expired",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "AuthorizationHeaderMalformed": "the bucket lies in another region",
    "AuthorizationQueryParametersError": "the bucket lies in another region",
    "IllegalLocationConstraintException": "the bucket lies in another region",
    "PermanentRedirect": "the bucket lies in another region, or at another endpoint",
    "TemporaryRedirect": "the bucket lies in another region, or at another endpoint",
}
_OF_STATUS = {301: "PermanentRedirect", 307: "TemporaryRedirect", 403: "AccessDenied"}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"}


def code_of(text: str) -> str | None:
    """The service's own code in an error answer."""
    found = _CODE.search(text)
    return found[1] if found else None


def status_of(text: str) -> int | None:
    """The HTTP status that obstore's message tells."""
    found = _STATUS.search(text)
    return int(found[1]) if found else None


def refusal(status: int, text: str) -> str | None:
    """Why the service will refuse for as long as the configuration stays; None where it may pass."""
    code = code_of(text) or _OF_STATUS.get(status)
    if code is None or code not in _ADVICE:
        return None
    return f"{_ADVICE[code]} ({code})"


def config_error(place: str, status: int, text: str) -> ConfigError | None:
    """The same as an error of the start."""
    why = refusal(status, text)
    return None if why is None else ConfigError(f"{place}: {why}")


def blob_error(subject: str, error: Exception) -> VaultError:
    """The error of the room for one of obstore's. A missing bucket is no missing blob."""
    text = str(error)
    code, status = code_of(text), status_of(text)
    why = refusal(status or 0, text)
    if why is not None:
        return BlobUnavailable(f"{subject}: {why}")
    if code in _FULL or status == 507:
        return DiskFull(f"{subject}: {code or status}; the bucket takes no more bytes")
    if isinstance(error, FileNotFoundError) and code in {None, "NoSuchKey"}:
        return BlobNotFound(f"no blob {subject}")
    return BlobUnavailable(f"{subject}: the S3 service failed ({code or status or type(error).__name__})")
