"""The origin of a run, a process of its own: the Access API's two questions, and media by sendfile, throttled or not.

    python -m mediavault.bench.origin FOLDER

Threads and blocking sockets: it has few clients, and must never be what a contender waits for.
"""

import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import msgspec

from mediavault.bench.objects import GROUPS, MOST_OBJECTS, Group

_TICK_SECONDS = 0.005
_LARGEST_HEAD_BYTES = 1 << 16
_SEND_BYTES = 1 << 22
_MEDIA = re.compile(r"/media/([a-z0-9-]+)/([0-9]{1,6})/([a-z]+)\.(?:jpg|mp4)")
_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")
_TYPES = {"photo": "image/jpeg", "video": "video/mp4"}


class _Refused(Exception):
    """What was asked is not here."""


@dataclass(frozen=True)
class Request:
    """A request's line and headers; names in lower case."""

    method: str
    target: str
    headers: dict[str, str]

    @classmethod
    def parse(cls, head: bytes) -> "Request":
        """Of the bytes before the empty line."""
        line, *rest = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ")
        pairs = (each.partition(":") for each in rest)
        return cls(method, target, {name.lower(): value.strip() for name, _, value in pairs})


@dataclass(frozen=True)
class Part:
    """Which bytes of an object an answer has."""

    start: int
    stop: int
    is_whole: bool


def part(request: Request, size: int, etag: str) -> Part:
    """A single range of a start and perhaps an end; everything else gets the whole."""
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked is None or request.headers.get("if-range", etag) != etag or int(asked[1]) >= size:
        return Part(0, size, is_whole=True)
    stop = min(int(asked[2]) + 1, size) if asked[2] else size
    return Part(int(asked[1]), stop, is_whole=False)


def page(group: Group, first: int, count: int, base_url: str) -> bytes:
    """Media of a group as the Access API shows them."""
    media = [_media(group, number, base_url) for number in range(first, first + count)]
    return msgspec.json.encode({"list": media, "hasMore": False})


def _media(group: Group, number: int, base_url: str) -> dict[str, object]:
    files = {
        label: {
            "url": f"{base_url}/media/{group.origin_path(number, label)}",
            "width": 1280,
            "height": 720,
            "size": group.size_bytes,
            "sources": [],
        }
        for label in group.labels
    }
    return {
        "id": group.media_id(number),
        "type": group.kind,
        "duration": 0 if group.kind == "photo" else 60,
        "createdAt": "2025-01-01T12:00:00Z",
        "isReady": True,
        "hasError": False,
        "canView": True,
        "files": files,
    }


class Origin:
    """A listening socket and the threads of those who connected."""

    def __init__(self, folder: Path) -> None:
        #: Of the groups that were written for this run.
        self._files = {
            name: os.open(path, os.O_RDONLY)
            for name, group in GROUPS.items()
            if (path := folder / group.file_name).exists()
        }
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        """Until the process ends."""
        while True:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._attend, args=(connection,), daemon=True).start()

    def _attend(self, connection: socket.socket) -> None:
        with connection:
            try:
                for request in _requests(connection):
                    self._answer(connection, request)
            except OSError:
                return  # the client has left

    def _answer(self, connection: socket.socket, request: Request) -> None:
        target = urlsplit(request.target)
        try:
            if media := _MEDIA.fullmatch(target.path):
                self._send_media(connection, request, media[1], f'"{media[1]}-{media[2]}-{media[3]}"')
            else:
                _send_json(connection, self._json(target.path, dict(parse_qsl(target.query))))
        except _Refused:
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    def _json(self, path: str, query: dict[str, str]) -> bytes:
        if path == "/v2/access/self":
            return msgspec.json.encode({"id": 1, "username": "bench", "name": "Bench", "isAuth": True})
        if path not in {"/v2/access/vault/media", "/v2/access/posts"} or query.get("group") not in GROUPS:
            raise _Refused
        count = min(int(query["count"]), MOST_OBJECTS)
        return page(GROUPS[query["group"]], int(query["first"]), count, self.url)

    def _send_media(self, connection: socket.socket, request: Request, name: str, etag: str) -> None:
        if name not in self._files:
            raise _Refused
        group = GROUPS[name]
        asked = part(request, group.size_bytes, etag)
        head = [
            "HTTP/1.1 200 OK" if asked.is_whole else "HTTP/1.1 206 Partial Content",
            f"Content-Type: {_TYPES[group.kind]}",
            f"Content-Length: {asked.stop - asked.start}",
            "Accept-Ranges: bytes",
            "Last-Modified: Wed, 01 Jan 2025 12:00:00 GMT",
            f"ETag: {etag}",
        ]
        if not asked.is_whole:
            head.append(f"Content-Range: bytes {asked.start}-{asked.stop - 1}/{group.size_bytes}")
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        if request.method == "GET":
            _send_file(connection, self._files[name], asked, group.bytes_per_second)


def _requests(connection: socket.socket) -> Iterator[Request]:
    """What comes over a connection until it is closed; none of it has a body."""
    received = b""
    while True:
        while b"\r\n\r\n" not in received:
            piece = connection.recv(_LARGEST_HEAD_BYTES)
            if not piece or len(received) > _LARGEST_HEAD_BYTES:
                return
            received += piece
        head, _, received = received.partition(b"\r\n\r\n")
        yield Request.parse(head)


def _send_json(connection: socket.socket, body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)


def _send_file(connection: socket.socket, file: int, asked: Part, bytes_per_second: int | None) -> None:
    """Each piece when those before it have had their time."""
    piece = _SEND_BYTES if bytes_per_second is None else int(bytes_per_second * _TICK_SECONDS)
    began, at = time.monotonic(), asked.start
    while at < asked.stop:
        if bytes_per_second is not None:
            time.sleep(max(0.0, began + (at - asked.start) / bytes_per_second - time.monotonic()))
        at += os.sendfile(connection.fileno(), file, at, min(piece, asked.stop - at))


def main() -> None:
    """Serve the folder, and say where."""
    origin = Origin(Path(sys.argv[1]))
    print(msgspec.json.encode({"event": "ready", "origin": origin.url}).decode(), flush=True)
    origin.serve()


if __name__ == "__main__":
    main()
