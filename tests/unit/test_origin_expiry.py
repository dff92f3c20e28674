"""Expiries in the dialects of CDNs, and the identity of a URL that is signed anew."""

import json
from base64 import b64encode
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain import origin_expiry
from mediavault.domain.origin_expiry import expires_at, identity, told_expiry

SEEN = 1_700_000_000_000
DEFAULT = SEEN + 24 * 3_600_000
SECONDS = 1_767_225_600  # 2026-01-01T00:00:00Z
MS = SECONDS * 1_000
BASE = "https://cdn.example.com/files/1/a.mp4"


def cloudfront(document, *, padded: bool = True) -> str:
    encoded = b64encode(document if isinstance(document, bytes) else json.dumps(document).encode()).decode()
    encoded = encoded if padded else encoded.rstrip("=")
    return encoded.replace("+", "-").replace("=", "_").replace("/", "~")


def statement(end) -> dict[str, object]:
    return {"Resource": "https://*/?>~", "Condition": {"DateLessThan": {"AWS:EpochTime": end}}}


@pytest.mark.parametrize(
    "query",
    [
        f"Expires={SECONDS}&Signature=x&Key-Pair-Id=K",
        f"expires={SECONDS}",
        f"EXPIRES={SECONDS}",
        f"Tag=2&u=5&Policy={cloudfront({'Statement': [statement(SECONDS)]})}&Signature=x&Key-Pair-Id=K",
        f"policy={cloudfront({'Statement': statement(SECONDS)})}",
        f"Policy={cloudfront({'Statement': [statement(SECONDS)]}, padded=False)}",
        f"Policy={cloudfront({'Statement': [statement(SECONDS + 60), statement(SECONDS)]})}",
        f"Policy={cloudfront({'Statement': [None, 5, statement(True), statement(str(SECONDS))]})}",
        f"Policy={cloudfront({'Statement': [statement(SECONDS)]})}&Expires={SECONDS + 60}",
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20251231T230000Z&X-Amz-Expires=3600&X-Amz-Signature=x",
        "x-amz-expires=3600&x-amz-date=20251231T230000Z",
        "X-Goog-Date=20251225T000000Z&X-Goog-Expires=604800&X-Goog-Signature=x",
        f"GoogleAccessId=g&Expires={SECONDS}&Signature=x",
        f"AWSAccessKeyId=a&Signature=x&Expires={SECONDS}",
        "sv=2022-11-02&sr=b&sig=x%3D&se=2026-01-01T00%3A00%3A00Z&sp=r",
        "se=2026-01-01T00:00:00Z&sig=x",
        "se=2026-01-01T00:00Z&sig=x",
        "se=2026-01-01T00:00:00.0000000Z&sig=x",
        "se=2026-01-01&sig=x",
        f"hdnts=st=1~exp={SECONDS}~acl=/*~hmac=abc",
        f"hdnea=exp={SECONDS}~acl=%2f*~hmac=abc",
        f"HDNTS={quote(f'exp={SECONDS}~acl=/*~hmac=abc')}",
        f"__token__=exp={SECONDS}~hmac=abc",
        f"exp={SECONDS}",
        f"e={SECONDS}&token=abc",
        f"e={MS}",
        f"expires={MS}",
        "expires=2026-01-01T00:00:00Z",
        "expires=2026-01-01T00:00:00+00:00",
        f"oe={SECONDS:x}&oh=abc",
        f"oe={SECONDS:X}&_nc_cat=1",
        f"ex={SECONDS:x}&is=abc&hm=abc",
        f"Expires=3600&exp={SECONDS}",
        f"Expires=nonsense&e={SECONDS}",
        f"X-Amz-Date=nonsense&X-Amz-Expires=5&exp={SECONDS}",
        f"a=1&expires={SECONDS}#expires=1800000000",
        f"expires={SECONDS}&expires={SECONDS + 5}",
    ],
)
def test_told_by_the_query(query):
    assert expires_at(f"{BASE}?{query}", SEEN) == MS


