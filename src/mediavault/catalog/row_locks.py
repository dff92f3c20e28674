"""The one order in which rows are locked, so that no two operations ever wait for each other (PostgreSQL).

A list; what is inserted; variants by their ids; media by theirs; blobs; the connections' usage; the organisation's
counter of events. An operation that moves one variant takes its rows in this order by itself. One that moves several
holds all of them, and the usage where not every move changes it, before the first move, which takes the counter.
Nothing is waited for behind its place; what is only taken where it is free (SKIP LOCKED) may come in any order.
"""

from collections.abc import Collection

from sqlalchemy import select

from mediavault.catalog import usage
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.padding import chunks, is_among, padded
from mediavault.catalog.tables import media, variants

_DERIVED = select(variants.c.id, variants.c.derived_from).where(is_among(variants.c.derived_from))
_FREE_DERIVED = _DERIVED.with_for_update(skip_locked=True, key_share=True)
_VARIANTS = (
    select(variants.c.id, variants.c.media_pk)
    .where(is_among(variants.c.id))
    .order_by(variants.c.id)
    .with_for_update(key_share=True)
)
_MEDIA = select(media.c.id).where(is_among(media.c.id)).order_by(media.c.id).with_for_update(key_share=True)
_sibling = variants.alias("sibling")
_SIBLINGS = (
    select(_sibling.c.id)
    .join_from(variants, _sibling, _sibling.c.media_pk == variants.c.media_pk)
    .where(is_among(variants.c.id))
)
_CONNECTIONS = select(variants.c.connection_id).where(is_among(variants.c.id)).distinct()
_OF_MEDIA = select(variants.c.id).where(is_among(variants.c.media_pk))


def hold(
    variant_ids: Collection[str], media_pks: Collection[str] = (), *, with_derived: bool = False
) -> Operation[None]:
    """Hold variants and their media until the transaction ends; `with_derived`: what is removed along with them too."""
    wanted, pks = set(variant_ids), set(media_pks)
    if with_derived:
        wanted |= yield from _derived(variant_ids)
    pks |= yield from _hold_variants(wanted)
    if with_derived:  # what was made of them while they were waited for is the youngest; nothing more is, from now on
        pks |= yield from _hold_variants((yield from _derived(variant_ids)) - wanted)
    for ids in chunks(sorted(pks)):
        yield Do(_MEDIA, padded(ids))


def _derived(variant_ids: Collection[str]) -> Operation[set[str]]:
    found: set[str] = set()
    for ids in chunks(sorted(variant_ids)):
        found.update(row[0] for row in (yield Do(_DERIVED, padded(ids))))
    return found


def _hold_variants(variant_ids: Collection[str]) -> Operation[set[str]]:
    """Their media."""
    pks: set[str] = set()
    for ids in chunks(sorted(variant_ids)):
        pks.update(row[1] for row in (yield Do(_VARIANTS, padded(ids))))
    return pks


def with_derived_held(variant_ids: Collection[str]) -> Operation[set[str]]:
    """Those of some variants whose derived thumbnails are held now: nobody is waited for."""
    left = set(variant_ids)
    for ids in chunks(sorted(left)):
        derived = {(row[0], row[1]) for row in (yield Do(_DERIVED, padded(ids)))}
        if derived:
            free = {(row[0], row[1]) for row in (yield Do(_FREE_DERIVED, padded(ids)))}
            left -= {original for _, original in derived - free}
    return left


def hold_usage_of(variant_ids: Collection[str]) -> Operation[None]:
    """Hold the usage of the variants' connections: behind media and blobs, before the first move takes the counter."""
    found: set[str] = set()
    for ids in chunks(sorted(variant_ids)):
        found.update(row[0] for row in (yield Do(_CONNECTIONS, padded(ids))))
    for connection_id in sorted(found):
        yield from usage.locked(connection_id)


def hold_items_of(variant_ids: Collection[str]) -> Operation[None]:
    """The same for every variant of their media items."""
    found: set[str] = set()
    for ids in chunks(sorted(variant_ids)):
        found.update(row[0] for row in (yield Do(_SIBLINGS, padded(ids))))
    yield from hold(found)


def hold_items(media_pks: Collection[str]) -> Operation[None]:
    """The same for every variant of some media items."""
    found: list[str] = []
    for ids in chunks(sorted(media_pks)):
        found += [row[0] for row in (yield Do(_OF_MEDIA, padded(ids)))]
    yield from hold(found, media_pks)
