"""Who a client is: what its connection says, and what is believed of a proxy."""

import pytest

from mediavault.domain.client_address import TrustedProxies, name_of

PROXIES = TrustedProxies.parse("10.0.0.0/8, 2001:db8::1")


def test_nobody_is_believed_unless_named():
    assert TrustedProxies().client("10.0.0.1", [b"9.9.9.9"]) == "10.0.0.1"
    assert PROXIES.client("11.0.0.1", [b"9.9.9.9"]) == "11.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ([b"9.9.9.9"], "9.9.9.9"),
        ([b"1.1.1.1, 9.9.9.9"], "9.9.9.9"),  # the first is what the client itself wrote
        ([b"1.1.1.1", b"9.9.9.9, 10.2.3.4"], "9.9.9.9"),  # a second trusted proxy
        ([b"9.9.9.9, nonsense"], "10.0.0.1"),  # whoever the proxy saw, it is none of those before
        ([b"10.9.9.9"], "10.9.9.9"),
        ([], "10.0.0.1"),
        ([b""], "10.0.0.1"),
        ([b"\xff\x00"], "10.0.0.1"),
        ([b"9" * 100_000], "10.0.0.1"),
        ([b"2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        ([b"9.9.9.9, 2001:db8::1"], "9.9.9.9"),
        ([b"," * 10_000 + b"9.9.9.9"], "9.9.9.9"),
    ],
)
def test_a_trusted_proxy_tells_the_last_address_that_is_none_of_its_own(forwarded, client):
    assert PROXIES.client("10.0.0.1", forwarded) == client


def test_an_ipv6_customer_is_one_client_whatever_address_of_its_network_it_takes():
    assert name_of("2001:db8:1:2::1") == name_of("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert name_of("2001:db8:1:3::1") != name_of("2001:db8:1:2::1")
    assert name_of("fe80::1%eth0") == "fe80::/64"


def test_an_ipv4_address_is_itself_also_where_it_is_mapped():
    assert name_of("::ffff:192.0.2.7") == name_of("192.0.2.7") == "192.0.2.7"
    assert TrustedProxies.parse("10.0.0.0/8").trusts("::ffff:10.1.2.3")


def test_what_is_no_address_is_counted_under_its_bounded_name():
    assert name_of("") == ""
    assert len(name_of("x:" * 10_000)) <= 64


@pytest.mark.parametrize("text", ["", "10.0.0.0/33", "proxy.test", "10.0.0.1,", "10.0.0.1/8"])
def test_proxies_that_are_none_are_refused(text):
    with pytest.raises(ValueError, match=r"address|IPv4|host bits"):
        TrustedProxies.parse(text)
