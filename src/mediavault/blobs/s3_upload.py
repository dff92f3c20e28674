"""A body on its way to S3: measured as it passes, small ones in one piece, large ones as an iterator of parts."""

import hashlib
from collections.abc import AsyncIterator

from mediavault.blobs.steps import in_thread
from mediavault.errors import LimitReached

#: Up to so many bytes are one PUT; more go as parts of this size.
PART_BYTES = 8 << 20
#: How many parts are on their way at once.
PARTS_AT_ONCE = 4


class MeasuredBody:
    """Hashes, counts and limits what passes. `failure` is what the body itself raised, for it to come out unchanged."""

    def __init__(self, key: str, body: AsyncIterator[bytes], limit_bytes: int | None) -> None:
        self.size_bytes = 0
        self.failure: BaseException | None = None
        #: Whether all of the body was handed over.
        self.ended = False
        self._key = key
        self._body = body
        self._limit_bytes = limit_bytes
        self._digest = hashlib.sha256()
        self._held: list[bytes] = []

    async def small(self) -> bytes | None:
        """The whole body, if one PUT can hold it; else None, and the body is iterated over."""
        held = 0
        async for chunk in self._measured():
            self._held.append(chunk)
            held += len(chunk)
            if held > PART_BYTES:
                return None
        self.ended = True
        return b"".join(self._held)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """What `small` took already, then the rest."""
        held, self._held = self._held, []
        while held:
            yield held.pop(0)
        try:
            async for chunk in self._measured():
                yield chunk
        except BaseException as error:
            self.failure = error
            raise
        self.ended = True

    def sha256(self) -> str:
        """The digest of what passed, hex."""
        return self._digest.hexdigest()

    async def _measured(self) -> AsyncIterator[bytes]:
        async for chunk in self._body:
            self.size_bytes += len(chunk)
            if self._limit_bytes is not None and self.size_bytes > self._limit_bytes:
                raise LimitReached(f"more than the {self._limit_bytes} bytes a blob may have here")
            if chunk:
                await in_thread(self._key, self._digest.update, chunk)
                yield chunk
