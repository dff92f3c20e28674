"""The HTTP answer as a table: status, headers, and the very bytes of a body."""

import hashlib
from base64 import b64encode
from email.parser import BytesParser
from email.policy import HTTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain.byte_ranges import Slice
from mediavault.domain.responding import Answer, Representation, decide

BODY = bytes(range(250)) * 4
DIGEST = hashlib.sha256(BODY).digest()
MODIFIED = 784_111_777
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"

KNOWN = Representation('"v1"', len(BODY), "video/mp4", MODIFIED, DIGEST)
FILLING = Representation('"v1"', len(BODY), "video/mp4")
COLD = Representation('"v1"', None, "video/mp4")
EMPTY = Representation('"v1"', 0, "video/mp4")


def ask(method: str = "GET", of: Representation = KNOWN, **fields: str) -> Answer:
    lines = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in fields.items()]
    return decide(method, lines, of)


def body_of(answer: Answer) -> bytes:
    if answer.head_only:
        return b""
    if answer.streams_to_end:
        return BODY
    return b"".join(head + BODY[piece.start : piece.stop] for head, piece in answer.parts()) + answer.closing


def headers_of(answer: Answer) -> dict[str, str]:
    names = [name for name, _ in answer.headers]
    assert len(names) == len(set(names)), "no header is sent twice"
    return dict(answer.headers)


def test_the_whole():
    answer = ask()
    assert answer.status == 200
    assert headers_of(answer) == {
        "etag": '"v1"',
        "last-modified": DATE,
        "accept-ranges": "bytes",
        "repr-digest": f"sha-256=:{b64encode(DIGEST).decode()}:",
        "content-type": "video/mp4",
        "content-length": "1000",
    }
    assert answer.slices == (Slice(0, 1000),)
    assert not answer.streams_to_end
    assert body_of(answer) == BODY


def test_what_is_not_known_is_not_said():
    assert headers_of(ask(of=FILLING)) == {
        "etag": '"v1"',
        "accept-ranges": "bytes",
        "content-type": "video/mp4",
        "content-length": "1000",
    }


def test_one_slice():
    answer = ask(range="bytes=990-1990")
    headers = headers_of(answer)
    assert answer.status == 206
    assert headers["content-range"] == "bytes 990-999/1000"
    assert headers["content-length"] == "10"
    assert headers["content-type"] == "video/mp4"
    assert headers["etag"] == '"v1"'
    assert headers["repr-digest"] == headers_of(ask())["repr-digest"]
    assert body_of(answer) == BODY[990:]


def test_several_slices_make_a_multipart_body():
    answer = ask(range="bytes=-10,0-8")
    headers = headers_of(answer)
    body = body_of(answer)
    assert answer.status == 206
    assert "content-range" not in headers
    assert headers["content-type"] == f"multipart/byteranges; boundary={answer.boundary}"
    assert int(headers["content-length"]) == len(body)

    parsed = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {headers['content-type']}\r\n\r\n".encode() + body)
    assert not parsed.defects
    parts = list(parsed.iter_parts())
    assert [part["content-range"] for part in parts] == ["bytes 990-999/1000", "bytes 0-8/1000"]
    assert {part["content-type"] for part in parts} == {"video/mp4"}
    assert [part.get_payload(decode=True) for part in parts] == [BODY[990:], BODY[:9]]


def test_ranges_that_join_need_no_multipart():
    answer = ask(range="bytes=0-99,100-199")
    assert headers_of(answer)["content-range"] == "bytes 0-199/1000"
    assert answer.boundary is None
    assert answer.closing == b""


def test_a_boundary_belongs_to_one_version_and_one_question():
    one = ask(range="bytes=0-1,5-6").boundary
    assert one == ask(range="bytes=0-1,5-6").boundary
    assert one != ask(range="bytes=0-1,5-7").boundary
    assert one != ask(of=Representation('"v2"', 1000, "video/mp4"), range="bytes=0-1,5-6").boundary


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=-0"])
def test_no_byte_is_there(header):
    answer = ask(range=header)
    assert answer.status == 416
    assert headers_of(answer) == {"content-range": "bytes */1000", "accept-ranges": "bytes"}
    assert body_of(answer) == b""
    assert not answer.streams_to_end


@pytest.mark.parametrize(
    "header", ["bytes=8-0", "bytes=a-b", "bytes=+0-8", "bytes=1_0-2_0", "items=0-8", "bytes=0-0,x"]
)
def test_a_range_that_is_ignored(header):
    assert ask(range=header) == ask()


def test_two_range_lines_are_ignored():
    assert decide("GET", [(b"range", b"bytes=0-8"), (b"Range", b"bytes=20-29")], KNOWN) == ask()


def test_header_names_have_no_case():
    assert decide("GET", [(b"Range", b"bytes=0-8")], KNOWN).status == 206


@pytest.mark.parametrize("header", ["bytes=0-8", "bytes=5000-", "bytes=0-1,5-6"])
def test_head_ignores_range(header):
    answer = ask("HEAD", range=header)
    assert answer.status == 200
    assert answer.headers == ask().headers
    assert answer.head_only
    assert not answer.slices
    assert not answer.streams_to_end
    assert body_of(answer) == b""


