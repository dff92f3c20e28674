"""The types of events, and which of them a webhook endpoint is told unless it names others."""

from mediavault.domain.lifecycle import Event

CONNECTION_CREATED = "connection.created"
CONNECTION_UPDATED = "connection.updated"
CONNECTION_EXPIRED = "connection.expired"
LIST_SYNCED = "vault.list.synced"
LIMIT_REACHED = "vault.limit.reached"
#: Stored bytes could not be read, twice, a while apart; the variant stays stored.
UNREADABLE = "vault.media.unreadable"
#: Sent by hand to one endpoint; it never lies in the outbox.
TEST = "webhook.test"

_MEDIA = frozenset({f"vault.media.{event.value}" for event in Event if event is not Event.GIVEN_UP})

#: What the contract names. The other moves of a variant are many, and are for those who ask for them and the stream.
BY_DEFAULT = frozenset(
    {
        *(CONNECTION_CREATED, CONNECTION_UPDATED, CONNECTION_EXPIRED),
        *("vault.media.stored", "vault.media.failed", "vault.media.removed"),
        *(LIST_SYNCED, LIMIT_REACHED),
    }
)
KNOWN = BY_DEFAULT | _MEDIA | {UNREADABLE}
