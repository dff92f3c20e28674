"""The media host: one request from its URL to its bytes.

1. The token is verified; nothing is looked up for a forged one.
2. The variant is found, and the plan made: stored, edge, fill, origin, not yet, or gone.
3. The plan's source is opened, and the answer decided by RFC 9110 for every source alike.
4. The view is counted in memory, the bytes are sent.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from mediavault.blobs.store import BlobFile, BlobStore, blob_key
from mediavault.catalog import variants
from mediavault.catalog.database import Catalog
from mediavault.catalog.variants import Variant
from mediavault.domain import byte_ranges
from mediavault.domain.delivery import FromEdge, FromStore, Gone, NotYet, plan
from mediavault.domain.lifecycle import Status
from mediavault.domain.responding import ALLOWED_METHODS, Representation, decide
from mediavault.domain.signed_url import Grant, Purpose, UrlSigner
from mediavault.domain.times import SECOND, Now
from mediavault.edge.cache import EdgeCache
from mediavault.edge.copies import EdgeCopy
from mediavault.errors import BadSignature, BlobCorrupt, DiskFull, MediaNotFound, OriginCoolingDown, VaultError
from mediavault.origin.client import GuardedClient
from mediavault.problems import Problem, new_request_id, problem
from mediavault.serving.direct import serve_direct
from mediavault.serving.responses import respond, respond_json, respond_problem
from mediavault.serving.sources import FileSource, FillSource, RemoteSource, Source
from mediavault.telemetry import Events, logger
from mediavault.vault import origin_urls
from mediavault.vault.counting import Counting
from mediavault.vault.filling import Filling
from mediavault.vault.sealing import Sealer
from mediavault.vault.storing import Storing

_PREFIX = "/v2/"
_PREFLIGHT = (
    ("access-control-allow-methods", "GET, HEAD, POST, OPTIONS"),
    ("access-control-allow-headers", "Range, If-Range, If-None-Match, If-Match, If-Modified-Since"),
    ("access-control-max-age", "86400"),
    ("allow", ", ".join(ALLOWED_METHODS)),
)


@dataclass(frozen=True)
class MediaHost:
    """The ASGI application of the media port."""

    catalog: Catalog
    blobs: BlobStore
    edge: EdgeCache
    filling: Filling
    storing: Storing
    counting: Counting
    client: GuardedClient
    signer: UrlSigner
    sealer: Sealer
    now: Now

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one HTTP request."""
        request_id = new_request_id()
        started = False

        async def watched_send(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._answer(scope, receive, watched_send, request_id)
        except Exception as error:
            if started:
                raise  # the server breaks the connection: a body cut short must not look whole
            if not isinstance(error, VaultError):
                logger().exception(Events.REQUEST_FAILED, request_id=request_id)
            head = scope["method"] == "HEAD"
            await respond_problem(send, problem(error), request_id=request_id, head=head)

    async def _answer(self, scope: Any, receive: Any, send: Any, request_id: str) -> None:
        method, path = scope["method"], scope["path"]
        if not path.startswith(_PREFIX):
            unknown = Problem(404, "ROUTE_NOT_FOUND", "Not found")
            await respond_problem(send, unknown, request_id=request_id, head=method == "HEAD")
            return
        if method == "OPTIONS":
            await respond_json(send, 200, b"{}", request_id=request_id, headers=_PREFLIGHT)
            return
        if method not in ALLOWED_METHODS:
            refused = Problem(405, "METHOD_NOT_ALLOWED", "Method not allowed", {"Allow": ", ".join(ALLOWED_METHODS)})
            await respond_problem(send, refused, request_id=request_id, head=False)
            return
        grant = self.signer.verify(path[len(_PREFIX) :], now=self.now())
        if grant.purpose is Purpose.DIRECT:
            if method == "POST":
                raise BadSignature("This URL streams from its origin and names nothing that could be stored")
            await self._direct(self.sealer.open_direct(grant.subject), grant, scope, receive, send, request_id)
        elif method == "POST":
            await self._store(grant, send, request_id)
        else:
            await self._serve(grant, scope, receive, send, request_id)

    async def _store(self, grant: Grant, send: Any, request_id: str) -> None:
        queued = await self.storing.store(await self._variant(grant))
        await respond_json(send, 202, msgspec.json.encode(queued), request_id=request_id)

    async def _serve(self, grant: Grant, scope: Any, receive: Any, send: Any, request_id: str) -> None:
        variant = await self._variant(grant)
        try:
            source = await self._open(variant)
        except DiskFull:  # the viewer need not suffer for it
            url = origin_urls.open_url(self.sealer, variant)
            await self._direct(url, grant, scope, receive, send, request_id)
            self._count(variant, scope, None)
            return
        try:
            answer = decide(scope["method"], scope["headers"], source.representation)
            if answer.status in {200, 206, 304}:
                self._count(variant, scope, source.representation.size)
            await respond(
                receive,
                send,
                source,
                answer,
                request_id=request_id.encode(),
                seconds_left=self._seconds_left(grant),
            )
        finally:
            source.close()

    async def _direct(self, url: str, grant: Grant, scope: Any, receive: Any, send: Any, request_id: str) -> None:
        left = self._seconds_left(grant)
        await serve_direct(self.client, url, scope, receive, send, request_id=request_id.encode(), seconds_left=left)

    async def _variant(self, grant: Grant) -> Variant:
        variant = await variants.find_variant(self.catalog, grant.variant_id)
        if variant is None:
            raise MediaNotFound
        return variant

    async def _open(self, variant: Variant) -> Source:
        """Open the nearest source. Raises MediaNotFound, OriginError, DiskFull, BlobError."""
        source = self._at_hand(variant)
        if source is None and self.filling.running(variant.id) is None:
            # The row may be older than the look at the edge: if the bytes were stored and left the edge in between, or
            # the origin failed, a row read now says so, and the origin is not asked a second time.
            variant = await self._refreshed(variant)
            source = self._at_hand(variant)
        return source or await self._fill(variant)

    async def _refreshed(self, variant: Variant) -> Variant:
        fresh = await variants.find_variant(self.catalog, variant.id)
        if fresh is None:
            raise MediaNotFound
        return fresh

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
        )
        match chosen:
            case Gone():
                raise MediaNotFound
            case NotYet(until):
                raise OriginCoolingDown(variant.last_error, retry_after=max(1, (until - self.now()) // SECOND))
            case FromStore():
                return self._stored(variant)
            case FromEdge() if copy is not None and (source := self._edge_copy(copy)) is not None:
                return source
        return None

    def _stored(self, variant: Variant) -> Source:
        if variant.blob_id is None or variant.version is None or variant.sha256 is None:
            raise BlobCorrupt(f"the variant {variant.id} is stored without its blob")
        key = blob_key(variant.org_id, variant.blob_id)
        representation = _representation(
            variant.version, variant.size_bytes, variant.content_type, bytes.fromhex(variant.sha256)
        )
        file = self.blobs.open_file(key)
        if file is None:
            return RemoteSource(self.blobs, key, representation)
        if file.size_bytes != variant.size_bytes:
            file.close()
            raise BlobCorrupt(f"the blob {key} has {file.size_bytes} bytes instead of {variant.size_bytes}")
        return FileSource(file, representation)

    def _edge_copy(self, copy: EdgeCopy) -> Source | None:
        representation = _representation(copy.version, copy.size_bytes, copy.content_type, bytes.fromhex(copy.sha256))
        fd = self.edge.open_file(copy)
        return None if fd is None else FileSource(BlobFile(fd, copy.size_bytes), representation)

    async def _fill(self, variant: Variant) -> Source:
        fill = self.filling.fill(variant)
        fill.join()
        try:
            head = await fill.ready()
            size, sha256 = head.size_bytes, None
            if fill.filled is not None:
                size, sha256 = fill.filled.size_bytes, bytes.fromhex(fill.filled.sha256)
            return FillSource(fill, _representation(fill.version, size, head.content_type, sha256))
        except BaseException:
            fill.leave()
            raise

    def _count(self, variant: Variant, scope: Any, size: int | None) -> None:
        """A GET without Range, or with one that starts at 0, is a view; a seek or a HEAD is none (contract)."""
        if scope["method"] != "GET":
            return
        asked = [value.decode("latin-1") for name, value in scope["headers"] if name == b"range"]
        if len(asked) != 1 or byte_ranges.starts_at_zero(asked[0], size):  # two lines are ignored
            self.counting.count(variant.id)

    def _seconds_left(self, grant: Grant) -> int:
        return (grant.expires_at - self.now()) // SECOND


def _representation(version: str, size_bytes: int | None, content_type: str, sha256: bytes | None) -> Representation:
    """The version id is a UUIDv7 and tells when its fill began: one Last-Modified, cold, at the edge and stored."""
    return Representation(
        etag=f'"{version}"',
        size=size_bytes,
        content_type=content_type,
        last_modified_at=int(version[:12], 16) // 1000,
        sha256=sha256,
    )
