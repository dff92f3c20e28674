"""What the rows say against the invariants: one statement a check, each a snapshot of its own.

A check's statement yields `organisation, connection, id, found, wanted` of every row that is not as promised. Because
what belongs together changes in one transaction, a statement never sees half of a change: what it yields is wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import TextClause, text

from mediavault.catalog.rollups import NONE, STATUS_BITS
from mediavault.domain.lifecycle import Status

#: No check tells of more than so many rows.
MOST = 1000


@dataclass(frozen=True)
class Check:
    """One question to the rows. `text` may name `{found}` and `{wanted}`."""

    invariant: int
    code: str
    kind: str  #: what the id is of: a field of `Finding`
    text: str
    remedy: str
    statement: TextClause
    served_only: bool = False  #: a vault that is not running puts it in order when it starts
    times: tuple[str, ...] = ()  #: parameters of the statement: names of `Moments`


@dataclass(frozen=True)
class Moments:
    """Times that checks compare with, Unix ms."""

    now: int
    lease_before: int  #: a lease that ended before should have been reclaimed
    grace_before: int  #: what was left behind before should have been swept
    undo_before: int  #: bytes of what was removed before should be gone


def select(columns: str, rest: str) -> TextClause:
    """A check's statement, never of too many rows."""
    return text(f"SELECT {columns} {rest} LIMIT {MOST}")


RESTORE = "restore the catalog from a backup, or report a bug with this finding"
REFETCH = "run `mediavault verify --repair`: it is quarantined and fetched again"
_VARIANT = "v.org_id, v.connection_id, v.id"
_BITS = " ".join(f"WHEN '{status}' THEN {bit}" for status, bit in STATUS_BITS.items())
_STATUSES = ", ".join(f"'{status}'" for status in Status)
_REFERENCES = (
    "SELECT id, COUNT(*) AS n FROM (SELECT blob_id AS id FROM variants WHERE blob_id IS NOT NULL "
    "UNION ALL SELECT retained_blob_id FROM variants WHERE retained_blob_id IS NOT NULL) AS r GROUP BY id"
)
_COUNTED = (
    "SELECT connection_id, SUM(CASE WHEN status <> 'removed' THEN 1 ELSE 0 END) AS live, "
    "SUM(CASE WHEN status = 'stored' THEN 1 ELSE 0 END) AS stored, "
    "SUM(CASE WHEN status = 'stored' THEN size_bytes ELSE 0 END) AS bytes, SUM(reserved_bytes) AS reserved "
    "FROM variants GROUP BY connection_id"
)
_USED = " || '/' || ".join(
    f"CAST(COALESCE(u.{name}, -1) AS TEXT)" for name in ("live_count", "stored_count", "stored_bytes", "reserved_bytes")
)
_SUMS = " || '/' || ".join(f"CAST(COALESCE(s.{name}, 0) AS TEXT)" for name in ("live", "stored", "bytes", "reserved"))
_ROLLED = (
    f"SELECT media_pk, SUM(DISTINCT CASE status {_BITS} ELSE 0 END) AS mask, "  # noqa: S608  # constants
    f"COALESCE(MAX(CASE WHEN status <> 'removed' THEN stored_at END), {NONE}) AS cached FROM variants GROUP BY media_pk"
)

