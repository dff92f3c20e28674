"""What is a request on the media port, and what is refused before it is one."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.media_port import CLOSE, GET, HOST, Port, answers, get, large_file, serve
from mediavault.serving.requests import LARGEST_BODY_BYTES, LARGEST_TARGET_BYTES, MOST_HEADERS

POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return large_file(tmp_path_factory.mktemp("large"))


@pytest.fixture
async def port(large: Path) -> AsyncIterator[Port]:
    async with serve(large) as served:
        yield served


REFUSED = [
    ("no request at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("a bad request line", b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("a method that is none", b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("a raw non-ASCII target", "GET /v2/é HTTP/1.1\r\n".encode() + HOST + b"\r\n", 400),
    ("a control character", b"GET /\x01 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("bare line feeds", b"GET / HTTP/1.1\nHost: x\n\n", 400),
    ("a space before the colon", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    ("a folded header", b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n", 400),
    ("NUL in a header", b"GET / HTTP/1.1\r\n" + HOST + b"A: b\x00c\r\n\r\n", 400),
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", 400),
    ("two Hosts", b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    ("HTTP/2 by prior knowledge", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ("an unknown version", b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    ("a target that is none", b"GET ftp://x/y HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("a target without authority", b"GET http:///y HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    ("length and chunked", POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("chunked and length", POST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n", 400),
    ("two lengths", POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
    ("a list of lengths", POST + b"Content-Length: 1, 1\r\n\r\na", 400),
    ("a signed length", POST + b"Content-Length: +1\r\n\r\na", 400),
    ("a coding that looks like chunked", POST + b"Transfer-Encoding: xchunked\r\n\r\n", 501),
    ("a coding before chunked", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    ("chunked last but one", POST + b"Transfer-Encoding: chunked, identity\r\n\r\n", 400),
    ("a coding in HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("a chunk longer than it says", POST + CHUNKED + b"\r\n1\r\nab\r\n", 400),
    ("a chunk with a bare line feed", POST + CHUNKED + b"\r\n1\na\n0\n\n", 400),
    ("a body too large to drop", POST + b"Content-Length: 70000\r\n\r\n", 413),
    ("a chunked body too large", POST + CHUNKED + b"\r\n11000\r\n" + bytes(LARGEST_BODY_BYTES + 1), 413),
    ("a URL too long", b"GET /" + b"a" * LARGEST_TARGET_BYTES + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    ("an endless URL", b"GET /" + b"a" * 200_000, 414),
    ("a header too long", b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    ("an endless header", b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"a" * 500_000, 431),
    ("too many headers", b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * MOST_HEADERS + b"\r\n", 431),
    ("an unknown expectation", b"GET / HTTP/1.1\r\n" + HOST + b"Expect: tea\r\n\r\n", 417),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "status"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
async def test_what_is_no_request_gets_the_contracts_error_and_the_end(port, sent, status):
    said = await port.say(GET + sent + GET)
    before, refused = answers(said)
    assert (before[0], before[2]) == (200, b"/small")
    assert refused[0] == status
    told = json.loads(refused[2])
    assert told["error"] == told["message"] != ""
    assert told["type"] == told["code"]
    assert told["requestId"] == refused[1]["x-request-id"] != before[1]["x-request-id"]
    assert (refused[1]["cache-control"], refused[1]["connection"]) == ("no-store", "close")
    assert refused[1]["x-content-type-options"] == "nosniff"
    assert [request.path for request in port.host.requests] == ["/small"]  # nothing behind it was taken for a request


async def test_the_forms_of_a_target(port):
    sent = [
        b"/a%2Fb?q=1",
        b"http://x:80/c",
        b"HTTP://x/d?e",
        b"https://x",
        b"http://x?q",
        b"*",
        b"/%C3%A9",
        b"//e/../f",
    ]
    requests = b"".join(get(target) for target in sent)
    await port.say(b"\r\n" + requests + CLOSE)
    paths = [request.path for request in port.host.requests]
    assert paths == ["/a/b", "/c", "/d", "/", "/", "*", "/é", "//e/../f", "/small"]
