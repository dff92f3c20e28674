"""Media in an upstream's JSON: found wherever they are, replaced, and nothing else changed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain.media import MediaType, Source
from mediavault.errors import UpstreamError
from mediavault.origin import rewriting


def found(document) -> list[rewriting.FoundMedia]:
    return list(rewriting.media_in(rewriting.decode(json.dumps(document).encode())))


def labels(document) -> dict[str | None, str]:
    (item,) = found(document)
    return {place.label: place.url for place in item.urls}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("/v2/access/vault/media?limit=1", Source.VAULT),
        ("/v2/access/vault/lists/5/media", Source.VAULT),
        ("/v2/access/messages", Source.MESSAGES),
        ("/v2/access/chats/12/messages", Source.MESSAGES),
        ("/v2/access/posts", Source.POSTS),
        ("/v2/access/users/7/posts", Source.POSTS),
        ("/v2/access/stories", Source.STORIES),
        ("/v2/access/proxy/vault/media", Source.VAULT),
        ("/v2/access/proxy/api2/v2/chats/1/messages", Source.MESSAGES),
        ("/v2/access/proxy/api2/v2/stories?from=/vault/", Source.STORIES),
        ("/v2/access/api2/v2/messages", Source.MESSAGES),
        ("/v2/access/users/me", Source.POSTS),
        ("/v2/access/vaulted/stories", Source.STORIES),
        ("/v2/access/posts/vault", Source.POSTS),
    ],
)
def test_the_source_is_the_first_telling_segment(path, source):
    assert rewriting.source_of_path(path) is source


def test_every_place_of_a_url_has_its_label():
    assert labels(
        {
            "id": 1,
            "type": "video",
            "files": {
                "full": {
                    "url": "https://c/full",
                    "sources": [{"url": "https://c/1080", "height": 1080}, {"url": None}],
                },
                "thumb": {"url": "https://c/thumb"},
                "squarePreview": None,
                "preview": {"url": None},
            },
            "videoSources": {"240": "https://c/240", "720": None},
        }
    ) == {"full": "https://c/full", "1080": "https://c/1080", "thumb": "https://c/thumb", "240": "https://c/240"}


def test_a_url_without_a_usable_name_is_found_all_the_same():
    urls = found(
        {
            "id": 1,
            "files": {
                "full hd": {"url": "https://c/odd"},
                "x" * 33: {"url": "https://c/long"},
                "thumb": "https://c/plain",
                "full": {
                    "url": "HTTPS://c/capital",
                    "sources": [
                        {"url": "https://c/none"},
                        {"url": "https://c/true", "height": True},
                        {"url": "https://c/minus", "height": -720},
                        {"url": "https://c/text", "height": "720"},
                        {"url": "https://c/float", "height": 1080.0},
                    ],
                },
            },
        }
    )[0].urls
    assert {place.url.rpartition("/")[2]: place.label for place in urls} == {
        **dict.fromkeys(("odd", "long", "none", "true", "minus")),
        "plain": "thumb",
        "capital": "full",
        "text": "720",
        "float": "1080",
    }


@pytest.mark.parametrize(
    ("upstream", "ours"),
    [
        ("photo", MediaType.IMAGE),
        ("gif", MediaType.VIDEO),
        ("video", MediaType.VIDEO),
        ("audio", MediaType.AUDIO),
        ("hologram", MediaType.IMAGE),
        (None, MediaType.IMAGE),
        (["video"], MediaType.IMAGE),
        ({"a": 1}, MediaType.IMAGE),
    ],
)
def test_types_are_translated(upstream, ours):
    assert found({"id": 1, "type": upstream, "files": {}})[0].type is ours


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        (7, 7),
        (7.25, 7.25),
        (0, None),
        (None, None),
        (-3, None),
        ("7", None),
        (True, None),
        (10**400, None),
        ([], None),
    ],
)
def test_durations_are_seconds_or_nothing(given, ours):
    assert found({"id": 1, "files": {}, "duration": given})[0].duration == ours


@pytest.mark.parametrize("spelled", ["1e999", "-1e999", "0.0"])
def test_a_duration_of_no_length_is_none(spelled):
    document = rewriting.decode(b'{"id": 1, "files": {}, "duration": %s}' % spelled.encode())
    assert next(rewriting.media_in(document)).duration is None


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        (4492994399, "4492994399"),
        ("abc-_1", "abc-_1"),
        ("x" * 64, "x" * 64),
        ("x" * 65, None),
        ("", None),
        ("a/b", None),
        ("a\0", None),
        (10**70, None),
        (1.5, None),
        (True, None),
        (None, None),
        ({}, None),
        ("١٢", None),
    ],
)
def test_an_id_the_vault_cannot_address_is_none(given, ours):
    assert found({"id": given, "files": {"full": {"url": "https://c/x"}}})[0].media_id == ours


def test_media_are_found_however_deep_and_in_order():
    media = [{"id": number, "files": {"full": {"url": f"https://c/{number}"}}} for number in range(4)]
    document = {"a": [{"b": media[0]}, [[media[1]]]], "c": {**media[2], "within": {"d": media[3]}}}
    assert [item.media_id for item in found(document)] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("document", [1, "x", None, [], {}, {"id": 1}, {"files": {}}, {"id": 1, "files": "no"}])
def test_there_may_be_no_media(document):
    assert found(document) == []


NUMBERS = (
    b"[1.0,1.50,1E5,1e-7,0.1000000000000000055511151231257827,-0.0,18446744073709551616,1e400,12345678901234567890123]"
)


def test_numbers_keep_their_spelling():
    assert rewriting.encode(rewriting.decode(NUMBERS)) == NUMBERS


def test_half_a_surrogate_pair_is_no_reason_to_refuse_an_answer():
    body = rb'{"cut": "\ud83d", "low": "\ude00 \\ud83d", "whole": "\ud83d\ude00", "id": 1.50, "n": "\u00e9"}'
    assert rewriting.decode(body) | {"id": 0} == {
        "cut": "\ufffd",
        "low": "\ufffd \\ud83d",
        "whole": "\U0001f600",
        "id": 0,
        "n": "é",
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{",
        b'{"a": 1,}',
        b"NaN",
        b"[1] [2]",
        b'"\xff"',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"1" * 5000,
        rb'"\u12"',
    ],
)
def test_what_is_not_json_is_refused(body):
    with pytest.raises(UpstreamError):
        rewriting.decode(body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


@given(_JSON)
def test_any_document_survives_the_way_there_and_back(document):
    body = json.dumps(document).encode()
    assert json.loads(rewriting.encode(rewriting.decode(body))) == document


@given(st.dictionaries(st.sampled_from(["id", "files", "type", "duration", "videoSources", "x"]), _JSON))
def test_no_document_breaks_the_search(document):
    found(document)
