"""Who may be dialled, judged from text alone: nothing here opens a socket."""

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from mediavault.errors import AddressDenied, ConfigError
from mediavault.origin.addresses import AllowList, check, check_url, classify

NOTHING = AllowList()

SPECIAL_IPV4 = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24"),
    *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
]

SPECIAL_IPV6 = [
    *("::/8", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001:db8::/32", "2620:4f:8000::/48"),
    *("3fff::/20", "4000::/3", "5f00::/16", "8000::/1", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
]


@pytest.mark.parametrize("network", SPECIAL_IPV4)
def test_special_ipv4_is_denied_to_its_very_edges(network):
    edges = IPv4Network(network)
    assert not classify(str(edges[0])).public
    assert not classify(str(edges[-1])).public
    for beyond in (int(edges[0]) - 1, int(edges[-1]) + 1):
        if 0 <= beyond < 2**32:
            inside_another = any(IPv4Address(beyond) in IPv4Network(other) for other in SPECIAL_IPV4)
            assert classify(str(IPv4Address(beyond))).public is not inside_another


@pytest.mark.parametrize("network", SPECIAL_IPV6)
def test_special_ipv6_is_denied_to_its_very_edges(network):
    edges = IPv6Network(network)
    exempt = IPv6Network("64:ff9b::/96"), IPv6Network("::ffff:0:0/96")
    for edge in (edges[0], edges[-1]):
        assert not any(edge in each for each in exempt)
        assert not classify(str(edge)).public


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "223.255.255.255"),
        *("2606:4700::1111", "2001:4860:4860::8888", "2001:200::1", "2a00::1", "2620:4f:7fff::1", "3ffe:ffff::1"),
        *("::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1", "2606:4700::5efe:808:808"),
    ],
)
def test_public(address):
    verdict = classify(address)
    assert verdict.public
    assert verdict.reason == ""


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("255.255.255.255", "broadcast"),
        ("239.0.0.1", "multicast"),
        ("192.0.0.9", "protocol assignments"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::8.8.8.8", "IPv4-compatible"),
        ("::127.0.0.1", "IPv4-compatible form of 127.0.0.1: loopback"),
        ("::ffff:127.0.0.1", "IPv4-mapped form of 127.0.0.1: loopback"),
        ("::ffff:a9fe:a9fe", "IPv4-mapped form of 169.254.169.254: link-local"),
        ("64:ff9b::10.0.0.1", "NAT64 form of 10.0.0.1: private"),
        ("64:ff9b:1::10.0.0.1", "NAT64 form of 10.0.0.1: private"),
        ("64:ff9b:1::8.8.8.8", "local-use IPv4 translation"),
        ("2002:7f00:1::", "6to4 form of 127.0.0.1: loopback"),
        ("2002:a9fe:a9fe::1", "6to4 form of 169.254.169.254"),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", "Teredo form of 127.0.0.1: loopback"),
        ("2001:0:7f00:1:8000:63bf:f7f7:f7f7", "Teredo server of 127.0.0.1"),
        ("2001:0:808:808:0:0:f7f7:f7f7", "Teredo"),
        ("2606:4700::5efe:10.0.0.1", "ISATAP form of 10.0.0.1: private"),
        ("2606:4700::200:5efe:192.168.0.1", "ISATAP form of 192.168.0.1: private"),
        ("2002:808:808::5efe:127.0.0.1", "ISATAP form of 127.0.0.1"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "scoped"),
        ("2606:4700::1%eth0", "scoped"),
        ("fd00::1", "unique local"),
        ("ff02::1", "multicast"),
        ("::ffff:0:8.8.8.8", "not global unicast"),
        ("4000::1", "not global unicast"),
    ],
)
def test_denied_and_why(address, reason):
    verdict = classify(address)
    assert not verdict.public
    assert reason in verdict.reason


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "localhost", "example.com", "127.1", "2130706433", "0x7f000001", "0x8.8.8.8", "010.8.8.8"),
        *("8.8.8.8 ", "8.8.8.8:80", "8.8.8.8/32", "8.8.8", "٨.8.8.8", "8.8.8.8\x00"),
        *("[2606:4700::1]", "2606:4700::1/128"),
    ],
)
def test_what_is_no_address_is_not_public(text):
    assert not classify(text).public
    with pytest.raises(AddressDenied):
        check(text, 443, NOTHING)


ipv4 = st.integers(0, 2**32 - 1).map(IPv4Address)
ipv4_special = (
    st.sampled_from(SPECIAL_IPV4)
    .map(IPv4Network)
    .flatmap(lambda network: st.integers(int(network[0]), int(network[-1])).map(IPv4Address))
)
ipv6 = st.integers(0, 2**128 - 1).map(IPv6Address)


