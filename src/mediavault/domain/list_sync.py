"""Reconciling an upstream list with what the vault holds of it: which media are new, changed, known, or gone.

Every media item that the list shows is in exactly one class; what is gone is purged only where nothing speaks for it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import msgspec

from mediavault.domain.origin_expiry import identity


@dataclass(frozen=True, slots=True)
class Known:
    """What the vault holds of one media item. The defaults are those of an item it never heard of."""

    cached: bool = False  #: at least one live variant
    in_baseline: bool = False  #: was in the list at its last sync
    fingerprint: str | None = None  #: the latest on record, in whichever list
    stale: bool = False  #: something wanted is not stored, and its origin URL has died
    pinned: bool = False
    owned_elsewhere: bool = False  #: another cached list has it


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sync does, by media id. The first five classes are disjoint and together all that the list shows."""

    added: tuple[str, ...] = ()  #: not cached before
    updated: tuple[str, ...] = ()  #: another fingerprint than on record, or stale
    unchanged: tuple[str, ...] = ()  #: in the baseline and current
    adopted: tuple[str, ...] = ()  #: cached already, new to this baseline
    not_storable: tuple[str, ...] = ()  #: not cached, and shown without any URL (protected, or not ready)
    removed: tuple[str, ...] = ()  #: left the baseline, to be purged
    kept: tuple[str, ...] = ()  #: left the baseline, but is pinned, in another list, or has nothing to purge


@dataclass(frozen=True)
class Brake:
    """When a sync is held back until a person confirms: an upstream that shows little of a list may be broken."""

    fewest_items: int = 5  #: fewer removals never brake
    largest_share: float = 0.5  #: of the baseline; more removals than that brake

    def holds(self, removals: int, baseline: int) -> bool:
        """Whether so many removals from a baseline of that size are too many to be believed."""
        return removals >= self.fewest_items and removals > baseline * self.largest_share


_UNHEARD_OF = Known()


def reconcile(seen: Mapping[str, str | None], known: Mapping[str, Known], *, first: bool) -> Plan:
    """Class every item. `seen`: media id to fingerprint, None where it shows no URL; `first`: nothing is removed."""
    classes: dict[str, list[str]] = {name: [] for name in ("added", "updated", "unchanged", "adopted", "not_storable")}
    for media_id, shown in seen.items():
        classes[_class_of(shown, known.get(media_id, _UNHEARD_OF))].append(media_id)
    left = [media_id for media_id, item in known.items() if item.in_baseline and media_id not in seen]
    removed = [] if first else [media_id for media_id in left if _purgeable(known[media_id])]
    kept = set(left).difference(removed)
    return Plan(
        **{name: tuple(members) for name, members in classes.items()},
        removed=tuple(removed),
        kept=tuple(media_id for media_id in left if media_id in kept),
    )


def _class_of(shown: str | None, item: Known) -> str:
    if not item.cached:
        return "not_storable" if shown is None else "added"
    if shown is not None and (item.stale or item.fingerprint not in {None, shown}):
        return "updated"
    return "unchanged" if item.in_baseline else "adopted"


def _purgeable(item: Known) -> bool:
    return item.cached and not item.pinned and not item.owned_elsewhere


def fingerprint(node: Mapping[str, Any], urls: Iterable[tuple[str, str]]) -> str:
    """A digest of a media object of the upstream: equal as long as its files are the same.

    It covers type, duration, createdAt, and of every file label, size, dimensions and the URL without host and
    signature: a platform signs anew at each answer, and may name another of its hosts. `urls`: (label, URL).
    """
    facts = {
        "about": {name: _fact(node.get(name)) for name in ("type", "duration", "createdAt")},
        "files": {str(label): _file(file) for label, file in _object(node.get("files")).items()},
        "urls": sorted([label, _path_of(url)] for label, url in urls),
    }
    return hashlib.sha256(msgspec.json.encode(facts, order="sorted")).hexdigest()[:32]


def _file(given: Any) -> list[Any]:
    file = _object(given)
    sources = file.get("sources")
    listed = [_object(source) for source in sources] if isinstance(sources, list) else []
    return [_measures(file), sorted((_measures(source) for source in listed), key=repr)]


def _measures(file: Mapping[str, Any]) -> list[Any]:
    return [_fact(file.get(name)) for name in ("width", "height", "size")]


def _object(given: Any) -> Mapping[str, Any]:
    return given if isinstance(given, dict) else {}


def _fact(given: Any) -> str | int | float | None:
    """A plain value; `31`, `31.0` and a number that kept its spelling are the same, and what is no value is none."""
    if isinstance(given, msgspec.Raw):
        try:
            given = float(bytes(given))
        except ValueError:
            return None
    if isinstance(given, float):
        if not isfinite(given):
            return None
        return int(given) if given.is_integer() and abs(given) < 2**53 else given
    if isinstance(given, int) and not isinstance(given, bool):
        return given if abs(given) < 2**63 else str(given)
    return given if isinstance(given, str) else None


def _path_of(url: str) -> str:
    bare = identity(url)
    return bare.partition("://")[2].partition("/")[2] if "://" in bare else bare
