"""An S3 service in memory that believes no checksum unseen, and fails on demand."""

import asyncio
import base64
import contextlib
import hashlib
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from mediavault.blobs.s3_config import S3Credentials, S3Place

CREDENTIALS = S3Credentials("access", "the-secret-of-the-fake")
#: What may be asked, as `FaultyS3.fail` names it.
PUT, BEGIN, PART, COMPLETE, ABORT, GET, DELETE = "put", "begin", "part", "complete", "abort", "get", "delete"
LIST, UPLOADS = "list", "uploads"


@dataclass
class FaultyS3:
    """Objects and uploads by name; faults by what is asked. A fault without a count stays."""

    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, tuple[str, dict[int, bytes]]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    #: Set when something is held up by "stall"; it goes on when `proceed` is set.
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    proceed: asyncio.Event = field(default_factory=asyncio.Event)
    _faults: dict[str, tuple[str, int]] = field(default_factory=dict)

    def fail(self, what: str, how: str, times: int = 1 << 30) -> None:
        """Let the next so many requests of a kind fail: `503`, `403`, `reset`, `lost`, `truncate`, `spoil`, `stall`."""
        self._faults[what] = (how, times)

    def heal(self) -> None:
        """No more faults."""
        self._faults.clear()
        self.proceed.set()

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[S3Place]:
        """Its place while it is served on loopback."""
        application = web.Application(client_max_size=64 << 20)
        application.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(application, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            yield S3Place("bucket", "pre", f"http://127.0.0.1:{port}", path_style=True)
        finally:
            self.proceed.set()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        name = request.path.removeprefix("/bucket").removeprefix("/")
        what = _what(request, name)
        self.asked[what] += 1
        how = self._take(what)
        body = await request.read()
        if how in {"503", "403"}:
            return _error(int(how), "SlowDown" if how == "503" else "AccessDenied")
        if how == "reset":
            return _cut(request)
        if how == "stall":
            self.stalled.set()
            await self.proceed.wait()
        if how == "spoil" and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        if what in {PUT, PART} and not _checksums_hold(request, body):
            return _error(400, "BadDigest")
        response, content = self._do(what, name, request, body)
        if how == "lost":
            return _cut(request)
        if how == "truncate":
            response.content_length = len(content)
            await response.prepare(request)
            await response.write(content[: len(content) // 2])
            return _cut(request, response)
        if content:
            response.content_length = len(content)
        await response.prepare(request)
        await response.write(content)
        await response.write_eof()
        return response

    def _take(self, what: str) -> str | None:
        how, times = self._faults.get(what, ("", 0))
        if not times:
            return None
        self._faults[what] = (how, times - 1)
        return how

    def _do(self, what: str, name: str, request: web.Request, body: bytes) -> tuple[web.StreamResponse, bytes]:
        upload_id = request.query.get("uploadId", "")
        match what:
            case "put":
                self.objects[name] = body
                return _ok(ETag='"put"'), b""
            case "begin":
                made = secrets.token_hex(8)
                self.uploads[made] = (name, {})
                return _ok(), f"<R><UploadId>{made}</UploadId></R>".encode()
            case "part" if upload_id in self.uploads:
                self.uploads[upload_id][1][int(request.query["partNumber"])] = body
                return _ok(ETag='"part"'), b""
            case "complete" if upload_id in self.uploads:
                parts = self.uploads.pop(upload_id)[1]
                self.objects[name] = b"".join(parts[number] for number in sorted(parts))
                return _ok(), b"<R><ETag>whole</ETag></R>"
            case "abort" | "part" | "complete":
                known = self.uploads.pop(upload_id, None) is not None
                return (_ok(204), b"") if what == "abort" and known else _no("NoSuchUpload")
            case "delete":
                self.objects.pop(name, None)
                return _ok(204), b""
            case "list" | "uploads":
                return _ok(), self._listed() if what == "uploads" else b"<ListBucketResult></ListBucketResult>"
        return self._part_of(name, request)

    def _part_of(self, name: str, request: web.Request) -> tuple[web.StreamResponse, bytes]:
        if name not in self.objects:
            return _no("NoSuchKey")
        whole, part = self.objects[name], request.http_range
        said = {"ETag": '"whole"', "Last-Modified": "Mon, 23 Nov 2026 00:00:00 GMT"}
        if part.start is None:
            return _ok(200, **said), whole
        stop = min(len(whole) if part.stop is None else part.stop, len(whole))
        if part.start >= len(whole):
            return _no("InvalidRange", 416)
        said["Content-Range"] = f"bytes {part.start}-{stop - 1}/{len(whole)}"
        return _ok(206, **said), whole[part.start : stop]

    def _listed(self) -> bytes:
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        each = "".join(
            f"<Upload><Key>{name}</Key><UploadId>{upload_id}</UploadId><Initiated>{at}</Initiated></Upload>"
            for upload_id, (name, _) in self.uploads.items()
        )
        return (
            f"<ListMultipartUploadsResult>{each}<IsTruncated>false</IsTruncated></ListMultipartUploadsResult>".encode()
        )


def _what(request: web.Request, name: str) -> str:
    query = request.query
    if not name:
        return UPLOADS if "uploads" in query else LIST
    kinds = {
        "PUT": PART if "partNumber" in query else PUT,
        "POST": BEGIN if "uploads" in query else COMPLETE,
        "DELETE": ABORT if "uploadId" in query else DELETE,
    }
    return kinds.get(request.method, GET)


def _checksums_hold(request: web.Request, body: bytes) -> bool:
    """Both must be there, and right: a client that sends none would pass for one that sends the right one."""
    digest = hashlib.sha256(body)
    return (
        request.headers.get("x-amz-content-sha256") == digest.hexdigest()
        and request.headers.get("x-amz-checksum-sha256") == base64.b64encode(digest.digest()).decode()
    )


def _ok(status: int = 200, **headers: Any) -> web.StreamResponse:
    return web.StreamResponse(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})


def _no(code: str, status: int = 404) -> tuple[web.StreamResponse, bytes]:
    return web.StreamResponse(status=status), f"<Error><Code>{code}</Code></Error>".encode()


def _error(status: int, code: str) -> web.Response:
    return web.Response(status=status, text=f"<Error><Code>{code}</Code></Error>")


def _cut(request: web.Request, response: Any = None) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return response if response is not None else web.Response()
