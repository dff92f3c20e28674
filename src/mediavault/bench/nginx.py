"""The peer: nginx as one would set it up for this work, from a folder of its own, on a port of loopback."""

import base64
import hashlib
import http.client
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mediavault.bench.load import Target
from mediavault.bench.objects import Group
from mediavault.bench.processes import Child, child, wait_until_listening
from mediavault.errors import VaultError

#: The system's own way of sending, and the vault's where the client is on this machine (`serving.congestion`).
PACED, UNPACED = "nginx", "nginx unpaced"

_HOST = "127.0.0.1"
_MODULE = "http_secure_link_module"
_URL_SECONDS = 3600
_ATTEMPTS = 5
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # not on everybody's PATH
_MISSING = "nginx, the peer of this measurement, is missing: apt-get install nginx (Debian, Ubuntu)"

_CONFIGURATION = """\
# One worker on one core, as the vault is one process.
daemon off;
{user}worker_processes 1;
worker_rlimit_nofile {open_files};
pid {folder}/nginx.pid;
error_log {folder}/nginx-errors.log warn;

events {{
    worker_connections 4096;
    multi_accept on;
}}

http {{
    access_log off;
    server_tokens off;
    default_type application/octet-stream;
    types {{ image/jpeg jpg; video/mp4 mp4; }}

    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_timeout 75s;
    keepalive_requests 100000000;
    open_file_cache max=10000 inactive=10m;
    open_file_cache_valid 10m;
    open_file_cache_min_uses 1;

    client_body_temp_path {folder}/client-body;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    proxy_temp_path {folder}/proxy;
    proxy_cache_path {folder}/cache levels=1:2 keys_zone=media:16m max_size=50g inactive=1d use_temp_path=off;

    upstream origin {{
        server {origin};
        keepalive 64;
    }}

    server {{
        listen {host}:{port} backlog=2048;
        listen {host}:{unpaced_port};

        # Signed with an expiry, both checked at every request, as the vault does.
        secure_link $arg_md5,$arg_expires;
        secure_link_md5 "$secure_link_expires$uri {secret}";

        location /hot/ {{
            if ($secure_link = "") {{ return 403; }}
            if ($secure_link = "0") {{ return 410; }}
            alias {media}/;
        }}

        location /cold/ {{
            if ($secure_link = "") {{ return 403; }}
            if ($secure_link = "0") {{ return 410; }}
            proxy_pass http://origin/media/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering on;
            proxy_buffers 16 64k;
            proxy_busy_buffers_size 256k;
            proxy_cache media;
            proxy_cache_key $uri;
            proxy_cache_valid 200 1h;
            proxy_cache_lock on;
            proxy_cache_lock_timeout 60s;
            proxy_cache_lock_age 60s;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Setting:
    """What the configuration is made of."""

    folder: Path  #: its own
    media: Path  #: the files it serves itself
    origin: str  #: host:port behind the cached location
    port: int
    unpaced_port: int  #: of a listening socket that it inherits
    secret: str
    open_files: int
    user: str | None  #: only a master that root started may name one


def configuration(setting: Setting) -> str:
    """The text of nginx.conf. Raises VaultError for a folder that would need quoting."""
    for path in (setting.folder, setting.media):
        if not str(path).isascii() or any(sign in str(path) for sign in " \t\n;{}'\"\\$"):
            raise VaultError(f"{path} cannot stand in nginx's configuration: set TMPDIR to a plainer folder")
    return _CONFIGURATION.format(
        user=f"user {setting.user};\n" if setting.user else "",
        open_files=setting.open_files,
        folder=setting.folder,
        media=setting.media,
        origin=setting.origin,
        host=_HOST,
        port=setting.port,
        unpaced_port=setting.unpaced_port,
        secret=setting.secret,
    )


def signed(path: str, expires_at: int, secret: str) -> str:
    """The path with the query that nginx's secure_link checks; `expires_at` in Unix seconds."""
    digest = hashlib.md5(f"{expires_at}{path} {secret}".encode(), usedforsecurity=False).digest()
    return f"{path}?md5={base64.urlsafe_b64encode(digest).decode().rstrip('=')}&expires={expires_at}"


