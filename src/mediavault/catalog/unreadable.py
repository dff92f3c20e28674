"""Blobs that cannot be read again and again: the variants that rely on them say so until they can.

Nothing is taken from them: a disk that cannot be read now may be read by somebody who mends it.
"""

from sqlalchemy import bindparam, null, select, update

from mediavault.catalog import events
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.tables import is_in, media, variants
from mediavault.domain.event_types import UNREADABLE
from mediavault.domain.lifecycle import Status
from mediavault.domain.reasons import printable

_SAID = "its stored bytes cannot be read"

_RELYING = (
    select(
        *(variants.c.id, variants.c.org_id, variants.c.connection_id, media.c.media_id),
        *(variants.c.label, variants.c.size_bytes, variants.c.last_error),
    )
    .join_from(variants, media, media.c.id == variants.c.media_pk)
    .where(variants.c.blob_id == bindparam("of_blob"), is_in(variants.c.status, Status.STORED))
    .order_by(variants.c.id)
    .with_for_update(key_share=True, of=variants)
)
_SAY = update(variants).where(variants.c.id == bindparam("variant_id")).values(last_error=bindparam("said"))
_WITHDRAW = (
    update(variants)
    .where(variants.c.blob_id == bindparam("of_blob"), variants.c.last_error.startswith(_SAID, autoescape=True))
    .values(last_error=null())
    .returning(variants.c.id)
)


def report(blob_id: str, reason: str, now: int) -> Operation[list[str]]:
    """Let every stored variant of a blob say that it cannot be read, and tell subscribers; those that did not yet."""
    said = printable(f"{_SAID}: {reason}")
    told: list[str] = []
    for variant_id, org_id, connection_id, media_id, label, size_bytes, last_error in (
        yield Do(_RELYING, {"of_blob": blob_id})
    ):
        if last_error is not None and last_error.startswith(_SAID):
            continue
        yield Do(_SAY, {"variant_id": variant_id, "said": said})
        data: dict[str, object] = {
            "connectionId": connection_id,
            "mediaId": media_id,
            "quality": label,
            "status": Status.STORED.value,
            "sizeBytes": size_bytes,
            "reason": said,
        }
        yield from events.record(org_id, UNREADABLE, data, connection_id=connection_id, at=now, variant_id=variant_id)
        told.append(variant_id)
    return told


def withdraw(blob_id: str) -> Operation[list[str]]:
    """It can be read: nobody says otherwise any more. The variants that did."""
    return [row[0] for row in (yield Do(_WITHDRAW, {"of_blob": blob_id}))]
