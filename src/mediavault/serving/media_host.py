"""The media host: one request from its URL to its bytes.

1. The token is verified; nothing is looked up for a forged one.
2. The variant is found, and the plan made: stored, edge, fill, origin, not yet, or gone.
3. The plan's source is opened, and the answer decided by RFC 9110 for every source alike.
4. The view is counted in memory, and the answer handed to the connection, which sends it.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from mediavault.blobs.store import BlobStore, blob_key
from mediavault.catalog import variants
from mediavault.catalog.database import Catalog, at_once
from mediavault.catalog.variants import Variant
from mediavault.domain.byte_ranges import Slice
from mediavault.domain.delivery import FromEdge, FromStore, Gone, NotYet, Unmade, plan
from mediavault.domain.lifecycle import Status
from mediavault.domain.responding import ALLOWED_METHODS, decide
from mediavault.domain.signed_url import Grant, Purpose, UrlSigner
from mediavault.domain.times import SECOND, Now
from mediavault.edge.cache import EdgeCache
from mediavault.edge.copies import EdgeCopy
from mediavault.errors import (
    BadSignature,
    BlobCorrupt,
    BlobNotFound,
    BlobUnavailable,
    DiskFull,
    MediaNotFound,
    OriginBusy,
    OriginCoolingDown,
    OriginError,
    ThumbnailPending,
    VaultError,
)
from mediavault.problems import Problem, problem
from mediavault.serving.asking import is_view, wanted
from mediavault.serving.direct import relay
from mediavault.serving.redirecting import Elsewhere, redirected
from mediavault.serving.repeating import Repeating
from mediavault.serving.requests import Request
from mediavault.serving.responses import Response, json_response, media_response, problem_response
from mediavault.serving.sources import FileSource, FillSource, RemoteSource, Source, StoredBlob, representation_of
from mediavault.telemetry import Events, logger
from mediavault.vault.counting import Counting
from mediavault.vault.fills.filling import Filling
from mediavault.vault.fills.relaying import Relaying
from mediavault.vault.fills.revalidating import Revalidating
from mediavault.vault.integrity.damaging import Damaging
from mediavault.vault.storing import Storing

_PREFIX = "/v2/"
_PREFLIGHT = (
    ("access-control-allow-methods", "GET, HEAD, POST, OPTIONS"),
    ("access-control-allow-headers", "Range, If-Range, If-None-Match, If-Match, If-Modified-Since"),
    ("access-control-max-age", "86400"),
    ("allow", ", ".join(ALLOWED_METHODS)),
)

#: An answer that has to be waited for: what gives it, still to be called.
Later = Callable[[], Coroutine[Any, Any, Response]]


@dataclass(frozen=True)
class MediaHost:
    """What the media port serves. It decides; `serving.protocol` sends."""

    catalog: Catalog
    blobs: BlobStore
    edge: EdgeCache
    filling: Filling
    revalidating: Revalidating
    storing: Storing
    counting: Counting
    relaying: Relaying
    signer: UrlSigner
    now: Now
    damaging: Damaging
    repeating: Repeating
    #: Where viewers may fetch a stored blob themselves; None where the vault passes all bytes on.
    elsewhere: Elsewhere | None = None

    def answer(self, request: Request) -> Response | Later:
        """The answer, where nothing has to be waited for: a tenth of what a task of its own would cost."""
        try:
            outcome = self._again(request) or self._answer(request)
        except Exception as error:
            return self._failed(request, error)
        return outcome if isinstance(outcome, Response) else partial(self._later, request, outcome)

    async def _later(self, request: Request, later: Later) -> Response:
        try:
            return await later()
        except Exception as error:
            return self._failed(request, error)

    def _failed(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, VaultError):
            logger().error(Events.REQUEST_FAILED, request_id=request.id, exc_info=error)
        self.damaging.tell(error)
        return problem_response(problem(error), request)

    def _again(self, request: Request) -> Response | None:
        """The answer to the same question, where it was given already and is still exact. Raises BadSignature."""
        given = self.repeating.find(request)
        if given is None:
            return None
        now = self.now()
        grant = self.signer.verify(request.path[len(_PREFIX) :], now=now)
        if given.seconds_left != (grant.expires_at - now) // SECOND:
            return None
        if given.viewed_id is not None:
            self.counting.count(given.viewed_id)
        return given.again()

    def _answer(self, request: Request) -> Response | Later:
        method, path = request.method, request.path
        if method == "OPTIONS" and (path == "*" or path.startswith(_PREFIX)):
            return json_response(200, b"{}", _PREFLIGHT)
        if not path.startswith(_PREFIX) and method != "CONNECT":
            return problem_response(Problem(404, "ROUTE_NOT_FOUND", "Not found"), request)
        if method not in ALLOWED_METHODS:
            allowed = {"Allow": ", ".join(ALLOWED_METHODS)}
            return problem_response(Problem(405, "METHOD_NOT_ALLOWED", "Method not allowed", allowed), request)
        grant = self.signer.verify(path[len(_PREFIX) :], now=self.now())
        if grant.purpose is Purpose.DIRECT:
            if method == "POST":
                raise BadSignature("This URL streams from its origin and names nothing that could be stored")
            return partial(relay, self.relaying.of_url(grant.subject), request, seconds_left=self._seconds_left(grant))
        if method == "POST":
            return partial(self._store, grant)
        return self._serve(grant, request)

    async def _store(self, grant: Grant) -> Response:
        return json_response(202, msgspec.json.encode(await self.storing.store(await self._variant(grant.variant_id))))

    def _serve(self, grant: Grant, request: Request) -> Response | Later:
        if self.catalog.shared:
            return partial(self._find_and_serve, grant, request)
        as_of = self.repeating.now
        variant = at_once(self._variant(grant.variant_id))
        source = self._at_hand(variant)
        if source is None:
            return partial(self._fetch_and_serve, variant, grant, request, as_of)
        try:
            outcome = self._decide(variant, source, grant, request, as_of)
        except (BlobNotFound, BlobCorrupt):  # dealt with where it can be waited for
            outcome = None
        return outcome if isinstance(outcome, Response) else partial(self._fetch_and_serve, variant, grant, request)

    async def _find_and_serve(self, grant: Grant, request: Request) -> Response:
        return await self._fetch_and_serve(await self._variant(grant.variant_id), grant, request)

    async def _fetch_and_serve(
        self, variant: Variant, grant: Grant, request: Request, as_of: int | None = None
    ) -> Response:
        try:
            source = await self._open(variant, wanted(request), as_of)
        except DiskFull:  # the viewer need not suffer for it
            response = await relay(self.relaying.of_variant(variant), request, seconds_left=self._seconds_left(grant))
            if is_view(request, None):
                self.counting.count(variant.id)
            return response
        try:
            return await _given(self._decide(variant, source, grant, request))
        except (BlobNotFound, BlobCorrupt) as error:
            await self.damaging.suspect(variant.blob_id, str(error))
        fresh = await self._variant(variant.id)  # where its blob was taken from it, it comes from elsewhere now
        return await _given(self._decide(fresh, await self._open(fresh, wanted(request)), grant, request))

    def _decide(
        self, variant: Variant, source: Source, grant: Grant, request: Request, as_of: int | None = None
    ) -> Response | Later:
        answer = decide(request.method, request.headers, source.representation)
        seconds_left = self._seconds_left(grant)
        response = redirected(source, answer, self.elsewhere, seconds_left=seconds_left)
        response = response or media_response(source, answer, seconds_left=seconds_left, request=request)
        if answer.status in {200, 206, 304}:
            viewed_id = variant.id if is_view(request, source.representation.size) else None
            if response.body is not None and isinstance(response.body.source, RemoteSource):
                response.body.source.doubted_by(partial(self.damaging.suspect, variant.blob_id, "shorter than its row"))
                return partial(self._begin, response, response.body.source, viewed_id)
            if viewed_id is not None:
                self.counting.count(viewed_id)
            if isinstance(source, StoredBlob) and response.status != 307:
                self.repeating.keep(as_of, request, response, seconds_left=seconds_left, viewed_id=viewed_id)
        return response

    async def _begin(self, response: Response, source: RemoteSource, viewed_id: str | None) -> Response:
        """A head is a promise: where the bytes lie elsewhere, it is given once the first of them are here."""
        if response.body is not None:
            await source.begin(response.body.slices[0][1])
        if viewed_id is not None:
            self.counting.count(viewed_id)
        return response

    async def _variant(self, variant_id: str) -> Variant:
        variant = await variants.find_variant(self.catalog, variant_id)
        if variant is None:
            raise MediaNotFound
        return variant

    async def _open(self, variant: Variant, first: Slice | None, as_of: int | None = None) -> Source:
        """Open the nearest source; `first` is what is wanted of it, `as_of` the commit that the row is of, if known.

        Raises MediaNotFound, OriginError, DiskFull.
        """
        source = self._at_hand(variant)
        is_current = as_of is not None and as_of == self.catalog.commits
        if source is None and not is_current and self.filling.running(variant.id) is None:
            # The row may be older than the look at the edge: if the bytes were stored and left the edge in between, or
            # the origin failed, a row read now says so, and the origin is not asked a second time.
            variant = await self._variant(variant.id)
            source = self._at_hand(variant)
        if source is not None:
            return source
        stale = self.edge.peek(variant.id)
        return await (self._fill(variant, first) if stale is None else self._revalidated(variant, stale, first))

    async def _revalidated(self, variant: Variant, stale: EdgeCopy, first: Slice | None) -> Source:
        """The edge copy once the origin says that it is right, or what took its place; the stale one if it fails."""
        with self.edge.reading(stale):
            try:
                good = None
                if self.filling.running(variant.id) is None:
                    good = await self.revalidating.revalidate(variant, stale)
                if good is None:
                    return await self._fill(variant, first)
            except (OriginError, OriginBusy) as error:
                good = self.revalidating.stale(stale, error)
            return self._edge_copy(good) or await self._fill(variant, first)

    def _at_hand(self, variant: Variant) -> Source | None:
        """What needs no fetch; None where only a fill will do. Raises MediaNotFound, OriginCoolingDown, BlobError."""
        copy = self.edge.find(variant.id) if variant.status != Status.STORED else None
        chosen = plan(
            Status(variant.status),
            edge_fresh_until=None if copy is None else copy.fresh_until,
            filling=self.filling.running(variant.id) is not None,
            not_before=variant.not_before,
            now=self.now(),
            has_older_bytes=variant.has_older_bytes,
            has_origin=variant.has_origin,
        )
        match chosen:
            case Gone():
                raise MediaNotFound
            case NotYet(until):
                raise OriginCoolingDown(variant.last_error, retry_after=max(1, (until - self.now()) // SECOND))
            case Unmade() if variant.is_derived:
                raise ThumbnailPending
            case Unmade():
                raise BlobUnavailable("its bytes are being imported, or were lost")
            case FromStore():
                return self._stored(variant)
            case FromEdge() if copy is not None and (source := self._edge_copy(copy)) is not None:
                return source
        return None

    def _stored(self, variant: Variant) -> Source:
        if variant.blob_id is None or variant.version is None or variant.sha256 is None:
            raise BlobCorrupt(f"the variant {variant.id} is stored without its blob")
        key = blob_key(variant.org_id, variant.blob_id)
        representation = representation_of(variant.version, variant.size_bytes, variant.content_type, variant.sha256)
        return StoredBlob(self.blobs, key, variant.size_bytes, representation)

    def _edge_copy(self, copy: EdgeCopy) -> Source | None:
        opened = self.edge.open_file(copy)
        if opened is None:
            return None
        representation = representation_of(copy.version, copy.size_bytes, copy.content_type, opened.sha256)
        return FileSource(opened, representation)

    async def _fill(self, variant: Variant, first: Slice | None) -> Source:
        fill = self.filling.fill(variant, first)
        self.edge.count_miss()
        fill.join()
        try:
            head = await fill.ready()
            size, sha256 = head.size_bytes, None
            if fill.filled is not None:
                size, sha256 = fill.filled.size_bytes, fill.filled.sha256
            return FillSource(fill, representation_of(fill.version, size, head.content_type, sha256))
        except BaseException:
            fill.leave()
            raise

    def _seconds_left(self, grant: Grant) -> int:
        return (grant.expires_at - self.now()) // SECOND


async def _given(outcome: Response | Later) -> Response:
    return outcome if isinstance(outcome, Response) else await outcome()