def find(path: str | None = None) -> str:
    """Where nginx is, on PATH unless told otherwise. Raises VaultError with how to get it, or one that can sign."""
    found = shutil.which("nginx", path=path or f"{os.environ.get('PATH', '')}:{_SBIN}")
    if found is None:
        raise VaultError(_MISSING)
    if _MODULE not in _build(found):
        raise VaultError(f"{found} was built without {_MODULE}: take Debian's, apt-get install nginx")
    return found


def version(program: str) -> str:
    """Its number."""
    return _build(program).partition("nginx/")[2].split()[0]


def _build(program: str) -> str:
    return subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stderr  # noqa: S603


class Nginx:
    """A running nginx, by one of its ports."""

    def __init__(self, process: Child, port: int, secret: str, name: str = PACED) -> None:
        self.process = process
        self.name = name
        self._port = port
        self._secret = secret

    def hot(self, group: Group, number: int = 0) -> Target:
        """A file that it serves itself; all numbers of a group are one file."""
        del number
        return self._target(f"/hot/{group.file_name}")

    def cold(self, group: Group, number: int) -> Target:
        """An object that it fetches from the origin, and keeps."""
        return self._target(f"/cold/{group.origin_path(number)}")

    def _target(self, path: str) -> Target:
        return Target(_HOST, self._port, signed(path, int(time.time()) + _URL_SECONDS, self._secret))

    def check_doors(self, group: Group) -> None:
        """Raises VaultError unless an altered and an expired URL are refused: else the peer would do less work."""
        path = f"/hot/{group.file_name}"
        expired = signed(path, int(time.time()) - 10, self._secret)
        altered = signed(path, int(time.time()) + _URL_SECONDS, self._secret + "x")
        for asked, expected in ((altered, 403), (expired, 410)):
            if (status := self._status(asked)) != expected:
                raise VaultError(f"nginx answered {status} instead of {expected} to a URL that must not open")

    def _status(self, path: str) -> int:
        connection = http.client.HTTPConnection(_HOST, self._port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()


@contextmanager
def running(
    program: str, folder: Path, media: Path, origin_url: str, *, core: int, open_files: int
) -> Iterator[tuple[Nginx, Nginx]]:
    """nginx in that folder, paced and unpaced, until the end of the block. Raises VaultError when it does not start."""
    secret = secrets.token_hex(16)
    user = "root" if os.geteuid() == 0 else None  # its folder is closed to everybody else
    with _unpaced_listener() as listener:
        unpaced_port = listener.getsockname()[1]
        inherited = {**os.environ, "NGINX": f"{listener.fileno()};"}  # as its own upgrades hand sockets on
        for attempt in range(1, _ATTEMPTS + 1):
            port = _free_port()
            origin = origin_url.removeprefix("http://")
            setting = Setting(folder, media, origin, port, unpaced_port, secret, open_files, user)
            with child(
                "nginx",
                _command(program, setting),
                core=core,
                folder=folder,
                env=inherited,
                inherits=[listener.fileno()],
            ) as process:
                try:
                    wait_until_listening(process, _HOST, port)
                except VaultError:
                    if "Address already in use" in process.last_words() and attempt < _ATTEMPTS:
                        continue  # somebody took the port meanwhile
                    raise
                yield Nginx(process, port, secret), Nginx(process, unpaced_port, secret, UNPACED)
                return


def _command(program: str, setting: Setting) -> list[str]:
    folder = setting.folder
    (folder / "nginx.conf").write_text(configuration(setting))
    return [program, "-p", str(folder), "-e", str(folder / "nginx-errors.log"), "-c", str(folder / "nginx.conf")]


def _unpaced_listener() -> socket.socket:
    """nginx cannot choose; what it accepts has the choice of the socket that listens."""
    listener = socket.create_server((_HOST, 0), backlog=2048)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    listener.setblocking(False)  # as nginx takes those to be that it is handed
    return listener


def _free_port() -> int:
    """nginx cannot pick one itself."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
