"""Who may be dialled. Pure: an address or a URL comes in as text, a verdict goes out; nothing is resolved here.

The lists are IANA's special-purpose registries (IPv4, IPv6) and the IPv6 global unicast assignments, written out
because the standard library's `is_global` lets embedded IPv4, multicast and shared space through. Some entries are
globally reachable by the registry, and still denied: they name infrastructure that a network may run inside itself
(AS112, AMT, PCP), never a host that serves media.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from mediavault.errors import AddressDenied, ConfigError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SPECIAL_IPV4 = tuple(
    (IPv4Network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "this network (RFC 791)"),
        ("10.0.0.0/8", "private (RFC 1918)"),
        ("100.64.0.0/10", "shared address space (RFC 6598)"),
        ("127.0.0.0/8", "loopback (RFC 1122)"),
        ("169.254.0.0/16", "link-local (RFC 3927)"),
        ("172.16.0.0/12", "private (RFC 1918)"),
        ("192.0.0.0/24", "protocol assignments (RFC 6890)"),
        ("192.0.2.0/24", "documentation (RFC 5737)"),
        ("192.31.196.0/24", "AS112 (RFC 7535)"),
        ("192.52.193.0/24", "multicast tunneling (RFC 7450)"),
        ("192.88.99.0/24", "6to4 relay (RFC 7526)"),
        ("192.168.0.0/16", "private (RFC 1918)"),
        ("192.175.48.0/24", "AS112 (RFC 7534)"),
        ("198.18.0.0/15", "benchmarking (RFC 2544)"),
        ("198.51.100.0/24", "documentation (RFC 5737)"),
        ("203.0.113.0/24", "documentation (RFC 5737)"),
        ("224.0.0.0/4", "multicast (RFC 1112)"),
        ("255.255.255.255/32", "broadcast (RFC 919)"),
        ("240.0.0.0/4", "reserved (RFC 1112)"),
    )
)

#: In order, the more exact before what holds it; what none names is judged by the last line of `_ipv6_reason`.
_SPECIAL_IPV6 = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("::/128", "unspecified (RFC 4291)"),
        ("::1/128", "loopback (RFC 4291)"),
        ("64:ff9b:1::/48", "local-use IPv4 translation (RFC 8215)"),
        ("::/96", "IPv4-compatible, deprecated (RFC 4291)"),
        ("100::/63", "discard or dummy prefix (RFC 6666, RFC 9780)"),
        ("2001::/32", "Teredo (RFC 4380)"),
        ("2001::/23", "protocol assignments (RFC 2928)"),
        ("2001:db8::/32", "documentation (RFC 3849)"),
        ("2620:4f:8000::/48", "AS112 (RFC 7534)"),
        ("3fff::/20", "documentation (RFC 9637)"),
        ("5f00::/16", "segment routing (RFC 9602)"),
        ("fc00::/7", "unique local (RFC 4193)"),
        ("fe80::/10", "link-local (RFC 4291)"),
        ("fec0::/10", "site-local, deprecated (RFC 3879)"),
        ("ff00::/8", "multicast (RFC 4291)"),
    )
)

_MAPPED = IPv6Network("::ffff:0:0/96")
_COMPATIBLE = IPv6Network("::/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_GLOBAL_UNICAST = IPv6Network("2000::/3")

#: The middle of an ISATAP interface identifier (RFC 5214 §6.1), with and without the universal bit.
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})

#: Digits with no leading zero, so that a port has one spelling.
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LARGEST_PORT = 65_535
_LONGEST_NAME = 253
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
#: What some resolver takes for a part of an IPv4 address: decimal, octal or hexadecimal.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
#: Where a URL leads, in the one spelling that every reader takes for the same: ASCII, nothing escaped, no credentials.
_LEADS_TO = re.compile(
    r"(?i:https?)://(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_.-]+))(?::(?P<port>[1-9][0-9]{0,4}))?(?=[/?#]|\Z)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an address is a public unicast one, and if not, why not."""

    public: bool
    reason: str  #: for a log or an error text; empty when public


