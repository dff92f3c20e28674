"""Explaining: why each variant of an item is as it is, and what happens next. For people, and as codes."""

from dataclasses import dataclass

from msgspec import Struct

from mediavault.catalog.connections import ConnectionRow
from mediavault.catalog.database import Catalog
from mediavault.catalog.explanations import ExplainedRow, explained
from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType, Source, check_media_id
from mediavault.domain.policy import Ending, Facts, decide, ending
from mediavault.domain.settings import VaultSettings
from mediavault.domain.times import Now, iso8601
from mediavault.errors import MediaNotFound
from mediavault.thumbnails.making import ThumbnailMaker
from mediavault.vault.configuring import effective_settings
from mediavault.vault.deriving import ThumbnailView, thumbnail_view


class Pin(Struct, frozen=True, rename="camel"):
    """What keeps an item from policy's removal."""

    pinned_at: int
    until: int | None
    reason: str | None
    holds: bool


class PolicyView(Struct, frozen=True, rename="camel"):
    """What policy says of a variant now."""

    keep: bool
    code: str
    text: str


class Next(Struct, frozen=True, rename="camel"):
    """What happens next; `at` is null where it depends on what others do."""

    code: str
    text: str
    at: int | None


class Explained(Struct, frozen=True, rename="camel"):
    """One variant. Times are Unix milliseconds."""

    status: str
    since: int
    reason: str | None
    policy: PolicyView
    next: Next
    attempts: int
    last_error: str | None
    next_attempt_at: int | None
    cool_down_until: int | None
    lease_expires_at: int | None
    policy_removal_at: int | None
    policy_removal_rule: str | None
    undo_until: int | None
    kept_out: str | None
    origin_expires_at: int
    derived_from: str | None


class Explanation(Struct, frozen=True, rename="camel"):
    """`GET /v2/vault-plus/media/{id}/explain`."""

    media_id: str
    type: str
    sources: list[str]
    vault_plus_enabled: bool
    pin: Pin | None
    thumbnail: ThumbnailView
    variants: dict[str, Explained]


@dataclass(frozen=True)
class Explaining:
    """Explains items from the catalog alone."""

    catalog: Catalog
    undo_window_ms: int
    maker: ThumbnailMaker
    now: Now

    async def explain(self, connection: ConnectionRow, media_id: str) -> Explanation:
        """Every variant there ever was of an item. Raises MediaNotFound."""
        rows = await explained(self.catalog, connection.org_id, connection.id, check_media_id(media_id))
        if not rows:
            raise MediaNotFound
        settings = effective_settings(connection.organisation_settings, connection.settings_overrides)
        now, first = self.now(), rows[0]
        pin = _pin(first, now)
        return Explanation(
            media_id=media_id,
            type=first.media_type,
            sources=first.sources.split(","),
            vault_plus_enabled=bool(connection.vault_plus_enabled),
            pin=pin,
            thumbnail=thumbnail_view(rows, settings, self.maker, enabled=bool(connection.vault_plus_enabled)),
            variants={
                row.label: self._variant(
                    row,
                    settings,
                    now,
                    enabled=bool(connection.vault_plus_enabled),
                    pin=pin if pin is not None and pin.holds else None,
                )
                for row in rows
            },
        )

    def _variant(
        self, row: ExplainedRow, settings: VaultSettings, now: int, *, enabled: bool, pin: Pin | None
    ) -> Explained:
        sources = [Source(source) for source in row.sources.split(",")]
        facts = Facts(MediaType(row.media_type), row.label, sources, row.access_count)
        decision = decide(settings, facts, vault_plus_enabled=enabled)
        end = ending(settings, row.stored_at, row.last_accessed_at) if row.stored_at is not None else None
        removal = end if enabled else None
        undo_until = self._undo_until(row, now)
        waits = row.status == Status.PENDING
        return Explained(
            status=row.status,
            since=row.changed_at,
            reason=row.decided_by,
            policy=PolicyView(decision.keep, decision.code.value, decision.rule),
            next=_next(row, now, pin=pin, end=end, enabled=enabled, undo_until=undo_until, wanted=decision.keep),
            attempts=row.attempts,
            last_error=row.last_error,
            next_attempt_at=row.run_at if waits else None,
            cool_down_until=row.not_before if row.not_before > now else None,
            lease_expires_at=row.lease_expires_at,
            policy_removal_at=removal.at if removal else None,
            policy_removal_rule=removal.code.value if removal else None,
            undo_until=undo_until,
            kept_out=row.kept_out,
            origin_expires_at=row.origin_expires_at,
            derived_from=row.derived_from,
        )

    def _undo_until(self, row: ExplainedRow, now: int) -> int | None:
        """Until when a removed variant can be taken back; None when it cannot."""
        if row.status != Status.REMOVED or row.removed_at is None or not row.has_retained:
            return None
        until = row.removed_at + self.undo_window_ms
        return until if until > now else None


def _pin(row: ExplainedRow, now: int) -> Pin | None:
    if row.pinned_at is None:
        return None
    return Pin(row.pinned_at, row.pinned_until, row.pin_reason, row.pinned_until is None or row.pinned_until > now)


def _next(
    row: ExplainedRow,
    now: int,
    *,
    pin: Pin | None,
    end: Ending | None,
    enabled: bool,
    undo_until: int | None,
    wanted: bool,
) -> Next:
    match Status(row.status):
        case Status.STORED:
            return _next_of_stored(pin, end, enabled=enabled)
        case Status.STORING:
            return Next("being_stored", "A storer is at it; a dead one's lease ends then.", row.lease_expires_at)
        case Status.PENDING if row.run_at > now:
            return Next("retried", "The last try failed; it is tried again then.", row.run_at)
        case Status.PENDING:
            return Next("waiting_for_storer", "It is stored when a storer is free.", None)
        case Status.REMOVED if undo_until is not None:
            return Next("bytes_deleted", "It can be restored until then; its bytes are deleted afterwards.", undo_until)
        case Status.REMOVED:
            return Next("gone", "It comes back when it is seen upstream again.", None)
        case _:
            return _next_of_edge_only(row, wanted=wanted)


def _next_of_stored(pin: Pin | None, end: Ending | None, *, enabled: bool) -> Next:
    if end is None:
        return Next("kept", "It is kept; no rule ends its time.", None)
    if not enabled:
        text = f"Its time ends {iso8601(end.at)}, but policy removes nothing while Vault+ is off."
        return Next("kept_while_off", text, None)
    if pin is None:
        return Next("removed_by_policy", "Policy removes it then.", end.at)
    if pin.until is None:
        return Next("kept_by_pin", "Its time ends, but its pin keeps it.", None)
    return Next("removed_by_policy", "Policy removes it when its pin has ended too.", max(end.at, pin.until))


def _next_of_edge_only(row: ExplainedRow, *, wanted: bool) -> Next:
    older = "" if row.retained_stored_at is None else " Its older bytes are kept and served until the new are stored."
    if row.attempts > 0:
        text = "Storing it failed for good; it is tried again when upstream shows a new URL, or when somebody asks."
        return Next("given_up", text + older, None)
    if row.kept_out is not None:
        return Next("kept_out", "The storage limit keeps it out; a higher limit lets it in.", None)
    if wanted:
        return Next("stored_at_next_view", "Policy wants it; it is queued at its next view.", None)
    if older:
        return Next("kept_until_replaced", "Upstream changed it, and its new bytes are not stored yet." + older, None)
    return Next(
        "not_stored",
        "It is served from its origin while that URL lives; policy does not store it.",
        row.origin_expires_at,
    )
