"""What a vault has promised, as a small model beside it: pure, and told of everything that is done and seen.

It knows of each variant where it stands, which byte strings its origin ever had, which of them each ETag may name, how
often it was viewed, and whether its bytes are kept for an undo. It predicts what must happen, and judges what did.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DAY = 86_400_000

#: The lifecycle, written down a second time: what is told, from where, to where.
MOVES: dict[str, tuple[frozenset[str], str]] = {
    "queued": (frozenset({"edge_only"}), "pending"),
    "claimed": (frozenset({"pending"}), "storing"),
    "stored": (frozenset({"storing"}), "stored"),
    "released": (frozenset({"storing"}), "pending"),
    "failed": (frozenset({"storing"}), "edge_only"),
    "unqueued": (frozenset({"pending", "storing"}), "edge_only"),
    "removed": (frozenset({"edge_only", "pending", "storing", "stored"}), "removed"),
    "restored": (frozenset({"removed"}), "stored"),
    "seen_again": (frozenset({"removed"}), "edge_only"),
}
_QUALITIES = {
    ("image", "full"): "full",
    ("image", "thumb"): "thumb",
    ("video", "full"): "source",
    ("video", "thumb"): "preview",
}
DEFAULTS: dict[str, Any] = {
    "autoCacheVault": True,
    "minAccessCountVault": 1,
    "cacheImages": True,
    "cacheVideos": True,
    "imageQualities": ["thumb", "preview", "full"],
    "videoQualities": ["preview", "720p", "1080p", "source"],
    "retentionDays": 0,
    "accessExpiryDays": 0,
    "storageLimitBytes": 0,
    "storageLimitPurgeStrategy": "purge_oldest",
}
#: What decides whether something stored stays, whatever room there is.
KEEPING = ("cacheImages", "cacheVideos", "imageQualities", "videoQualities", "retentionDays", "accessExpiryDays")


def sha256(content: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@dataclass
class VariantModel:
    """One variant of a connection."""

    media_id: str
    label: str
    type: str  #: image | video
    id: str
    created_at: int
    status: str = "edge_only"
    stored_at: int | None = None
    removed_at: int | None = None
    retained: bool = False  #: its bytes are kept for an undo
    kept_since: int | None = None  #: when they were stored, where they stay until newer ones are: upstream changed it
    etag: str | None = None  #: of the bytes that are stored or retained, once it was seen
    flushed: int = 0  #: views that are written down
    counted: int = 0  #: views that are not
    perhaps: int = 0  #: views that were cut off so early that nobody knows whether they were counted
    slack: int = 0  #: how many of those may have been written down
    viewed_at: int = 0  #: the last of the written ones
    seen_at: int = 0  #: the last of all
    trouble_until: int = 0  #: its origin may be left alone until then
    last_etag: str | None = None  #: that a viewer was shown
    claimed_at: int = 0
    #: The first byte string, in the order of its history, that may still be stored: its change was noticed.
    newest: int | None = None

    def move(self, event: str, at: int, reason: str | None = None) -> None:
        """It was told that this happened. Fails where it cannot have."""
        sources, target = MOVES[event]
        assert self.status in sources, f"{self.status} and {event}"
        if event == "removed":
            self.retained = self.retained or self.status == "stored"
            since = self.kept_since if self.stored_at is None else self.stored_at
            self.kept_since = since if reason == "changed upstream" else None
            self.removed_at, self.stored_at = at, None
        if event in {"stored", "restored"}:
            self.stored_at, self.retained, self.removed_at, self.kept_since = at, False, None, None
        if event == "stored":
            self.etag = None
        if event == "claimed":
            self.claimed_at = at
        self.status = target

    @property
    def is_superseded(self) -> bool:
        """Whether its older bytes stay until what it is now is stored."""
        return self.is_live and self.kept_since is not None

    @property
    def is_live(self) -> bool:
        return self.status != "removed"


@dataclass
class Connection:
    """A creator's connection."""

    id: str
    settings: dict[str, Any] = field(default_factory=lambda: dict(DEFAULTS))
    variants: dict[tuple[str, str], VariantModel] = field(default_factory=dict)
    pinned: set[str] = field(default_factory=set)
    baseline: dict[str, Any] | None = None  #: of its list: media id to fingerprint

    def of(self, media_id: str) -> list[VariantModel]:
        """The variants of an item."""
        return [each for each in self.variants.values() if each.media_id == media_id]

    def is_pinned(self, variant: VariantModel) -> bool:
        return variant.media_id in self.pinned

    def suits(self, variant: VariantModel) -> bool:
        """Whether its type and quality are kept."""
        kept = self.settings["cacheImages" if variant.type == "image" else "cacheVideos"]
        qualities = self.settings["imageQualities" if variant.type == "image" else "videoQualities"]
        return bool(kept) and _QUALITIES[variant.type, variant.label] in qualities

    def wants(self, variant: VariantModel) -> bool:
        """Whether policy stores it by itself, with the views that are written down."""
        enough = variant.flushed >= self.settings["minAccessCountVault"]
        return self.settings["autoCacheVault"] and enough and self.suits(variant)

    def is_over(self, variant: VariantModel, now: int) -> bool:
        """Whether it has been stored, or not been viewed, for too long."""
        stored_at = variant.kept_since if variant.stored_at is None else variant.stored_at
        if stored_at is None:
            return False
        retention, expiry = self.settings["retentionDays"], self.settings["accessExpiryDays"]
        viewed_at = max(stored_at, variant.viewed_at)
        return bool((retention and stored_at + retention * DAY <= now) or (expiry and viewed_at + expiry * DAY <= now))

    def must_go(self, variant: VariantModel, now: int) -> bool:
        """Whether a change of what is kept removes it, where it is stored."""
        if variant.status != "stored" or self.is_pinned(variant):
            return False
        return not self.suits(variant) or self.is_over(variant, now)


