"""Two organisations in one vault, and the matrix of who asks for whose things, generated from the API document."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from fakes.documents import document, resolved
from fakes.vaults import CORAL, RunningVault, until
from mediavault.platform.creators import USER_AGENT

METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
#: Keys that are good for nothing here, whatever is asked for.
STRANGERS = ("no key", "unknown key", "revoked key", "under-scoped key")
TENANTS = ("first", "second")

OWN, OTHER, RANDOM, REMOVED, MALFORMED, MISSING = "own", "other", "random", "removed", "malformed", "missing"
#: What an operation's ids may be. A parameter that is not here has no row, which fails the build.
KINDS = {
    "x-connection-id": (OWN, OTHER, RANDOM, REMOVED, MALFORMED, MISSING),
    "mediaId": (OWN, OTHER, RANDOM, REMOVED, MALFORMED),
    "listId": (OWN, OTHER, RANDOM, MALFORMED),
    "connectionId": (OWN, OTHER, RANDOM, REMOVED, MALFORMED),
    "endpointId": (OWN, OTHER, RANDOM, REMOVED, MALFORMED),
    "deliveryId": (OWN, OTHER, RANDOM, REMOVED, MALFORMED),
    "path": (OWN,),
    "token": (OWN, OTHER, RANDOM, REMOVED, MALFORMED),
    "digest": (OWN,),
    "name": (OWN,),
}
_RANDOM = {
    "x-connection-id": "conn_" + "9z" * 12,
    "connectionId": "conn_" + "9z" * 12,
    "mediaId": "998877665544",
    "listId": "887766554433",
    "endpointId": "we_" + "0123456789abcdef" * 2,
    "deliveryId": "0123456789abcdef" * 2,
    "token": "AQEB" + "Z1n5gAGQ" * 9,
}
_MALFORMED = {"mediaId": "not%20an%20id", "listId": "not%20an%20id", "token": "%20"}


@dataclass(frozen=True)
class Operation:
    """One of the document's."""

    id: str
    method: str
    path: str
    slots: tuple[str, ...]  #: the connection's header first, then the path's ids
    public: bool

    @property
    def on_media_host(self) -> bool:
        return self.path == "/v2/{token}"


def operations() -> list[Operation]:
    """Every operation of the document, with its ids."""
    found = []
    for path, at in document()["paths"].items():
        for method in METHODS:
            if method in at:
                given = [resolved(each) for each in (*at.get("parameters", ()), *at[method].get("parameters", ()))]
                ids = [each["name"] for each in given if each["in"] == "path"]
                ids = [each["name"] for each in given if each["name"] == "x-connection-id"] + ids
                operation_id, public = at[method]["operationId"], at[method].get("security") == []
                found.append(Operation(operation_id, method.upper(), path, tuple(ids), public))
    return found


@dataclass(frozen=True)
class Cell:
    """Who asks, for what, with which ids."""

    operation: Operation
    principal: str
    kinds: dict[str, str]

    def __str__(self) -> str:
        return f"{self.principal}: {self.operation.id} {self.kinds}"

    @property
    def is_own(self) -> bool:
        return all(kind == OWN for kind in self.kinds.values())


def cells() -> Iterator[Cell]:
    """The whole matrix."""
    for operation in operations():
        choices = [KINDS[slot] for slot in operation.slots]
        for principal in (*STRANGERS, *TENANTS):
            for kinds in product(*choices):
                yield Cell(operation, principal, dict(zip(operation.slots, kinds, strict=True)))


@dataclass
class Tenant:
    """An organisation and what it has."""

    name: str
    keys: dict[str, str]
    creator: Any
    ids: dict[tuple[str, str], str] = field(default_factory=dict)  #: by slot and kind, OWN or REMOVED
    media: list[str] = field(default_factory=list)
    event_id: str = ""

    def markers(self) -> re.Pattern[str]:
        """What nobody else may ever read."""
        told = {value for (slot, _), value in self.ids.items() if slot != "token"}
        told |= {*self.media, self.event_id, self.creator.username}
        return re.compile(rf"(?<![0-9A-Za-z])(?:{'|'.join(map(re.escape, sorted(told)))})(?![0-9A-Za-z])")


