"""Synthetic media: valid at the front, exact in size, the same in whatever parts they are read."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.platform.contents import BLOCK_BYTES, Synthetic, filler
from mediavault.platform.library import held

SIZE = 3 * BLOCK_BYTES + 17
VIDEO = held("seeds/video.mp4")
WHOLE = Synthetic(VIDEO.data, "video/mp4", SIZE, seed=1)


@given(st.integers(0, SIZE + 10), st.integers(0, SIZE + 10))
def test_a_part_is_a_slice_of_the_whole(start, stop):
    assert WHOLE.read(start, stop) == WHOLE.read(0, SIZE)[start:stop]


def test_the_digest_is_that_of_the_bytes():
    assert len(WHOLE.read(0, SIZE)) == SIZE
    assert WHOLE.sha256() == hashlib.sha256(WHOLE.read(0, SIZE)).hexdigest()


def boxes(data: bytes, size: int) -> list[tuple[bytes, int]]:
    """The top-level boxes of an MP4 of which only the beginning need be there."""
    found, at = [], 0
    while at < size:
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        found.append((kind, length))
        at += length
    assert at == size
    return found


@pytest.mark.parametrize("size", [len(VIDEO.data) + 8, 1_000_000, 5 << 30])
def test_an_mp4_ends_in_a_free_box_that_fills_it_exactly(size):
    video = Synthetic(VIDEO.data, "video/mp4", size, seed=1)
    kinds = [kind for kind, _ in boxes(video.read(0, len(VIDEO.data) + 16), size)]
    assert kinds[0] == b"ftyp"
    assert kinds.index(b"moov") < kinds.index(b"mdat")
    assert kinds[-1] == b"free"


def test_a_jpeg_is_whole_before_the_filler():
    photo = held("seeds/photo.jpg")
    padded = Synthetic(photo.data, "image/jpeg", 50_000, seed=1).read(0, 50_000)
    assert padded.startswith(photo.data)
    assert photo.data[:2] + photo.data[-2:] == b"\xff\xd8\xff\xd9"


def test_seeds_and_places_differ():
    assert filler(1, 0, 1000) != filler(2, 0, 1000)
    assert filler(1, 0, BLOCK_BYTES) != filler(1, BLOCK_BYTES, 2 * BLOCK_BYTES)
    assert WHOLE.etag != Synthetic(VIDEO.data, "video/mp4", SIZE, seed=2).etag


def test_a_size_below_the_smallest_says_what_that_is():
    with pytest.raises(ValueError, match=str(len(VIDEO.data) + 8)):
        Synthetic(VIDEO.data, "video/mp4", len(VIDEO.data) + 7, seed=1)
