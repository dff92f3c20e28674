"""The variables about what one client may take of the vault."""

from typing import Any

from mediavault.api.limits import LimitConfig
from mediavault.config.texts import read_bytes, read_limit, read_seconds
from mediavault.config.variable import Variable
from mediavault.domain.client_address import TrustedProxies
from mediavault.serving.api_protocol import ApiPatience
from mediavault.serving.doors import DoorConfig

#: By their names without the prefix.
LIMITS: dict[str, Variable] = {
    "API_KEY_PER_MINUTE": Variable(
        "api_key_per_minute",
        read_limit,
        "Requests per minute with one API key; 0 is no limit.",
        f"`{LimitConfig.key_per_minute}`",
    ),
    "API_CONNECTION_PER_MINUTE": Variable(
        "api_connection_per_minute",
        read_limit,
        "Requests per minute about one connection; 0 is no limit.",
        f"`{LimitConfig.connection_per_minute}`",
    ),
    "API_ADDRESS_PER_MINUTE": Variable(
        "api_address_per_minute",
        read_limit,
        "Requests per minute from one client address, with whatever key; 0 is no limit.",
        f"`{LimitConfig.address_per_minute}`",
    ),
    "API_GUESSES_PER_MINUTE": Variable(
        "api_guesses_per_minute",
        read_limit,
        "Unknown API keys per minute from one client address that are looked up; 0 is no limit.",
        f"`{LimitConfig.guesses_per_minute}`",
    ),
    "API_KEY_AT_ONCE": Variable(
        "api_key_at_once",
        read_limit,
        "Requests under way at once with one API key; 0 is no limit.",
        f"`{LimitConfig.key_at_once}`",
    ),
    "API_CONNECTION_AT_ONCE": Variable(
        "api_connection_at_once",
        read_limit,
        "Requests under way at once about one connection; 0 is no limit.",
        f"`{LimitConfig.connection_at_once}`",
    ),
    "API_BODIES_BYTES": Variable(
        "api_bodies_bytes",
        read_bytes,
        "Request bodies in memory at once, bytes, a quarter of it for one key; 0 is no limit.",
        f"`{LimitConfig.bodies_bytes}`",
    ),
    "API_HEAD_SECONDS": Variable(
        "api_head_seconds",
        read_seconds,
        "How long a client of the API may take for a request's head, or for its first one, seconds.",
        f"`{ApiPatience.head_seconds:g}`",
    ),
    "API_BODY_SECONDS": Variable(
        "api_body_seconds",
        read_seconds,
        "How long a client of the API may take for a request's body, seconds.",
        f"`{ApiPatience.body_seconds:g}`",
    ),
    "MOST_CONNECTIONS": Variable(
        "most_connections",
        read_limit,
        "Open client connections, of both ports together; 0, or more than the file limit allows, is what it allows.",
        f"`{DoorConfig.most}`",
    ),
    "MOST_CONNECTIONS_PER_ADDRESS": Variable(
        "most_connections_per_address",
        read_limit,
        "Those of one client address; a trusted proxy's do not count; 0 is no limit.",
        f"`{DoorConfig.most_per_address}`",
    ),
    "TRUSTED_PROXIES": Variable(
        "trusted_proxies",
        TrustedProxies.parse,
        "The proxies whose `X-Forwarded-For` tells the client's address: addresses or CIDR, comma-separated.",
        "nobody's is believed",
    ),
}


def limits(values: dict[str, Any]) -> LimitConfig:
    """Takes what is about the API's limits out of the values."""
    return LimitConfig(
        key_per_minute=values.pop("api_key_per_minute", LimitConfig.key_per_minute),
        connection_per_minute=values.pop("api_connection_per_minute", LimitConfig.connection_per_minute),
        address_per_minute=values.pop("api_address_per_minute", LimitConfig.address_per_minute),
        guesses_per_minute=values.pop("api_guesses_per_minute", LimitConfig.guesses_per_minute),
        key_at_once=values.pop("api_key_at_once", LimitConfig.key_at_once),
        connection_at_once=values.pop("api_connection_at_once", LimitConfig.connection_at_once),
        bodies_bytes=values.pop("api_bodies_bytes", LimitConfig.bodies_bytes),
        trusted=values.get("trusted_proxies", TrustedProxies()),
    )


def doors(values: dict[str, Any]) -> DoorConfig:
    """Takes what is about clients' connections out of the values."""
    return DoorConfig(
        most=values.pop("most_connections", DoorConfig.most),
        most_per_address=values.pop("most_connections_per_address", DoorConfig.most_per_address),
        trusted=values.pop("trusted_proxies", TrustedProxies()),
    )


def patience(values: dict[str, Any]) -> ApiPatience:
    """Takes what is about slow clients out of the values."""
    return ApiPatience(
        head_seconds=values.pop("api_head_seconds", ApiPatience.head_seconds),
        body_seconds=values.pop("api_body_seconds", ApiPatience.body_seconds),
    )
