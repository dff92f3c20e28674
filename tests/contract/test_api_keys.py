"""API keys: they expire, take turns with an overlap, say when they were used last, and end everywhere soon."""

import hashlib
from dataclasses import dataclass

import pytest

from fakes.catalog_rows import NOW, row
from mediavault.catalog import organisations
from mediavault.catalog.database import CatalogConfig, open_catalog
from mediavault.catalog.operations import DoMany
from mediavault.domain.times import DAY, HOUR, MINUTE
from mediavault.errors import Conflict, InvalidRequest, NotFound, NotPermitted
from mediavault.vault.authorising import LONGEST_OVERLAP, REVOCATION_DELAY, Authorising, NewKey, Scope


@dataclass
class Clock:
    now: int = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def authorising(catalog, clock):
    made = Authorising(catalog, clock)
    await made.bootstrap("a-first-key-that-nobody-uses-here")
    return made


async def is_let_in(authorising: Authorising, key: NewKey, scope: Scope = Scope.ACCOUNT) -> bool:
    try:
        await authorising.principal(key.secret, scope)
    except NotPermitted:
        return False
    return True


async def test_a_key_ends_when_it_expires_though_it_was_just_seen_alive(authorising, clock):
    key = await authorising.create_key("default", ["ACCOUNT"], life=MINUTE)
    assert key.expires_at == NOW + MINUTE
    clock.now += MINUTE - 1
    assert await is_let_in(authorising, key)
    clock.now += 1
    assert not await is_let_in(authorising, key)
    assert not await is_let_in(Authorising(authorising._catalog, clock), key)
    clock.now -= 1  # the clock was put back: a process that never heard of it looks at the row, and it is alive then
    assert await is_let_in(authorising, key)


async def test_a_life_is_a_minute_to_ten_years(authorising):
    for life in (0, -1, MINUTE - 1, 3651 * DAY):
        with pytest.raises(InvalidRequest, match="a key lives a minute to 3650 days"):
            await authorising.create_key("default", ["ACCOUNT"], life=life)


async def test_a_rotation_overlaps_and_then_only_the_new_key_lives(authorising, clock):
    old = await authorising.create_key("default", ["ACCESS"], name="laptop")
    assert await is_let_in(authorising, old, Scope.ACCESS)
    new = await authorising.rotate_key(old.id, overlap=24 * HOUR, life=90 * DAY)
    assert (new.organisation, new.scopes, new.replaces) == ("default", ("ACCESS",), old.id)
    assert (new.overlap_until, new.expires_at) == (NOW + 24 * HOUR, NOW + 90 * DAY)
    listed = {each.id: each for each in await authorising.keys()}
    assert listed[new.id].name == "laptop"
    assert (listed[old.id].expires_at, listed[old.id].replaced_by) == (NOW + 24 * HOUR, new.id)
    clock.now += 24 * HOUR - 1
    assert await is_let_in(authorising, old, Scope.ACCESS)
    assert await is_let_in(authorising, new, Scope.ACCESS)
    clock.now += 1
    assert not await is_let_in(authorising, old, Scope.ACCESS)
    assert await is_let_in(authorising, new, Scope.ACCESS)
    assert not await is_let_in(authorising, new, Scope.ACCOUNT)


async def test_a_rotation_without_overlap_ends_the_old_key_at_once(authorising):
    old = await authorising.create_key("default", ["ACCOUNT"])
    assert await is_let_in(authorising, old)
    await authorising.rotate_key(old.id, overlap=0)
    assert not await is_let_in(authorising, old)


async def test_an_overlap_never_lengthens_a_life(authorising):
    old = await authorising.create_key("default", ["ACCOUNT"], life=HOUR)
    new = await authorising.rotate_key(old.id, overlap=24 * HOUR)
    assert new.overlap_until == NOW + HOUR
    assert {each.id: each for each in await authorising.keys()}[old.id].expires_at == NOW + HOUR


async def test_only_a_living_key_rotates_and_only_once(authorising, clock):
    key = await authorising.create_key("default", ["ACCOUNT"], life=HOUR)
    for overlap in (-1, LONGEST_OVERLAP + 1):
        with pytest.raises(InvalidRequest, match="at most 30 days"):
            await authorising.rotate_key(key.id, overlap=overlap)
    await authorising.rotate_key(key.id, overlap=HOUR)
    count = len(await authorising.keys())
    with pytest.raises(Conflict, match="another key takes its place already"):
        await authorising.rotate_key(key.id, overlap=HOUR)
    revoked = await authorising.create_key("default", ["ACCOUNT"])
    await authorising.revoke_key(revoked.id)
    clock.now += HOUR
    for ended in (key.id, revoked.id, "none"):
        with pytest.raises(NotFound, match="no living key"):
            await authorising.rotate_key(ended, overlap=HOUR)
    assert len(await authorising.keys()) == count + 1  # no rotation that failed left a key


