"""What the rows say against the invariants of relations: tenants, and the order of events."""

from collections.abc import Sequence

from sqlalchemy import TextClause, text

from mediavault.catalog.transitions import EVENT_TYPES
from mediavault.catalog.verification import CHECKS, MOST, RESTORE, Check, select
from mediavault.catalog.verification_places import MOVES
from mediavault.domain.lifecycle import TRANSITIONS

#: `(table, its key, its connection, column, table it refers to, that one's column)`: both must be of one organisation.
_REFERENCES = (
    ("api_keys", "id", "NULL", "org_id", "organisations", "id"),
    ("connections", "id", "id", "org_id", "organisations", "id"),
    ("usage", "connection_id", "connection_id", "connection_id", "connections", "id"),
    ("media", "id", "connection_id", "connection_id", "connections", "id"),
    ("lists", "id", "connection_id", "connection_id", "connections", "id"),
    ("list_items", "media_pk", "NULL", "list_pk", "lists", "id"),
    ("list_items", "media_pk", "NULL", "media_pk", "media", "id"),
    ("policy_changes", "id", "connection_id", "connection_id", "connections", "id"),
    ("outbox", "id", "connection_id", "connection_id", "connections", "id"),
    ("webhook_endpoints", "id", "NULL", "org_id", "organisations", "id"),
    ("webhook_deliveries", "id", "connection_id", "endpoint_id", "webhook_endpoints", "id"),
    ("blobs", "id", "NULL", "org_id", "organisations", "id"),
)
_OF_ANOTHER = "belongs to organisation {found}, and what it refers to to {wanted}"


def _foreign(table: str, key: str, connection: str, column: str, parent: str, parent_key: str) -> Check:
    """Rows that refer to another organisation's, or to nothing."""
    owner = "p.id" if parent == "organisations" else "p.org_id"
    of_connection = "NULL" if connection == "NULL" else f"t.{connection}"
    return Check(
        9,
        f"foreign_{table}_{column.removesuffix('_id').removesuffix('_pk')}",
        "blob" if table == "blobs" else "subject",
        f"the row of {table} {_OF_ANOTHER}",
        RESTORE,
        select(
            f"t.org_id, {of_connection}, t.{key}, t.org_id, COALESCE({owner}, 'nobody')",
            f"FROM {table} t LEFT JOIN {parent} p ON p.{parent_key} = t.{column} "
            f"WHERE t.{column} <> '' AND (p.{parent_key} IS NULL OR {owner} <> t.org_id)",
        ),
    )


#: All that a variant refers to in one check: one that was moved to another organisation is one finding.
_FOREIGN_VARIANT = Check(
    9,
    "foreign_variant",
    "variant",
    "it belongs to organisation {found}, and its media item, blob, original or connection to {wanted}",
    RESTORE,
    select(
        "v.org_id, v.connection_id, v.id, v.org_id, COALESCE(m.org_id, 'nobody')",
        "FROM variants v LEFT JOIN media m ON m.id = v.media_pk LEFT JOIN blobs b ON b.id = v.blob_id "
        "LEFT JOIN blobs r ON r.id = v.retained_blob_id LEFT JOIN variants d ON d.id = v.derived_from "
        "WHERE m.id IS NULL OR m.org_id <> v.org_id OR m.connection_id <> v.connection_id OR b.org_id <> v.org_id "
        "OR r.org_id <> v.org_id OR d.media_pk <> v.media_pk",
    ),
)


def _legal_sequences() -> str:
    """`'first>second'` of each two events that may follow each other at one variant."""
    pairs = [
        f"'{EVENT_TYPES[first]}>{EVENT_TYPES[second]}'"
        for first, before in TRANSITIONS.items()
        for second, after in TRANSITIONS.items()
        if before.target in after.sources
    ]
    return ", ".join(pairs)


_MOVES = ", ".join(f"'{name}'" for name in EVENT_TYPES.values())
_ENDS = " ".join(f"WHEN '{EVENT_TYPES[event]}' THEN '{each.target}'" for event, each in TRANSITIONS.items())
_WITH_PREVIOUS = (
    "SELECT org_id, connection_id, variant_id, seq, type, created_at, "  # noqa: S608  # constants
    "LAG(type) OVER (PARTITION BY variant_id ORDER BY seq) AS before, "
    "LAG(created_at) OVER (PARTITION BY variant_id ORDER BY seq) AS before_at "
    f"FROM outbox WHERE variant_id IS NOT NULL AND type IN ({_MOVES})"
)
_NUMBERS = "SELECT org_id, MIN(seq) AS first, MAX(seq) AS last, COUNT(*) AS n FROM outbox GROUP BY org_id"
_LAST_MOVES = (
    "SELECT variant_id, MAX(seq) AS seq FROM outbox "  # noqa: S608  # constants
    f"WHERE variant_id IS NOT NULL AND type IN ({_MOVES}) GROUP BY variant_id"
)

