"""Tending the edge cache: at intervals, and unshaken by a disk that fails."""

import asyncio

from fakes.copies import keep_copy
from fakes.vaults import until
from mediavault.edge.cache import EdgeCache, EdgeConfig
from mediavault.vault.tending import TendConfig, Tending


async def test_what_others_take_of_the_disk_is_given_back_and_use_is_written_down_again_and_again(tmp_path):
    others = 0

    def free_bytes() -> int:
        return 1_000 - others - (cache.total_bytes if others else 0)

    config = EdgeConfig(capacity_bytes=1_000, free_floor_bytes=500)
    cache = EdgeCache.open(tmp_path / "edge", config, lambda: 0, free_bytes=free_bytes)
    for name in ("a1", "b1"):
        keep_copy(cache, name, bytes(200))
    tending = asyncio.create_task(Tending(cache, TendConfig(0.001, 0)).run())
    others = 300  # 300 bytes are left then, and 500 once a copy is gone

    async def tended() -> bool:
        return cache.total_bytes <= 200 and (tmp_path / "edge" / "uses.json").exists()

    await until(tended)
    tending.cancel()
    await asyncio.gather(tending, return_exceptions=True)
    assert cache.total_bytes == 200


async def test_a_disk_that_fails_does_not_end_it(tmp_path):
    failures = 0

    def broken() -> int:
        nonlocal failures
        failures += 1
        raise OSError(5, "Input/output error")

    cache = EdgeCache.open(tmp_path / "edge", EdgeConfig(), lambda: 0, free_bytes=broken)
    tending = Tending(cache, TendConfig())
    await tending.trim()
    await tending.trim()
    (tmp_path / "edge" / "uses.json").mkdir()
    await tending.remember()
    assert failures == 2
