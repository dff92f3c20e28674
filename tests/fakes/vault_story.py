"""A story of one vault and its model: every verb is done to both, and after each of them the two are compared."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fakes.catalog_rows import broken_invariants, dump
from fakes.stepping import UNDO_MS, Stage
from fakes.vault_model import Bytes, Connection, VariantModel, sha256
from fakes.vaults import AURORA, CORAL, Answer
from fakes.viewing import Viewing
from mediavault.platform.contents import Synthetic
from mediavault.platform.library import MediaItem, MediaList, Rendition, held
from mediavault.vault.integrity.verifying import Asked, VerifyConfig, Verifying

_MEDIA = "vault.media."
#: Of other things than a variant's status.
_OTHER_EVENTS = {"vault.limit.reached", "vault.list.synced", "connection.created", "connection.updated"}
_TROUBLE_MS = 3_700_000  #: longer than any cool-down
LIST_ID = 77
SEEDS = {"photo": "seeds/photo.jpg", "video": "seeds/video.mp4"}
#: Name to type, size and seed of `full`, and whether there is a thumb. The photos of both creators are the same.
SHELF: dict[str, tuple[str, int, int, bool]] = {
    "small": ("photo", 30_000, 1, True),
    "large": ("photo", 300_000, 2, False),
    "film": ("video", 2_500_000, 3, False),
}
CREATORS = (AURORA, CORAL)

#: Which events a step may cause, and of which variants.
Permits = Mapping[str, Callable[[VariantModel], bool]]


def anything(_: VariantModel) -> bool:
    """Any variant."""
    return True


@dataclass
class Person:
    """A creator: what is upstream, and the vault's connection to it."""

    creator: Any
    media: dict[str, MediaItem]  #: by name
    upstream: set[str]  #: names of what the platform still has
    folder: MediaList
    connection: Connection | None = None
    recorded: dict[str, tuple[str, int]] = field(default_factory=dict)  #: fingerprints on record, by media id

    def name_of(self, media_id: str) -> str:
        """What the shelf calls it."""
        return next(name for name, item in self.media.items() if str(item.id) == media_id)


@dataclass
class Waiting:
    """A viewer whom the origin keeps waiting."""

    viewing: Viewing
    variant: VariantModel


