"""The access gateway on its way upstream: what is sent, what is not, and what comes back of the headers."""

from typing import Any

import pytest

from fakes.raw_http import RawAnswer, raw
from fakes.upstreams import upstream
from fakes.vaults import KEY, running_vault


@pytest.fixture
async def behind(tmp_path):
    """A vault before an upstream that says what a test wants: `(vault, upstream, connection)`."""
    async with upstream() as other, running_vault(tmp_path / "data", platform_url=other.url) as vault:
        body = {
            "cookie": "sess=nova",
            "userAgent": "Nova/1",
            "upstream": {"baseUrl": other.url, "headers": {"X-Own": "7"}},
        }
        answer = await vault.call("POST", "/v2/account/connections/import", json=body)
        assert answer.status == 200, answer.body
        other.asked.clear()
        yield vault, other, answer.json["id"]


async def send(
    vault: Any, connection: str, method: str, target: bytes | str, headers: Any = (), body: bytes = b"", **how: Any
) -> RawAnswer | None:
    known = [(b"apiKey", KEY.encode()), (b"x-connection-id", connection.encode())]
    return await raw(vault.api_url, method, target, [*known, *headers], body, **how)


async def test_the_session_goes_upstream_and_nothing_of_the_caller(behind):
    vault, other, connection = behind
    secrets = [
        (b"Cookie", b"caller=1"),
        (b"Authorization", b"Bearer caller"),
        (b"User-Agent", b"caller"),
        (b"X-Forwarded-For", b"10.0.0.1"),
        (b"Forwarded", b"for=10.0.0.1"),
        (b"X-Own", b"caller"),
        (b"Referer", b"http://caller"),
        (b"If-None-Match", b'"x"'),
        (b"TE", b"trailers"),
    ]
    passed = [(b"Accept", b"application/json"), (b"Accept-Language", b"de"), (b"X-Requested-With", b"XMLHttpRequest")]
    await send(vault, connection, "GET", "/v2/access/vault/media", [*secrets, *passed])
    (asked,) = other.asked
    assert asked.header("cookie") == ["sess=nova"]
    assert asked.header("user-agent") == ["Nova/1"]
    assert asked.header("x-own") == ["7"]
    assert asked.header("host") == [other.url.removeprefix("http://")]
    assert asked.header("accept-language") == ["de"]
    assert asked.header("x-requested-with") == ["XMLHttpRequest"]
    names = {name for name, _ in asked.headers}
    assert names == {
        *(
            b"host",
            b"cookie",
            b"user-agent",
            b"x-own",
            b"accept",
            b"accept-language",
            b"x-requested-with",
            b"accept-encoding",
        )
    }
    flat = repr(asked.headers).encode()
    assert KEY.encode() not in flat
    assert connection.encode() not in flat


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_any_method_goes_with_its_body_byte_for_byte(behind, method):
    vault, other, connection = behind
    body = b'{"n": 1.50, "t": "\\ud800", "x":\xff}' if method not in {"GET", "HEAD"} else b""
    other.says({"done": True})
    answer = await send(
        vault, connection, method, "/v2/access/posts/1", [(b"Content-Type", b"application/x+json; a=b")], body
    )
    assert answer is not None
    assert answer.status == 200
    (asked,) = other.asked
    assert (asked.method, asked.path, asked.body) == (method, "/v2/access/posts/1", body)
    assert asked.header("content-type") == ["application/x+json; a=b"]
    assert answer.body == (b"" if method == "HEAD" else b'{"done":true}')


async def test_a_body_without_a_type_gets_none(behind):
    vault, other, connection = behind
    await send(vault, connection, "POST", "/v2/access/posts", body=b"raw", chunked=True)
    assert other.asked[0].header("content-type") == []
    assert other.asked[0].body == b"raw"