def test_head_ignores_if_range_too():
    assert ask("HEAD", range="bytes=0-8", if_range='"other"') == ask("HEAD")


def test_an_unknown_size_is_streamed_whole():
    answer = ask(of=COLD, range="bytes=5-8")
    assert answer.status == 200
    assert answer.streams_to_end
    assert "content-length" not in headers_of(answer)
    assert body_of(answer) == BODY
    assert not ask("HEAD", of=COLD).streams_to_end


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-5", "bytes=5-", "bytes=-0"])
def test_an_empty_object_is_whole(header):
    answer = ask(of=EMPTY, range=header)
    assert answer.status == 200
    assert headers_of(answer)["content-length"] == "0"
    assert body_of(answer) == b""
    assert not answer.streams_to_end


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "conditions",
    [{"if_none_match": '"v1"'}, {"if_none_match": 'W/"v1"'}, {"if_modified_since": DATE}],
)
def test_not_modified_carries_the_validators_and_nothing_of_the_content(method, conditions):
    answer = ask(method, range="bytes=0-8", **conditions)
    assert answer.status == 304
    assert headers_of(answer) == {"etag": '"v1"', "last-modified": DATE}
    assert body_of(answer) == b""


@pytest.mark.parametrize("conditions", [{"if_match": '"v2"'}, {"if_unmodified_since": "Sun, 06 Nov 1994 08:49:36 GMT"}])
@pytest.mark.parametrize("header", ["bytes=0-8", "bytes=5000-", "bytes=8-0"])
def test_a_failed_precondition_comes_before_the_range(conditions, header):
    answer = ask(range=header, **conditions)
    assert (answer.status, answer.headers, body_of(answer)) == (412, (), b"")


def test_lists_may_be_spread_over_lines():
    lines = [(b"if-none-match", b'"v0"'), (b"if-none-match", b'"v1"')]
    assert decide("GET", lines, KNOWN).status == 304
    twice = [(b"if-modified-since", DATE.encode()), (b"if-modified-since", DATE.encode())]
    assert decide("GET", twice, KNOWN).status == 200


@pytest.mark.parametrize(
    ("if_range", "status"),
    [('"v1"', 206), ('W/"v1"', 200), ('"v2"', 200), (DATE, 206), ("Sun, 06 Nov 1994 08:49:38 GMT", 200), ("x", 200)],
)
def test_if_range(if_range, status):
    assert ask(range="bytes=0-8", if_range=if_range).status == status


def test_a_stale_if_range_makes_even_an_impossible_range_whole():
    assert ask(range="bytes=5000-", if_range='"v2"') == ask()
    assert ask(range="bytes=5000-", if_range='"v1"').status == 416


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "get", "", "BREW"])
def test_other_methods_are_told_which_ones_work(method):
    answer = ask(method, if_none_match='"v1"')
    assert (answer.status, answer.headers) == (405, (("allow", "GET, HEAD, POST, OPTIONS"),))
    assert body_of(answer) == b""


@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
def test_methods_that_ask_for_no_bytes_are_not_answered_here(method):
    with pytest.raises(ValueError):
        ask(method)


@pytest.mark.parametrize(
    ("etag", "size", "content_type"),
    [
        ("v1", 5, "video/mp4"),
        ('W/"v1"', 5, "video/mp4"),
        ('"v1"\r\nx: y', 5, "video/mp4"),
        ('"v1"', 5, "video/mp4\r\nx: y"),
        ('"v1"', 5, "vidéo/mp4"),
        ('"v1"', -1, "video/mp4"),
    ],
)
def test_a_representation_that_cannot_be_described_is_refused(etag, size, content_type):
    with pytest.raises(ValueError):
        Representation(etag, size, content_type)


relevant = st.sampled_from(
    [b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"accept"]
)
values = st.binary(max_size=20) | st.sampled_from(
    [b"bytes=0-8", b"bytes=5-9,20-", b"bytes=-0", b'"v1"', b'W/"v1"', b"*", DATE.encode(), b'"v0", "v1"']
)


@given(
    st.sampled_from(["GET", "HEAD"]),
    st.lists(st.tuples(relevant, values), max_size=5),
    st.sampled_from([KNOWN, FILLING, COLD, EMPTY]),
)
def test_any_request_has_an_answer_that_is_framed_right(method, lines, representation):
    answer = decide(method, lines, representation)
    headers = headers_of(answer)
    assert answer.status in {200, 206, 304, 412, 416}
    if answer.status == 206:
        assert method == "GET"
        assert answer.slices
        assert ("content-range" in headers) is (answer.boundary is None)
    if answer.status in {200, 206} and representation.size is not None and method == "GET":
        body = body_of(answer) if representation.size else b""
        assert int(headers["content-length"]) == len(body)
    if answer.status in {200, 206, 304}:
        assert headers["etag"] == '"v1"'
