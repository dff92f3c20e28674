"""Redirects: every hop is checked, none leaves TLS, none carries what belongs to another origin, and they end."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from fakes.dialling import Canary, canary, client, get, post
from fakes.upstreams import upstream
from mediavault.errors import AddressDenied, OriginError, OriginUnavailable
from mediavault.origin.addresses import check_url
from mediavault.origin.client import redirected

REDIRECTS = (301, 302, 303, 307, 308)


@pytest.fixture
async def listening():
    async with canary() as opened:
        yield opened
        assert opened.hits == 0


@asynccontextmanager
async def hops(*locations: str | None) -> AsyncIterator[tuple[str, list[str]]]:
    """An origin whose `/n` redirects to the n-th location, and answers at the end; and the paths it was asked for."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(request)
        number = int(request.split(" ", 2)[1].strip("/") or 0)
        location = locations[number] if number < len(locations) else None
        if location is None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nend")
        else:
            head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nSet-Cookie: hop={number}\r\n"
            writer.write(f"{head}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def test_every_hop_is_checked_also_the_last_one_that_is_allowed(listening: Canary):
    for before in range(5):
        chain = [f"/{number + 1}" for number in range(before)]
        async with hops(*chain, f"http://127.0.0.1:{listening.port}/") as (url, asked):
            async with client(url.removeprefix("http://")) as dialling:
                with pytest.raises(AddressDenied):
                    await get(dialling, f"{url}/0")
            assert len(asked) == before + 1


async def test_five_redirects_are_followed_and_a_sixth_is_not():
    async with hops(*(f"/{number + 1}" for number in range(5))) as (url, asked):
        async with client(url.removeprefix("http://")) as dialling:
            assert await get(dialling, f"{url}/0") == b"end"
        assert len(asked) == 6
    async with hops(*(f"/{number + 1}" for number in range(6))) as (url, asked):
        async with client(url.removeprefix("http://")) as dialling:
            with pytest.raises(OriginError, match="more than 5 times"):
                await get(dialling, f"{url}/0")
        assert len(asked) == 6


@pytest.mark.parametrize("loop", [("/0",), ("/1", "/0"), ("/1", "/2", "/1")])
async def test_a_loop_ends(loop):
    async with hops(*loop) as (url, asked), client(url.removeprefix("http://")) as dialling:
        with pytest.raises(OriginError, match="more than 5 times"):
            await get(dialling, f"{url}/0")
        assert len(asked) == 6


@pytest.mark.parametrize(
    "location", ["/1", "1", "./1", "../1", "//{host}/1", "http://{host}/1", "HTTP://{host}/1", "?x", "#"]
)
async def test_relative_redirects_stay_where_they_belong(location):
    async with hops() as (url, asked), client(url.removeprefix("http://")) as dialling:
        target = redirected(f"{url}/0", location.format(host=url.removeprefix("http://")))
        assert target.lower().startswith(url)
        assert await get(dialling, target.partition("?")[0]) == b"end"
        assert len(asked) == 1


@pytest.mark.parametrize(
    "location",
    [
        *("file:///etc/passwd", "file:/etc/passwd", "ftp://127.0.0.1:{port}/", "gopher://127.0.0.1:{port}/_x"),
        *("data:text/html,x", "javascript:alert(1)", "jar:http://127.0.0.1:{port}/!/", "ws://127.0.0.1:{port}/"),
        *("http://u:p@127.0.0.1:{port}/", "//u@127.0.0.1:{port}/", "http://@127.0.0.1:{port}/", "//127.0.0.1:{port}"),
        *(
            "http://127.0.0.1:{port}\\@receiver.example/",
            "http://[::1]:{port}/",
            "http://2130706433:{port}/",
            "http://[",
        ),
        *(
            "http://0x7f.1:{port}/",
            "http://[::ffff:7f00:1]:{port}/",
            "http://127.0.0.1:{port}",
            "http:////127.0.0.1:{port}/",
        ),
        *("///127.0.0.1:{port}/", "http://", "http:///", "//", "https:", "unix:/var/run/x.sock", "//[::1%lo]:{port}/"),
    ],
)
@pytest.mark.parametrize("status", REDIRECTS)
async def test_no_status_of_a_redirect_leads_out(listening: Canary, location, status):
    async with upstream() as origin, client(origin.url.removeprefix("http://")) as dialling:
        origin.says(b"", status, location=location.replace("{port}", str(listening.port)))
        with pytest.raises(OriginError):
            await get(dialling, origin.url)


@pytest.mark.parametrize("status", REDIRECTS)
async def test_what_carries_secrets_follows_no_redirect_at_all(listening: Canary, status):
    async with upstream() as origin, client("127.0.0.0/8") as dialling:
        origin.says(b"moved", status, location=f"http://127.0.0.1:{listening.port}/")
        assert await post(dialling, origin.url) == b"moved"
        assert [each.method for each in origin.asked] == ["POST"]


async def test_neither_cookies_nor_credentials_nor_a_referrer_cross_origins_or_come_back():
    """Two origins that send each other the client, each setting cookies: nobody is shown anything."""
    async with upstream() as first, upstream() as second, client("127.0.0.0/8") as dialling:
        first.says(b"", 302, location=f"{second.url}/b?Signature=second", set_cookie="a=1; Domain=127.0.0.1; Path=/")
        second.says(b"", 302, location=f"{first.url}/a?Signature=first", set_cookie="b=2; Path=/")
        with pytest.raises(OriginError, match="more than 5 times"):
            await get(dialling, f"{first.url}/start?Signature=start", Range="bytes=0-9")
        assert len(first.asked) == len(second.asked) == 3
        for asked in (*first.asked, *second.asked):
            sent = {name for name, _ in asked.headers}
            assert sent == {b"host", b"user-agent", b"accept", b"accept-encoding", b"range"}
        for asked in second.asked:
            assert b"start" not in asked.query + b"".join(value for _, value in asked.headers)


@pytest.mark.parametrize("https", ["https", "HTTPS", "Https"])
@pytest.mark.parametrize("http", ["http", "HTTP", "hTTp"])
def test_a_redirect_out_of_tls_is_refused(https, http):
    with pytest.raises(OriginError, match="from https to http"):
        redirected(f"{https}://cdn.example/x", f"{http}://cdn.example/x")
    assert redirected(f"{http}://cdn.example/x", f"{https}://cdn.example/x").lower() == "https://cdn.example/x"
    assert redirected(f"{https}://cdn.example/x", "//other.example/y").lower() == "https://other.example/y"


@given(st.text(), st.sampled_from(["https://cdn.example/a/b?c", "http://cdn.example:8080/"]))
def test_whatever_the_location_the_target_is_plain_and_as_safe_or_an_error(location, url):
    try:
        target = redirected(url, location)
        check_url(target)
    except OriginError:
        return
    assert target[:8].lower() == "https://" or url.startswith("http://")


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS, for 127.0.0.1, with a certificate that nobody vouches for."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / "both.pem").write_bytes(encoded + certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "both.pem")
    return context


@pytest.mark.parametrize("send", [get, post])
async def test_who_cannot_prove_its_name_over_tls_is_sent_nothing(tmp_path: Path, send):
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0, ssl=self_signed(tmp_path))
    port = server.sockets[0].getsockname()[1]
    async with server, client("127.0.0.0/8") as dialling:
        for url in (f"https://127.0.0.1:{port}/", f"HTTPS://127.0.0.1:{port}/"):
            with pytest.raises(OriginUnavailable, match=r"[Cc]ertificate"):
                await send(dialling, url)
    assert b"".join(heard) == b""
