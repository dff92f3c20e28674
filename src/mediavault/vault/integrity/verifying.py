"""Verifying: whether the vault keeps its promises, asked of its rows and of its bytes, beside whoever serves it.

Nothing is changed and nothing is locked. Whatever looks wrong is looked at once more after a moment, as it is then:
what was only under way is no finding.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Set
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from mediavault.blobs.store import BlobKey, BlobStore
from mediavault.catalog import verification_relations as questions
from mediavault.catalog.damage import LiveBlob, find_round, known_keys, live_blob, referring
from mediavault.catalog.database import Catalog
from mediavault.catalog.verification import REFETCH, Check, Moments
from mediavault.catalog.verification_places import Named, named_places
from mediavault.domain.findings import Finding
from mediavault.domain.scrub_round import ScrubRound
from mediavault.domain.times import DAY, MINUTE, SECOND, Now
from mediavault.vault.integrity.blobs import MISSING, BlobLook, Looked, Subset
from mediavault.vault.integrity.policy import past_policy, wrongly_shown
from mediavault.vault.integrity.secrets import unopened
from mediavault.vault.sealing import Sealer

_KEYS_AT_ONCE = 100
_ORPHAN = "nothing refers to these bytes, and they are older than the grace"
_LEFTOVER = "this unfinished write is older than the grace"


@dataclass(frozen=True)
class VerifyConfig:
    """How long what is under way may take."""

    sweep_ms: int = 10 * SECOND  #: the storer's
    undo_window_ms: int = DAY
    grace_ms: int = DAY  #: what nothing refers to is younger
    settle_seconds: float = 2  #: before what looks wrong is looked at once more
    most: int = questions.MOST  #: findings of one kind


@dataclass(frozen=True)
class Asked:
    """What is to be verified."""

    deep: bool = False  #: digests and origin URLs too
    subset: Subset = field(default_factory=Subset)
    served: bool = True  #: a storer should be running: what its sweeps put in order is a finding


class Report(Struct, frozen=True, rename="camel"):
    """What was verified, and what was found."""

    deep: bool
    served: bool
    subset: str
    checks: int
    blobs: int
    bytes: int
    seconds: float
    scrubbed_at: int | None  #: when the scrub came to the end of everything stored the last time, Unix ms
    unreadable: int  #: blobs that the scrub could not read twice
    findings: list[Finding]


class Verifying:
    """Asks everything once. `catalog` may be one that only reads."""

    def __init__(
        self,
        catalog: Catalog,
        blobs: BlobStore,
        sealer: Sealer,
        now: Now,
        config: VerifyConfig = VerifyConfig(),
        places: frozenset[str] = frozenset(),
    ) -> None:
        """`places` are the URLs that `blobs` reads from."""
        self._catalog = catalog
        self._blobs = blobs
        self._sealer = sealer
        self._now = now
        self._config = config
        self._places = places
        self.looked = Looked()  #: as far as it is, for whoever shows progress

    async def verify(self, asked: Asked) -> Report:
        """Everything that is asked. Raises CatalogError, BlobError where it cannot be."""
        began = time.monotonic()
        findings: list[Finding] = []
        for gather in self._gatherers(asked):
            findings += await self._settled(gather)
        look = BlobLook(self._catalog, self._blobs, deep=asked.deep)
        await look.all(asked.subset, self.looked, self._config.most)
        unread = await self._unread_places(look)
        findings += [self._place_finding(each) for each in unread]
        findings += await self._blob_findings(look, {each.place for each in unread})
        scrubbed = ScrubRound(0) if (kept := await find_round(self._catalog)) is None else _decoded(kept)
        return Report(
            deep=asked.deep,
            served=asked.served,
            subset=f"{asked.subset.part}/{asked.subset.parts}",
            checks=len(questions.ALL),
            blobs=self.looked.blobs,
            bytes=self.looked.bytes,
            seconds=round(time.monotonic() - began, 3),
            scrubbed_at=scrubbed.ended_at,
            unreadable=len(scrubbed.reported),
            findings=sorted(findings, key=lambda finding: (finding.invariant, finding.code)),
        )

    def _gatherers(self, asked: Asked) -> list[Callable[[], Awaitable[list[Finding]]]]:
        async def rows() -> list[Finding]:
            checks = [check for check in questions.ALL if asked.served or not check.served_only]
            return [finding for check in checks for finding in await self._ask(check)]

        async def secrets() -> list[Finding]:
            return await unopened(self._catalog, self._sealer, origin_urls=asked.deep)

        async def policy() -> list[Finding]:
            late = self._now() - 2 * self._config.sweep_ms - self._config.grace_ms
            late_ones = await past_policy(self._catalog, late) if asked.served else []
            return late_ones + (await wrongly_shown(self._catalog) if asked.deep else [])

        async def unreferenced() -> list[Finding]:
            return await self._leftovers(served=asked.served)

        return [rows, secrets, policy, unreferenced, self._orphans]

    async def _settled(self, gather: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
        """Only what is still so after a moment, as it is then."""
        suspected = {finding.identity for finding in await gather()}
        if not suspected:
            return []
        await asyncio.sleep(self._config.settle_seconds)
        return [finding for finding in await gather() if finding.identity in suspected][: self._config.most]

    async def _ask(self, check: Check) -> list[Finding]:
        moments, found = self._moments(), []
        values = {name: getattr(moments, name) for name in check.times}
        for org_id, connection_id, row_id, is_, wanted in await self._catalog.fetch_list(check.statement, values):
            where = {"organisation": org_id, "connection": connection_id} | {check.kind: row_id}
            text = check.text.format(found=is_, wanted=wanted)
            found.append(Finding(check.invariant, check.code, text, check.remedy, **where))
        return found

    def _moments(self) -> Moments:
        now, config = self._now(), self._config
        return Moments(
            now=now,
            lease_before=now - 2 * config.sweep_ms - MINUTE,
            grace_before=now - config.grace_ms,
            undo_before=now - config.undo_window_ms - 2 * config.sweep_ms - config.grace_ms,
        )

    async def _unread_places(self, look: BlobLook) -> list[Named]:
        """Places that rows name and this vault does not read from, unless their blobs are found where it does."""
        unread = []
        for named in await named_places(self._catalog):
            blob = None if named.place in self._places else await live_blob(self._catalog, named.first)
            if blob is not None and await look.one(blob) is not None:
                unread.append(named)
        return unread

    def _place_finding(self, named: Named) -> Finding:
        here = " and ".join(sorted(self._places)) or "nowhere"
        text = f"{named.blobs} blobs were moved to {named.place}, and this vault reads from {here}"
        remedy = (
            f"start the vault, and verify, with MEDIAVAULT_BLOBS_URL={named.place} (or MEDIAVAULT_BLOBS_PREVIOUS_URL, "
            "where blobs belong elsewhere by now)"
        )
        return Finding(1, "place_not_read", text, remedy, subject=named.place)

    async def _blob_findings(self, look: BlobLook, unread: Set[str]) -> list[Finding]:
        """What is wrong with blobs, still; of those that lie in an unread place that place tells enough."""
        suspected = [
            blob for blob, (code, _) in self.looked.faults.items() if code != MISSING[0] or blob.place not in unread
        ]
        if not suspected:
            return []
        await asyncio.sleep(self._config.settle_seconds)
        findings = []
        for blob in suspected:
            fault = await look.one(blob)
            if fault is not None:
                findings.append(await self._blob_finding(blob, *fault))
        return findings

    async def _blob_finding(self, blob: LiveBlob, code: str, text: str) -> Finding:
        users = await referring(self._catalog, blob.id)
        remedy = REFETCH
        if code == "blob_digest":  # without --deep it is not found again
            remedy = REFETCH.replace("--repair", "--repair --deep")
        elif code == "blob_unreadable":
            remedy = "look at the disk, and at who may read the folder of the blobs; then verify again"
        return Finding(
            1,
            code,
            f"{text}; {len(users)} variants have it" if len(users) != 1 else text,
            remedy,
            organisation=blob.org_id,
            variant=users[0] if users else None,
            blob=blob.id,
        )

    async def _orphans(self) -> list[Finding]:
        findings: list[Finding] = []
        async for keys in self._old_keys():
            known = await known_keys(self._catalog, [key.rpartition("/")[2] for key in keys])
            for key in keys:
                organisation, _, blob_id = key.rpartition("/")
                if known.get(blob_id) != organisation and len(findings) < self._config.most:
                    remedy = "run `mediavault verify --repair`: they are set aside"
                    findings.append(
                        Finding(3, "orphan_blob", _ORPHAN, remedy, organisation=organisation or None, blob=blob_id)
                    )
        return findings

    async def _old_keys(self) -> AsyncGenerator[list[BlobKey], None]:
        """The keys of the store that are past the grace, some at a time. A blob's id tells when it was announced."""
        before = self._now() - self._config.grace_ms
        keys: list[BlobKey] = []
        async for key in self._blobs.keys():
            if made_at(key.rpartition("/")[2]) < before:
                keys.append(key)
            if len(keys) == _KEYS_AT_ONCE:
                yield keys
                keys = []
        if keys:
            yield keys

    async def _leftovers(self, *, served: bool) -> list[Finding]:
        """A vault that is not running sweeps them when it starts."""
        if not served:
            return []
        names = await self._blobs.leftovers(self._config.grace_ms / SECOND + 2 * self._config.sweep_ms / SECOND)
        remedy = "see that a storer runs (`mediavault serve`); its sweep removes it"
        return [Finding(3, "staging_leftover", _LEFTOVER, remedy, subject=name) for name in names]


def _decoded(kept: bytes) -> ScrubRound:
    return msgspec.json.decode(kept, type=ScrubRound)


def made_at(blob_id: str) -> int:
    """When a blob's id was made, Unix ms (UUIDv7); 0 for what is no such id: older than anything."""
    try:
        return int(blob_id[:12], 16) if len(blob_id) == 32 else 0
    except ValueError:
        return 0