@given(ipv4)
@example(IPv4Address("192.0.0.170"))
def test_ipv4_is_public_only_outside_every_special_network(address):
    special = any(address in IPv4Network(network) for network in SPECIAL_IPV4)
    assert classify(str(address)).public is not special
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert special


@given(ipv6)
def test_ipv6_is_never_public_where_the_standard_library_doubts_it(address):
    doubted = address.is_private or address.is_multicast or address.is_reserved or address.is_link_local
    if doubted or address.is_loopback or address.is_unspecified or address.is_site_local:
        assert not classify(str(address)).public


def embeddings(address: IPv4Address, prefix: int, filler: int) -> list[IPv6Address]:
    bits = int(address)
    subnet = (0x2606_4700 << 96) | (prefix << 64)
    return [
        IPv6Address(0xFFFF << 32 | bits),
        IPv6Address(0x0064_FF9B << 96 | bits),
        IPv6Address(0x2002 << 112 | bits << 80 | filler & 0xFFFF),
        IPv6Address(subnet | 0x5EFE << 32 | bits),
        IPv6Address(subnet | 0x0200_5EFE << 32 | bits),
    ]


@given(ipv4 | ipv4_special, st.integers(0, 2**32 - 1), st.integers(0, 2**80 - 1))
def test_an_embedded_address_is_judged_like_the_bare_one(address, prefix, filler):
    for wrapped in embeddings(address, prefix, filler):
        assert classify(str(wrapped)).public is classify(str(address)).public


@given(ipv4 | ipv4_special, st.integers(0, 2**32 - 1))
def test_forms_nobody_should_route_are_denied_whatever_they_hold(address, server):
    bits = int(address)
    for wrapped in (
        IPv6Address(bits),
        IPv6Address(0x0064_FF9B_0001 << 80 | bits),
        IPv6Address(0x2001_0000 << 96 | server << 64 | (bits ^ 0xFFFF_FFFF)),
    ):
        assert not classify(str(wrapped)).public


@given(st.text() | st.text(alphabet="0123456789abcdef:.%/[]"))
def test_no_text_raises(text):
    assert classify(text).public is (classify(text).reason == "")
    assert isinstance(NOTHING.permits(text, 80), bool)
    assert isinstance(NOTHING.names(text, 80), bool)


def test_an_allow_list_permits_what_it_names_and_no_more():
    allow = AllowList.parse(" 127.0.0.1:8082 ,10.0.0.0/8, [::1]:8083,fd00::/8,CDN.internal.:8443,")
    assert allow.permits("127.0.0.1", 8082)
    assert allow.permits("::ffff:127.0.0.1", 8082)
    assert allow.permits("10.1.2.3", 1)
    assert allow.permits("::ffff:10.1.2.3", 65_535)
    assert allow.permits("::1", 8083)
    assert allow.permits("0:0:0:0:0:0:0:1", 8083)
    assert allow.permits("fd12::1", 443)
    assert allow.names("cdn.internal", 8443)
    assert allow.names("CDN.INTERNAL.", 8443)

    assert not allow.permits("127.0.0.1", 8083)
    assert not allow.permits("127.0.0.2", 8082)
    assert not allow.permits("::1", 8082)
    assert not allow.permits("11.0.0.1", 80)
    assert not allow.permits("::10.1.2.3", 80)
    assert not allow.permits("64:ff9b::10.1.2.3", 80)
    assert not allow.permits("2002:a01:203::", 80)
    assert not allow.permits("fd12::1%eth0", 443)
    assert not allow.permits("cdn.internal", 8443)
    assert not allow.names("cdn.internal", 443)
    assert not allow.names("x.cdn.internal", 8443)
    assert not allow.names("127.0.0.1", 8082)


