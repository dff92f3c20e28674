"""Staging files of the edge cache: growing, short writes, and the disk space they share."""

import contextlib
import errno
import hashlib
import itertools
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.copies import describe_copy, keep_copy
from fakes.system_calls import fail, held_below
from mediavault.edge.cache import EdgeCache, EdgeConfig
from mediavault.edge.staging import Staging
from mediavault.errors import BlobUnavailable, DiskFull

FLOOR = 1_000
GROWTH = 100


class Disk:
    """How much the disk still takes; a test says so."""

    def __init__(self) -> None:
        self.free = FLOOR + 1_000
        self.used: Callable[[], int] = lambda: 0

    def __call__(self) -> int:
        return self.free - self.used()


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def cache(tmp_path, disk) -> EdgeCache:
    config = EdgeConfig(capacity_bytes=10_000, free_floor_bytes=FLOOR, growth_bytes=GROWTH)
    return EdgeCache.open(tmp_path / "edge", config, lambda: 0, free_bytes=disk)


@pytest.fixture
def staging(cache) -> Iterator[Staging]:
    with contextlib.closing(cache.stage()) as opened:
        yield opened


@pytest.fixture(autouse=True)
def every_descriptor_is_closed(tmp_path):
    yield
    assert not held_below(tmp_path)


def reserved(cache: EdgeCache) -> int:
    return cache.statistics().reserved_bytes


def test_what_is_appended_can_be_read_at_once(staging):
    staging.append(b"first ")
    assert os.pread(staging.fd, staging.written, 0) == b"first "
    staging.append(memoryview(b"second "))
    staging.append([b"third ", memoryview(b"fourth"), b""])
    body = b"first second third fourth"
    assert staging.written == len(body)
    assert os.pread(staging.fd, 100, 0) == body
    assert staging.path.read_bytes() == body
    assert staging.digest() == hashlib.sha256(body).hexdigest()


def test_memory_of_wider_items_is_written_as_bytes(staging):
    staging.append(memoryview(b"abcdefgh").cast("I"))
    assert staging.written == 8
    assert os.pread(staging.fd, 9, 0) == b"abcdefgh"


def test_a_viewer_who_moves_the_descriptors_position_disturbs_nothing(staging):
    staging.append(b"abc")
    os.lseek(staging.fd, 1, os.SEEK_SET)
    staging.append(b"def")
    assert os.pread(staging.fd, 9, 0) == b"abcdef"


def test_nobody_else_may_read_it(staging):
    assert stat.S_IMODE(os.fstat(staging.fd).st_mode) == 0o600
    assert stat.S_IMODE(staging.path.parent.stat().st_mode) == 0o700


def test_short_writes_are_carried_on(staging, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(os, "pwritev", lambda fd, parts, offset: real(fd, parts[0][:3], offset))
    staging.append([b"0123456789", b"abcdefg"])
    assert os.pread(staging.fd, 99, 0) == b"0123456789abcdefg"
    assert staging.digest() == hashlib.sha256(b"0123456789abcdefg").hexdigest()


def test_a_disk_that_takes_nothing_is_an_error_not_a_loop(staging, monkeypatch):
    monkeypatch.setattr(os, "pwritev", lambda *_: 0)
    with pytest.raises(BlobUnavailable):
        staging.append(b"bytes")


@pytest.mark.parametrize(
    ("code", "meaning"),
    [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EIO, BlobUnavailable), (errno.EROFS, BlobUnavailable)],
)
def test_a_write_that_fails_half_way_leaves_the_numbers_right(cache, staging, monkeypatch, code, meaning):
    real = os.pwrite
    monkeypatch.setattr(os, "pwritev", lambda fd, parts, offset: real(fd, parts[0], offset))  # stops in between
    fail(monkeypatch, "pwritev", code, lambda _fd, _parts, offset: offset > 0)
    with pytest.raises(meaning):
        staging.append([b"abc", b"def"])
    assert staging.written == 3
    assert staging.digest() == hashlib.sha256(b"abc").hexdigest()
    assert reserved(cache) == GROWTH - 3
    monkeypatch.undo()
    staging.append(b"def")
    assert os.pread(staging.fd, 9, 0) == b"abcdef"


def test_a_staging_file_that_cannot_be_made_reserves_nothing(cache, monkeypatch):
    fail(monkeypatch, "open", errno.ENOSPC)
    with pytest.raises(DiskFull):
        cache.stage(10)
    assert reserved(cache) == 0