async def test_another_process_refuses_a_revoked_key_within_the_delay(database_url, clock):
    """Two processes on one catalog: the one that revokes at once, the other after a second at the latest."""
    here, there = [await open_catalog(CatalogConfig(database_url)) for _ in range(2)]
    revoking, serving = Authorising(here, clock), Authorising(there, clock)
    await revoking.bootstrap(None)
    for end in (revoking.revoke_key, lambda key_id: revoking.rotate_key(key_id, overlap=0)):
        key = await revoking.create_key("default", ["ACCOUNT"])
        assert await is_let_in(serving, key)
        assert await is_let_in(revoking, key)
        await end(key.id)
        assert not await is_let_in(revoking, key)
        clock.now += REVOCATION_DELAY
        assert not await is_let_in(serving, key)
    assert REVOCATION_DELAY <= 1000
    await here.close()
    await there.close()


async def test_the_last_use_is_written_in_batches_and_never_on_the_way(authorising, catalog, clock):
    key, other = [await authorising.create_key("default", ["ACCOUNT"]) for _ in range(2)]
    assert await is_let_in(authorising, key)
    clock.now += 500
    assert await is_let_in(authorising, key)
    assert not await is_let_in(authorising, other, Scope.ACCESS)  # no use of it
    assert (await row(catalog, "api_keys", id=key.id))["last_used_at"] is None
    await authorising.uses.flush()
    listed = {each.id: each for each in await authorising.keys()}
    assert (listed[key.id].last_used_at, listed[other.id].last_used_at) == (NOW + 500, None)
    behind = Authorising(catalog, lambda: NOW)  # a process whose clock is late, or whose flush is
    await is_let_in(behind, key)
    await behind.uses.flush()
    assert (await row(catalog, "api_keys", id=key.id))["last_used_at"] == NOW + 500


async def test_a_flush_that_fails_loses_no_use(authorising, clock):
    key = await authorising.create_key("default", ["ACCOUNT"])
    await is_let_in(authorising, key)
    authorising.uses.last["another\0key"] = NOW  # no database holds this
    with pytest.raises(Exception, match="cannot be kept"):
        await authorising.uses.flush()
    clock.now += 1
    await is_let_in(authorising, key)
    assert authorising.uses.last.pop("another\0key") == NOW
    await authorising.uses.flush()
    assert {each.id: each for each in await authorising.keys()}[key.id].last_used_at == NOW + 1
    assert authorising.uses.last == {}


class Told:
    """A catalog that tells what it was asked."""

    def __init__(self, catalog: object) -> None:
        self._catalog = catalog
        self.asked: list[tuple[object, dict[str, object]]] = []

    async def fetch(self, statement: object, values: dict[str, object]) -> object:
        self.asked.append((statement, values))
        return await self._catalog.fetch(statement, values)  # type: ignore[attr-defined]


async def test_a_wrong_a_nearly_right_a_revoked_and_an_expired_key_take_the_same_way(authorising, catalog, clock):
    """One query by a digest for each: nothing of the secret is compared, so no prefix of it can be guessed."""
    right = await authorising.create_key("default", ["ACCOUNT"])
    revoked = await authorising.create_key("default", ["ACCOUNT"])
    expired = await authorising.create_key("default", ["ACCOUNT"], life=MINUTE)
    await authorising.revoke_key(revoked.id)
    clock.now += MINUTE
    told = Told(catalog)
    asking = Authorising(told, clock)  # type: ignore[arg-type]
    guesses = [right.secret[:-1] + "~", right.secret[:8] + "~" * 38, "mv_" + "x" * 43, revoked.secret, expired.secret]
    for guess in guesses:
        for _ in range(2):  # nor is a guess remembered
            with pytest.raises(NotPermitted):
                await asking.principal(guess, Scope.ACCOUNT)
    assert len(told.asked) == 2 * len(guesses)
    (statement,) = {id(statement) for statement, _ in told.asked}
    assert {values["sha256"] for _, values in told.asked} == {
        hashlib.sha256(guess.encode()).hexdigest() for guess in guesses
    }
    assert (await asking.principal(right.secret, Scope.ACCOUNT)).key_id == right.id
    assert id(told.asked[-1][0]) == statement


async def test_a_rotation_that_finds_the_secret_taken_changes_nothing(authorising, catalog, clock):
    """Both rows or none."""
    key = await authorising.create_key("default", ["ACCOUNT"])
    before = await organisations.find_key_by_id(catalog, key.id, clock.now)
    assert before is not None
    taken = hashlib.sha256(key.secret.encode()).hexdigest()

    def rotate() -> object:
        yield from organisations.rotate_key(before, NOW + 1, before, taken, clock.now)

    with pytest.raises(Conflict, match="this secret already"):
        await catalog.run(rotate)
    assert (await row(catalog, "api_keys", id=key.id))["expires_at"] is None


def test_uses_are_written_in_one_order_as_rows_are_locked():
    (uses,) = organisations.note_uses({"b": 2, "a": 1})
    assert isinstance(uses, DoMany)
    assert [each["key_id"] for each in uses.values] == ["a", "b"]
