"""The schema, the same on both engines. Times are BIGINT Unix milliseconds; enums are TEXT with a CHECK.

Every row of a tenant carries `org_id` and is looked up with it. Only variants have a `status`; every other table
says `state`.
"""

from mediavault.catalog.tables.accounts import (
    ConnectionState,
    api_keys,
    connections,
    installation,
    organisations,
    policy_changes,
    usage,
)
from mediavault.catalog.tables.columns import ByteText, is_in, metadata
from mediavault.catalog.tables.events import DeliveryState, EndpointState, outbox, webhook_deliveries, webhook_endpoints
from mediavault.catalog.tables.lists import list_items, lists
from mediavault.catalog.tables.media import BlobState, blobs, media, variants

__all__ = [
    "BlobState",
    "ByteText",
    "ConnectionState",
    "DeliveryState",
    "EndpointState",
    "api_keys",
    "blobs",
    "connections",
    "installation",
    "is_in",
    "list_items",
    "lists",
    "media",
    "metadata",
    "organisations",
    "outbox",
    "policy_changes",
    "usage",
    "variants",
    "webhook_deliveries",
    "webhook_endpoints",
]
