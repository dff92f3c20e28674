"""What is hashed when: all of it as it comes, or a small copy when somebody asks for it once more."""

import contextlib
import errno
import hashlib
import json
import os

import msgspec
import pytest
import xxhash

from fakes.copies import JOURNAL, describe_copy
from fakes.system_calls import fail, held_below
from mediavault.edge import digests
from mediavault.edge.cache import EdgeCache, EdgeConfig
from mediavault.edge.digests import is_intact, sha256_of_file
from mediavault.errors import BlobCorrupt

BODY = os.urandom(3000)
SHA256 = hashlib.sha256(BODY).hexdigest()
CHECKSUM = xxhash.xxh3_128(BODY).hexdigest()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "edge"


@pytest.fixture
def cache(folder):
    return reopened(folder)


@pytest.fixture(autouse=True)
def every_descriptor_is_closed(tmp_path):
    yield
    assert not held_below(tmp_path)


def reopened(folder):
    config = EdgeConfig(capacity_bytes=1 << 20, free_floor_bytes=0, growth_bytes=10)
    return EdgeCache.open(folder, config, lambda: 1)


def keep_unhashed(cache):
    copy = msgspec.structs.replace(describe_copy("variant1", BODY), sha256=None)
    with contextlib.closing(cache.stage(len(BODY), with_sha256=False)) as staging:
        staging.append([BODY[:1000], BODY[1000:]])
        assert (staging.digest(), staging.checksum()) == (None, CHECKSUM)
        assert cache.keep(staging, copy) == copy
    return copy


def opened_digest(cache, copy):
    opened = cache.open_file(copy)
    assert opened is not None
    with contextlib.closing(opened):
        return opened.sha256


def test_it_is_computed_at_the_first_view_and_remembered(cache, monkeypatch):
    copy = keep_unhashed(cache)
    assert cache.peek("variant1").sha256 is None
    assert opened_digest(cache, copy) == SHA256
    found = cache.find("variant1")
    assert found == msgspec.structs.replace(copy, sha256=SHA256)
    monkeypatch.setattr(digests, "sha256_of", None)  # would fail if it were called again
    assert opened_digest(cache, found) == SHA256


def test_after_a_restart_it_is_still_to_be_computed(cache, folder):
    copy = keep_unhashed(cache)
    again = reopened(folder)
    assert again.peek("variant1") == copy
    assert opened_digest(again, copy) == SHA256


def test_a_copy_of_an_older_version_is_taken_at_its_sha256(cache, folder):
    with contextlib.closing(cache.stage()) as staging:
        staging.append(BODY)
        cache.keep(staging, describe_copy("variant1", BODY))
    journal = folder / JOURNAL
    line = json.loads(journal.read_text())
    assert line.pop("checksum") == CHECKSUM
    journal.write_text(json.dumps(line) + "\n")
    again = reopened(folder)
    copy = again.peek("variant1")
    assert (copy.sha256, copy.checksum) == (SHA256, None)
    assert opened_digest(again, copy) == SHA256


def test_bytes_that_went_bad_before_it_was_computed_are_no_copy_any_more(cache):
    copy = keep_unhashed(cache)
    path = cache.path(copy)
    path.write_bytes(bytes([BODY[0] ^ 1]) + BODY[1:])  # as long as before
    assert cache.open_file(copy) is None
    assert cache.find("variant1") is None
    assert not path.exists()


def test_a_copy_that_cannot_be_read_is_no_copy_any_more(cache, monkeypatch):
    copy = keep_unhashed(cache)
    fail(monkeypatch, "pread", errno.EIO)
    assert cache.open_file(copy) is None
    assert cache.find("variant1") is None


def test_a_copy_must_have_the_checksum_of_its_bytes(cache):
    with contextlib.closing(cache.stage(len(BODY), with_sha256=False)) as staging:
        staging.append(BODY)
        wrong = msgspec.structs.replace(describe_copy("variant1", BODY), sha256=None, checksum=CHECKSUM[::-1])
        with pytest.raises(ValueError):
            cache.keep(staging, wrong)


def test_a_file_is_told_by_its_name_size_and_checksum(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(BODY)
    assert sha256_of_file(path, len(BODY), CHECKSUM) == SHA256
    assert sha256_of_file(path, len(BODY), None) == SHA256
    for size_bytes, checksum in ((len(BODY) - 1, CHECKSUM), (len(BODY), CHECKSUM[::-1])):
        with pytest.raises(BlobCorrupt):
            sha256_of_file(path, size_bytes, checksum)
    with pytest.raises(BlobCorrupt):
        sha256_of_file(tmp_path / "missing", len(BODY), CHECKSUM)


def test_what_is_absorbed_is_in_both(cache):
    with contextlib.closing(cache.stage()) as staging:
        staging.append(BODY[:10])
        staging.write(2000, BODY[2000:])
        staging.write(10, BODY[10:2000])
        staging.absorb(len(BODY))
        assert (staging.digest(), staging.checksum()) == (SHA256, CHECKSUM)


def test_a_copy_is_intact_by_what_is_known_of_it(tmp_path):
    path, whole = tmp_path / "file", describe_copy("variant1", BODY)
    path.write_bytes(BODY)
    unhashed, older = (msgspec.structs.replace(whole, **{name: None}) for name in ("sha256", "checksum"))
    assert [is_intact(path, copy) for copy in (whole, unhashed, older)] == [True] * 3
    path.write_bytes(bytes([BODY[0] ^ 1]) + BODY[1:])
    assert [is_intact(path, copy) for copy in (whole, unhashed, older)] == [False] * 3
    path.unlink()
    assert not is_intact(path, whole)
