"""What takes more than SQL: media past the time that their settings give them, and what items are shown as."""

from itertools import groupby

from mediavault.catalog import rollups
from mediavault.catalog import verification_relations as questions
from mediavault.catalog.database import Catalog
from mediavault.catalog.verification import RESTORE
from mediavault.domain.findings import Finding
from mediavault.domain.media import MediaType, overall_type
from mediavault.domain.times import DAY, iso8601
from mediavault.vault.configuring import effective_settings

_REMEDY = "see that a storer runs (`mediavault serve`); its sweep removes it"


async def past_policy(catalog: Catalog, now: int) -> list[Finding]:
    """What policy should have removed by `now`: give the sweeps their time before."""
    findings: list[Finding] = []
    after = ""
    while rows := await catalog.fetch_list(questions.CONNECTIONS, {"after": after}):
        after = rows[-1][1]
        for _, connection_id, organisation, overrides, enabled, disconnected_at in rows:
            if disconnected_at is not None or not enabled:  # while Vault+ is off, policy removes nothing
                continue
            settings = effective_settings(organisation, overrides)
            for days, statement, code in (
                (settings.retention_days, questions.STORED_TOO_LONG, "past_retention"),
                (settings.access_expiry_days, questions.NOT_VIEWED, "past_access_expiry"),
            ):
                if days:
                    values = {"connection_id": connection_id, "before": now - days * DAY, "before_now": now}
                    found = await catalog.fetch_list(statement, values)
                    findings += [_finding(code, days, *row) for row in found]
    return findings


async def wrongly_shown(catalog: Catalog) -> list[Finding]:
    """Media items whose type or duration for queries is not what their variants say."""
    findings: list[Finding] = []
    after = ""
    while rows := await catalog.fetch_list(questions.ITEMS, {"after": after}):
        after = rows[-1][2]
        for item, variants in groupby(rows, lambda row: tuple(row[:7])):
            org_id, connection_id, item_id, kind, shown_type, duration, duration_key = item
            wanted = overall_type([row[7] for row in variants if row[7] is not None], MediaType(kind))
            if (shown_type, duration_key) != (wanted.value, rollups.duration_key(wanted, duration)):
                text = f"the media item is shown as {shown_type}, and its variants say {wanted.value}"
                where = {"organisation": org_id, "connection": connection_id, "subject": item_id}
                findings.append(Finding(5, "wrongly_shown", text, RESTORE, **where))
    return findings


def _finding(
    code: str, days: int, org_id: str, connection_id: str, variant_id: str, stored_at: int, at: int
) -> Finding:
    text = f"it was stored {iso8601(stored_at)} and viewed {iso8601(at)}; policy keeps it for {days} days"
    where = {"organisation": org_id, "connection": connection_id, "variant": variant_id}
    return Finding(14, code, text, _REMEDY, **where)
