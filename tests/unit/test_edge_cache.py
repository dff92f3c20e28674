"""The edge cache: what it keeps, in which order it lets go, and what it finds again after a restart."""

import contextlib
import errno
import os
from itertools import count
from pathlib import Path

import pytest

from fakes.copies import SPOILT, content, describe_copy, files_below, keep_copy
from fakes.system_calls import fail, held_below
from mediavault.edge.cache import EdgeCache, EdgeConfig
from mediavault.errors import BlobUnavailable, ConfigError, DiskFull, InvalidRequest

CAPACITY = 1_000


class Clock:
    """Each look at it is a millisecond later than the one before."""

    def __init__(self) -> None:
        self._ticks = count(1)

    def __call__(self) -> int:
        return next(self._ticks)


@pytest.fixture
def folder(tmp_path) -> Path:
    path: Path = tmp_path / "edge"
    return path


@pytest.fixture
def cache(folder) -> EdgeCache:
    return reopened(folder)


@pytest.fixture(autouse=True)
def every_descriptor_is_closed(tmp_path):
    yield
    assert not held_below(tmp_path)


def reopened(folder: Path, *, capacity_bytes: int = CAPACITY) -> EdgeCache:
    config = EdgeConfig(capacity_bytes=capacity_bytes, free_floor_bytes=0, growth_bytes=10)
    return EdgeCache.open(folder, config, Clock())


def test_what_is_kept_is_found_and_read(cache, folder):
    copy = keep_copy(cache, "variant1", b"bytes")
    assert cache.find("variant1") == copy
    assert content(cache, copy) == b"bytes"
    assert cache.total_bytes == 5
    assert cache.path(copy).read_bytes() == b"bytes"
    assert files_below(folder) == {"copies/1/variant1.v1"}


def test_what_was_never_kept_is_not_found(cache):
    assert cache.find("variant1") is None
    cache.drop("variant1")
    assert cache.total_bytes == 0


def test_an_empty_copy_is_a_copy(cache):
    copy = keep_copy(cache, "variant1", b"")
    assert cache.find("variant1") == copy
    assert content(cache, copy) == b""


def test_the_least_recently_used_copies_go_first(cache, folder):
    for name in ("a1", "b1", "c1"):
        keep_copy(cache, name, bytes(300))
    cache.find("a1")
    keep_copy(cache, "d1", bytes(600))
    assert [name for name in ("a1", "b1", "c1", "d1") if cache.find(name)] == ["a1", "d1"]
    assert cache.total_bytes == 900
    assert files_below(folder) == {"copies/1/a1.v1", "copies/1/d1.v1"}
    assert cache.statistics().evictions == 2


def test_a_full_cache_is_exactly_full(cache):
    keep_copy(cache, "a1", bytes(400))
    keep_copy(cache, "b1", bytes(600))
    assert cache.total_bytes == CAPACITY
    keep_copy(cache, "c1", bytes(1))
    assert cache.find("a1") is None
    assert cache.total_bytes == 601


def test_a_copy_as_large_as_the_cache_is_kept_alone(cache):
    keep_copy(cache, "a1", bytes(10))
    keep_copy(cache, "b1", bytes(CAPACITY))
    assert cache.find("a1") is None
    assert cache.find("b1")


def test_a_copy_larger_than_the_cache_is_not_kept_but_its_viewers_read_on(cache, folder):
    keep_copy(cache, "a1", bytes(10))
    body = bytes(CAPACITY + 1)
    with contextlib.closing(cache.stage(len(body))) as staging:
        staging.append(body)
        assert cache.keep(staging, describe_copy("b1", body)) is None
        assert os.pread(staging.fd, 2_000, 0) == body
    assert cache.find("b1") is None
    assert cache.find("a1")
    assert files_below(folder) == {"copies/1/a1.v1"}


def test_a_dropped_copy_stays_readable_to_whoever_opened_it(cache):
    copy = keep_copy(cache, "a1", b"a" * 600)
    with contextlib.closing(cache.open_file(copy)) as opened:
        cache.drop("a1")
        assert cache.find("a1") is None
        assert not cache.path(copy).exists()
        assert os.pread(opened.fd, 600, 0) == b"a" * 600
    assert cache.statistics().readers == 0


def test_what_is_being_read_is_passed_over_when_room_is_made(cache):
    oldest, older = (keep_copy(cache, name, bytes(300)) for name in ("a1", "b1"))
    with contextlib.closing(cache.open_file(oldest)), contextlib.closing(cache.open_file(oldest)) as twice:
        keep_copy(cache, "c1", bytes(600))
        assert cache.find("a1") == oldest
        assert cache.find("b1") is None
        assert not cache.path(older).exists()
        twice.close()
        twice.close()
        assert cache.statistics().readers == 1
        keep_copy(cache, "d1", bytes(600))
        assert cache.find("a1") == oldest
    keep_copy(cache, "e1", bytes(800))
    assert cache.find("a1") is None