async def tenant(vault: RunningVault, name: str, creator: Any) -> Tenant:
    """An organisation with a connection, media, a list, an endpoint, a delivery, and one each that it had before."""
    authorising = vault.vault.foundation.authorising
    if name != "default":
        await authorising.create_organisation(name)
    revoked = await authorising.create_key(name, ["ACCOUNT", "ACCESS"])
    await authorising.revoke_key(revoked.id)
    keys = {"revoked": revoked.secret}
    for scopes in (["ACCOUNT", "ACCESS"], ["ACCOUNT"], ["ACCESS"]):
        keys[" ".join(scopes)] = (await authorising.create_key(name, scopes)).secret
    made = Tenant(name, keys, creator)
    await _connect(vault, made)
    await _see(vault, made)
    await _notify(vault, made)
    return made


async def call(vault: RunningVault, who: Tenant, method: str, path: str, **more: Any) -> Any:
    """A call that succeeds."""
    answer = await vault.call(method, path, key=who.keys["ACCOUNT ACCESS"], **more)
    assert answer.status == 200, (method, path, answer.body)
    return answer.json


async def _connect(vault: RunningVault, who: Tenant) -> None:
    for kind, creator in ((REMOVED, CORAL), (OWN, who.creator)):
        body = {"cookie": creator.cookie, "userAgent": USER_AGENT}
        made = await call(vault, who, "POST", "/v2/account/connections/import", json=body)
        who.ids["x-connection-id", kind] = who.ids["connectionId", kind] = made["id"]
        if kind == REMOVED:
            await call(vault, who, "DELETE", f"/v2/account/connections/{made['id']}")


async def _see(vault: RunningVault, who: Tenant) -> None:
    connection = who.ids["x-connection-id", OWN]
    seen = await call(vault, who, "GET", "/v2/access/vault/media?limit=50", connection=connection)
    items = (await call(vault, who, "GET", "/v2/vault-plus/media?limit=100", connection=connection))["items"]
    assert len(items) > 4, seen
    who.media = [item["id"] for item in items]
    who.ids["mediaId", OWN], who.ids["mediaId", REMOVED] = who.media[:2]
    urls = [next(iter(item["media"].values()))["url"] for item in items]
    who.ids["token", OWN], who.ids["token", REMOVED] = (url.rpartition("/")[2] for url in urls[:2])
    lists = await call(vault, who, "GET", "/v2/access/vault/lists", connection=connection)
    who.ids["listId", OWN] = str(lists["list"][0]["id"])
    await call(vault, who, "PUT", f"/v2/vault-plus/lists/{who.ids['listId', OWN]}/add", connection=connection)
    # Only what was stored can be restored; and what is seen once more, as in a list, is no longer removed.
    removed = who.media[1]
    await vault.ask("GET", urls[1])
    await vault.ask("POST", urls[1])

    async def stored() -> bool:
        item = await call(vault, who, "GET", f"/v2/vault-plus/media/{removed}", connection=connection)
        return any(variant["status"] == "stored" for variant in item["media"].values())

    await until(stored)
    await call(vault, who, "DELETE", f"/v2/vault-plus/media/{removed}", connection=connection)


async def _notify(vault: RunningVault, who: Tenant) -> None:
    for kind in (REMOVED, OWN):
        endpoint = await call(vault, who, "POST", "/v2/webhooks/endpoints", json={"url": vault.platform_url + "/hook"})
        sent = await call(vault, who, "POST", f"/v2/webhooks/endpoints/{endpoint['id']}/test")
        who.ids["endpointId", kind], who.ids["deliveryId", kind] = endpoint["id"], sent["id"]
        if kind == REMOVED:
            await call(vault, who, "DELETE", f"/v2/webhooks/endpoints/{endpoint['id']}")
    await call(vault, who, "POST", f"/v2/account/connections/{who.ids['connectionId', OWN]}/invalidate")
    body = {"cookie": who.creator.cookie, "userAgent": USER_AGENT}
    await call(vault, who, "POST", "/v2/account/connections/import", json=body)

    async def told() -> str | None:
        log = await call(vault, who, "GET", f"/v2/webhooks/endpoints/{who.ids['endpointId', OWN]}/deliveries")
        return next((each["eventId"] for each in log["items"] if each["eventType"] == "connection.expired"), None)

    who.event_id = await until(told)


def value(slot: str, kind: str, mine: Tenant, theirs: Tenant) -> str | None:
    """What stands for an id of that kind."""
    if kind in {OWN, REMOVED}:
        return mine.ids[slot, kind]
    if kind == OTHER:
        return theirs.ids[slot, OWN]
    return {RANDOM: _RANDOM[slot], MALFORMED: _MALFORMED.get(slot, "x"), MISSING: None}[kind]
