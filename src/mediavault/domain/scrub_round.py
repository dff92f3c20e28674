"""A round of the scrub through everything stored: how far it is, and what it could not read.

A disk may fail to read once and never again: a blob is only said to be unreadable when it was so twice, a while apart.
"""

import msgspec

#: Of so many blobs it is remembered that they could not be read; of more there is a line in the log.
_MOST_REMEMBERED = 1_000


class ScrubRound(msgspec.Struct, frozen=True):
    """How far the scrub is. Times are Unix milliseconds."""

    began_at: int  #: 0 before the first round
    after: str = ""  #: the last blob that was read; empty where no round is under way
    blobs: int = 0
    bytes: int = 0
    damaged: int = 0
    unreadable: int = 0
    ended_at: int | None = None  #: of the last round that came to its end
    doubtful: dict[str, int] = {}  #: blobs that could not be read once, and when
    reported: tuple[str, ...] = ()  #: blobs that could not be read again, and whose variants say so

    def begun(self, now: int) -> "ScrubRound":
        """The round after this one."""
        return ScrubRound(now, ended_at=self.ended_at, doubtful=self.doubtful, reported=self.reported)

    def passed(self, blob_id: str, size_bytes: int, *, damaged: bool, unreadable: bool) -> "ScrubRound":
        """With one blob more."""
        return msgspec.structs.replace(
            self,
            after=blob_id,
            blobs=self.blobs + 1,
            bytes=self.bytes + size_bytes,
            damaged=self.damaged + damaged,
            unreadable=self.unreadable + unreadable,
        )

    def ended(self, now: int) -> "ScrubRound":
        """Nothing is left behind its last blob."""
        return msgspec.structs.replace(self, after="", ended_at=now)

    def is_due(self, now: int, every_ms: int) -> bool:
        """Whether the next round may begin, or this one goes on."""
        return bool(self.after) or not self.began_at or now >= self.began_at + every_ms

    def doubted(self, blob_id: str, now: int) -> "ScrubRound":
        """It could not be read; since when stays what it was."""
        known = blob_id in self.doubtful or blob_id in self.reported
        if known or len(self.doubtful) + len(self.reported) >= _MOST_REMEMBERED:
            return self
        return msgspec.structs.replace(self, doubtful=self.doubtful | {blob_id: now})

    def said(self, blob_id: str) -> "ScrubRound":
        """It could not be read again, and that was reported."""
        cleared = self.cleared(blob_id)
        return msgspec.structs.replace(cleared, reported=(*cleared.reported, blob_id))

    def cleared(self, blob_id: str) -> "ScrubRound":
        """It was read, or is relied on no longer."""
        if blob_id not in self.doubtful and blob_id not in self.reported:
            return self
        return msgspec.structs.replace(
            self,
            doubtful={each: at for each, at in self.doubtful.items() if each != blob_id},
            reported=tuple(each for each in self.reported if each != blob_id),
        )

    def due_again(self, now: int, after_ms: int) -> list[str]:
        """The doubtful ones that may be looked at once more."""
        return [blob_id for blob_id, at in self.doubtful.items() if now >= at + after_ms]
