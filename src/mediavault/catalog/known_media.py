"""What the catalog has of media that are seen upstream, and what of it is not as it is seen."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import bindparam, select

from mediavault.catalog.operations import Do, Operation, Row
from mediavault.catalog.padding import is_among, padded
from mediavault.catalog.seen import SeenMedia
from mediavault.catalog.tables import media, variants
from mediavault.domain.lifecycle import Status
from mediavault.domain.times import HOUR

#: A URL that tells no expiry is good for a while from its last observation; smaller gains are not worth a write.
WORTH_PROLONGING = HOUR


#: `(media id, label)` to the variant's id.
VariantIds = dict[tuple[str, str], str]

_KNOWN = (
    select(
        media.c.media_id,
        media.c.id,
        media.c.type,
        media.c.duration,
        media.c.sources,
        variants.c.label,
        variants.c.id,
        variants.c.status,
        variants.c.origin_key,
        variants.c.origin_expires_at,
    )
    .select_from(media.outerjoin(variants, variants.c.media_pk == media.c.id))
    .where(
        media.c.org_id == bindparam("org_id"),
        media.c.connection_id == bindparam("connection_id"),
        is_among(media.c.media_id),
    )
)


@dataclass
class Known:
    """What the catalog has of one media item."""

    pk: str
    type: str
    duration: float | None
    sources: str
    variants: dict[str, Row]  #: label to (id, status, origin_key, origin_expires_at)


def find_known(org_id: str, connection_id: str, chunk: dict[str, SeenMedia]) -> Operation[dict[str, Known]]:
    rows = yield Do(_KNOWN, {"org_id": org_id, "connection_id": connection_id, **padded(list(chunk))})
    known: dict[str, Known] = {}
    for media_id, pk, media_type, duration, sources, label, *variant in rows:
        entry = known.setdefault(media_id, Known(pk, media_type, duration, sources, {}))
        if label is not None:
            entry.variants[label] = tuple(variant)
    return known


@dataclass
class Part:
    """A chunk of what is seen, once all that is new of it was added."""

    chunk: dict[str, SeenMedia]
    known: dict[str, Known]
    added: int  #: variants that are new, and were not added by somebody else a moment before
    enlarged: list[str]  #: media that had variants and have more now

    def changing(self) -> Iterator[Row]:
        """The variants that are not as they are seen."""
        for item in self.chunk.values():
            for variant in item.variants:
                row = self.known[item.media_id].variants[variant.label]
                is_later = variant.origin_expires_at >= row[3] + WORTH_PROLONGING
                if row[1] == Status.REMOVED.value or row[2] != variant.origin_key or is_later:
                    yield row

    def touched(self) -> list[str]:
        """The media that are not as they are seen."""
        stale = [entry.pk for media_id, entry in self.known.items() if touched_media(entry, self.chunk[media_id])]
        return stale + self.enlarged

    def ids(self) -> VariantIds:
        """Of all its variants."""
        return {
            (item.media_id, variant.label): self.known[item.media_id].variants[variant.label][0]
            for item in self.chunk.values()
            for variant in item.variants
        }


def touched_media(known: Known, item: SeenMedia) -> dict[str, object] | None:
    sources = known.sources.split(",")
    if item.source not in sources:
        sources.append(item.source)
    duration = item.duration if item.duration is not None else known.duration
    if (item.type, duration, ",".join(sources)) == (known.type, known.duration, known.sources):
        return None
    return {
        "media_pk": known.pk,
        "set_type": item.type,
        "set_duration": duration,
        "set_sources": ",".join(sources),
    }
