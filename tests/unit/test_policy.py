"""Policy as a table: what is kept, and which rule says so."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain.media import MediaType, Source
from mediavault.domain.policy import Facts, decide
from mediavault.domain.settings import VaultSettings

ALL = {f"auto_cache_{source}": True for source in Source}
IMAGE, VIDEO, AUDIO = MediaType


def keeps(
    settings: dict[str, Any],
    media_type: MediaType = IMAGE,
    label: str = "full",
    sources: Sequence[Source] = (Source.VAULT,),
    views: int = 1,
    *,
    on: bool = True,
) -> bool:
    decision = decide(VaultSettings(**settings), Facts(media_type, label, sources, views), vault_plus_enabled=on)
    assert decision.rule
    return decision.keep


@pytest.mark.parametrize(
    ("settings", "facts", "kept"),
    [
        ({}, {}, True),
        ({}, {"on": False}, False),
        ({}, {"views": 0}, False),
        ({"min_access_count_vault": 0}, {"views": 0}, True),
        ({"min_access_count_vault": 3}, {"views": 2}, False),
        ({"min_access_count_vault": 3}, {"views": 3}, True),
        ({"auto_cache_vault": False}, {}, False),
        ({}, {"sources": (Source.MESSAGES,)}, False),
        ({}, {"sources": (Source.MESSAGES, Source.VAULT)}, True),
        ({}, {"sources": ()}, False),
        ({"auto_cache_posts": True}, {"sources": (Source.POSTS,)}, True),
        ({"auto_cache_stories": True}, {"sources": (Source.STORIES,)}, True),
        (
            {"auto_cache_posts": True, "min_access_count_vault": 9},
            {"sources": (Source.VAULT, Source.POSTS)},
            True,
        ),
        ({"min_access_count_posts": 0, "min_access_count_vault": 9}, {"sources": (Source.VAULT, Source.POSTS)}, False),
        ({"cache_images": False}, {}, False),
        ({"cache_images": False}, {"media_type": VIDEO}, True),
        ({"cache_videos": False}, {"media_type": VIDEO, "label": "thumb"}, False),
        ({"cache_audio": False}, {"media_type": AUDIO}, False),
        ({"image_qualities": ()}, {}, False),
        ({"image_qualities": ("thumb",)}, {"label": "thumb"}, True),
        ({"image_qualities": ("thumb",)}, {"label": "full"}, False),
        ({"image_qualities": ("preview",)}, {"label": "squarePreview"}, True),
        ({"image_qualities": ()}, {"media_type": VIDEO}, True),
        ({"video_qualities": ()}, {"media_type": AUDIO, "label": "source"}, True),
        ({"video_qualities": ("720p",)}, {"media_type": VIDEO, "label": "720"}, True),
        ({"video_qualities": ("720p",)}, {"media_type": VIDEO, "label": "1080"}, False),
        ({"video_qualities": ("720p",)}, {"media_type": VIDEO, "label": "thumb"}, False),
        ({"video_qualities": ("preview",)}, {"media_type": VIDEO, "label": "thumb"}, True),
    ],
)
def test_what_is_kept(settings, facts, kept):
    assert keeps(settings, **facts) is kept


@pytest.mark.parametrize(
    ("settings", "facts", "word"),
    [
        ({}, {"on": False}, "off"),
        ({"cache_images": False, "auto_cache_vault": False}, {}, "image"),
        ({"image_qualities": ()}, {}, "full"),
        ({}, {"sources": (Source.POSTS,)}, "posts"),
        ({}, {"sources": ()}, "nowhere"),
        ({"min_access_count_vault": 5}, {"views": 2}, "2 times of the 5"),
        ({}, {}, "view 1"),
    ],
)
def test_the_rule_says_why(settings, facts, word):
    given_facts = {"media_type": IMAGE, "label": "full", "sources": (Source.VAULT,), "views": 1, "on": True} | facts
    on = given_facts.pop("on")
    views = given_facts.pop("views")
    decision = decide(VaultSettings(**settings), Facts(**given_facts, access_count=views), vault_plus_enabled=on)
    assert word in decision.rule


@given(
    media_type=st.sampled_from(MediaType),
    label=st.sampled_from(["full", "thumb", "preview", "squarePreview", "source", "240", "720", "1080"]),
    sources=st.lists(st.sampled_from(Source), unique=True),
    views=st.integers(0, 5),
    enabled=st.lists(st.sampled_from(Source), unique=True),
    fewest=st.integers(0, 5),
)
def test_one_enabling_source_suffices_and_more_views_never_hurt(media_type, label, sources, views, enabled, fewest):
    settings = {f"auto_cache_{source}": source in enabled for source in Source}
    settings |= {f"min_access_count_{source}": fewest for source in Source}
    expected = bool(set(sources) & set(enabled)) and views >= fewest
    assert keeps(settings, media_type, label, sources, views) is expected
    if expected:
        assert keeps(settings, media_type, label, sources, views + 1)
        assert keeps(settings, media_type, label, list(Source), views)
