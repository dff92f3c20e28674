"""Identifiers: UUIDv7 (RFC 9562 §5.7) as 32 hex digits, and connections' `conn_` ids."""

import secrets

_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def new_id(now: int) -> str:
    """A UUIDv7 of this millisecond: ids made later sort later, so inserts stay at the index's end."""
    bits = (now << 80) | secrets.randbits(80)
    bits = bits & ~(0xF << 76) | (0x7 << 76)
    bits = bits & ~(0x3 << 62) | (0x2 << 62)
    return f"{bits:032x}"


def new_connection_id() -> str:
    """`conn_` and 24 base-36 characters (contract.md, "Connection")."""
    return "conn_" + "".join(secrets.choice(_BASE36) for _ in range(24))
