"""Resolvers that lie: an answer is judged each time, what is dialled is what was judged, and who answers is it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.dialling import ALSO_PUBLIC, PUBLIC, Canary, Resolver, Wire, canary, client, get, post, wire_cut
from mediavault.errors import AddressDenied, OriginError, OriginUnavailable
from mediavault.origin.addresses import classify

INSIDE = [
    *("127.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1"),
    *("10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "fd00::1"),  # noqa: S104 - to be refused
    *("2001:0:808:808::80ff:fffe", "2606:4700::5efe:10.0.0.1", "64:ff9b:1::1", "ff02::1", "::", "198.18.0.1"),
]


@pytest.fixture
async def wire(monkeypatch) -> AsyncIterator[Wire]:
    with wire_cut(monkeypatch) as cut:
        yield cut


@pytest.fixture
async def listening():
    async with canary() as opened:
        yield opened


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: Sequence[str]) -> Resolver:
    """A resolver that gives these answers, one a question, and the last one for ever."""
    left = list(answers)
    made = Resolver(lambda _: left.pop(0) if len(left) > 1 else left[0])
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", made.getaddrinfo)
    return made


async def test_a_name_that_is_public_first_and_private_then_is_never_dialled_inside(
    listening: Canary, wire: Wire, monkeypatch
):
    """Rebinding: the address that is dialled is the one that was judged, not another question's answer."""
    asked = resolving(monkeypatch, [PUBLIC], ["127.0.0.1"])
    async with client() as dialling:
        with pytest.raises(OriginUnavailable):
            await get(dialling, f"http://rebind.example:{listening.port}/")
        assert (asked.asked, wire.dialled) == (["rebind.example"], [PUBLIC])
        with pytest.raises(AddressDenied):  # another port, so that the answer is not remembered
            await get(dialling, f"http://rebind.example:{listening.port + 1}/")
    async with client() as fresh:
        with pytest.raises(AddressDenied):
            await get(fresh, f"http://rebind.example:{listening.port}/")
    assert (listening.hits, wire.dialled) == (0, [PUBLIC])


async def test_one_question_is_asked_for_one_dial(wire: Wire, monkeypatch):
    """Who asks twice, once to judge and once to dial, is given two answers."""
    asked = resolving(monkeypatch, [PUBLIC], ["127.0.0.1"])
    async with client() as dialling:
        for _ in range(3):
            with pytest.raises(OriginUnavailable):
                await post(dialling, "http://rebind.example/")
    assert (asked.asked, set(wire.dialled)) == (["rebind.example"], {PUBLIC})


@pytest.mark.parametrize("bad", INSIDE)
async def test_one_bad_answer_among_good_ones_is_left_out(listening: Canary, wire: Wire, monkeypatch, bad):
    async with client() as dialling:
        for number, answers in enumerate(([bad, PUBLIC], [PUBLIC, bad], [PUBLIC, bad, ALSO_PUBLIC, bad], [bad] * 3)):
            resolving(monkeypatch, answers)
            with pytest.raises(OriginError):
                await get(dialling, f"http://mixed-{number}.example:{listening.port}/")
    assert listening.hits == 0
    assert set(wire.dialled) == {PUBLIC, ALSO_PUBLIC}


@pytest.mark.parametrize("bad", INSIDE)
async def test_a_name_that_leads_inside_under_another_name_is_denied(listening: Canary, monkeypatch, bad):
    """A chain of aliases ends in an address, whatever the names on the way."""
    resolving(monkeypatch, [bad])
    async with client() as dialling:
        for send in (get, post):
            with pytest.raises(AddressDenied):
                await send(dialling, f"http://alias.receiver.example:{listening.port}/")
    assert listening.hits == 0


async def test_a_name_without_addresses_is_unreachable(wire: Wire, monkeypatch):
    resolving(monkeypatch, [])
    async with client() as dialling:
        with pytest.raises(OriginUnavailable, match="no addresses"):
            await get(dialling, "http://empty.example/")
    assert wire.dialled == []


async def test_an_address_with_a_zone_is_denied(listening: Canary, monkeypatch):
    resolving(monkeypatch, ["fe80::1%1"])

    async def named(address, _):
        return f"{address[0]}%lo", str(address[1])

    monkeypatch.setattr(asyncio.get_running_loop(), "getnameinfo", named)
    async with client() as dialling:
        with pytest.raises(AddressDenied, match="scoped"):
            await get(dialling, f"http://zone.example:{listening.port}/")
    assert listening.hits == 0


@pytest.mark.parametrize("send", [get, post])
async def test_who_answers_from_inside_is_sent_nothing(listening: Canary, wire: Wire, monkeypatch, send):
    """A dial to a public address that something on the way turns around: the connection is made, and nothing said."""
    resolving(monkeypatch, [PUBLIC])
    wire.ends_at = ("127.0.0.1", listening.port)
    async with client() as dialling:
        for url in (f"http://turned.example:{listening.port}/", f"http://{PUBLIC}:{listening.port}/"):
            with pytest.raises(AddressDenied):
                await send(dialling, url)
    await listening.until_gone()
    assert listening.hits == 2
    assert bytes(listening.heard) == b""


async def test_what_an_allowed_name_stands_for_is_open_to_that_name_alone(listening: Canary, monkeypatch):
    """Not to its address, and not to other names of it, neither before nor after the name was used."""
    resolving(monkeypatch, ["127.0.0.1"])
    port = listening.port
    async with client(f"cdn.internal:{port}") as dialling:
        for _ in range(2):
            for url in (f"http://127.0.0.1:{port}/", f"http://[::ffff:127.0.0.1]:{port}/", f"http://cdn.other:{port}/"):
                with pytest.raises(AddressDenied):
                    await get(dialling, url)
            before = listening.hits
            assert await get(dialling, f"http://CDN.internal.:{port}/") == b"reached"
            assert listening.hits == before + 1


async def test_a_redirect_from_an_allowed_name_to_its_address_is_denied(monkeypatch):
    """The name is the operator's word; its address in somebody's URL is nobody's."""
    resolving(monkeypatch, ["127.0.0.1"])
    async with canary() as inside:

        async def redirect(_, writer):
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n" % port)
            writer.close()

        server = await asyncio.start_server(redirect, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, client(f"cdn.internal:{port}") as dialling:
            with pytest.raises(AddressDenied):
                await get(dialling, f"http://cdn.internal:{port}/")
        assert inside.hits == 0


addresses = st.lists(
    st.sampled_from([PUBLIC, ALSO_PUBLIC, *INSIDE])
    | st.ip_addresses().map(str).filter(lambda a: not classify(a).public),
    max_size=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(addresses)
def test_whatever_a_resolver_answers_only_public_addresses_are_dialled(monkeypatch, answers):
    async def ask() -> list[str]:
        with wire_cut(monkeypatch) as cut:
            resolving(monkeypatch, answers)
            async with client() as dialling:
                with pytest.raises(OriginError):
                    await get(dialling, "http://any.example/")
            return cut.dialled

    assert set(asyncio.run(ask())) == {PUBLIC, ALSO_PUBLIC} & set(answers)


async def test_the_systems_own_resolver_is_asked_by_name_and_port(monkeypatch):
    """What the fake resolvers stand for is really what the client asks."""
    seen: list[tuple[object, ...]] = []

    async def getaddrinfo(host, port, **how):
        seen.append((host, port, how["type"]))
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with client() as dialling:
        with pytest.raises(OriginUnavailable):
            await get(dialling, "http://plain.example:8443/")
    assert seen == [("plain.example", 8443, socket.SOCK_STREAM)]