@pytest.mark.parametrize(
    "path", [f"hdntl=exp={SECONDS}~acl=%2f*~hmac=abc/a.mp4", f"exp={SECONDS}~acl=/*~hmac=abc/a.mp4", f"exp={SECONDS}/a"]
)
def test_told_by_a_token_in_the_path(path):
    assert expires_at(f"https://cdn.example.com/{path}", SEEN) == MS


@pytest.mark.parametrize(
    "url",
    [
        "",
        BASE,
        f"{BASE}?",
        f"{BASE}?expires",
        f"{BASE}?expires=",
        f"{BASE}?expires=0",
        f"{BASE}?expires=3600",
        f"{BASE}?expires=-{SECONDS}",
        f"{BASE}?expires=+{SECONDS}",
        f"{BASE}?expires={SECONDS}.5",
        f"{BASE}?expires=1_767_225_600",
        f"{BASE}?expires=١٧٦٧٢٢٥٦٠٠",
        f"{BASE}?expires={'9' * 5_000}",
        f"{BASE}?expires=978307199",
        f"{BASE}?expires=4133980800",
        f"{BASE}?expires=9999999999999",
        f"{BASE}?expires=2026-13-01T00:00:00Z",
        f"{BASE}?expires=2026-01-01T25:00:00Z",
        f"{BASE}?expires=0000-01-01",
        f"{BASE}?oe=zzzzzzzz",
        f"{BASE}?oe=00000001",
        f"{BASE}?exp=deadbee",
        f"{BASE}?X-Amz-Date=20251231T230000Z",
        f"{BASE}?X-Amz-Expires=3600",
        f"{BASE}?X-Amz-Date=20251331T230000Z&X-Amz-Expires=3600",
        f"{BASE}?X-Amz-Date=20251231T230000Z&X-Amz-Expires=-5",
        f"{BASE}?X-Amz-Date=20251231T230000Z&X-Amz-Expires={'9' * 5_000}",
        f"{BASE}?Policy=",
        f"{BASE}?Policy=%%%",
        f"{BASE}?Policy=é",
        f"{BASE}?Policy=abc",
        f"{BASE}?Policy={cloudfront(b'[' * 5_000)}",
        f"{BASE}?Policy={cloudfront(b'[' * 50_000)}",
        f"{BASE}?Policy={cloudfront(b'{}')}",
        f"{BASE}?Policy={cloudfront(b'null')}",
        f"{BASE}?Policy={cloudfront(b'{')}",
        f"{BASE}?Policy={cloudfront(bytes([0xFF, 0xFE, 0xFD]))}",
        f"{BASE}?Policy={cloudfront({'Statement': [statement(None), statement([]), statement(1e9), statement(5)]})}",
        f"{BASE}?Policy={cloudfront(b'9' * 5_000)}",
        f"{BASE}?hdnts=exp=5~hmac=x",
        f"{BASE}#expires={SECONDS}",
        "http://[",
        "http://[::1",
        "http://a:b:c/?=&&;=",
        "\ud800?\udfff=%ff",
    ],
)
def test_told_by_nothing(url):
    assert expires_at(url, SEEN) == DEFAULT


def test_an_expiry_in_the_past_is_still_the_expiry():
    assert expires_at(f"{BASE}?expires=1600000000", SEEN) == 1_600_000_000_000


names = st.sampled_from(
    ["expires", "Exp", "e", "oe", "se", "policy", "hdnts", "x-amz-date", "X-Amz-Expires", "X-Goog-Date", "token"]
)
query_values = st.one_of(
    st.text(),
    st.integers().map(str),
    st.binary().map(cloudfront),
    st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(
        cloudfront
    ),
    st.sampled_from(["20251231T230000Z", "3600", "2026-01-01", f"exp={SECONDS}~"]),
)


@given(st.lists(st.tuples(names, query_values), max_size=4))
def test_any_query_has_a_plausible_expiry(pairs):
    url = f"{BASE}?{urlencode(pairs, errors='replace')}"
    assert 978_307_200_000 <= expires_at(url, SEEN) < 4_133_980_800_000
    assert identity(url).startswith(BASE)