def test_discarding_removes_the_name_and_leaves_the_bytes_to_the_viewers(cache, staging):
    staging.append(b"bytes")
    staging.discard()
    staging.discard()
    assert not staging.path.exists()
    assert os.pread(staging.fd, 9, 0) == b"bytes"
    assert reserved(cache) == 0


def test_closing_discards_what_was_not_kept(cache):
    staging = cache.stage(10)
    staging.close()
    staging.close()
    assert not staging.path.exists()
    assert staging.fd == -1
    assert reserved(cache) == 0


def test_what_is_kept_survives_discard_and_close(cache):
    copy = keep_copy(cache, "a1", bytes(10))
    assert cache.path(copy).stat().st_size == 10


def test_the_path_follows_the_bytes(cache):
    with contextlib.closing(cache.stage(0)) as staging:
        copy = describe_copy("a1", b"")
        cache.keep(staging, copy)
        assert staging.path == cache.path(copy)


@pytest.mark.parametrize("end", [Staging.discard, Staging.close])
def test_what_has_ended_does_not_grow(cache, end):
    with contextlib.closing(cache.stage(5)) as staging:
        end(staging)
        with pytest.raises(ValueError):
            staging.append(b"bytes")


def test_what_was_kept_does_not_grow_and_is_not_kept_twice(cache):
    with contextlib.closing(cache.stage(0)) as staging:
        copy = describe_copy("a1", b"")
        cache.keep(staging, copy)
        with pytest.raises(ValueError):
            staging.append(b"bytes")
        with pytest.raises(ValueError):
            cache.keep(staging, copy)
        assert cache.find("a1") == copy


def test_closing_waits_for_an_append_in_another_thread(cache, monkeypatch):
    staging = cache.stage(5)
    writing, go_on, names = threading.Event(), threading.Event(), []
    real = os.pwritev

    def slow(fd: int, parts: list[memoryview], offset: int) -> int:
        writing.set()
        assert go_on.wait(timeout=30)
        names.append(os.fstat(fd).st_ino)
        return real(fd, parts, offset)

    monkeypatch.setattr(os, "pwritev", slow)
    inode = os.fstat(staging.fd).st_ino
    appending = threading.Thread(target=staging.append, args=(b"bytes",))
    closing = threading.Thread(target=staging.close)
    appending.start()
    assert writing.wait(timeout=30)
    closing.start()
    assert staging.fd >= 0
    go_on.set()
    appending.join()
    closing.join()
    assert names == [inode]
    assert staging.written == 5
    assert staging.fd == -1


def test_fills_share_the_free_space_before_they_use_it(cache):
    with contextlib.closing(cache.stage(600)), contextlib.closing(cache.stage(400)):
        assert reserved(cache) == 1_000
        with pytest.raises(DiskFull):
            cache.stage(1)
    assert reserved(cache) == 0
    cache.stage(1_000).close()


def test_the_floor_is_left_to_the_last_byte(cache, disk):
    cache.stage(1_000).close()
    with pytest.raises(DiskFull):
        cache.stage(1_001)
    disk.free = FLOOR
    cache.stage(0).close()
    with pytest.raises(DiskFull):
        cache.stage(1)
    disk.free = FLOOR - 1
    with pytest.raises(DiskFull):
        cache.stage(0)
    assert reserved(cache) == 0


def test_what_is_written_is_not_counted_twice(cache, disk):
    with contextlib.closing(cache.stage(600)) as staging:
        staging.append(bytes(500))
        disk.free -= 500
        assert reserved(cache) == 100
        cache.stage(400).close()
        with pytest.raises(DiskFull):
            cache.stage(401)


def test_an_unknown_length_reserves_a_piece_at_a_time(cache, staging):
    assert reserved(cache) == GROWTH
    staging.append(bytes(GROWTH))
    assert reserved(cache) == 0
    staging.append(b"a")
    assert reserved(cache) == GROWTH - 1
    staging.append(bytes(3 * GROWTH))
    assert reserved(cache) == 0
    assert staging.written == 4 * GROWTH + 1


def test_a_fill_that_outgrows_its_announcement_stops_at_the_floor(cache, disk):
    with contextlib.closing(cache.stage(10)) as staging:
        staging.append(bytes(10))
        disk.free = FLOOR + GROWTH - 1
        with pytest.raises(DiskFull):
            staging.append(b"a")
        assert staging.written == 10
        assert reserved(cache) == 0
        disk.free = FLOOR + GROWTH
        staging.append(b"a")
        assert staging.written == 11


