"""The control socket: what the command line asks a vault that is running. Only the data folder's owner can open it."""

import base64
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mediavault.api.answering import Answering, Routes
from mediavault.api.requests import json_body, json_response
from mediavault.domain.exported import ExportedItem, ExportedList, ExportedMember
from mediavault.errors import InvalidRequest
from mediavault.vault.authorising import Authorising
from mediavault.vault.integrity.damaging import Damaging
from mediavault.vault.integrity.moving import Moving
from mediavault.vault.portable.backing_up import Holding
from mediavault.vault.portable.importing import Importing, Offer, Wish
from mediavault.vault.rekeying import Rekeying


class NewOrganisation(msgspec.Struct, frozen=True):
    """The body of `POST /organisations`."""

    name: str


class KeyWanted(msgspec.Struct, frozen=True):
    """The body of `POST /keys`."""

    organisation: str
    scopes: list[str]
    name: str | None = None
    life: int | None = None  #: ms; without an end unless given


class KeyRotation(msgspec.Struct, frozen=True):
    """The body of `POST /keys/{id}/rotate`."""

    overlap: int  #: ms
    life: int | None = None


class Walk(msgspec.Struct, frozen=True):
    """The body of `POST /master-key/reseal`."""

    cursor: str | None = None


class Retirement(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /master-key/retire`."""

    at_once: bool


class HoldWanted(msgspec.Struct, frozen=True):
    """The body of `POST /backup/hold`: a hold that is taken, or one by its name that is renewed or let go."""

    name: str | None = None
    release: bool = False


class Offered(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /import/offer`."""

    connection_id: str
    offers: list[Offer]


class VariantGiven(msgspec.Struct, frozen=True, rename="camel"):
    """The header `x-import` of `POST /import/variant`, whose body is the bytes."""

    connection_id: str
    label: str
    item: ExportedItem


class ListsGiven(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /import/lists`."""

    connection_id: str
    lists: list[ExportedList] = []
    members: list[ExportedMember] = []


class MoveWanted(msgspec.Struct, frozen=True):
    """The body of `POST /blobs/move`: one turn of so many seconds."""

    to: str
    after: str = ""
    seconds: float = 5


@dataclass(frozen=True)
class Control:
    """The operator's endpoints; no key is asked, the socket's mode is the door."""

    authorising: Authorising
    damaging: Damaging
    moving: Moving
    rekeying: Rekeying
    holding: Holding
    importing: Importing

    def application(self) -> Answering:
        """The ASGI application."""
        routes = [
            Route("/organisations", self.organisations, methods=["GET"]),
            Route("/organisations", self.create_organisation, methods=["POST"]),
            Route("/keys", self.keys, methods=["GET"]),
            Route("/keys", self.create_key, methods=["POST"]),
            Route("/keys/{key_id}/revoke", self.revoke_key, methods=["POST"]),
            Route("/keys/{key_id}/rotate", self.rotate_key, methods=["POST"]),
            Route("/master-key", self.master_keys, methods=["GET"]),
            Route("/master-key/rotate", self.rotate_master_key, methods=["POST"]),
            Route("/master-key/reseal", self.reseal, methods=["POST"]),
            Route("/master-key/retire", self.retire_master_keys, methods=["POST"]),
            Route("/blobs/move", self.move_blobs, methods=["POST"]),
            Route("/backup/hold", self.hold, methods=["POST"]),
            Route("/import/begin", self.begin_import, methods=["POST"]),
            Route("/import/offer", self.offer_import, methods=["POST"]),
            Route("/import/variant", self.import_variant, methods=["POST"]),
            Route("/import/lists", self.import_lists, methods=["POST"]),
            Route("/damage/{blob_id}", self.report_damage, methods=["POST"]),
        ]
        return Answering(Routes(routes))

    async def organisations(self, _: Request) -> Response:
        """Every organisation."""
        return json_response(await self.authorising.organisations())

    async def create_organisation(self, request: Request) -> Response:
        """Add one."""
        wanted = await json_body(request, NewOrganisation)
        return json_response(await self.authorising.create_organisation(wanted.name), 201)

    async def keys(self, _: Request) -> Response:
        """Every key, without secrets."""
        return json_response(await self.authorising.keys())

    async def create_key(self, request: Request) -> Response:
        """Add one; the only answer that holds its secret."""
        wanted = await json_body(request, KeyWanted)
        made = await self.authorising.create_key(wanted.organisation, wanted.scopes, name=wanted.name, life=wanted.life)
        return json_response(made, 201)

    async def revoke_key(self, request: Request) -> Response:
        """End one."""
        await self.authorising.revoke_key(request.path_params["key_id"])
        return json_response({"revoked": request.path_params["key_id"]})

    async def move_blobs(self, request: Request) -> Response:
        """One turn of moving blobs to another store."""
        wanted = await json_body(request, MoveWanted)
        return json_response(await self.moving.turn(wanted.to, wanted.after, min(wanted.seconds, 60)))

    async def hold(self, request: Request) -> Response:
        """Keep the sweeps from deleting blobs while a backup copies them."""
        wanted = await json_body(request, HoldWanted)
        if wanted.release:
            return json_response(await self.holding.release(wanted.name or ""))
        return json_response(await self.holding.hold(wanted.name))

    async def begin_import(self, request: Request) -> Response:
        """The connection that an import goes to."""
        return json_response(await self.importing.begin(await json_body(request, Wish)))

    async def offer_import(self, request: Request) -> Response:
        """What of it is wanted."""
        asked = await json_body(request, Offered)
        return json_response(await self.importing.offered(asked.connection_id, asked.offers))

    async def import_variant(self, request: Request) -> Response:
        """One variant: what the export says of it, and its bytes as they come."""
        try:
            told = base64.urlsafe_b64decode(request.headers.get("x-import", ""))
            given = msgspec.json.decode(told, type=VariantGiven)
        except (ValueError, RecursionError):
            raise InvalidRequest("x-import is not what this call takes") from None
        return json_response(await self.importing.store(given.connection_id, given.item, given.label, request.stream()))

    async def import_lists(self, request: Request) -> Response:
        """Lists, and what is in them."""
        given = await json_body(request, ListsGiven)
        await self.importing.add_lists(given.connection_id, given.lists)
        return json_response(await self.importing.add_members(given.connection_id, given.members))

    async def report_damage(self, request: Request) -> Response:
        """Look at a blob that `mediavault verify --repair` found bad, and quarantine it if it is."""
        blob_id: str = request.path_params["blob_id"]
        return json_response({"blobId": blob_id, "quarantined": await self.damaging.examine(blob_id)})

    async def rotate_key(self, request: Request) -> Response:
        """Make one that takes its place; the only answer that holds the new secret."""
        wanted = await json_body(request, KeyRotation)
        key_id: str = request.path_params["key_id"]
        made = await self.authorising.rotate_key(key_id, overlap=wanted.overlap, life=wanted.life)
        return json_response(made, 201)

    async def master_keys(self, _: Request) -> Response:
        """The ring of master keys, without the keys."""
        return json_response(await self.rekeying.keys())

    async def rotate_master_key(self, _: Request) -> Response:
        """Seal with a new one from now on, or go on with the rotation under way."""
        return json_response(await self.rekeying.rotate())

    async def reseal(self, request: Request) -> Response:
        """Seal some secrets again: a bounded part of all, so that nobody waits long for an answer."""
        return json_response(await self.rekeying.reseal((await json_body(request, Walk)).cursor))

    async def retire_master_keys(self, request: Request) -> Response:
        """Let those go that are not needed."""
        return json_response(await self.rekeying.retire(at_once=(await json_body(request, Retirement)).at_once))
