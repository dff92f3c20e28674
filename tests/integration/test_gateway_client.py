"""The guarded client: what may not be dialled never is, whatever leads there; who is dialled learns no secret."""

import asyncio
import contextlib
import socket

import pytest

from fakes.upstreams import upstream
from mediavault.errors import AddressDenied, OriginError, OriginUnavailable
from mediavault.origin.addresses import AllowList
from mediavault.origin.client import ClientConfig, GuardedClient
from mediavault.origin.media_fetch import fetch


@contextlib.asynccontextmanager
async def client(allow: str = "", **config):
    made = GuardedClient(ClientConfig(allow=AllowList.parse(allow), **config))
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def canary():
    """A listener that must not be reached: its port, and how often it was."""
    hits: list[int] = []

    async def hit(_, writer):
        hits.append(1)
        writer.close()

    servers = [await asyncio.start_server(hit, "127.0.0.1", 0)]
    port = servers[0].sockets[0].getsockname()[1]
    with contextlib.suppress(OSError):
        servers.append(await asyncio.start_server(hit, "::1", port))
    yield port, hits
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def names(monkeypatch):
    """The system's resolver, played: names to addresses."""
    known: dict[str, list[str]] = {}
    asked: list[str] = []

    async def getaddrinfo(host, port, **_):
        asked.append(host)
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in known[host]
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return known


async def get(dialling: GuardedClient, url: str, **headers: str) -> bytes:
    async with dialling.get(url, headers) as response:
        return await response.read(1_000_000)


LITERALS = [
    "127.0.0.1",
    "127.1",
    "127.0.0.2",
    "0.0.0.0",  # noqa: S104 - to be refused
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "10.0.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "[fc00::1]",
    "[fe80::1]",
]


async def test_no_literal_address_of_this_machine_or_a_private_network_is_dialled(canary, names):
    port, hits = canary
    for numeric in ("127.1", "2130706433", "0x7f000001", "0177.0.0.1"):
        names[numeric] = ["127.0.0.1"]  # as resolvers read them
    async with client() as dialling:
        for host in LITERALS:
            with pytest.raises(AddressDenied):
                await get(dialling, f"http://{host}:{port}/x")
    assert hits == []


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["::1"], ["127.0.0.1", "::1"], ["::1", "127.0.0.1", "10.0.0.1"]])
async def test_a_name_that_leads_inside_is_denied_and_nobody_is_dialled(canary, names, addresses):
    port, hits = canary
    names["cdn.example"] = addresses
    async with client() as dialling:
        with pytest.raises(AddressDenied):
            await get(dialling, f"http://cdn.example:{port}/x")
    assert hits == []


async def test_a_redirect_to_what_is_denied_is_not_followed(canary, names):
    port, hits = canary
    names["inside.example"] = ["127.0.0.1"]
    async with upstream() as origin, client(origin.url.removeprefix("http://")) as dialling:
        for target in (
            f"http://127.0.0.1:{port}/",
            f"http://[::1]:{port}/",
            f"//127.0.0.1:{port}/",
            f"http://inside.example:{port}",
        ):
            origin.says(b"", 302, location=target)
            with pytest.raises(AddressDenied):
                await get(dialling, origin.url)
        for target in (
            "file:///etc/passwd",
            "gopher://127.0.0.1",
            "ftp://127.0.0.1/",
            f"http://u:p@127.0.0.1:{port}/",
        ):
            origin.says(b"", 302, location=target)
            with pytest.raises(AddressDenied):
                await get(dialling, origin.url)
        for target in ("http://[", "http://[::1", "http://127.0.0.1:99999999/"):
            origin.says(b"", 302, location=target)
            with pytest.raises(OriginError):
                await get(dialling, origin.url)
    assert hits == []


async def test_redirects_end(names):
    async with upstream() as origin, client(origin.url.removeprefix("http://")) as dialling:
        origin.says(b"", 302, location="/again")
        with pytest.raises(OriginError, match="more than 5 times"):
            await get(dialling, origin.url)
        assert len(origin.asked) == 6


async def test_an_entry_of_the_allow_list_opens_what_it_names_and_no_more(canary, names):
    port, hits = canary
    async with upstream() as origin:
        own = origin.url.rpartition(":")[2]
        names["cdn.example"] = names["other.example"] = ["127.0.0.1"]
        for allow, opened in (
            (
                f"127.0.0.1:{own}",
                [f"http://127.0.0.1:{own}", f"http://other.example:{own}", f"http://[::ffff:127.0.0.1]:{own}"],
            ),
            ("127.0.0.0/8", [f"http://127.0.0.1:{own}", f"http://cdn.example:{own}"]),
            (
                f"cdn.example:{own}",
                [f"http://cdn.example:{own}", f"http://CDN.example:{own}", f"http://cdn.example.:{own}"],
            ),
        ):
            names["cdn.example."] = ["127.0.0.1"]
            async with client(allow) as dialling:
                for url in opened:
                    with contextlib.suppress(OriginUnavailable):  # a kernel without dual stack
                        assert await get(dialling, url) == b"{}"
                if "/" not in allow:
                    with pytest.raises(AddressDenied):
                        await get(dialling, f"http://127.0.0.1:{port}/")
    assert hits == []