@pytest.mark.parametrize("text", ["", " ", ",", " , ,"])
def test_an_empty_allow_list_permits_nothing(text):
    assert AllowList.parse(text) == NOTHING
    assert not NOTHING.permits("127.0.0.1", 80)


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        ("127.0.0.1", "port"),
        ("cdn.internal", "port"),
        ("[::1]", "port"),
        ("::1", "brackets"),
        ("::1:8082", "brackets"),
        ("[cdn]:80", "IPv6"),
        ("[127.0.0.1]:80", "IPv6"),
        ("[fe80::1%eth0]:80", "zone"),
        ("127.0.0.1:0", "port"),
        ("127.0.0.1:65536", "port"),
        ("127.0.0.1:080", "port"),
        ("127.0.0.1:+80", "port"),
        ("127.0.0.1:8_0", "port"),
        ("127.0.0.1:٨", "port"),
        ("127.0.0.1:", "port"),
        (":80", "DNS name"),
        ("127.1:80", "DNS name"),
        ("256.0.0.1:80", "DNS name"),
        ("*.internal:80", "DNS name"),
        ("a b:80", "DNS name"),
        ("a..b:80", "DNS name"),
        ("-a:80", "DNS name"),
        (f"{'a' * 64}:80", "DNS name"),
        ("http://a:80", "CIDR"),
        ("10.0.0.1/8", "CIDR"),
        ("10.0.0.0/33", "CIDR"),
        ("10.0.0.0/8:80", "CIDR"),
        ("::ffff:10.0.0.0/104", "IPv4"),
        ("/", "CIDR"),
    ],
)
def test_a_bad_entry_is_named(entry, hint):
    with pytest.raises(ConfigError) as raised:
        AllowList.parse(f"127.0.0.1:1,{entry},10.0.0.0/8")
    assert repr(entry) in str(raised.value)
    assert hint in str(raised.value)


@given(st.text() | st.text(alphabet="0123456789abcdef:.%/[]-,"))
def test_any_text_is_a_list_or_a_clear_error(text):
    try:
        outcome = str(AllowList.parse(text))
    except ConfigError as error:
        outcome = str(error)
    assert outcome.startswith(("AllowList(", "bad entry "))


def test_check_lets_public_and_permitted_pass():
    check("8.8.8.8", 443, NOTHING)
    check("2606:4700::1111", 443, NOTHING)
    check("127.0.0.1", 8082, AllowList.parse("127.0.0.1:8082"))


@pytest.mark.parametrize(
    ("address", "entry"),
    [
        ("127.0.0.1", "127.0.0.1:8082"),
        ("::1", "[::1]:8082"),
        ("::ffff:10.0.0.1", "10.0.0.1:8082"),
        ("64:ff9b::10.0.0.1", "[64:ff9b::a00:1]:8082"),
    ],
)
def test_a_denial_says_what_to_do_and_that_works(address, entry):
    with pytest.raises(AddressDenied) as raised:
        check(address, 8082, NOTHING)
    assert f"add {entry} to MEDIAVAULT_ORIGIN_ALLOW" in str(raised.value)
    check(address, 8082, AllowList.parse(entry))


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://cdn.example",
            "http://cdn.example/",
            "https://CDN.Example:8443/a?b#c",
            "HTTPS://cdn.example?x=http://y",
        ),
        *("http://8.8.8.8/", "http://8.8.8.8:80", "http://[2606:4700::1111]/", "https://[2606:4700::8.8.8.8]:443/x"),
        *(
            "http://cdn.example./",
            "http://a_b.cdn-1.example/",
            "http://xn--e1awd7f.example/",
            "http://1.a/",
            "http://a#",
        ),
        *("http://cdn.example/\\@127.0.0.1", "http://cdn.example/a b\u00e9\n", "http://cdn.example/?u=http://u:p@x/"),
    ],
)
def test_a_plain_url_passes_whatever_stands_behind_its_host(url):
    check_url(url)


@given(st.text() | st.text(alphabet="htps:/.@[]%\\0123456789abcdefx#?-_ \t").map(lambda text: f"http://{text}"))
def test_what_passes_is_read_alike_by_every_parser_here(url):
    """The one that dials, the standard library's, and the one that shares out turns agree on the host and the port."""
    try:
        check_url(url)
    except AddressDenied:
        return
    dialled, split = URL(url, encoded=True), urlsplit(url)
    assert dialled.scheme == split.scheme in {"http", "https"}
    assert (dialled.raw_host or "").lower() == split.hostname
    assert dialled.port == (split.port or (443 if split.scheme == "https" else 80))
    assert (dialled.user, dialled.password, split.username, split.password) == (None, None, None, None)
    assert str(split.hostname).isascii()


@given(st.from_regex(r"(0x)?[0-9a-fx]{1,12}(\.(0x)?[0-9a-fx]{1,12}){0,3}\.?", fullmatch=True))
def test_no_host_that_a_resolver_reads_as_an_address_passes_unless_it_is_four_plain_numbers(host):
    try:
        address = IPv4Address(socket.inet_aton(host.removesuffix(".")))
    except OSError:
        return
    if host == str(address):
        check_url(f"http://{host}/")
    else:
        with pytest.raises(AddressDenied):
            check_url(f"http://{host}/")


@pytest.mark.parametrize("entry", ["0x7f.1:80", "a.0x7f:80", "0x7f000001:80", "cdn.0:80", "cdn.0x:80"])
def test_an_allow_list_names_no_host_that_a_resolver_reads_as_an_address(entry):
    with pytest.raises(ConfigError, match="DNS name"):
        AllowList.parse(entry)
