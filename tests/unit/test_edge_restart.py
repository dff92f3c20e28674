"""What the edge cache finds again after a restart, and what it throws away."""

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from fakes.copies import JOURNAL, SPOILT, content, describe_copy, files_below, keep_copy
from mediavault.edge.cache import EdgeCache, EdgeConfig
from mediavault.errors import DiskFull


@pytest.fixture
def folder(tmp_path) -> Path:
    path: Path = tmp_path / "edge"
    return path


@pytest.fixture
def cache(folder) -> EdgeCache:
    return reopened(folder)


def reopened(folder: Path, *, capacity_bytes: int = 1_000) -> EdgeCache:
    return EdgeCache.open(folder, EdgeConfig(capacity_bytes=capacity_bytes, free_floor_bytes=0), lambda: 100)


def test_a_restart_finds_every_copy_again(cache, folder):
    kept = [keep_copy(cache, name, name.encode(), fetched_at=at) for at, name in enumerate(("a1", "b1", "c1"))]
    again = reopened(folder)
    assert [again.find(copy.variant_id) for copy in kept] == kept
    assert again.total_bytes == cache.total_bytes == 6
    assert content(again, kept[1]) == b"b1"


def test_after_a_restart_the_oldest_fetch_goes_first(cache, folder):
    for name, fetched_at in (("a1", 30), ("b1", 10), ("c1", 20)):
        keep_copy(cache, name, bytes(300), fetched_at=fetched_at)
    assert reopened(folder).statistics().oldest_used_at == 10
    smaller = reopened(folder, capacity_bytes=600)
    assert [name for name in ("a1", "b1", "c1") if smaller.find(name)] == ["a1", "c1"]
    assert len(files_below(folder)) == 2


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_restart_drops_copies_that_are_not_whole(cache, folder, spoil):
    whole, spoilt = keep_copy(cache, "a1", b"bytes"), keep_copy(cache, "b1", b"bytes")
    spoil(cache.path(spoilt))
    again = reopened(folder)
    assert again.find("b1") is None
    assert content(again, whole) == b"bytes"
    assert again.total_bytes == 5
    assert files_below(folder) == {"copies/1/a1.v1"}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"variant_id": "b1"}', "\xff", None])
def test_a_restart_drops_copies_nothing_is_known_of(cache, folder, text):
    keep_copy(cache, "b1", b"bytes")
    journal = folder / JOURNAL
    if text is None:
        journal.unlink()
    else:
        journal.write_text(text, encoding="latin-1")
    assert reopened(folder).find("b1") is None
    assert files_below(folder) == set()


@pytest.mark.parametrize("cut", [1, 2, 100])
def test_a_line_cut_short_costs_its_copy_and_no_other_before_or_after(cache, folder, cut):
    whole, lost = keep_copy(cache, "a1", b"bytes"), keep_copy(cache, "b1", b"other")
    journal = folder / JOURNAL
    journal.write_bytes(journal.read_bytes()[: -1 - cut])
    again = reopened(folder)
    assert (again.find("a1"), again.find("b1")) == (whole, None)
    later = keep_copy(again, "c1", b"later")
    assert not again.path(lost).exists()
    assert [reopened(folder).find(name) for name in ("a1", "b1", "c1")] == [whole, None, later]


def test_an_append_that_breaks_off_spoils_no_later_line(cache, folder, monkeypatch):
    whole = keep_copy(cache, "a1", b"bytes")
    monkeypatch.setattr(os, "write", breaking_off(os.write))
    with pytest.raises(DiskFull):
        keep_copy(cache, "b1", b"other")
    monkeypatch.undo()
    later = keep_copy(cache, "c1", b"later")
    assert [reopened(folder).find(name) for name in ("a1", "b1", "c1")] == [whole, None, later]


def breaking_off(write: Callable[[int, bytes], int]) -> Callable[[int, bytes], int]:
    """A disk that takes a few bytes more and is full then."""
    calls = iter([7])

    def limited(fd: int, data: bytes) -> int:
        taken = next(calls, None)
        if taken is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[:taken])

    return limited


def test_a_restart_drops_what_is_known_of_another_copy(cache, folder):
    keep_copy(cache, "a1", b"bytes")
    keep_copy(cache, "b1", b"longer")
    (folder / "copies/1/a1.v1").replace(folder / "copies/1/b1.v1")
    assert reopened(folder).total_bytes == 0
    assert files_below(folder) == set()


@pytest.mark.parametrize("name", ["../a1", "", "a/b"])
def test_a_line_cannot_name_a_file_outside_the_folder(cache, folder, name):
    line = msgspec.json.encode(describe_copy(name, b"bytes"))
    (folder / JOURNAL).write_bytes(line + b"\n")
    assert reopened(folder).total_bytes == 0


def test_a_refreshed_copy_is_fresh_after_a_restart(cache, folder):
    fresh = cache.refresh(keep_copy(cache, "a1", b"bytes"), 2_000_000)
    assert fresh.fresh_until == 2_000_000
    assert reopened(folder).find("a1") == fresh


def test_a_long_journal_is_written_anew_with_what_is_there(cache, folder):
    kept = keep_copy(cache, "a1", b"bytes")
    line = msgspec.json.encode(describe_copy("gone1", b"bytes")) + b"\n"
    with (folder / JOURNAL).open("ab") as journal:
        journal.write(line * 10_000)
    again = reopened(folder)
    assert (folder / JOURNAL).read_bytes().count(b"\n") == 1
    for until in range(1_500):
        kept = again.refresh(kept, until)
    again.remember()
    assert (folder / JOURNAL).read_bytes().count(b"\n") == 1
    assert reopened(folder).find("a1") == kept


def test_a_restart_keeps_the_latest_of_two_versions(cache, folder):
    newer = keep_copy(cache, "a1", b"newer", version="v2", fetched_at=2)
    aside = (folder / "copies/1/a1.v2").read_bytes()
    keep_copy(cache, "a1", b"older", version="v1", fetched_at=1)
    (folder / "copies/1/a1.v2").write_bytes(aside)
    again = reopened(folder)
    assert content(again, newer) == b"newer"
    assert again.total_bytes == 5
    assert files_below(folder) == {"copies/1/a1.v2"}


def test_a_restart_removes_what_fills_left_behind(cache, folder):
    with contextlib.closing(cache.stage(5)) as staging:
        staging.append(b"bytes")
        assert files_below(folder) == {f"staging/{staging.path.name}"}
        reopened(folder)
        assert files_below(folder) == set()
