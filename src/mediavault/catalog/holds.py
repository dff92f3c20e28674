"""Holds: while a backup copies blobs, no sweep deletes any.

A hold is a fact of the installation whose name tells until when it lasts, so that one statement finds the doomed blobs
and whether somebody holds them. Who deletes took its list in one look: what was on a list that was taken before a hold
was committed was doomed before that, and so is no live blob of a snapshot that is taken afterwards.

A hold that is not renewed ends by itself; what a killed backup left lasts a few minutes.
"""

from sqlalchemy import ColumnElement, bindparam, delete, insert, select

from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.tables import installation
from mediavault.errors import LostRace

_PREFIX = "backup_hold:"
_END = "backup_hold;"  #: the first name that is no hold's: ";" comes after ":"

_LASTING = (installation.c.name > bindparam("held_after"), installation.c.name < _END)
_ADD = insert(installation).values(name=bindparam("name"), content=b"")
_RELEASE = delete(installation).where(installation.c.name == bindparam("of_name")).returning(installation.c.name)
_EXPIRED = delete(installation).where(installation.c.name >= _PREFIX, installation.c.name <= bindparam("held_after"))
_ALL = delete(installation).where(installation.c.name >= _PREFIX, installation.c.name < _END)


def held() -> ColumnElement[bool]:
    """Whether there is a hold that lasts; with the parameters of `at`."""
    return select(installation.c.name).where(*_LASTING).exists()


def at(now: int) -> dict[str, str]:
    """The parameters of `held` at a time."""
    return {"held_after": f"{_PREFIX}{now:015d}:~"}


def name_of(hold_id: str, until: int) -> str:
    """The name of a hold."""
    return f"{_PREFIX}{until:015d}:{hold_id}"


def take(hold_id: str, until: int, now: int) -> Operation[str]:
    """Hold every blob until then; the name of the hold. Holds that have ended are forgotten."""
    yield Do(_EXPIRED, at(now))
    name = name_of(hold_id, until)
    yield Do(_ADD, {"name": name})
    return name


def renew(name: str, until: int, now: int) -> Operation[str]:
    """Hold on; the hold's new name. Raises LostRace when it has ended: blobs may have been deleted since."""
    _, ended_at, hold_id = name.split(":")
    if not (yield Do(_RELEASE, {"of_name": name})) or int(ended_at) <= now:
        raise LostRace("the hold on the blobs has ended")
    renewed = name_of(hold_id, until)
    yield Do(_ADD, {"name": renewed})
    return renewed


def release(name: str) -> Operation[None]:
    """Let go; one that has ended is let go already."""
    yield Do(_RELEASE, {"of_name": name})


def release_all() -> Operation[None]:
    """Let go of every hold: those in a restored catalog are of the backup that it was."""
    yield Do(_ALL)
