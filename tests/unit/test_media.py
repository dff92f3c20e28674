"""Media: labels and policy qualities as the contract maps them, ids, an item's type, and times as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain.media import (
    TYPE_OF_UPSTREAM,
    MediaType,
    check_media_id,
    is_media_id,
    overall_type,
    quality_of_label,
)
from mediavault.domain.times import iso8601
from mediavault.errors import MediaNotFound

IMAGE, VIDEO, AUDIO = MediaType
QUALITIES = {
    IMAGE: {"thumb": ["thumb"], "preview": ["preview", "squarePreview"], "full": ["full", "source", "720", "poster"]},
    VIDEO: {
        "preview": ["preview", "squarePreview", "240", "thumb", "144", "1", "0"],
        "720p": ["720", "480", "360", "241"],
        "1080p": ["1080", "721", "960"],
        "source": ["source", "full", "1081", "2160", "9" * 30, "mobile", "٢٤٠", "-240", "240p"],
    },
}


@pytest.mark.parametrize(
    ("media_type", "label", "quality"),
    [
        (media_type, label, quality)
        for media_type, qualities in QUALITIES.items()
        for quality, labels in qualities.items()
        for label in labels
    ],
)
def test_a_label_has_the_contracts_quality(media_type, label, quality):
    assert quality_of_label(media_type, label) == quality


@given(st.text())
def test_audio_has_no_qualities_and_every_other_label_has_one(label):
    assert quality_of_label(AUDIO, label) is None
    assert quality_of_label(IMAGE, label) in QUALITIES[IMAGE]
    assert quality_of_label(VIDEO, label) in QUALITIES[VIDEO]


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_higher_picture_never_has_a_lower_quality(one, other):
    order = list(QUALITIES[VIDEO])
    lower, higher = sorted((one, other))
    assert order.index(quality_of_label(VIDEO, str(lower)) or "") <= order.index(
        quality_of_label(VIDEO, str(higher)) or ""
    )


def test_the_upstreams_words_for_types():
    assert TYPE_OF_UPSTREAM == {"photo": IMAGE, "image": IMAGE, "gif": VIDEO, "video": VIDEO, "audio": AUDIO}


@pytest.mark.parametrize(
    ("seen", "upstream", "overall"),
    [
        ([], IMAGE, IMAGE),
        ([], VIDEO, VIDEO),
        (["image/jpeg"], IMAGE, IMAGE),
        (["image/jpeg", "video/mp4"], VIDEO, VIDEO),
        (["image/jpeg", "video/mp4"], IMAGE, VIDEO),
        (["image/jpeg", "audio/mpeg"], IMAGE, AUDIO),
        (["audio/mpeg", "video/mp4"], AUDIO, VIDEO),
        (["image/jpeg"], VIDEO, VIDEO),
        (["image/jpeg"], AUDIO, AUDIO),
        (["audio/mp4"], VIDEO, AUDIO),
        (["application/octet-stream"], VIDEO, VIDEO),
        (["application/octet-stream", "image/png"], IMAGE, IMAGE),
        (["image"], IMAGE, IMAGE),
    ],
)
def test_an_items_type_is_video_over_audio_over_image(seen, upstream, overall):
    assert overall_type(seen, upstream) is overall


@pytest.mark.parametrize("media_id", ["1", "a" * 64, "A-z_09", "4057124861"])
def test_an_id_is_1_to_64_plain_characters(media_id):
    assert is_media_id(media_id)
    assert check_media_id(media_id) == media_id


@pytest.mark.parametrize(
    "text", ["", "a" * 65, "1\n", "\n1", "a b", "a/b", "..", "a.b", "%31", "١", "é", "a\0", "{id}", "\ud800"]
)
def test_what_is_no_id_is_no_media(text):
    assert not is_media_id(text)
    with pytest.raises(MediaNotFound):
        check_media_id(text)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_750_000_000_007, "2025-06-15T15:06:40.007Z"),
        (1_709_164_800_999, "2024-02-29T00:00:00.999Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
    ],
)
def test_times_are_utc_with_milliseconds(milliseconds, text):
    assert iso8601(milliseconds) == text
