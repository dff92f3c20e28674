"""Where a variant's origin URL lies sealed, and what tells two of them apart."""

import hashlib

from mediavault.catalog.variants import Variant
from mediavault.vault.sealing import Sealer


def place(org_id: str, connection_id: str, media_id: str, label: str) -> tuple[str, ...]:
    """The place an origin URL is sealed for; its row's id is not known before it is observed."""
    return ("variants", "origin_url", org_id, connection_id, media_id, label)


def key_of(url: str) -> str:
    """A digest that changes when the URL does."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def open_url(sealer: Sealer, variant: Variant) -> str:
    """The variant's origin URL. Secret: it is dialled, never shown."""
    at = place(variant.org_id, variant.connection_id, variant.media_id, variant.label)
    return sealer.open(bytes(variant.origin_url), at).decode()