TARGETS = {
    "/v2/access/posts?a=1&b=%20%2B+x&a=2": None,
    "/v2/access/posts?": "/v2/access/posts",
    "/v2/access/posts?q=%E2%98%83&r=[]{}|;:@'()*!~$": None,
    "/v2/access/posts?u=https://x/y?z=1/../..//": None,
    "/v2/access/users/%40nova/~x;v=1,2": None,
    "/v2/access/proxy/api2/v2/users/me": None,
    "/v2/access/vault/lists/5.0/media?limit=20.0&offset=0.000": "/v2/access/vault/lists/5/media?limit=20&offset=0",
    "/v2/access/vault/lists/-5.0?x=-1.0": "/v2/access/vault/lists/-5?x=-1",
    "/v2/access/posts/v1.0?price=1.50&v=1.0.0&q=a5.0&e=b=5.0&5.0": None,
    "/v2/access/5.0.0/x": None,
}


async def test_paths_and_queries_go_as_they_are_but_for_integral_floats(behind):
    vault, other, connection = behind
    for target, sent in TARGETS.items():
        other.asked.clear()
        answer = await send(vault, connection, "GET", target)
        assert answer is not None
        assert answer.status == 200, target
        (asked,) = other.asked
        got = asked.path + (f"?{asked.query.decode()}" if asked.query else "")
        assert got == (sent or target)


async def test_a_target_that_is_not_ascii_goes_nowhere(behind):
    vault, other, connection = behind
    for text in ("é".encode(), "☃".encode(), b"\xff"):
        answer = await send(vault, connection, "GET", b"/v2/access/posts?q=" + text)
        assert answer is not None
        assert answer.status == 400
    assert other.asked == []


CLIMBING = [
    *("../x", "x/..", "x/../../y", ".", "./x", "x/.", "x//y", "/x", "%2e%2e/x", "%2E./x", ".%2e/x", "x%2fy", "x%2Fy"),
    *("x%5cy", "x\\y", "%00", "x%00y", "%2f", "..%2fx"),
]


async def test_a_path_that_could_climb_is_refused(behind):
    vault, other, connection = behind
    for path in CLIMBING:
        answer = await send(vault, connection, "GET", f"/v2/access/{path}")
        assert answer is not None
        assert (answer.status, answer.json["type"]) == (400, "BAD_REQUEST"), path
    assert other.asked == []


async def test_of_an_answers_headers_only_its_type_comes_back(behind):
    vault, other, connection = behind
    other.says(
        {"a": 1},
        content_type="application/vnd.x+json; charset=utf-8",
        set_cookie="sess=stolen",
        x_own="secret",
        etag='"1"',
        connection="keep-alive",
        access_control_allow_origin="*",
        location="http://x",
        x_request_id="theirs",
    )
    answer = await send(vault, connection, "GET", "/v2/access/posts")
    assert answer is not None
    ours = {name for name in answer.headers if not name.startswith("x-ratelimit-")}
    assert ours <= {"date", "content-type", "content-length", "cache-control", "x-request-id"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("status", [200, 201, 400, 402, 403, 404, 409, 422])
async def test_json_below_500_passes_with_its_status_byte_for_byte(behind, status):
    vault, other, connection = behind
    body = b'{ "error" : {"code": 1.50, "t":"\\u00e9"},"n":12345678901234567890123 ,"dup":1,"dup":2}\n'
    other.says(body, status)
    answer = await send(vault, connection, "GET", "/v2/access/posts")
    assert answer is not None
    assert (answer.status, answer.body) == (status, body)


async def test_an_answer_without_content_passes(behind):
    vault, other, connection = behind
    for status in (204, 200):
        other.says(b"", status, content_type="")
        answer = await vault.call("DELETE", "/v2/access/posts/1", connection=connection)
        assert (answer.status, answer.body) == (status, b"")


async def test_trace_would_show_the_cookie_and_is_refused(behind):
    vault, other, connection = behind
    answer = await send(vault, connection, "TRACE", "/v2/access/self")
    assert answer is not None
    assert answer.status == 405
    assert other.asked == []