@dataclass
class Named:
    """An ETag: whose it is, and the byte strings that it may name as far as they were seen."""

    variant_id: str
    candidates: set[str]


@dataclass
class Bytes:
    """Every byte string that an origin ever had, and what the ETags name."""

    contents: dict[str, bytes] = field(default_factory=dict)  #: by digest
    history: dict[tuple[str, str], list[str]] = field(default_factory=dict)  #: of (media id, label), the last is now
    named: dict[str, Named] = field(default_factory=dict)

    def published(self, media_id: str, label: str, content: bytes) -> None:
        """The origin has these bytes from now on."""
        digest = sha256(content)
        self.contents[digest] = content
        self.history.setdefault((media_id, label), []).append(digest)

    def now(self, variant: VariantModel) -> str:
        """The digest of what the origin has."""
        return self.history[variant.media_id, variant.label][-1]

    def answered(self, variant: VariantModel, status: int, headers: Mapping[str, str], body: bytes | None) -> None:
        """A 200 is the whole object of its ETag, a 206 a slice of it; `body` is None for a HEAD. Fails otherwise."""
        etag = headers["ETag"]
        history = set(self.history[variant.media_id, variant.label])
        name = self.named.setdefault(etag, Named(variant.id, history))
        assert name.variant_id == variant.id, f"{etag} was another variant's"
        fitting = {each for each in name.candidates if self._fits(each, status, headers, body)}
        assert fitting, f"{etag} named other bytes before, or its origin never had these ({status}, {dict(headers)})"
        name.candidates = fitting

    def _fits(self, digest: str, status: int, headers: Mapping[str, str], body: bytes | None) -> bool:
        content = self.contents[digest]
        told = headers.get("Repr-Digest")
        if told is not None and told != _repr_digest(content):
            return False
        if status == 200:
            length = headers.get("Content-Length")
            return (body is None or body == content) and length in {None, str(len(content))}
        first, last, size = _content_range(headers["Content-Range"])
        return size == len(content) and (body is None or body == content[first : last + 1])


def _repr_digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def _content_range(text: str) -> tuple[int, int, int]:
    unit, _, rest = text.partition(" ")
    assert unit == "bytes"
    part, _, size = rest.partition("/")
    first, _, last = part.partition("-")
    return int(first), int(last), int(size)