def test_a_negative_length_is_refused(cache):
    with pytest.raises(ValueError):
        cache.stage(-1)


def test_a_free_space_that_cannot_be_asked_for_is_an_error(tmp_path, monkeypatch):
    cache = EdgeCache.open(tmp_path / "edge", EdgeConfig(), lambda: 0)
    fail(monkeypatch, "statvfs", errno.EIO)
    with pytest.raises(BlobUnavailable):
        cache.stage(1)


def test_the_disk_itself_is_asked_where_nobody_else_is(tmp_path):
    cache = EdgeCache.open(tmp_path / "edge", EdgeConfig(free_floor_bytes=0), lambda: 0)
    cache.stage(1).close()
    with pytest.raises(DiskFull):
        cache.stage(2**62)


def test_a_fill_that_lacks_space_takes_it_from_the_least_recently_used(cache, disk):
    """A cache that fills the disk must not lock out the next fill."""
    for name in ("a1", "b1", "c1"):
        keep_copy(cache, name, bytes(100))
    disk.free, disk.used = FLOOR + 350, lambda: cache.total_bytes
    cache.stage(200).close()
    assert [name for name in ("a1", "b1", "c1") if cache.find(name)] == ["c1"]


def test_a_fill_that_could_not_be_helped_costs_no_copy(cache, disk):
    keep_copy(cache, "a1", bytes(100))
    disk.free = FLOOR
    with pytest.raises(DiskFull):
        cache.stage(101)
    assert cache.find("a1")


def test_what_is_written_beyond_the_end_is_absorbed_in_order(staging):
    staging.append(b"abc")
    staging.write(6, b"ghi")
    assert (staging.written, staging.digest()) == (3, hashlib.sha256(b"abc").hexdigest())
    assert staging.read(6, 9) == b"ghi"
    staging.write(3, memoryview(b"def"))
    assert staging.written == 6
    staging.absorb(9)
    assert (staging.written, staging.digest()) == (9, hashlib.sha256(b"abcdefghi").hexdigest())


def test_what_is_hashed_stays_as_it_is(staging):
    staging.append(b"abc")
    staging.write(0, b"XYZdef")
    staging.write(1, b"XY")
    assert staging.read(0, 9) == b"abcdef"
    assert staging.digest() == hashlib.sha256(b"abcdef").hexdigest()


def test_more_than_was_written_cannot_be_absorbed(staging):
    staging.append(b"abc")
    with pytest.raises(BlobUnavailable):
        staging.absorb(4)


def test_unused_space_is_returned_and_asked_for_again(cache, staging):
    staging.append(b"abc")
    staging.release_unused()
    assert reserved(cache) == 0
    staging.write(50, b"def")
    assert reserved(cache) == GROWTH - 3


def test_a_file_that_cannot_be_read_back_says_so(staging, monkeypatch):
    staging.write(10, b"abc")
    fail(monkeypatch, "pread", errno.EIO)
    with pytest.raises(BlobUnavailable):
        staging.absorb(13)
    with pytest.raises(BlobUnavailable):
        staging.read(0, 1)


@given(
    st.lists(st.binary(max_size=9), max_size=200),
    st.lists(st.integers(1, 40), min_size=1, max_size=60),
    st.integers(0, 12),
)
def test_parts_are_written_in_order_however_little_the_disk_takes_at_a_time(parts, taken, known):
    """`known` bytes were there before and stay as they are."""
    body = b"".join(parts)
    real, take = os.pwritev, itertools.cycle(taken)

    def short(fd: int, views: list[memoryview], offset: int) -> int:
        data = b"".join(views)[: next(take)]
        return real(fd, [data], offset)

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "pwritev", short)
        opened = EdgeCache.open(Path(folder) / "edge", EdgeConfig(free_floor_bytes=0), lambda: 0)
        with contextlib.closing(opened.stage(len(body) + known)) as staging:
            staging.append(bytes(known))
            staging.write(0, parts)
            expected = bytes(known) + body[known:]
            assert staging.read(0, len(expected) + 1) == expected
            assert (staging.written, staging.digest()) == (len(expected), hashlib.sha256(expected).hexdigest())
            assert opened.statistics().reserved_bytes == len(body) + known - len(expected)
