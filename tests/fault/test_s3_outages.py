"""A bucket that does not answer: viewers are told, never shown a head whose bytes do not come."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from fakes.s3_faulty import CREDENTIALS, GET, FaultyS3
from fakes.variants import Seen, see, view
from fakes.vaults import RunningVault, running_vault
from mediavault.blobs.places import StorageConfig

SIZE = 3_000_000


@pytest.fixture
async def service() -> FaultyS3:
    return FaultyS3()


@pytest.fixture
async def vault(tmp_path, service: FaultyS3) -> AsyncIterator[RunningVault]:
    async with service.served() as place:
        storage = StorageConfig(place, credentials=CREDENTIALS)
        async with running_vault(tmp_path / "data", storage=storage) as running:
            yield running


async def stored(vault: RunningVault) -> Seen:
    """A photo whose bytes lie in the bucket, and nowhere else."""
    seen = await see(vault, await vault.connect(), size_bytes=SIZE)
    await vault.ask("POST", seen.url)
    await seen.until_status("stored")
    await seen.until_idle()
    return seen


@pytest.mark.parametrize("asked", [{}, {"range": "bytes=100-2000000"}, {"range": "bytes=0-9,500-600"}])
async def test_an_outage_is_a_503_that_counts_as_no_view_and_passes(vault, service, asked):
    seen = await stored(vault)
    service.fail(GET, "403")
    views = (await seen.row()).access_count
    answer = await vault.ask("GET", seen.url, **asked)
    assert (answer.status, answer.headers["Cache-Control"]) == (503, "no-store")
    assert answer.json["code"] == "STORAGE_UNAVAILABLE"
    await vault.vault.counting.flush()
    assert (await seen.row()).access_count == views
    assert (await vault.ask("HEAD", seen.url)).status == 200  # which needs no byte of it
    service.heal()
    assert (await vault.ask("GET", seen.url, **asked)).status == (206 if asked else 200)
    assert await view(seen) == (200, seen.sha256)


async def test_bytes_that_break_off_after_the_head_break_the_connection(vault, service):
    seen = await stored(vault)
    service.fail(GET, "truncate")
    assert await view(seen) is None
    service.heal()
    assert await view(seen) == (200, seen.sha256)


async def test_a_blob_that_the_bucket_has_lost_is_fetched_again(vault, service):
    seen = await stored(vault)
    service.objects.clear()
    assert await view(seen) == (200, seen.sha256)
    row = await seen.until_status("stored")
    assert row.sha256 == seen.sha256
    assert seen.fetches == 2


@pytest.mark.parametrize("asked", [{}, {"range": "bytes=100-"}])
async def test_a_blob_that_is_shorter_in_the_bucket_is_cut_off_once_and_fetched_again(vault, service, asked):
    seen = await stored(vault)
    (name,) = service.objects
    service.objects[name] = service.objects[name][: SIZE // 2]
    with pytest.raises(aiohttp.ClientError):
        await vault.ask("GET", seen.url, **asked)
    assert await view(seen) == (200, seen.sha256)
    await seen.until_status("stored")
    assert seen.fetches == 2
    assert await view(seen) == (200, seen.sha256)


async def test_a_part_behind_the_end_of_a_shorter_blob_is_right_at_once(vault, service):
    seen = await stored(vault)
    (name,) = service.objects
    service.objects[name] = service.objects[name][: SIZE // 2]
    answer = await vault.ask("GET", seen.url, range=f"bytes={SIZE - 1000}-")  # also where it cannot be set aside now
    assert (answer.status, len(answer.body)) == (206, 1000)


async def test_a_viewer_who_leaves_before_the_first_byte_leaves_nothing_behind(vault, service):
    seen = await stored(vault)
    service.fail(GET, "stall")
    asking = asyncio.create_task(vault.ask("GET", seen.url))
    await service.stalled.wait()
    asking.cancel()
    service.heal()
    assert await view(seen) == (200, seen.sha256)