async def test_an_allowed_name_opens_no_other_name(names):
    async with upstream() as origin:
        own = origin.url.rpartition(":")[2]
        names["other.example"] = ["127.0.0.1"]
        async with client(f"cdn.example:{own}") as dialling:
            with pytest.raises(AddressDenied):
                await get(dialling, f"http://other.example:{own}/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "/x",
        "file:///etc/passwd",
        "ftp://a/",
        "gopher://a/",
        "data:,x",
        "javascript:1",
        "http://",
        "http:///x",
        "https://:443/",
    ],
)
async def test_what_is_no_http_url_is_refused(url):
    async with client("127.0.0.0/8") as dialling:
        with pytest.raises(AddressDenied):
            await get(dialling, url)


async def test_a_url_with_credentials_is_refused(canary):
    port, hits = canary
    async with client("127.0.0.0/8") as dialling:
        for user in ("u:p@", "u@", ":p@"):
            with pytest.raises(AddressDenied):
                await get(dialling, f"http://{user}127.0.0.1:{port}/")
    assert hits == []


async def test_a_url_is_sent_as_it_is_written():
    async with upstream() as origin, client("127.0.0.0/8") as dialling:
        for target in (
            "/a%7eb/~c?x=%2F/&y=+%20&Signature=ab~_-&z",
            "/%c3%a9/%C3%A9?q=%e2%98%83",
            "/a//b/./c/../d?e",
            "/x;v=1,2/(y)'!*@:$&=?a[]=1&a[]={}|^`",
            "/UPPER/lower%2f%2F",
        ):
            origin.asked.clear()
            await get(dialling, origin.url + target)
            asked = origin.asked[0]
            assert "?".join(filter(None, (asked.path, asked.query.decode()))) == target
        origin.asked.clear()
        await get(dialling, origin.url + "/a b\t/é?q=☃ \r\nX-Evil: 1")
        (asked,) = origin.asked
        assert (asked.path, asked.query) == ("/a%20b%09/%C3%A9", b"q=%E2%98%83%20%0D%0AX-Evil:%201")
        assert asked.header("x-evil") == []


async def test_no_credentials_and_no_cookies_go_where_a_redirect_leads():
    async with upstream() as origin, upstream() as elsewhere, client("127.0.0.0/8") as dialling:
        origin.says(b"", 302, location=f"{elsewhere.url}/x", set_cookie="sess=1; Path=/")
        for _ in range(2):
            await get(dialling, f"{origin.url}/y", Range="bytes=0-")
        for asked in (*origin.asked, *elsewhere.asked):
            assert {name for name, _ in asked.headers} <= {
                b"host",
                b"user-agent",
                b"accept",
                b"accept-encoding",
                b"range",
            }
            assert asked.header("accept-encoding") == ["identity"]
        assert len(elsewhere.asked) == 2


async def test_with_secrets_no_redirect_is_followed():
    async with upstream() as origin, client("127.0.0.0/8") as dialling:
        origin.says(b"", 302, location=f"{origin.url}/elsewhere")
        async with dialling.request("GET", f"{origin.url}/x", {"Cookie": "sess=1"}) as response:
            assert response.status == 302
        assert len(origin.asked) == 1


async def test_a_proxy_of_the_environment_is_not_asked(canary, monkeypatch):
    port, hits = canary
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    async with upstream() as origin, client("127.0.0.0/8") as dialling:
        assert await get(dialling, origin.url) == b"{}"
    assert hits == []


async def test_errors_name_no_url():
    async with client("127.0.0.0/8") as dialling:
        with pytest.raises(OriginUnavailable) as failed:
            await get(dialling, "http://127.0.0.1:1/secret-path?Signature=secret")
        assert "secret" not in str(failed.value)


async def test_a_body_over_the_limit_is_refused_and_an_encoded_one_too():
    async with upstream() as origin, client("127.0.0.0/8") as dialling:
        origin.says(b"x" * 1000)
        async with dialling.get(origin.url) as response:
            with pytest.raises(OriginError):
                await response.read(999)
        async with dialling.get(origin.url) as response:
            assert len(await response.read(1000)) == 1000
        origin.says(b"x", content_encoding="gzip")
        with pytest.raises(OriginError):
            async with fetch(dialling, origin.url):
                pass