_EVENTS = (
    Check(
        *(6, "illegal_transition", "variant"),
        "{found} cannot follow {wanted}",
        RESTORE,
        select(
            "e.org_id, e.connection_id, e.variant_id, e.type, e.before",
            f"FROM ({_WITH_PREVIOUS}) AS e WHERE e.before IS NOT NULL "
            f"AND e.before || '>' || e.type NOT IN ({_legal_sequences()})",
        ),
    ),
    Check(
        *(6, "events_run_backwards", "variant"),
        "something happened to it at {found}, and before that at {wanted}",
        RESTORE,
        select(
            "e.org_id, e.connection_id, e.variant_id, e.created_at, e.before_at",
            # Several processes on one catalog have a clock each: a minute is no finding.
            f"FROM ({_WITH_PREVIOUS}) AS e WHERE e.created_at < e.before_at - 60000",
        ),
    ),
    Check(
        *(6, "moved_without_event", "variant"),
        "it is {found}, and its last event left it {wanted}",
        RESTORE,
        select(
            f"v.org_id, v.connection_id, v.id, v.status, CASE o.type {_ENDS} END",
            f"FROM ({_LAST_MOVES}) AS l JOIN variants v ON v.id = l.variant_id "
            "JOIN outbox o ON o.org_id = v.org_id AND o.seq = l.seq AND o.variant_id = v.id "
            f"WHERE v.status <> CASE o.type {_ENDS} END",
        ),
    ),
    Check(
        *(11, "gap_in_events", "organisation"),
        "its events are numbered {found}, and the last one given was {wanted}",
        RESTORE,
        select(
            "o.id, NULL, o.id, CAST(e.first AS TEXT) || '-' || CAST(e.last AS TEXT) || ', ' "
            "|| CAST(e.n AS TEXT) || ' of them', o.event_seq",
            f"FROM organisations o JOIN ({_NUMBERS}) AS e ON e.org_id = o.id "
            "WHERE e.n <> e.last - e.first + 1 OR e.last <> o.event_seq",
        ),
    ),
    Check(
        *(11, "told_of_the_future", "subject"),
        "the webhook endpoint was told of event {found}, and there have been {wanted}",
        RESTORE,
        select(
            "w.org_id, NULL, w.id, w.cursor_seq, o.event_seq",
            "FROM webhook_endpoints w JOIN organisations o ON o.id = w.org_id WHERE w.cursor_seq > o.event_seq",
        ),
    ),
)

#: Everything rows are asked.
ALL: Sequence[Check] = (*CHECKS, *MOVES, *(_foreign(*each) for each in _REFERENCES), _FOREIGN_VARIANT, *_EVENTS)

#: Connections, with what their policy is folded from.
CONNECTIONS = text(
    "SELECT c.org_id, c.id, o.settings, c.settings_overrides, c.vault_plus_enabled, c.disconnected_at "
    "FROM connections c JOIN organisations o ON o.id = c.org_id WHERE c.id > :after ORDER BY c.id LIMIT 500"
)
ITEMS = text(
    "SELECT m.org_id, m.connection_id, m.id, m.type, m.shown_type, m.duration, m.duration_key, v.content_type "
    "FROM (SELECT * FROM media WHERE id > :after ORDER BY id LIMIT 1000) AS m "
    "LEFT JOIN variants v ON v.media_pk = m.id AND v.status <> 'removed' ORDER BY m.id"
)


def _past(columns: str) -> TextClause:
    return select(
        "v.org_id, v.connection_id, v.id, v.stored_at, v.last_accessed_at",
        "FROM variants v JOIN media m ON m.id = v.media_pk WHERE v.connection_id = :connection_id "
        f"AND v.status = 'stored' AND {columns} "
        "AND (m.pinned_at IS NULL OR m.pinned_until <= :before_now)",
    )


#: Stored media past their retention, and past their access expiry.
STORED_TOO_LONG = _past("v.stored_at < :before")
NOT_VIEWED = _past("v.stored_at < :before AND v.last_accessed_at < :before")

__all__ = ["ALL", "CONNECTIONS", "ITEMS", "MOST", "NOT_VIEWED", "STORED_TOO_LONG"]
