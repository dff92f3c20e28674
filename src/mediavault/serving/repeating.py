"""Answers about stored blobs that are asked for again in the same words: given as they were, while that is exact.

What is answered follows from the row of the variant, the question, the signature and the seconds that the URL has left.
So an answer is as good as new until something is committed to the catalog, and for a second at most: after that it is
forgotten, and its file let go of, whether or not anybody asks. The signature is checked every time.
"""

import asyncio
from dataclasses import dataclass

from mediavault.catalog.database import Catalog
from mediavault.catalog.remembering import Remembered
from mediavault.serving.requests import Request
from mediavault.serving.responses import Response
from mediavault.serving.sources import FileSource

#: Files that are held open for answers to come; of the descriptors that `doors` leaves to all but connections.
_MOST_OPEN = 64
_LONGEST_SECONDS = 1

_Question = tuple[str, str, tuple[tuple[bytes, bytes], ...]]


@dataclass(frozen=True, slots=True)
class Given:
    """An answer that was given."""

    response: Response
    seconds_left: int  #: of its URL
    viewed_id: str | None  #: the variant of which it was a view

    file: FileSource | None = None  #: that its body is read from

    def again(self) -> Response:
        """The same. Its file has one reader more, who closes it as if it were theirs alone."""
        if self.file is not None:
            self.file.share()
        return self.response


class Repeating:
    """The answers of the last second, since the last commit."""

    def __init__(self, catalog: Catalog) -> None:
        self._given: Remembered[_Question, Given] = Remembered(catalog, forget=self._forget)
        self._open = 0
        self._end: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._given)

    @property
    def now(self) -> int | None:
        """To be asked before an answer is worked out, and given to `keep`."""
        return self._given.now

    def find(self, request: Request) -> Given | None:
        """The answer to the same question."""
        return self._given.find((request.method, request.path, request.headers))

    def keep(
        self, as_of: int | None, request: Request, response: Response, *, seconds_left: int, viewed_id: str | None
    ) -> None:
        """Remember an answer that holds its bytes, or reads them from a file here, which stays open meanwhile."""
        file = None if response.body is None else response.body.source
        if file is not None and (not isinstance(file, FileSource) or self._open >= _MOST_OPEN):
            return
        given = Given(response, seconds_left, viewed_id, file)
        question = (request.method, request.path, request.headers)
        self._given.discard(question)
        taken = len(response.content) + sum([len(value) for _, value in request.headers])
        if not self._given.keep(as_of, question, given, taken):
            return
        if file is not None:
            file.share()
            self._open += 1
        if self._end is None:
            self._end = asyncio.get_running_loop().call_later(_LONGEST_SECONDS, self.clear)

    def clear(self) -> None:
        """Forget everything."""
        if self._end is not None:
            self._end.cancel()
            self._end = None
        self._given.clear()

    def _forget(self, given: Given) -> None:
        if given.file is not None:
            given.file.close()
            self._open -= 1
