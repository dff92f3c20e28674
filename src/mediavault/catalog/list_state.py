"""What a sync must know before it decides: the list's row, held, and what the catalog has of each media item."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert  # both engines speak its ON CONFLICT

from mediavault.catalog.identifiers import new_id
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.padding import chunks, is_among, padded
from mediavault.catalog.pins import PinRow
from mediavault.catalog.seen import SeenMedia
from mediavault.catalog.tables import list_items, lists, media, variants
from mediavault.domain.lifecycle import Status
from mediavault.domain.list_sync import Known


@dataclass(frozen=True)
class ListOf:
    """Which list is meant."""

    org_id: str
    connection_id: str
    list_id: str

    @property
    def tenant(self) -> dict[str, str]:
        """Whose it is, as statements name it."""
        return {"org_id": self.org_id, "connection_id": self.connection_id}


@dataclass(frozen=True)
class Listed:
    """A media item as the upstream's list shows it."""

    media_id: str
    fingerprint: str | None  #: None where it shows no URL
    media: SeenMedia | None = field(repr=False)  #: None where it shows no URL
    wanted: frozenset[str] = frozenset()  #: labels to store

    @property
    def labels(self) -> frozenset[str]:
        """Those that it shows a URL of."""
        return frozenset(variant.label for variant in self.media.variants) if self.media is not None else frozenset()


@dataclass(frozen=True)
class Held:
    """The list's row; nobody else syncs it before this transaction ends."""

    pk: str
    baseline_at: int | None


@dataclass
class Entry:
    """What the catalog has of a media item."""

    pk: str
    cached: bool
    pin: PinRow
    labels: dict[str, tuple[str, int, bool]] = field(default_factory=dict)  #: to (status, URL expiry, kept out)
    lists: list[tuple[str, bool, str, int]] = field(default_factory=list)  #: (list, in baseline, fingerprint, seen at)

    def known(self, list_pk: str, wanted: frozenset[str], now: int) -> Known:
        """As reconciliation takes it, for one list."""
        latest = max(self.lists, key=lambda row: row[3], default=None)
        return Known(
            cached=self.cached,
            in_baseline=any(row[0] == list_pk and row[1] for row in self.lists),
            fingerprint=(latest[2] or None) if latest else None,
            stale=any(self._has_died(label, now) for label in wanted),
            pinned=self.pin.holds(now),
            owned_elsewhere=any(row[0] != list_pk for row in self.lists),
        )

    def _has_died(self, label: str, now: int) -> bool:
        status, expires_at, kept_out = self.labels.get(label, (Status.STORED.value, 0, False))
        return status in {Status.EDGE_ONLY.value, Status.PENDING.value} and expires_at <= now and not kept_out

    def to_queue(self, wanted: Iterable[str], *, fresh: bool) -> list[str]:
        """Labels to queue once they are observed: new ones, those only seen so far, and with `fresh` all.

        What a storage limit keeps out is not queued again by a sync: the next sync would push the next one out.
        """
        waiting = {Status.EDGE_ONLY.value}
        return [
            label
            for label in sorted(wanted)
            if label not in self.labels or ((fresh or self.labels[label][0] in waiting) and not self.labels[label][2])
        ]


Entries = dict[str, Entry]  #: by media id

_NAMED = (
    lists.c.org_id == bindparam("org_id"),
    lists.c.connection_id == bindparam("connection_id"),
    lists.c.list_id == bindparam("list_id"),
)
_HOLD = select(lists.c.id, lists.c.baseline_at).where(*_NAMED).with_for_update()
_PEEK = select(lists.c.baseline_at).where(*_NAMED)
_ADD_LIST = (
    insert(lists)
    .values({lists.c[name]: bindparam(name) for name in ("id", "org_id", "connection_id", "list_id", "created_at")})
    .on_conflict_do_nothing(index_elements=["connection_id", "list_id"])
)
_MEMBERS = (
    select(media.c.media_id)
    .join_from(list_items, media, media.c.id == list_items.c.media_pk)
    .where(list_items.c.list_pk == bindparam("list_pk"))
    .order_by(media.c.media_id)
)
_MINE = (
    media.c.org_id == bindparam("org_id"),
    media.c.connection_id == bindparam("connection_id"),
    is_among(media.c.media_id),
)
_MEDIA = (
    select(
        *(media.c[name] for name in ("media_id", "id", "status_mask", "pinned_at", "pinned_until", "pin_reason")),
        *(variants.c[name] for name in ("label", "status", "origin_expires_at", "kept_out")),
    )
    .select_from(media.outerjoin(variants, variants.c.media_pk == media.c.id))
    .where(*_MINE)
    .order_by(media.c.media_id, variants.c.label)
)
_MEMBERSHIPS = (
    select(
        media.c.media_id,
        *(list_items.c[name] for name in ("list_pk", "in_baseline", "fingerprint", "last_seen_at")),
    )
    .join_from(media, list_items, list_items.c.media_pk == media.c.id)
    .where(*_MINE)
)


def baseline_at(of: ListOf) -> Operation[int | None]:
    """When the list was synced last; None where it never was."""
    rows = yield Do(_PEEK, {**of.tenant, "list_id": of.list_id})
    return rows[0][0] if rows else None


def hold(of: ListOf, now: int) -> Operation[Held]:
    """The list's row, made where there is none, locked until the transaction ends."""
    named = {**of.tenant, "list_id": of.list_id}
    yield Do(_ADD_LIST, {**named, "id": new_id(now), "created_at": now})
    rows = yield Do(_HOLD, named)
    return Held(*rows[0])


def members(list_pk: str) -> Operation[list[str]]:
    """The media ids on record for a list."""
    rows = yield Do(_MEMBERS, {"list_pk": list_pk})
    return [row[0] for row in rows]


def entries(of: ListOf, media_ids: Sequence[str]) -> Operation[Entries]:
    """What the catalog has of these media; those it never heard of are left out."""
    found: Entries = {}
    for chunk in chunks(media_ids):
        asked = {**of.tenant, **padded(chunk)}
        for media_id, pk, mask, pinned_at, until, reason, label, status, expires_at, kept_out in (
            yield Do(_MEDIA, asked)
        ):
            entry = found.setdefault(media_id, Entry(pk, mask != 0, PinRow(pinned_at, until, reason)))
            if label is not None:
                entry.labels[label] = (status, expires_at, kept_out is not None)
        for media_id, *membership in (yield Do(_MEMBERSHIPS, asked)):
            list_pk, in_baseline, fingerprint, seen_at = membership
            if media_id in found:  # else it was added between the two questions
                found[media_id].lists.append((list_pk, bool(in_baseline), fingerprint, seen_at))
    return found
