"""What subscribers are told of a connection, in the shape that the published clients' webhook types expect."""

from collections.abc import Sequence
from typing import Any

import msgspec

from mediavault.catalog import events
from mediavault.catalog.operations import Operation

#: The columns an event is made of, in the order `record` takes them.
TOLD = ("id", "org_id", "state", "upstream_user_id", "user_data", "permissions", "client_reference_id")


def record(kind: str, told: Sequence[Any], at: int) -> Operation[None]:
    """Record an event of a connection in the running transaction."""
    connection_id, org_id, state, upstream_user_id, user_data, permissions, client_reference_id = told
    user = msgspec.json.decode(user_data, type=dict[str, Any])
    data: dict[str, object] = {
        "connection": {
            "id": connection_id,
            "platformUserId": upstream_user_id,
            "status": state,
            "userData": {
                "userId": upstream_user_id,
                "name": user.get("name"),
                "username": user.get("username"),
                "avatar": user.get("avatar"),
            },
            "permissions": msgspec.json.decode(permissions),
        },
        "clientReferenceId": client_reference_id,
    }
    yield from events.record(org_id, kind, data, connection_id=connection_id, at=at)
