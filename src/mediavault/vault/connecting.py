"""Connections: importing an upstream session, refreshing, invalidating and ending it."""

import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

import msgspec

from mediavault.catalog import connections, organisations
from mediavault.catalog.connections import ConnectionRow
from mediavault.catalog.database import Catalog
from mediavault.catalog.identifiers import new_connection_id
from mediavault.catalog.tables import ConnectionState
from mediavault.domain.times import Now, iso8601
from mediavault.errors import (
    AddressDenied,
    ConnectionUnknown,
    InvalidRequest,
    NotFound,
    SessionNotProvided,
    UpstreamError,
)
from mediavault.origin.access_api import AccessApi, Session, Upstream, UpstreamUser
from mediavault.origin.addresses import check_url
from mediavault.vault.configuring import organisation_settings
from mediavault.vault.removing import Removing
from mediavault.vault.sealing import Sealer

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
#: Set by the client itself; a caller that could set them could smuggle requests.
_OWN_HEADERS = frozenset(
    {
        *("host", "content-length", "content-encoding", "transfer-encoding", "accept-encoding", "cookie", "user-agent"),
        *("connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "trailer", "upgrade", "expect"),
    }
)
_MOST_HEADERS = 50
_CONNECTION_ID = re.compile(r"conn_[0-9a-z]{24}", re.ASCII)
_UPSTREAM_USER = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
#: Visible ASCII without what some client reads as another host.
_BASE_URL = re.compile(r"https?://[^\x00-\x20\x7f-\U0010ffff\\@?#<>\"{}|^`]{1,500}", re.IGNORECASE)
MAX_INFLIGHT = 4

#: A connection as the vault's verbs take it.
Connection = ConnectionRow

#: What a connection's status may be.
STATUSES = tuple(state.value for state in ConnectionState)


class UserData(msgspec.Struct, frozen=True):
    """The upstream's user, as `/v2/access/self` describes it."""

    id: str
    name: str
    username: str
    avatar: str | None


class ConnectionView(msgspec.Struct, frozen=True, rename="camel"):
    """A connection as the contract shows it."""

    id: str
    status: str
    user_data: UserData
    permissions: list[str]
    expired_at: str | None
    created_at: str
    updated_at: str
    client_reference_id: str | None
    imported: bool
    last_checked_at: str | None


class UpstreamGiven(msgspec.Struct, frozen=True, rename="camel"):
    """Which server to use instead of the configured upstream."""

    base_url: str
    headers: dict[str, str] = {}


class ImportRequest(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /v2/account/connections/import`."""

    cookie: str
    user_agent: str
    permissions: list[str] | None = None
    client_reference_id: str | None = None
    upstream: UpstreamGiven | None = None


class RefreshRequest(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `PATCH /v2/account/connections/import/{id}`."""

    cookie: str
    user_agent: str


class Connecting:
    """Everything that makes or ends a connection."""

    def __init__(
        self,
        catalog: Catalog,
        access_api: AccessApi,
        sealer: Sealer,
        removing: Removing,
        now: Now,
        default_upstream: str | None,
    ) -> None:
        self._catalog = catalog
        self._access_api = access_api
        self._sealer = sealer
        self._removing = removing
        self._now = now
        self._default_upstream = default_upstream

    async def connection(self, org_id: str, connection_id: str) -> ConnectionRow:
        """The organisation's connection. Raises ConnectionUnknown, the same for another's and for none."""
        row = None
        if is_connection_id(connection_id):
            row = await connections.find_connection(self._catalog, org_id, connection_id)
        if row is None:
            raise ConnectionUnknown
        return row

    def upstream(self, row: ConnectionRow) -> Upstream:
        """How to call a connection's upstream. Raises SessionNotProvided for one that was made by an import."""
        if not row.session:
            raise SessionNotProvided("The connection was made by an import and has no session: import its session")
        sealed_for = session_place(row.org_id, row.upstream_base_url, row.upstream_user_id)
        session = msgspec.msgpack.decode(self._sealer.open(bytes(row.session), sealed_for), type=Session)
        return Upstream(row.id, row.upstream_base_url, session)

    async def import_(self, org_id: str, request: ImportRequest) -> ConnectionView:
        """Check the session upstream and keep it; the user's living connection is updated instead of a second one."""
        base_url = self._base_url(request.upstream)
        session = _session(request.cookie, request.user_agent, request.upstream.headers if request.upstream else {})
        permissions = _texts(request.permissions or [])
        reference = _text(request.client_reference_id, "clientReferenceId")
        user = await self._user_of(Upstream(f"import {org_id} {base_url}", base_url, session))
        owner = await organisations.organisation(self._catalog, org_id)
        now = self._now()
        row = ConnectionRow(
            id=new_connection_id(),
            org_id=org_id,
            state=ConnectionState.ACTIVE.value,
            upstream_base_url=base_url,
            upstream_user_id=str(user.id),
            user_data=msgspec.json.encode(_user_data(user)).decode(),
            permissions=msgspec.json.encode(permissions).decode(),
            client_reference_id=reference,
            session=self._sealer.seal(msgspec.msgpack.encode(session), session_place(org_id, base_url, str(user.id))),
            vault_plus_enabled=organisation_settings(owner.settings).auto_enable_for_new_connections,
            settings_overrides=None,
            created_at=now,
            updated_at=now,
            expired_at=None,
            last_checked_at=now,
            organisation_settings=owner.settings,
        )
        kept = await self._catalog.run(connections.save, row, MAX_INFLIGHT)
        return view(await self.connection(org_id, kept))

    async def refresh(self, org_id: str, connection_id: str, request: RefreshRequest) -> ConnectionView:
        """Give a connection a new session of the same upstream user. Raises NotFound, InvalidRequest."""
        row = await self._own(org_id, connection_id)
        headers = self.upstream(row).session.headers if row.session else {}
        session = _session(request.cookie, request.user_agent, headers)
        user = await self._user_of(Upstream(row.id, row.upstream_base_url, session))
        if str(user.id) != row.upstream_user_id:
            raise InvalidRequest("the session belongs to another upstream user; import it as a connection of its own")
        place = session_place(org_id, row.upstream_base_url, row.upstream_user_id)
        renewed = replace(
            row,
            session=self._sealer.seal(msgspec.msgpack.encode(session), place),
            user_data=msgspec.json.encode(_user_data(user)).decode(),
            updated_at=self._now(),
        )
        await self._catalog.run(connections.refresh, row, renewed)
        return view(await self._own(org_id, connection_id))

    async def listed(
        self, org_id: str, state: str | None, limit: int, offset: int
    ) -> tuple[list[ConnectionView], bool]:
        """Connections in the order of their making, and whether there are more."""
        rows = await connections.listed(self._catalog, org_id, state, limit + 1, offset)
        return [view(row) for row in rows[:limit]], len(rows) > limit

    async def invalidate(self, org_id: str, connection_id: str) -> ConnectionView:
        """Mark the session as expired. Raises NotFound."""
        await self._own(org_id, connection_id)
        await self._catalog.run(connections.expire, org_id, connection_id, self._now())
        return view(await self._own(org_id, connection_id))

    async def disconnect(self, org_id: str, connection_id: str) -> None:
        """Forget the session and remove the media; their bytes stay for the undo window. Raises NotFound."""
        await self._own(org_id, connection_id)
        await self._catalog.run(connections.disconnect, org_id, connection_id, self._now())
        await self._removing.purge(org_id, connection_id, "disconnected")

    async def refused(self, row: ConnectionRow) -> None:
        """The upstream refused its session: the connection is expired, unless it was given another one meanwhile."""
        await self._catalog.run(connections.expire, row.org_id, row.id, self._now(), bytes(row.session))

    async def _own(self, org_id: str, connection_id: str) -> ConnectionRow:
        try:
            return await self.connection(org_id, connection_id)
        except ConnectionUnknown:
            raise NotFound("Connection not found") from None

    def _base_url(self, given: UpstreamGiven | None) -> str:
        base_url = given.base_url if given else self._default_upstream
        if base_url is None:
            raise InvalidRequest("no upstream: give upstream.baseUrl, or set MEDIAVAULT_UPSTREAM_URL")
        return plain_base_url(base_url)

    async def _user_of(self, upstream: Upstream) -> UpstreamUser:
        user = await self._access_api.self_(upstream)
        if not _UPSTREAM_USER.fullmatch(str(user.id)):
            raise UpstreamError("the upstream's /v2/access/self names a user whose id is none")
        return user


def plain_base_url(base_url: str) -> str:
    """The URL of an upstream in one spelling: the same upstream user must be found again. Raises InvalidRequest."""
    try:
        parts = urlsplit(base_url)
        usable = _BASE_URL.fullmatch(base_url) and parts.hostname and "/." not in parts.path
        check_url(base_url)
    except (ValueError, AddressDenied):
        usable = False
    if not usable:
        raise InvalidRequest("upstream.baseUrl must be an http or https URL without credentials or query")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path}".rstrip("/")


def is_connection_id(text: str) -> bool:
    """Whether the text could be a connection's id; what could not never reaches the database."""
    return _CONNECTION_ID.fullmatch(text) is not None


def view(row: ConnectionRow) -> ConnectionView:
    """A connection as the contract shows it."""
    return ConnectionView(
        id=row.id,
        status=row.state,
        user_data=msgspec.json.decode(row.user_data, type=UserData),
        permissions=msgspec.json.decode(row.permissions, type=list[str]),
        expired_at=None if row.expired_at is None else iso8601(row.expired_at),
        created_at=iso8601(row.created_at),
        updated_at=iso8601(row.updated_at),
        client_reference_id=row.client_reference_id,
        imported=True,
        last_checked_at=None if row.last_checked_at is None else iso8601(row.last_checked_at),
    )


def session_place(org_id: str, base_url: str, user_id: str) -> tuple[str, ...]:
    """A session is sealed for its upstream user: which connection holds it is decided by the catalog."""
    return ("connections", "session", org_id, base_url, user_id)


def _user_data(user: UpstreamUser) -> UserData:
    username = user.username or str(user.id)
    return UserData(str(user.id), user.name or username, username, user.avatar)


def _session(cookie: str, user_agent: str, headers: Mapping[str, str]) -> Session:
    if len(headers) > _MOST_HEADERS:
        raise InvalidRequest(f"upstream.headers are at most {_MOST_HEADERS}")
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
            raise InvalidRequest(f"upstream.headers: {name[:100]!r} cannot be set")
        _header_value(value, f"upstream.headers.{name}")
    return Session(_header_value(cookie, "cookie"), _header_value(user_agent, "userAgent"), dict(headers))


def _header_value(text: str, name: str) -> str:
    """Printable Latin-1 without line breaks: what may stand in a header and nothing that could end it."""
    if len(text) > 16_384 or any(ord(c) < 32 or ord(c) == 127 or ord(c) > 255 for c in text):
        raise InvalidRequest(f"{name} cannot be sent as a header")
    if name == "userAgent" and not text.strip():
        raise InvalidRequest("userAgent must not be empty")
    return text


def _texts(given: list[str]) -> list[str]:
    if len(given) > 100 or any(len(text) > 200 or not text.isprintable() for text in given):
        raise InvalidRequest("permissions are at most 100 short texts")
    return given


def _text(given: str | None, name: str) -> str | None:
    if given is not None and (len(given) > 500 or not given.isprintable()):
        raise InvalidRequest(f"{name} is at most 500 printable characters")
    return given