def test_where_everything_is_being_read_a_fill_is_refused_and_nothing_is_lost(cache):
    copy = keep_copy(cache, "a1", bytes(600))
    with cache.reading(copy) as path, pytest.raises(DiskFull, match="being read"):
        cache.stage(500)
    assert path.exists()
    assert cache.statistics().filling_bytes == 0
    cache.stage(500).close()


def test_a_new_version_takes_the_place_of_the_old_and_is_never_read_for_it(cache, folder):
    old = keep_copy(cache, "variant1", b"old", version="v1")
    new = keep_copy(cache, "variant1", b"new", version="v2")
    assert cache.find("variant1") == new
    assert content(cache, old) is None
    assert cache.find("variant1") == new  # the old copy's absence says nothing of the new one
    assert content(cache, new) == b"new"
    assert cache.total_bytes == 3
    assert files_below(folder) == {"copies/1/variant1.v2"}


def test_the_same_version_may_be_kept_again(cache):
    keep_copy(cache, "variant1", b"same")
    copy = keep_copy(cache, "variant1", b"same")
    assert content(cache, copy) == b"same"
    assert cache.total_bytes == 4


def test_a_dropped_copy_is_gone(cache, folder):
    copy = keep_copy(cache, "variant1", b"bytes")
    cache.drop("variant1")
    assert cache.find("variant1") is None
    assert content(cache, copy) is None
    assert cache.total_bytes == 0
    assert files_below(folder) == set()


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_copy_that_is_not_whole_is_dropped_when_it_is_opened(cache, spoil):
    copy = keep_copy(cache, "variant1", b"bytes")
    spoil(cache.path(copy))
    assert cache.open_file(copy) is None
    assert cache.find("variant1") is None
    assert cache.total_bytes == 0


def test_a_lack_of_descriptors_does_not_cost_a_copy(cache, monkeypatch):
    copy = keep_copy(cache, "variant1", b"bytes")
    fail(monkeypatch, "open", errno.EMFILE)
    with pytest.raises(BlobUnavailable):
        cache.open_file(copy)
    monkeypatch.undo()
    assert content(cache, copy) == b"bytes"


def test_a_copy_must_describe_its_bytes(cache, folder):
    with contextlib.closing(cache.stage()) as staging:
        staging.append(b"bytes")
        for wrong in (describe_copy("variant1", b"byte"), describe_copy("variant1", b"other")):
            with pytest.raises(ValueError):
                cache.keep(staging, wrong)
    assert files_below(folder) == set()


@pytest.mark.parametrize("name", ["", "..", "a/b", "../a", "a.b", "a\0", "a" * 65])
def test_an_id_that_could_leave_the_folder_is_refused(cache, name):
    for copy in (describe_copy(name, b""), describe_copy("variant1", b"", version=name)):
        with contextlib.closing(cache.stage(0)) as staging, pytest.raises(InvalidRequest):
            cache.keep(staging, copy)


@pytest.mark.parametrize("call", ["mkdir", "rename", "open"])
def test_a_copy_that_cannot_be_kept_leaves_nothing(cache, folder, monkeypatch, call):
    body = b"bytes"
    with contextlib.closing(cache.stage(len(body))) as staging:
        staging.append(body)
        if call == "open":
            refuse_the_journal(monkeypatch)
        else:
            fail(monkeypatch, call, errno.ENOSPC)
        with pytest.raises(DiskFull):
            cache.keep(staging, describe_copy("variant1", body))
        monkeypatch.undo()
        assert files_below(folder) == set()
        assert os.pread(staging.fd, 9, 0) == body
    assert cache.find("variant1") is None
    assert cache.statistics().reserved_bytes == 0


def refuse_the_journal(monkeypatch) -> None:
    def refuse(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)


def test_the_numbers_add_up(cache):
    copy = keep_copy(cache, "a1", bytes(10))
    keep_copy(cache, "b1", bytes(20))
    cache.find("a1")
    content(cache, copy)
    cache.count_miss()
    with contextlib.closing(cache.stage(50)) as staging:
        staging.append(bytes(30))
        numbers = cache.statistics()
    assert (numbers.copies, numbers.total_bytes, numbers.capacity_bytes) == (2, 30, CAPACITY)
    assert (numbers.hits, numbers.misses, numbers.evictions) == (1, 1, 0)
    assert numbers.reserved_bytes == 20
    assert numbers.oldest_used_at == 2  # b1, kept at the clock's second tick


def test_a_folder_that_cannot_be_used_is_said_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError):
        reopened(tmp_path / "file")


@pytest.mark.parametrize("wrong", [{"capacity_bytes": -1}, {"free_floor_bytes": -1}, {"growth_bytes": 0}])
def test_a_size_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ConfigError):
        EdgeConfig(**wrong)
