"""What the edge cache finds again after a restart, and what it throws away."""

import contextlib
from pathlib import Path

import pytest

from fakes.copies import SPOILT, content, files_below, keep_copy
from mediavault.edge.cache import EdgeCache, EdgeConfig


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
    assert len(files_below(folder)) == 4


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_restart_drops_copies_that_are_not_whole(cache, folder, spoil):
    whole, spoilt = keep_copy(cache, "a1", b"bytes"), keep_copy(cache, "b1", b"bytes")
    spoil(cache.path(spoilt))
    again = reopened(folder)
    assert again.find("b1") is None
    assert content(again, whole) == b"bytes"
    assert again.total_bytes == 5
    assert files_below(folder) == {"copies/a1/a1.v1", "copies/a1/a1.v1.json"}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"variant_id": "b1"}', None])
def test_a_restart_drops_copies_nothing_is_known_of(cache, folder, text):
    keep_copy(cache, "b1", b"bytes")
    sidecar = folder / "copies/b1/b1.v1.json"
    if text is None:
        sidecar.unlink()
    else:
        sidecar.write_text(text)
    assert reopened(folder).find("b1") is None
    assert files_below(folder) == set()


def test_a_restart_drops_what_is_known_of_another_copy(cache, folder):
    keep_copy(cache, "a1", b"bytes")
    keep_copy(cache, "b1", b"other")
    (folder / "copies/a1/a1.v1.json").replace(folder / "copies/b1/b1.v1.json")
    assert reopened(folder).total_bytes == 0
    assert files_below(folder) == set()


def test_a_restart_keeps_the_latest_of_two_versions(cache, folder):
    newer = keep_copy(cache, "a1", b"newer", version="v2", fetched_at=2)
    aside = {name: (folder / name).read_bytes() for name in files_below(folder)}
    keep_copy(cache, "a1", b"older", version="v1", fetched_at=1)
    for name, body in aside.items():
        (folder / name).write_bytes(body)
    again = reopened(folder)
    assert content(again, newer) == b"newer"
    assert again.total_bytes == 5
    assert files_below(folder) == set(aside)


def test_a_restart_removes_what_fills_left_behind(cache, folder):
    with contextlib.closing(cache.stage(5)) as staging:
        staging.append(b"bytes")
        assert files_below(folder) == {f"staging/{staging.path.name}"}
        reopened(folder)
        assert files_below(folder) == set()
