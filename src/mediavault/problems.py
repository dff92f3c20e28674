"""What an error means over HTTP: the one table from errors to statuses and types, and the one JSON shape.

Contract, "Conventions": `{"error", "message", "type", "code", "requestId", "details"?}`, on the API and on the media
host, for the framework's own errors too.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import msgspec

from mediavault import errors

#: A request's id is unique, not secret: asking the system for randomness each time would be a call a request.
_THIS_PROCESS = "req_" + secrets.token_hex(6)
_REQUESTS = count(secrets.randbelow(1 << 40))

#: Status and type of each error; a class that is not here is answered as its nearest ancestor.
TABLE: dict[type[errors.VaultError], tuple[int, str]] = {
    errors.VaultError: (500, "INTERNAL_ERROR"),
    errors.InvalidRequest: (400, "BAD_REQUEST"),
    errors.ConnectionRequired: (400, "BAD_REQUEST"),
    errors.ConnectionUnknown: (400, "BAD_REQUEST"),
    errors.BodyTooLarge: (413, "BODY_TOO_LARGE"),
    errors.NotPermitted: (401, "UNAUTHORIZED"),
    errors.BadSignature: (403, "FORBIDDEN"),
    errors.SessionNotProvided: (401, "SESSION_NOT_PROVIDED"),
    errors.SessionExpired: (401, "SESSION_EXPIRED"),
    errors.NotFound: (404, "RESOURCE_NOT_FOUND"),
    errors.MediaNotFound: (404, "RESOURCE_NOT_FOUND"),
    errors.Conflict: (409, "CONFLICT"),
    errors.HeldBack: (409, "CONFLICT"),
    errors.IllegalTransition: (409, "CONFLICT"),
    errors.LostRace: (409, "CONFLICT"),
    errors.LimitReached: (403, "LIMIT_REACHED"),
    errors.TooManyRequests: (429, "RATE_LIMIT_EXCEEDED"),
    errors.DiskFull: (503, "DISK_FULL"),
    errors.RoomPromised: (409, "CONFLICT"),
    errors.OriginBusy: (503, "ORIGIN_BUSY"),
    errors.OriginError: (502, "ORIGIN_ERROR"),
    errors.OriginRefused: (502, "ORIGIN_REFUSED"),
    errors.OriginUnavailable: (502, "ORIGIN_UNAVAILABLE"),
    errors.OriginExpired: (502, "ORIGIN_UNAVAILABLE"),
    errors.OriginChanged: (502, "ORIGIN_UNAVAILABLE"),
    errors.RangesUnusable: (502, "ORIGIN_UNAVAILABLE"),
    errors.OriginCoolingDown: (502, "ORIGIN_UNAVAILABLE"),
    errors.AddressDenied: (502, "ADDRESS_DENIED"),
    errors.UpstreamError: (502, "UPSTREAM_ERROR"),
    errors.UpstreamUnavailable: (502, "UPSTREAM_UNAVAILABLE"),
    errors.BlobError: (500, "STORAGE_ERROR"),
    errors.BlobNotFound: (500, "STORAGE_ERROR"),
    errors.BlobCorrupt: (500, "STORAGE_ERROR"),
    errors.BlobUnavailable: (503, "STORAGE_UNAVAILABLE"),
    errors.BlobsAway: (503, "STORAGE_UNAVAILABLE"),
    errors.ThumbnailError: (500, "INTERNAL_ERROR"),
    errors.ThumbnailRefused: (500, "INTERNAL_ERROR"),
    errors.ThumbnailFailed: (500, "INTERNAL_ERROR"),
    errors.ThumbnailPending: (503, "THUMBNAIL_PENDING"),
    errors.CatalogError: (500, "DATABASE_ERROR"),
    errors.CatalogUnavailable: (503, "DATABASE_UNAVAILABLE"),
    errors.SchemaTooNew: (500, "DATABASE_ERROR"),
    errors.ConfigError: (500, "INTERNAL_ERROR"),
    errors.WrongMasterKey: (500, "INTERNAL_ERROR"),
    errors.DataFolderLocked: (500, "INTERNAL_ERROR"),
}

#: What callers are told where the error's own text is for the operator: paths, SQL and keys stay in the log.
_UNTOLD = {
    "INTERNAL_ERROR": "Internal server error",
    "STORAGE_ERROR": "The stored bytes cannot be read",
    "STORAGE_UNAVAILABLE": "The storage does not answer; try again",
    "DATABASE_ERROR": "Internal server error",
    "DATABASE_UNAVAILABLE": "The database does not answer; try again",
}

#: The types of statuses that the framework or the routing raises.
TYPE_OF_STATUS = {
    400: "BAD_REQUEST",
    404: "ROUTE_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "BODY_TOO_LARGE",
    422: "UNPROCESSABLE",
    500: "INTERNAL_ERROR",
}


@dataclass(frozen=True)
class Problem:
    """An error on its way out."""

    status: int
    type: str
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)
    details: Any = None

    def body(self, request_id: str) -> bytes:
        """The contract's JSON."""
        shape = {
            "error": self.text,
            "message": self.text,
            "type": self.type,
            "code": self.type,
            "requestId": request_id,
        }
        if self.details is not None:
            shape["details"] = self.details
        return msgspec.json.encode(shape)


def problem(error: Exception) -> Problem:
    """What a caller is told of an error; anything that is not the vault's own is a 500 that tells nothing."""
    if not isinstance(error, errors.VaultError):
        return Problem(500, "INTERNAL_ERROR", _UNTOLD["INTERNAL_ERROR"])
    status, kind = next(TABLE[ancestor] for ancestor in type(error).__mro__ if ancestor in TABLE)
    details = error.details if isinstance(error, errors.HeldBack) else None
    return Problem(status, kind, _UNTOLD.get(kind) or str(error), _retry_after(error, status), details)


def _retry_after(error: errors.VaultError, status: int) -> dict[str, str]:
    if isinstance(error, errors.TooManyRequests | errors.OriginBusy | errors.OriginCoolingDown):
        return {"Retry-After": str(error.retry_after)}
    return {"Retry-After": "5"} if status == 503 else {}


def new_request_id() -> str:
    """An id for one request, for its answer, its log lines and the support thread about it."""
    return f"{_THIS_PROCESS}{next(_REQUESTS):012x}"
