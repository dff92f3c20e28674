"""Names of log events and how they are written: one JSON object a line, on stderr, no secrets."""

import logging
import re
import sys
import traceback
from types import TracebackType
from typing import Any

import structlog


class Events:
    """Every event the vault logs. A name is never reused for another meaning."""

    READY = "ready"  #: all listeners accept
    DRAINING = "draining"  #: SIGTERM or SIGINT came; nothing new is accepted
    STOPPED = "stopped"
    MASTER_KEY_MADE = "master_key_made"  #: at first start; back it up
    SQLITE_UNSAFE = "sqlite_unsafe"  #: the stdlib's SQLite has the WAL-reset bug
    REQUEST_FAILED = "request_failed"  #: an unexpected error became a 500
    FILL_FAILED = "fill_failed"  #: an origin fetch broke
    ORIGIN_REFRESHED = "origin_refreshed"  #: an upstream answer was asked for again, for fresh URLs
    REVALIDATION_FAILED = "revalidation_failed"  #: an origin could not say whether an edge copy is still right
    EDGE_TRIMMED = "edge_trimmed"  #: copies went because others filled the disk
    STORED = "stored"
    STORE_FAILED = "store_failed"
    DERIVED = "derived"  #: a thumbnail was made from a stored copy and stored
    THUMBNAILS_LIMITED = "thumbnails_limited"  #: this machine lacks what makes them of some media
    WORKER_FAILED = "worker_failed"  #: an unexpected error in a background loop
    RECLAIMED = "reclaimed"  #: leases of dead storers were taken back
    SWEPT = "swept"
    MOVE_FAILED = "move_failed"  #: a blob was not moved to another store; it stays where it is
    BUCKET_UNREACHABLE = "bucket_unreachable"  #: the S3 service did not answer at the start
    BLOB_DAMAGED = "blob_damaged"  #: stored bytes were missing or bad: quarantined, and fetched again
    BLOB_UNREADABLE = "blob_unreadable"  #: stored bytes could not be read now; nothing was done to them
    BLOB_STILL_UNREADABLE = "blob_still_unreadable"  #: they could not be read again later; their variants say so
    BLOB_READABLE = "blob_readable"  #: what was said to be unreadable can be read again
    BLOBS_AWAY = "blobs_away"  #: where blobs should be there are none, or nothing answers; what to do
    SCRUBBED = "scrubbed"  #: a round of the scrub through all stored bytes has ended
    UPSTREAM_FAILED = "upstream_failed"
    CONNECTIONS_REFUSED = "connections_refused"  #: one client address, or all of them, have as many as may be
    BODY_CUT = "body_cut"  #: a response was broken off because its source failed


#: What looks like a secret, and what is written instead. A net below the rule that no secret is logged: messages of
#: libraries' exceptions hold URLs and headers.
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Of a URL only where it leads: credentials, path and query of an origin are secrets, a media URL is a grant.
    (re.compile(r"(://)[^\s/?#@\"'<>]*@"), r"\1"),
    (re.compile(r"(://[^\s/?#@\"'<>\\]+)[/?#][^\s\"'<>\\]+"), r"\1/…"),
    (re.compile(r"/v2/[A-Za-z0-9_-]{60,}"), "/v2/…"),
    (re.compile(r"\bmv_[A-Za-z0-9_-]{16,}"), "mv_…"),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]{16,}"), "whsec_…"),
    (
        re.compile(
            r"\b(api_?key|(?:proxy-)?authorization|password|passwd|secret|token|"
            r"(?:x-amz-)?(?:signature|credential|security-token)|sess(?:ion)?)"
            r"(b?[\"']?\s*[:=,]\s*b?[\"']?)(?![\s…])[^\s\"'&,;]+",
            re.I,
        ),
        r"\1\2…",
    ),
    (re.compile(r"\b((?:set-)?cookie)(b?[\"']?\s*[:=,]\s*b?[\"']?)(?![\s…])[^\"'\n]+", re.I), r"\1\2…"),
    # A master key or a digest; and what is as long and as mixed as a random token.
    (re.compile(r"(?<![0-9A-Za-z])[0-9a-fA-F]{64}(?![0-9A-Za-z])"), "…"),
    (re.compile(r"(?<![\w+/=-])(?=[\w+/-]*[0-9])(?=[\w+/-]*[A-Z])(?=[\w+/-]*[a-z])[A-Za-z0-9_-]{40,}={0,2}"), "…"),
)


def redacted(text: str) -> str:
    """The text without what looks like a secret."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def _redact(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _redact(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_redact(each) for each in value]
    return value if value is None or isinstance(value, int | float) else redacted(str(value))


def _without_secrets(_: Any, __: str, entry: Any) -> Any:
    """The last step before an entry is written. What the formatter of the standard library's records needs stays."""
    return {name: value if name.startswith("_") else _redact(value) for name, value in entry.items()}


_PROCESSORS: list[Any] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    _without_secrets,
]


def configure_logging(level: str = "info") -> None:
    """Send structlog and the standard library's loggers to stderr as JSON lines."""
    structlog.configure(
        processors=[*_PROCESSORS, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_PROCESSORS, processors=[remove_meta, structlog.processors.JSONRenderer()]
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _tell_of_the_end


def _tell_of_the_end(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """The traceback that ends the process, which goes past the log."""
    print(redacted("".join(traceback.format_exception(kind, error, where))), file=sys.stderr, end="", flush=True)


def logger() -> Any:
    """The process's logger; its first argument is a name from `Events`."""
    return structlog.get_logger()