class Story:
    """One vault, from its first start on."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.bytes = Bytes()
        self.graves: list[VariantModel] = []
        self.waiting: list[Waiting] = []
        self.rows: dict[str, dict[str, Any]] = {}
        self.told = 0
        self.happened: Counter[str] = Counter()  #: events, and answers to viewers by the variant's status
        self.people = [self._person(creator) for creator in CREATORS]

    # -- what the platform has --

    def _person(self, creator: Any) -> Person:
        sandbox = self.stage.sandbox
        shelf = sandbox.library(creator.username)
        for place in (shelf.vault, shelf.lists, shelf.posts, shelf.messages, shelf.stories):
            place.clear()
        media = {}
        for name, (kind, size, seed, has_thumb) in SHELF.items():
            item = media[name] = sandbox.add_media(creator.username, type=kind, size_bytes=size, seed=seed)
            if has_thumb:
                content = Synthetic(held(SEEDS[kind]).data, "image/jpeg", 5_000, seed)
                thumb = Rendition(f"{creator.username}/{item.id}/thumb.jpg", content, 16, 16)
                item.renditions["thumb"] = thumb
                sandbox._offer(item)
            for label, rendition in item.renditions.items():
                self.bytes.published(str(item.id), label, _content_of(rendition))
        shelf.lists.append(MediaList(LIST_ID + creator.id, "Listed", []))
        return Person(creator, media, set(media), shelf.lists[0])

    def publish(self, person: Person, name: str, size: int, seed: int, *, new_url: bool) -> None:
        """The origin has other bytes behind the same media id."""
        item = person.media[name]
        self.stage.sandbox.change_media(item.id, size_bytes=size, seed=seed, new_url=new_url)
        self.bytes.published(str(item.id), "full", _content_of(item.renditions["full"]))
        for variant in self._variants_of(person, str(item.id)):
            if self.stage.vault.filling.running(variant.id) is not None:
                self._trouble(variant)  # what it has of the old bytes is of no use

    def take_down(self, person: Person, name: str) -> None:
        """The platform has the media no more."""
        self.stage.sandbox.remove_media(person.media[name].id)
        person.upstream.discard(name)

    def _variants_of(self, person: Person, media_id: str) -> list[VariantModel]:
        return [] if person.connection is None else person.connection.of(media_id)

    def is_healthy(self, person: Person, variant: VariantModel) -> bool:
        """Whether the origin gives the variant's bytes to whoever asks now."""
        name = person.name_of(variant.media_id)
        if name not in person.upstream or self.stage.clock() < variant.trouble_until:
            return False
        path = person.media[name].renditions[variant.label].path
        return not any(armed.fault.path in path for armed in self.stage.sandbox.faults.armed())

    def _trouble(self, variant: VariantModel) -> None:
        variant.trouble_until = self.stage.clock() + _TROUBLE_MS

    def _note_trouble(self, person: Person, variant: VariantModel) -> None:
        """Its origin is about to be asked: where that fails, it is left alone for a while."""
        if not self.is_healthy(person, variant):
            self._trouble(variant)

    # -- calls --

    async def call(self, person: Person, method: str, path: str, **more: Any) -> Answer:
        """A call of the API about a creator's connection."""
        assert person.connection is not None
        return await self.stage.caller.call(method, path, connection=person.connection.id, **more)

    def connected(self, person: Person) -> Connection:
        """The connection there is."""
        assert person.connection is not None
        return person.connection

    async def connect(self, person: Person) -> None:
        """Import the creator's session."""
        person.connection = Connection(await self.stage.caller.connect(person.creator))
        person.recorded.clear()
        await self.check({})

    async def disconnect(self, person: Person) -> None:
        """End the connection: everything it had is removed for good."""
        connection = self.connected(person)
        answer = await self.stage.caller.call("DELETE", f"/v2/account/connections/{connection.id}")
        assert answer.status == 200, answer.body
        mine = list(connection.variants.values())
        await self.check({"removed": lambda variant: variant in mine}, disconnected=person)
        assert not any(variant.is_live for variant in mine)
        assert (await self.call(person, "GET", "/v2/vault-plus/status")).status == 400
        self.graves += mine
        person.connection = None

    # -- comparing --

    async def check(
        self,
        permits: Permits,
        *,
        adopts: bool = False,
        disconnected: Person | None = None,
        afterwards: Callable[[], None] | None = None,
    ) -> None:
        """Compare the vault with the model; whatever happened must have been permitted.

        `afterwards` is what the step did last, of which nothing is told.
        """
        everything = await dump(self.stage.vault.foundation.catalog)
        known = self._by_id()
        for row in everything["variants"]:
            if row["id"] not in known:
                assert adopts, "a variant came from nowhere"
                self._adopt(row, everything)
        self._hear(everything["outbox"], permits)
        if afterwards is not None:
            afterwards()
        self.rows = {row["id"]: row for row in everything["variants"]}
        for variant in self._by_id().values():
            self._compare(variant, self.rows[variant.id])
        assert await broken_invariants(self.stage.vault.foundation.catalog) == []
        await self._check_bytes(everything["blobs"])
        await self._check_totals(disconnected)

    def _by_id(self) -> dict[str, VariantModel]:
        alive = [each for person in self.people if person.connection for each in person.connection.variants.values()]
        return {variant.id: variant for variant in alive + self.graves}

    def _adopt(self, row: Mapping[str, Any], everything: Mapping[str, list[dict[str, Any]]]) -> None:
        (media,) = [each for each in everything["media"] if each["id"] == row["media_pk"]]
        (person,) = [each for each in self.people if each.connection and each.connection.id == row["connection_id"]]
        assert row["created_at"] == self.stage.clock()
        variant = VariantModel(media["media_id"], row["label"], media["type"], row["id"], row["created_at"])
        variant.viewed_at = row["created_at"]
        self.connected(person).variants[variant.media_id, variant.label] = variant

    def _hear(self, outbox: list[dict[str, Any]], permits: Permits) -> None:
        """Follow what was told since the last step."""
        known = self._by_id()
        for event in sorted((each for each in outbox if each["seq"] > self.told), key=lambda each: each["seq"]):
            self.told, kind = event["seq"], event["type"].removeprefix(_MEDIA)
            if event["type"] in _OTHER_EVENTS:
                continue
            variant = known[event["variant_id"]]
            permitted = permits.get(kind)
            assert permitted is not None, f"{kind} happened to {variant}: {event['data']}"
            assert permitted(variant), f"{kind} must not happen to {variant}: {event['data']}"
            variant.move(kind, event["created_at"], json.loads(event["data"]).get("reason"))
            self.happened[kind] += 1

    def _compare(self, variant: VariantModel, row: Mapping[str, Any]) -> None:
        seen = {name: row[name] for name in ("status", "stored_at")}
        assert seen == {"status": variant.status, "stored_at": variant.stored_at}, variant
        assert (row["retained_blob_id"] is not None) == variant.retained, variant
        if variant.slack:
            assert variant.flushed <= row["access_count"] <= variant.flushed + variant.slack, variant
            assert variant.viewed_at <= row["last_accessed_at"] <= max(variant.viewed_at, variant.seen_at), variant
            variant.flushed, variant.viewed_at, variant.slack = row["access_count"], row["last_accessed_at"], 0
        assert (row["access_count"], row["last_accessed_at"]) == (variant.flushed, variant.viewed_at), variant
        if not variant.is_live:
            assert self.stage.vault.media.edge.peek(variant.id) is None, variant

    async def _check_bytes(self, blobs: list[dict[str, Any]]) -> None:
        """Every live blob is on the disk, byte for byte."""
        root = self.stage.data / "blobs"
        for blob in blobs:
            if blob["state"] == "live":
                content = (root / blob["org_id"] / blob["id"][-2:] / blob["id"]).read_bytes()
                assert sha256(content) == blob["sha256"]

    async def _check_totals(self, disconnected: Person | None) -> None:
        """What is reported is what the rows say."""
        for person in self.people:
            if person.connection is None or person is disconnected:
                continue
            live = [each for each in person.connection.variants.values() if each.is_live]
            stored = [each for each in live if each.status == "stored"]
            answer = await self.call(person, "GET", "/v2/vault-plus/status")
            assert answer.json == {
                "connectionId": person.connection.id,
                "storedCount": len(stored),
                "pendingCount": len(live) - len(stored),
                "totalSizeBytes": sum(self.rows[each.id]["size_bytes"] for each in stored),
            }

    async def verify(self) -> None:
        """`mediavault verify --deep` right after a sweep finds nothing, without any grace."""
        foundation, blobs = self.stage.vault.foundation, self.stage.vault.media.blobs
        config = VerifyConfig(sweep_ms=0, undo_window_ms=UNDO_MS, grace_ms=0, settle_seconds=0)
        verifying = Verifying(foundation.catalog, blobs, foundation.sealer, self.stage.clock, config)
        report = await verifying.verify(Asked(deep=True))
        assert report.findings == []
        root = self.stage.data / "blobs"
        files = {path.name for path in root.rglob("*") if path.is_file()}
        assert files == {row["id"] for row in await self._blobs() if row["state"] == "live"}

    async def _blobs(self) -> list[dict[str, Any]]:
        return (await dump(self.stage.vault.foundation.catalog))["blobs"]


def _content_of(rendition: Rendition) -> bytes:
    return rendition.content.read(0, rendition.content.size)