def classify(address: str) -> Verdict:
    """Judge an IP address literal; anything else is denied, for names must be resolved first. Never raises.

    An IPv6 address that carries an IPv4 address is public only if both are.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return Verdict(False, "not an IP address")
    reason = _ipv4_reason(parsed) if isinstance(parsed, IPv4Address) else _ipv6_reason(parsed)
    return Verdict(not reason, reason)


def _ipv4_reason(address: IPv4Address) -> str:
    return next((reason for network, reason in _SPECIAL_IPV4 if address in network), "")


def _ipv6_reason(address: IPv6Address) -> str:
    """Why not, or nothing. Mapped, NAT64 and 6to4 addresses stand for their IPv4 address and no more."""
    if address.scope_id is not None:
        return "scoped to one interface"
    for form, embedded in _embedded(address):
        if reason := _ipv4_reason(embedded):
            return f"{form} of {embedded}: {reason}"
    if address in _MAPPED or address in _NAT64:
        return ""
    for network, reason in _SPECIAL_IPV6:
        if address in network:
            return reason
    return "" if address in _GLOBAL_UNICAST else "not global unicast (RFC 4291)"


def _embedded(address: IPv6Address) -> Iterator[tuple[str, IPv4Address]]:
    """Every IPv4 address inside an IPv6 one, with the name of the form it is in."""
    bits = int(address)
    low = IPv4Address(bits & 0xFFFF_FFFF)
    if address in _MAPPED:
        yield "IPv4-mapped form", low
    if address in _COMPATIBLE and bits > 1:
        yield "IPv4-compatible form", low
    if address in _NAT64 or address in _LOCAL_NAT64:
        yield "NAT64 form", low
    if address in _SIX_TO_FOUR:
        yield "6to4 form", IPv4Address(bits >> 80 & 0xFFFF_FFFF)
    if address in _TEREDO:
        yield "Teredo server", IPv4Address(bits >> 64 & 0xFFFF_FFFF)
        yield "Teredo form", IPv4Address(~bits & 0xFFFF_FFFF)
    if bits >> 32 & 0xFFFF_FFFF in _ISATAP:
        yield "ISATAP form", low


def check_url(url: str) -> str:
    """The host and port that the URL names, as it names them, in lower case. Nothing is said of its address.

    Raises AddressDenied unless this is an http or https URL with a plain host: one that two readers could take for two
    is refused before anybody is asked what it stands for.
    """
    found = _LEADS_TO.match(url)
    if found is None:
        raise AddressDenied("only http and https URLs with a plain host, and without credentials, may be dialled")
    if not _is_plain(found["ipv6"], found["host"]):
        raise AddressDenied("the host of the URL is neither a DNS name nor an IP address in its plain form")
    if int(found["port"] or 1) > _LARGEST_PORT:
        raise AddressDenied("the URL names no port from 1 to 65535")
    return found[0].partition("://")[2].lower()


@lru_cache(1024)
def _is_plain(ipv6: str | None, host: str | None) -> bool:
    if ipv6 is not None:
        return _is_ipv6(ipv6)
    return host is not None and (_is_ipv4(host) or _is_name(host.lower().removesuffix(".")))


@dataclass(frozen=True, slots=True)
class AllowList:
    """What an operator lets be dialled besides the public internet. Empty unless configured."""

    networks: tuple[Network, ...] = ()  #: any port
    endpoints: frozenset[tuple[Address, int]] = frozenset()
    hosts: frozenset[tuple[str, int]] = frozenset()  #: DNS names in lower case, without a final dot

    @classmethod
    def parse(cls, text: str) -> "AllowList":
        """Read `127.0.0.1:8082,[::1]:8082,10.0.0.0/8,cdn.internal:8443`; a ConfigError names the bad entry."""
        networks: list[Network] = []
        endpoints: set[tuple[Address, int]] = set()
        hosts: set[tuple[str, int]] = set()
        for entry in filter(None, (part.strip() for part in text.split(","))):
            if "/" in entry:
                networks.append(_network(entry))
                continue
            host, port = _host_and_port(entry)
            if (literal := _literal(host)) is not None:
                endpoints.add((literal, port))
            else:
                hosts.add((_host_name(host, entry), port))
        return cls(tuple(networks), frozenset(endpoints), frozenset(hosts))

    def permits(self, address: str, port: int) -> bool:
        """Whether an entry names this address; an IPv4-mapped one is the IPv4 address it dials."""
        literal = _literal(address)
        if literal is None:
            return False
        return (literal, port) in self.endpoints or any(literal in network for network in self.networks)

    def names(self, host: str, port: int) -> bool:
        """Whether an entry names this DNS name, whatever it resolves to."""
        return (host.lower().removesuffix("."), port) in self.hosts


def check(address: str, port: int, allow: AllowList) -> None:
    """Raise AddressDenied unless the address is public or on the allow-list."""
    verdict = classify(address)
    if verdict.public or allow.permits(address, port):
        return
    literal = _literal(address)
    if literal is None:
        raise AddressDenied(f"{address!r} may not be dialled: {verdict.reason}; use a plain IP address")
    endpoint = f"[{literal}]:{port}" if literal.version == 6 else f"{literal}:{port}"
    raise AddressDenied(
        f"{endpoint} may not be dialled: {verdict.reason}. "
        f"If the origin really lives there, add {endpoint} to MEDIAVAULT_ORIGIN_ALLOW"
    )


def _literal(text: str) -> Address | None:
    """The address that dialling this text reaches, or None for a name or a scoped address."""
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    if isinstance(parsed, IPv4Address):
        return parsed
    return None if parsed.scope_id is not None else parsed.ipv4_mapped or parsed


def _network(entry: str) -> Network:
    try:
        network = ip_network(entry)
    except ValueError as error:
        raise _bad(entry, f"it is no network in CIDR notation ({error})") from error
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        raise _bad(entry, "write IPv4-mapped addresses as IPv4")
    return network


def _host_and_port(entry: str) -> tuple[str, int]:
    host, colon, port = entry.rpartition(":")
    if not colon or port.endswith("]"):
        raise _bad(entry, f"it lacks a port; write {entry}:443, or a network such as 10.0.0.0/8")
    if not _PORT.fullmatch(port) or int(port) > _LARGEST_PORT:
        raise _bad(entry, f"{port!r} is no port from 1 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host or _literal(host) is None:
            raise _bad(entry, f"{host!r} is no IPv6 address without a zone")
    elif ":" in host:
        raise _bad(entry, "an IPv6 address stands in brackets: [::1]:8082")
    return host, int(port)


def _host_name(host: str, entry: str) -> str:
    """A DNS name in lower case. One that ends in digits is a mistyped address: resolvers read `127.1` as one."""
    name = host.lower().removesuffix(".")
    if not _is_name(name):
        raise _bad(entry, f"{host!r} is neither an IP address nor a DNS name")
    return name


def _is_name(name: str) -> bool:
    """Whether it is a DNS name, in lower case and without a final dot, that no resolver takes for an address."""
    labels = name.split(".")
    return (
        len(name) <= _LONGEST_NAME
        and not _NUMBER.fullmatch(labels[-1])
        and all(_LABEL.fullmatch(label) for label in labels)
    )


def _is_ipv4(text: str) -> bool:
    """Whether it is four decimal numbers without leading zeros."""
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    try:
        return IPv6Address(text).scope_id is None
    except ValueError:
        return False


def _bad(entry: str, why: str) -> ConfigError:
    return ConfigError(f"bad entry {entry!r} in the list of allowed origins: {why}")
