"""Who a client is by its address: the peer of the connection, or what a trusted proxy says of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: One customer has as many IPv6 addresses as 64 bits can count: they are one client.
_CUSTOMER_PREFIX = 64
#: Characters of an address, with a zone.
_LONGEST = 64


@dataclass(frozen=True)
class TrustedProxies:
    """The peers whose X-Forwarded-For is believed. None unless named."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "TrustedProxies":
        """Addresses and CIDR, comma-separated. Raises ValueError."""
        return cls(tuple(ip_network(part.strip()) for part in text.split(",")))

    def trusts(self, host: str) -> bool:
        """Whether what this peer says of its client is believed."""
        if not self.networks:
            return False
        address = _parsed(host)
        return address is not None and any(address in network for network in self.networks)

    def client(self, peer: str, forwarded: Iterable[bytes]) -> str:
        """The name of the client behind a peer; `forwarded`: the values of X-Forwarded-For in their order.

        The last address that no trusted proxy has is the client; whatever stands before it, anybody may have written.
        """
        if not self.trusts(peer):
            return name_of(peer)
        hops = b",".join(forwarded).decode("latin-1").split(",")
        client = peer
        for hop in reversed(hops):
            if _parsed(hop.strip()) is None:
                break
            client = hop.strip()
            if not self.trusts(client):
                break
        return name_of(client)


def name_of(host: str) -> str:
    """What an address is counted under: an IPv4 address as it is, an IPv6 one by its network."""
    return _network_name(host) if ":" in host else host


def _network_name(host: str) -> str:
    address = _parsed(host)
    if not isinstance(address, IPv6Address):
        return host[:_LONGEST] if address is None else str(address)
    return str(IPv6Network((int(address), _CUSTOMER_PREFIX), strict=False))


def _parsed(host: str) -> Address | None:
    """The address, an IPv4 one that is mapped into IPv6 as what it is; None for what is none."""
    return _read(host) if len(host) <= _LONGEST else None


@lru_cache(4096)
def _read(host: str) -> Address | None:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