CHECKS: Sequence[Check] = (
    Check(
        *(1, "stored_without_blob", "variant"),
        "it is stored, and its blob is {found}",
        RESTORE,
        select(
            f"{_VARIANT}, COALESCE(b.state, 'not there'), 'live'",
            "FROM variants v LEFT JOIN blobs b ON b.id = v.blob_id "
            "WHERE v.status = 'stored' AND (b.id IS NULL OR b.state <> 'live')",
        ),
    ),
    Check(
        *(1, "size_of_another_blob", "variant"),
        "it says {found} bytes, and its blob {wanted}",
        RESTORE,
        select(
            f"{_VARIANT}, v.size_bytes, b.size_bytes",
            "FROM variants v JOIN blobs b ON b.id = v.blob_id "
            "WHERE v.status = 'stored' AND b.state = 'live' AND v.size_bytes <> b.size_bytes",
        ),
    ),
    Check(
        *(2, "bytes_without_stored", "variant"),
        "it is {found} and has a blob",
        RESTORE,
        select(
            f"{_VARIANT}, v.status, 'stored'", "FROM variants v WHERE v.status <> 'stored' AND v.blob_id IS NOT NULL"
        ),
    ),
    Check(
        *(2, "reserved_without_storing", "variant"),
        "it is {found} and holds {wanted} bytes of the limit",
        RESTORE,
        select(
            f"{_VARIANT}, v.status, v.reserved_bytes",
            "FROM variants v WHERE v.status <> 'storing' AND v.reserved_bytes <> 0",
        ),
    ),
    Check(
        *(2, "stale_lease", "variant"),
        "its lease ended at {found} and no sweep has taken it back",
        "see that a storer runs (`mediavault serve`); its sweep takes the lease back",
        select(
            f"{_VARIANT}, v.lease_expires_at, ''",
            "FROM variants v WHERE v.status = 'storing' AND v.lease_expires_at < :lease_before",
        ),
        served_only=True,
        times=("lease_before",),
    ),
    Check(
        *(3, "wrong_references", "blob"),
        "it counts {found} references and has {wanted}",
        RESTORE,
        select(
            "b.org_id, NULL, b.id, b.refs, COALESCE(c.n, 0)",
            f"FROM blobs b LEFT JOIN ({_REFERENCES}) AS c ON c.id = b.id "
            "WHERE b.state = 'live' AND b.refs <> COALESCE(c.n, 0)",
        ),
    ),
    Check(
        *(3, "retained_without_blob", "variant"),
        "bytes are kept for its undo, and their blob is {found}",
        RESTORE,
        select(
            f"{_VARIANT}, COALESCE(b.state, 'not there'), 'live'",
            "FROM variants v LEFT JOIN blobs b ON b.id = v.retained_blob_id "
            "WHERE v.retained_blob_id IS NOT NULL AND (b.id IS NULL OR b.state <> 'live')",
        ),
    ),
    Check(
        *(3, "abandoned_intent", "blob"),
        "its store is over and no sweep has dropped it",
        "see that a storer runs (`mediavault serve`); its sweep drops it",
        select(
            "b.org_id, NULL, b.id, '', ''",
            "FROM blobs b LEFT JOIN variants v ON v.id = b.variant_id AND v.fence = b.fence AND v.status = 'storing' "
            "WHERE b.state = 'writing' AND b.keep_until IS NULL AND b.created_at < :grace_before AND v.id IS NULL",
        ),
        served_only=True,
        times=("grace_before",),
    ),
    Check(
        *(4, "removed_in_part", "variant"),
        "it is removed, and its times say otherwise (stored {found}, removed {wanted})",
        RESTORE,
        select(
            f"{_VARIANT}, v.stored_at, v.removed_at",
            "FROM variants v WHERE v.status = 'removed' AND (v.stored_at IS NOT NULL OR v.removed_at IS NULL)",
        ),
    ),
    Check(
        *(5, "wrong_usage", "connection"),
        "its totals (live/stored/bytes/reserved) are {found}, and its rows say {wanted}",
        RESTORE,
        select(
            f"c.org_id, NULL, c.id, {_USED}, {_SUMS}",
            "FROM connections c LEFT JOIN usage u ON u.connection_id = c.id "
            f"LEFT JOIN ({_COUNTED}) AS s ON s.connection_id = c.id WHERE u.connection_id IS NULL "
            "OR u.live_count <> COALESCE(s.live, 0) OR u.stored_count <> COALESCE(s.stored, 0) "
            "OR u.stored_bytes <> COALESCE(s.bytes, 0) OR u.reserved_bytes <> COALESCE(s.reserved, 0)",
        ),
    ),
    Check(
        *(5, "wrong_rollup", "subject"),
        "the media item's statuses and newest copy are {found}, and its variants say {wanted}",
        RESTORE,
        select(
            "m.org_id, m.connection_id, m.id, CAST(m.status_mask AS TEXT) || '/' || CAST(m.cached_at AS TEXT), "
            f"CAST(COALESCE(s.mask, 0) AS TEXT) || '/' || CAST(COALESCE(s.cached, {NONE}) AS TEXT)",
            f"FROM media m LEFT JOIN ({_ROLLED}) AS s ON s.media_pk = m.id "
            f"WHERE m.status_mask <> COALESCE(s.mask, 0) OR m.cached_at <> COALESCE(s.cached, {NONE})",
        ),
    ),
    Check(
        *(5, "negative_size", "variant"),
        "it says {found} bytes, of which {wanted} are reserved",
        RESTORE,
        select(
            f"{_VARIANT}, v.size_bytes, v.reserved_bytes",
            "FROM variants v WHERE v.size_bytes < 0 OR v.reserved_bytes < 0",
        ),
    ),
    Check(
        *(6, "no_status", "variant"),
        "its status is {found}, which is none of the lifecycle's",
        RESTORE,
        select(f"{_VARIANT}, v.status, ''", f"FROM variants v WHERE v.status NOT IN ({_STATUSES})"),
    ),
    Check(
        *(6, "times_run_backwards", "variant"),
        "it was made at {found} and something happened to it before ({wanted})",
        RESTORE,
        select(
            f"{_VARIANT}, v.created_at, v.changed_at",
            "FROM variants v WHERE v.changed_at < v.created_at - 60000 OR v.stored_at < v.created_at - 60000 "
            "OR v.removed_at < v.created_at - 60000 OR (v.status = 'stored' AND v.stored_at IS NULL)",
        ),
    ),
    Check(
        *(8, "impossible_views", "variant"),
        "it has {found} views, the last one at {wanted}",
        RESTORE,
        select(
            f"{_VARIANT}, v.access_count, v.last_accessed_at",
            "FROM variants v WHERE v.access_count < 0 OR v.last_accessed_at < v.created_at - 60000",
        ),
    ),
    Check(
        *(10, "lease_without_storing", "variant"),
        "it is {found} and its lease says otherwise",
        RESTORE,
        select(
            f"{_VARIANT}, v.status, ''",
            "FROM variants v WHERE (v.status = 'storing') <> (v.lease_holder IS NOT NULL) "
            "OR (v.status = 'storing') <> (v.lease_expires_at IS NOT NULL)",
        ),
    ),
    Check(
        *(10, "fence_fell", "variant"),
        "its fence is {found}, and a claim of it had {wanted}",
        RESTORE,
        select(
            f"{_VARIANT}, v.fence, MAX(b.fence)",
            "FROM blobs b JOIN variants v ON v.id = b.variant_id GROUP BY v.org_id, v.connection_id, v.id, v.fence "
            "HAVING MAX(b.fence) > v.fence",
        ),
    ),
    Check(
        *(10, "two_claims", "variant"),
        "{found} stores of it were announced under one fence",
        RESTORE,
        select(
            f"{_VARIANT}, COUNT(*), b.fence",
            "FROM blobs b JOIN variants v ON v.id = b.variant_id WHERE b.state = 'writing' AND b.keep_until IS NULL "
            "GROUP BY v.org_id, v.connection_id, v.id, b.fence HAVING COUNT(*) > 1",
        ),
    ),
    Check(
        *(12, "key_in_the_clear", "subject"),
        "the API key is not kept as a digest",
        "revoke the key (`mediavault keys revoke`) and make another",
        select(
            "k.org_id, NULL, k.id, '', ''",
            "FROM api_keys k WHERE length(k.sha256) <> 64 OR lower(k.sha256) <> k.sha256",
        ),
    ),
    Check(
        *(14, "retained_past_the_window", "variant"),
        "it was removed at {found} and its bytes are still kept for an undo",
        "see that a storer runs (`mediavault serve`); its sweep lets go of them",
        select(
            f"{_VARIANT}, v.removed_at, ''",
            # What is fetched anew keeps its old bytes for as long as that takes, also where it failed.
            "FROM variants v WHERE v.retained_blob_id IS NOT NULL AND v.removed_at < :undo_before "
            "AND v.status NOT IN ('pending', 'storing') AND (v.status = 'removed' OR v.retained_stored_at IS NULL)",
        ),
        served_only=True,
        times=("undo_before",),
    ),
    Check(
        *(14, "left_by_a_disconnect", "variant"),
        "its connection was disconnected at {found}",
        "see that a storer runs (`mediavault serve`); its sweep removes it",
        select(
            f"{_VARIANT}, c.disconnected_at, ''",
            "FROM connections c JOIN variants v ON v.connection_id = c.id "
            "WHERE c.disconnected_at < :grace_before AND v.status <> 'removed'",
        ),
        served_only=True,
        times=("grace_before",),
    ),
    Check(
        *(15, "storing_unannounced", "variant"),
        "it is being stored and no blob was announced for it",
        RESTORE,
        select(
            f"{_VARIANT}, '', ''",
            "FROM variants v LEFT JOIN blobs b ON b.variant_id = v.id AND b.fence = v.fence AND b.state = 'writing' "
            "WHERE v.status = 'storing' AND b.id IS NULL",
        ),
    ),
)
