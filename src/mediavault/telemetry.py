"""Names of log events and how they are written: one JSON object a line, on stderr, no secrets."""

import logging
import sys
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
    STORED = "stored"
    STORE_FAILED = "store_failed"
    WORKER_FAILED = "worker_failed"  #: an unexpected error in a background loop
    RECLAIMED = "reclaimed"  #: leases of dead storers were taken back
    SWEPT = "swept"
    UPSTREAM_FAILED = "upstream_failed"
    BODY_CUT = "body_cut"  #: a response was broken off because its source failed


_PROCESSORS: list[Any] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
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


def logger() -> Any:
    """The process's logger; its first argument is a name from `Events`."""
    return structlog.get_logger()
