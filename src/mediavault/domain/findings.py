"""Findings: what `mediavault verify` says of what it found, and the promises it holds the vault to."""

import zlib

from msgspec import Struct

#: The invariants (docs/durability.md), by number; what can be seen of each in data at rest.
INVARIANTS = {
    1: "stored media have their blob, in the size and with the digest of its row",
    2: "what is not stored has no bytes and no usage; what is being stored has a lease",
    3: "a blob is referenced as often as it says; what nothing refers to is younger than the grace",
    4: "removed media are removed in every respect",
    5: "reported totals are those of the rows",
    6: "only legal transitions, and times that do not run backwards along them",
    7: "an answer is the whole object of its ETag, or an exact slice of it",
    8: "counts of views never fall",
    9: "nothing of one organisation refers to another",
    10: "a fence only grows, and a variant has one lease at most",
    11: "one event a committed change, numbered without gaps",
    12: "no secret in the clear; a ciphertext opens only in its own place",
    13: "a signed URL is taken only as it was signed",
    14: "nothing is left past its policy",
    15: "a store announces its blob before it writes; bytes are durable before the row says so",
}

#: What data at rest say nothing of: tests prove these.
BY_TESTS_ONLY = frozenset({7, 13})


class Finding(Struct, frozen=True, rename="camel"):
    """One thing that is not as promised."""

    invariant: int
    code: str  #: stable, for machines
    text: str  #: what, for people
    remedy: str  #: what to do
    organisation: str | None = None
    connection: str | None = None
    variant: str | None = None
    blob: str | None = None
    subject: str | None = None  #: an id of another kind, or a name in the blob store

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells it from other findings, whatever was measured."""
        return self.code, self.organisation, self.connection, self.variant, self.blob, self.subject


def in_subset(blob_id: str, part: int, parts: int) -> bool:
    """Whether a blob belongs to part 1 to `parts`: the same one in every run, and each blob to exactly one."""
    return zlib.crc32(blob_id.encode()) % parts == part - 1
