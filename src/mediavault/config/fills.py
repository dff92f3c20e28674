"""The variables about fetching media: how much, how patiently, and how far a fresh URL is looked for."""

from typing import Any

from mediavault.config.texts import read_bytes, read_count, read_long_seconds, read_seconds
from mediavault.config.variable import Variable
from mediavault.domain.times import SECOND
from mediavault.vault.fills.config import FillConfig
from mediavault.vault.fills.reminting import RemintConfig

FILLS: dict[str, Variable] = {
    "FILL_LONGEST_SECONDS": Variable(
        "fill_longest_seconds",
        read_seconds,
        "How long one object may keep the vault waiting for its origin's bytes in all, seconds.",
        f"`{FillConfig.longest_seconds:g}`",
    ),
    "FILL_LARGEST_BYTES": Variable(
        "fill_largest_bytes",
        read_bytes,
        "The largest object that is fetched, bytes; a larger one is broken off.",
        f"`{FillConfig.largest_object_bytes}`",
    ),
    "FILL_LEAST_BYTES_PER_SECOND": Variable(
        "fill_least_bytes_per_second",
        read_bytes,
        f"An origin that sends less, over {FillConfig.patience_seconds:g} seconds of waiting, is broken off; "
        "0 bears any.",
        f"`{FillConfig.least_bytes_per_second}`",
    ),
    "FILL_WHOLE_BYTES": Variable(
        "fill_whole_bytes",
        read_bytes,
        "A cold object of at most so many bytes is fetched whole, whatever part of it is asked for.",
        f"`{FillConfig.small_object_bytes}`",
    ),
    "FILL_OPENING_BYTES": Variable(
        "fill_opening_bytes",
        read_bytes,
        "Of a larger one so many bytes are fetched at first for who wants a part, 4096 or more.",
        f"`{FillConfig.opening_bytes}`",
    ),
    "FILL_SEEKS_AT_ONCE": Variable(
        "fill_seeks_at_once",
        read_count,
        "Parts of one object that are fetched at once, beside the one from its start.",
        f"`{FillConfig.most_seeks}`",
    ),
    "FILL_GRACE_SECONDS": Variable(
        "fill_grace_seconds",
        read_seconds,
        "How long parts that nobody reads any more are kept for whoever comes next, seconds.",
        f"`{FillConfig.grace_seconds:g}`",
    ),
    "FILL_RESUMES": Variable(
        "fill_resumes",
        read_count,
        "How often in a row, without getting on, a body that broke off is taken up where it ended.",
        f"`{FillConfig.most_resumes}`",
    ),
    "FILL_REFUSED_SECONDS": Variable(
        "fill_refused_seconds",
        read_long_seconds,
        "How long an object that its origin refused is not asked for again, seconds, unless a new URL is seen.",
        f"`{FillConfig.refused_cool_down_ms // SECOND}`",
    ),
    "EDGE_FRESH_SECONDS": Variable(
        "edge_fresh_seconds",
        read_long_seconds,
        "How long an edge copy needs no revalidation, seconds.",
        f"`{FillConfig.fresh_ms // SECOND}`",
    ),
    "EDGE_STALE_IF_ERROR_SECONDS": Variable(
        "edge_stale_if_error_seconds",
        read_long_seconds,
        "How much longer an edge copy is served while its origin fails, seconds; 0 serves nothing stale.",
        f"`{FillConfig.stale_if_error_ms // SECOND}`",
    ),
    "REMINT_MOST_MEDIA": Variable(
        "remint_most_media",
        read_count,
        "Media of an upstream's vault that are looked through for a fresh URL, where the answer that showed the media "
        "does not show it any more.",
        f"`{RemintConfig.most_walked}`",
    ),
    "REMINT_LONGEST_SECONDS": Variable(
        "remint_longest_seconds",
        read_seconds,
        "How long whoever needs a fresh URL waits for it, seconds.",
        f"`{RemintConfig.longest_seconds:g}`",
    ),
    "REMINT_WALK_SECONDS": Variable(
        "remint_walk_seconds",
        read_long_seconds,
        "An upstream's vault is not looked through again sooner, seconds.",
        f"`{RemintConfig.walk_again_ms // SECOND}`",
    ),
}


def fill(values: dict[str, Any]) -> FillConfig:
    """Takes what is about fills and their copies out of the values. Raises ConfigError."""
    default = FillConfig()
    return FillConfig(
        refused_cool_down_ms=values.pop("fill_refused_seconds", default.refused_cool_down_ms // SECOND) * SECOND,
        fresh_ms=values.pop("edge_fresh_seconds", default.fresh_ms // SECOND) * SECOND,
        stale_if_error_ms=values.pop("edge_stale_if_error_seconds", default.stale_if_error_ms // SECOND) * SECOND,
        longest_seconds=values.pop("fill_longest_seconds", default.longest_seconds),
        largest_object_bytes=values.pop("fill_largest_bytes", default.largest_object_bytes),
        least_bytes_per_second=values.pop("fill_least_bytes_per_second", default.least_bytes_per_second),
        opening_bytes=values.pop("fill_opening_bytes", default.opening_bytes),
        small_object_bytes=values.pop("fill_whole_bytes", default.small_object_bytes),
        most_seeks=values.pop("fill_seeks_at_once", default.most_seeks),
        grace_seconds=values.pop("fill_grace_seconds", default.grace_seconds),
        most_resumes=values.pop("fill_resumes", default.most_resumes),
    )


def remint(values: dict[str, Any]) -> RemintConfig:
    """Takes what is about fresh URLs out of the values."""
    default = RemintConfig()
    return RemintConfig(
        most_walked=values.pop("remint_most_media", default.most_walked),
        longest_seconds=values.pop("remint_longest_seconds", default.longest_seconds),
        walk_again_ms=values.pop("remint_walk_seconds", default.walk_again_ms // SECOND) * SECOND,
    )
