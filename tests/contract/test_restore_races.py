"""Undo against the sweep that lets go of retained bytes: whoever is first, nothing is stored without its bytes."""

from collections import Counter

import pytest

from fakes.catalog_rows import NOW, Tenant, at_once, broken_invariants, bytes_of, rows, tenant
from mediavault.catalog import blob_rows, leases, restoring
from mediavault.catalog.database import Catalog
from mediavault.catalog.restoring import Restored
from mediavault.errors import MediaNotFound
from mediavault.vault.configuring import effective_settings


async def removed(owner: Tenant, media_id: str, *labels: str) -> None:
    """An item whose variants were stored, each with bytes of its own, and removed just now."""
    for label in labels:
        await owner.queue(await owner.variant(media_id, label))
        claim = await owner.catalog.run(leases.claim, "storer", 60_000, NOW)
        assert claim is not None
        await owner.catalog.run(blob_rows.settle, claim, bytes_of(f"{media_id} {label}"), NOW)
    await owner.remove(media_id)


async def restore(owner: Tenant, media_id: str) -> Restored:
    window_start = NOW - 1  # removed a moment ago by this clock; the sweep's below says that the window has passed
    return await owner.catalog.run(
        restoring.restore_item, owner.org_id, owner.connection_id, media_id, window_start, effective_settings, NOW
    )


@pytest.mark.parametrize("restorers", [1, 3])
async def test_restoring_races_the_release_of_the_same_bytes(catalog: Catalog, restorers: int):
    owner = await tenant(catalog)
    for number in range(12):
        media_id = f"m{number}"
        await removed(owner, media_id, "full", "thumb")
        results = await at_once(
            *[lambda media_id=media_id: restore(owner, media_id)] * restorers,
            lambda: catalog.run(blob_rows.release_retained, NOW),
        )
        *restored, released = results
        assert isinstance(released, int), released
        back = [each for each in restored if isinstance(each, Restored)]
        assert [each for each in restored if not isinstance(each, Restored | MediaNotFound)] == []
        kinds = Counter(each["status"] for each in await rows(catalog, "variants"))
        assert kinds["stored"] == sum(each.count for each in back)
        assert await broken_invariants(catalog) == []
        await owner.remove(media_id)
        while await catalog.run(blob_rows.release_retained, NOW):
            continue
    assert {each["state"] for each in await rows(catalog, "blobs")} == {"doomed"}


async def test_of_many_who_restore_at_once_one_does(catalog: Catalog):
    owner = await tenant(catalog)
    await removed(owner, "m", "full", "thumb")
    results = await at_once(*[lambda: restore(owner, "m")] * 6)
    assert [each.count for each in results if isinstance(each, Restored)] == [2]
    assert sum(isinstance(each, MediaNotFound) for each in results) == 5
    assert await broken_invariants(catalog) == []