@given(st.text() | st.text(alphabet="https://cdn?&=%#[]:@+;~exp0123456789"))
def test_no_text_raises(text):
    assert isinstance(expires_at(text, SEEN), int)
    assert isinstance(identity(text), str)


@given(st.integers(978_307_200, 4_133_980_799))
def test_every_plausible_second_is_read_in_every_unit(seconds):
    for query in (f"expires={seconds}", f"expires={seconds * 1_000}", f"oe={seconds:08x}", f"hdnts=exp={seconds}~"):
        assert expires_at(f"{BASE}?{query}", SEEN) == seconds * 1_000


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{BASE}?Policy=a&Signature=b&Key-Pair-Id=c", f"{BASE}?Policy=d&Signature=e&Key-Pair-Id=f"),
        (f"{BASE}?Expires=1&Signature=b", BASE),
        (f"{BASE}?X-Amz-Date=1&X-Amz-Signature=b&X-Amz-Security-Token=c", f"{BASE}?x-amz-date=2&x-amz-signature=c"),
        (f"{BASE}?v=2&exp=1", f"{BASE}?exp=2&v=2"),
        (f"{BASE}?b=1&a=2", f"{BASE}?a=2&b=1"),
        (f"{BASE}?sv=1&se=2&sr=b&sp=r&sig=x", f"{BASE}?sv=2&se=3&sr=b&sp=rw&sig=y"),
        (f"{BASE}?hdnts=exp=1~hmac=2", f"{BASE}?hdnts=exp=3~hmac=4"),
        (
            "https://c.example/exp=1767225600~acl=/*~hmac=a/v/a.mp4",
            "https://c.example/exp=1767225601~acl=/*~hmac=b/v/a.mp4",
        ),
        ("https://c.example/hdntl=exp=1767225600~hmac=a/a.mp4", "https://c.example/hdntl=exp=1767225601~hmac=b/a.mp4"),
        ("HTTPS://CDN.example.com:443/a", "https://cdn.example.com/a"),
        ("http://cdn.example.com:80/a", "http://user:secret@cdn.example.com/a"),
        (f"{BASE}#t=5", BASE),
        (f"{BASE}?", BASE),
    ],
)
def test_one_file_signed_twice(one, other):
    assert identity(one) == identity(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (BASE, BASE.replace("/1/", "/2/")),
        (BASE, BASE.replace("/files/", "/Files/")),
        (BASE, BASE.replace("cdn.", "cdn2.")),
        (BASE, BASE.replace("https", "http")),
        (BASE, BASE.replace("example.com", "example.com:8443")),
        (f"{BASE}?v=1&exp=1", f"{BASE}?v=2&exp=1"),
        (f"{BASE}?id=1", f"{BASE}?id=2"),
        (f"{BASE}?sp=1", f"{BASE}?sp=2"),
        (f"{BASE}?a=1%26b%3D2", f"{BASE}?a=1&b=2"),
    ],
)
def test_two_files(one, other):
    assert identity(one) != identity(other)


def test_an_identity_holds_no_secret():
    assert (
        identity("https://user:hunter2@cdn.example.com/a?Signature=s3cret&v=1#s3cret")
        == "https://cdn.example.com/a?v=1"
    )


@given(st.text("ab%2+=&;# \u00e9?/41"))
def test_a_query_is_taken_apart_as_the_standard_parser_does(query):
    bare = query.partition("#")[0]
    assert origin_expiry._pairs(f"https://x/y?{query}") == parse_qsl(bare, keep_blank_values=True)


def test_a_url_that_tells_nothing_of_its_end_has_none():
    assert told_expiry("https://cdn.example/a.jpg?width=5") is None
    assert told_expiry("https://cdn.example/a.jpg?Expires=1764115200") == 1_764_115_200_000
    assert told_expiry("https://cdn.example/exp=1764115200~hmac=1/a.jpg") == 1_764_115_200_000
    assert told_expiry("https://cdn.example/%65xp=1764115200~hmac=1/a.jpg") == 1_764_115_200_000
