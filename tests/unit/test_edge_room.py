"""The edge cache's room: running fills count against the capacity, the floor is kept, and use survives a restart."""

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fakes.copies import describe_copy, keep_copy
from mediavault.edge.cache import EdgeCache, EdgeConfig
from mediavault.errors import BlobUnavailable, DiskFull

MINUTE = 60_000


class Ground:
    """A clock and a disk, by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 0
        self.free = 1 << 40

    def open(self, *, capacity_bytes: int = 1_000, growth_bytes: int = 100, floor_bytes: int = 0) -> EdgeCache:
        """The cache as a process finds it."""
        config = EdgeConfig(capacity_bytes=capacity_bytes, growth_bytes=growth_bytes, free_floor_bytes=floor_bytes)
        return EdgeCache.open(self.folder, config, lambda: self.now, free_bytes=lambda: self.free)


@pytest.fixture
def ground(tmp_path) -> Ground:
    return Ground(tmp_path / "edge")


def test_copies_and_running_fills_never_hold_more_than_the_capacity(ground):
    cache = ground.open()
    for name in ("a1", "b1"):
        keep_copy(cache, name, bytes(400))
    with contextlib.closing(cache.stage(500)) as first:
        assert cache.total_bytes == 400
        first.append(bytes(500))
        assert cache.statistics().filling_bytes == 500
        with contextlib.closing(cache.stage(300)):
            assert cache.total_bytes == 0
            with pytest.raises(DiskFull, match="running"):
                cache.stage(201)
            cache.stage(200).close()
    numbers = cache.statistics()
    assert (numbers.filling_bytes, numbers.reserved_bytes, numbers.evictions) == (0, 0, 2)


def test_what_a_fill_held_is_its_copys_now_and_counted_once(ground):
    cache = ground.open()
    keep_copy(cache, "a1", bytes(600))
    assert (cache.total_bytes, cache.statistics().filling_bytes) == (600, 0)
    cache.stage(400).close()
    assert cache.find("a1")


def test_a_fill_of_unknown_length_holds_what_it_grows_to(ground):
    cache = ground.open()
    keep_copy(cache, "a1", bytes(400))
    with contextlib.closing(cache.stage()) as staging:
        staging.append(bytes(600))
        assert (cache.total_bytes, cache.statistics().filling_bytes) == (400, 600)
        staging.append(bytes(1))
        assert cache.total_bytes == 0
        staging.release_unused()
        assert cache.statistics().filling_bytes == 601


def test_a_fill_larger_than_the_capacity_runs_all_the_same_and_evicts_nothing_for_it(ground):
    cache = ground.open()
    keep_copy(cache, "a1", bytes(400))
    body = bytes(1_500)
    with contextlib.closing(cache.stage()) as staging:
        staging.append(body)
        assert cache.statistics().filling_bytes == 0
        assert cache.keep(staging, describe_copy("b1", body)) is None
    with contextlib.closing(cache.stage(2_000)):
        assert cache.find("a1")
    assert cache.statistics().rejected == 1


def test_a_cache_that_keeps_nothing_still_lets_fills_run(ground):
    cache = ground.open(capacity_bytes=0)
    with contextlib.closing(cache.stage(5)) as one, contextlib.closing(cache.stage(5)):
        one.append(b"bytes")
        assert cache.keep(one, describe_copy("a1", b"bytes")) is None


def test_a_copy_that_cannot_be_written_down_gives_its_room_back(ground, monkeypatch):
    cache = ground.open()
    with contextlib.closing(cache.stage(5)) as staging:
        staging.append(b"bytes")
        monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(DiskFull):
            cache.keep(staging, describe_copy("a1", b"bytes"))
    assert cache.statistics().filling_bytes == 0


def test_many_threads_never_exceed_the_capacity(ground):
    cache, most, lock = ground.open(), 0, threading.Lock()

    def fill(number: int) -> None:
        nonlocal most
        try:
            body = bytes([number]) * (50 + number)
            with contextlib.closing(cache.stage(len(body))) as staging:
                staging.append(body)
                cache.keep(staging, describe_copy(f"v{number}", body))
                numbers = cache.statistics()
                with lock:
                    most = max(most, numbers.total_bytes)
        except DiskFull:
            pass

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(fill, range(200)))
    numbers = cache.statistics()
    assert 0 < most <= 1_000
    assert (numbers.filling_bytes, numbers.reserved_bytes) == (0, 0)
    on_disk = sum(path.stat().st_size for path in ground.folder.rglob("*.v1") if path.is_file())
    assert on_disk == numbers.total_bytes


def test_a_disk_that_others_fill_is_given_back_down_to_the_floor(ground):
    cache = ground.open(floor_bytes=1_000)
    for name in ("a1", "b1", "c1"):
        keep_copy(cache, name, bytes(300))
    assert cache.trim() == 0
    ground.free = 800
    assert cache.trim() == 300
    assert cache.find("a1") is None
    ground.free = 0
    with contextlib.closing(cache.open_file(cache.find("b1"))):
        assert cache.trim() == 300
        assert cache.find("b1")
    assert cache.statistics().trimmed_bytes == 600


def test_a_disk_that_does_not_answer_is_an_error_for_who_trims(tmp_path):
    def broken() -> int:
        raise OSError(5, "Input/output error")

    cache = EdgeCache.open(tmp_path / "edge", EdgeConfig(), lambda: 0, free_bytes=broken)
    with pytest.raises(BlobUnavailable):
        cache.trim()


def test_how_copies_were_used_is_known_after_a_restart(ground):
    cache = ground.open()
    for name in ("a1", "b1", "c1"):
        keep_copy(cache, name, bytes(300))
    ground.now = 5 * MINUTE
    cache.find("a1")
    cache.remember()
    again = ground.open()
    keep_copy(again, "d1", bytes(400))
    assert again.find("a1")
    assert not again.find("b1")


@pytest.mark.parametrize("text", [b"", b"{", b"[[1]]", b'[["a1", -5, 3]]', b'[["a1", 5, 99]]', b"\xff", None])
def test_a_damaged_memory_costs_no_copy(ground, text):
    cache = ground.open()
    keep_copy(cache, "a1", bytes(300))
    cache.remember()
    path = ground.folder / "uses.json"
    if text is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(text)
    assert ground.open().find("a1")


def test_a_memory_that_cannot_be_written_is_an_error_and_no_more(ground):
    cache = ground.open()
    (ground.folder / "uses.json").mkdir()
    with pytest.raises(BlobUnavailable):
        cache.remember()


def test_a_refreshed_copy_is_fresh_also_after_a_restart(ground):
    cache = ground.open()
    copy = keep_copy(cache, "a1", b"bytes")
    fresh = cache.refresh(copy, 7_000_000)
    assert fresh.fresh_until == 7_000_000
    assert cache.find("a1") == fresh
    assert ground.open().find("a1") == fresh
    assert cache.statistics().revalidated == 1


def test_a_copy_that_went_while_it_was_revalidated_does_not_come_back(ground):
    cache = ground.open()
    copy = keep_copy(cache, "a1", b"bytes")
    cache.drop("a1")
    cache.refresh(copy, 7_000_000)
    assert cache.find("a1") is None
    assert ground.open().find("a1") is None


def test_who_does_not_view_a_copy_does_not_count(ground):
    cache = ground.open()
    copy = keep_copy(cache, "a1", b"bytes")
    assert cache.peek("a1") == copy
    assert cache.peek("b1") is None
    cache.serve_stale("OriginRefused")
    cache.count_superseded()
    numbers = cache.statistics()
    assert (numbers.hits, numbers.misses, numbers.admitted, numbers.superseded) == (0, 0, 1, 1)
    assert numbers.stale_served == {"OriginRefused": 1}
