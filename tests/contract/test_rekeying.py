"""Master keys rotate beside whatever is written, from any point on; ciphertexts open in their own places only."""

import asyncio
import itertools
import os
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import insert

from fakes.catalog_rows import NOW, Tenant, connection_row, row, rows, seen, tenant
from mediavault.catalog import connections, observations, organisations, sealed, webhooks
from mediavault.catalog.database import Catalog
from mediavault.catalog.operations import Do
from mediavault.catalog.seen import SeenVariant
from mediavault.catalog.tables import installation, metadata
from mediavault.catalog.webhooks import EndpointRow
from mediavault.domain.signed_url import UrlSigner
from mediavault.errors import BadSignature, ConfigError, Conflict, InvalidRequest, WrongMasterKey
from mediavault.vault import connecting, notifying, origin_urls, rekeying
from mediavault.vault.rekeying import LONGEST_URL_LIFE, Rekeying, check_master_key
from mediavault.vault.sealed_places import SEALED
from mediavault.vault.sealing import MasterKey, Sealer

FIRST, SECOND, THIRD = (bytes([number]) * 32 for number in (1, 2, 3))


@dataclass
class Keys:
    """A vault's master keys as its data folder would keep them."""

    catalog: Catalog
    sealer: Sealer
    kept: tuple[bytes, ...]
    now: int = NOW
    outside: bool = False  #: whether they are given, and cannot be replaced from within

    @property
    def rekeying(self) -> Rekeying:
        """Of a process that has just begun."""
        return Rekeying(self.catalog, self.sealer, self.kept, None if self.outside else self._keep, lambda: self.now)

    def _keep(self, before: tuple[bytes, ...], keys: tuple[bytes, ...]) -> None:
        assert self.kept == before
        self.kept = keys

    async def restarted(self) -> "Keys":
        """What the next process has."""
        again = Keys(self.catalog, Sealer(*self.kept), self.kept, self.now, self.outside)
        await check_master_key(self.catalog, again.sealer)
        return again

    async def reseal(self) -> int:
        """The whole walk; how many secrets it sealed."""
        done, cursor, walker = 0, None, self.rekeying
        while True:
            part = await walker.reseal(cursor)
            assert part.unopened == []
            done, cursor = done + part.resealed, part.cursor
            if cursor is None:
                return done


@pytest.fixture
async def keys(catalog):
    made = Keys(catalog, Sealer(FIRST), (FIRST,))
    await check_master_key(catalog, made.sealer)
    return made


async def fill(keys: Keys, media: int = 3) -> Tenant:
    """One connection with media, and a webhook endpoint that has a previous secret: every kind of ciphertext."""
    owner = await tenant(keys.catalog)
    for user in ("1", "2"):
        place = connecting.session_place(owner.org_id, "http://127.0.0.1:1", user)
        connection = connection_row(owner.org_id, user, session=keys.sealer.seal(f"session {user}".encode(), place))
        await keys.catalog.run(connections.save, connection, 4)
    for start in range(0, media, 100):
        items = [await _item(keys, owner, str(number)) for number in range(start, min(start + 100, media))]
        await keys.catalog.run(observations.observe, owner.org_id, owner.connection_id, items, NOW)
    for endpoint_id in ("we_1", "we_2"):
        await _add_endpoint(keys, owner.org_id, endpoint_id)
    return owner


async def _item(keys: Keys, owner: Tenant, media_id: str) -> Any:
    place = origin_urls.place(owner.org_id, owner.connection_id, media_id, "full")
    url = keys.sealer.seal(f"https://cdn/{media_id}".encode(), place)
    return seen(media_id, SeenVariant("full", url, f"key {media_id}", NOW, "image/jpeg"))


async def _add_endpoint(keys: Keys, org_id: str, endpoint_id: str) -> None:
    secret = keys.sealer.seal(b"secret", notifying.secret_place(org_id, endpoint_id))
    previous = keys.sealer.seal(b"before", notifying.previous_secret_place(org_id, endpoint_id))
    endpoint = EndpointRow(
        *(endpoint_id, org_id, "http://a", None, None, "enabled", secret, previous, NOW, None, 0, NOW, NOW)
    )
    await keys.catalog.run(webhooks.create, endpoint, 20)


async def opened(keys: Keys) -> dict[str, list[bytes]]:
    """Every secret, by its column."""
    found = {}
    for places in SEALED:
        column = await sealed.all_after(keys.catalog, places.column, "", 10_000)
        found[str(places)] = [keys.sealer.open(each.sealed, places.place(each)) for each in column]
    return found


async def test_every_sealed_column_of_the_schema_is_known(keys):
    """A column of bytes that is not in the table would be left behind by every rotation."""
    binary = {
        f"{table.name}.{column.name}"
        for table in metadata.sorted_tables
        for column in table.c
        if str(column.type) in {"BLOB", "BYTEA"}
    }
    assert binary == {str(places) for places in SEALED}


async def test_a_swapped_ciphertext_is_refused_wherever_it_came_from(keys):
    """Every ciphertext in the place of every other one: another row, another column, another table."""
    await fill(keys)
    lying = [
        (places.place(each), each.sealed)
        for places in SEALED
        for each in await sealed.all_after(keys.catalog, places.column, "", 100)
    ]
    assert len(lying) == 2 + 2 + 2 + 3 + 1
    for (place, own), (elsewhere, other) in itertools.product(lying, lying):
        if place == elsewhere:
            keys.sealer.open(own, place)
            continue
        with pytest.raises(WrongMasterKey):
            keys.sealer.open(other, place)


@pytest.mark.parametrize("part", range(1, 6))
def test_an_origin_url_opens_for_no_other_organisation_connection_item_or_label(part):
    sealer = Sealer(FIRST)
    place = origin_urls.place("org", "connection", "media", "full")
    elsewhere = tuple("other" if position == part else each for position, each in enumerate(place))
    with pytest.raises(WrongMasterKey):
        sealer.open(sealer.seal(b"url", place), elsewhere)


async def test_a_rotation_seals_everything_anew_and_changes_no_secret(keys):
    await fill(keys)
    before = await opened(keys)
    signer = UrlSigner("http://m", keys.sealer.url_keys, keys.sealer.url_key_id)
    keys.sealer.follow(lambda: signer.use(keys.sealer.url_keys, keys.sealer.url_key_id))
    old_url, direct = signer.sign_variant("ab" * 16, ttl_seconds=60, now=NOW), keys.sealer.seal_direct("u", "o", "c")
    shown = await keys.rekeying.rotate()
    assert [(each.current, each.needed) for each in shown] == [(True, True), (False, True)]
    assert keys.kept[1] == FIRST
    assert await keys.reseal() == 10
    assert await opened(keys) == before
    assert await opened(await keys.restarted()) == before
    new_only = Sealer(keys.kept[0])
    assert await opened(Keys(keys.catalog, new_only, ())) == before
    new_url = signer.sign_variant("ab" * 16, ttl_seconds=60, now=NOW)
    assert new_url != old_url
    for url in (old_url, new_url):
        assert signer.verify(url.rpartition("/")[2], now=NOW).variant_id == "ab" * 16
    assert keys.sealer.open_direct(direct).url == "u"
    assert [each.needed for each in await keys.rekeying.keys()] == [True, False]


async def test_two_rotations_at_once_forget_no_key(keys):
    await fill(keys)
    before, walker = await opened(keys), keys.rekeying
    await asyncio.gather(walker.rotate(), walker.rotate(), walker.rotate())
    assert keys.kept[-1] == FIRST
    assert [key.id for key in keys.sealer.keys] == [MasterKey(each).id for each in keys.kept]
    assert len(keys.kept) == 2  # the others found one under way
    await keys.reseal()
    assert await opened(await keys.restarted()) == before


async def test_a_rotation_goes_on_where_it_was_cut_short(keys, monkeypatch):
    """A process that dies between any two pages: the next one reads all, and a second rotation ends the first."""
    monkeypatch.setattr(rekeying, "_PAGE", 2)
    monkeypatch.setattr(rekeying, "_PAGES_AT_ONCE", 1)
    await fill(keys, media=5)
    before = await opened(keys)
    await keys.rekeying.rotate()
    ring, cursor, steps = keys.kept, None, 0
    while True:
        keys = await keys.restarted()
        assert await opened(keys) == before
        assert await keys.rekeying.rotate() is not None
        assert keys.kept == ring  # no further key
        part = await keys.rekeying.reseal(cursor)
        cursor, steps = part.cursor, steps + 1
        if cursor is None:
            break
    assert steps >= 8
    assert await keys.reseal() == 0


async def test_what_is_written_while_a_page_is_sealed_is_not_overwritten(keys):
    owner = await fill(keys)
    await keys.rekeying.rotate()
    column = sealed.SESSIONS
    page = await sealed.sealed_otherwise(keys.catalog, column, keys.sealer.current.prefix, "", 10)
    place = connecting.session_place(owner.org_id, "http://127.0.0.1:1", "1")
    fresh = keys.sealer.seal(b"a new session", place)
    changed = connection_row(owner.org_id, "1", session=fresh)
    await keys.catalog.run(connections.save, changed, 4)
    await keys.catalog.run(sealed.replace, column, [(each, b"late") for each in page])
    held = {each["upstream_user_id"]: each["session"] for each in await rows(keys.catalog, "connections")}
    assert bytes(held["1"]) == fresh
    assert bytes(held["2"]) == b"late"


async def test_what_is_empty_is_passed_over_and_what_does_not_open_is_told_and_stays(keys):
    owner = await fill(keys)
    derived = seen("derived", SeenVariant("thumb", b"", "", NOW, "image/jpeg"))
    await keys.catalog.run(observations.observe, owner.org_id, owner.connection_id, [derived], NOW)
    damaged = keys.sealer.seal(b"url", ("elsewhere",))
    item = seen("damaged", SeenVariant("full", damaged, "k", NOW, "image/jpeg"))
    ids = await keys.catalog.run(observations.observe, owner.org_id, owner.connection_id, [item], NOW)
    await keys.rekeying.rotate()
    part = await keys.rekeying.reseal(None)
    assert (part.cursor, part.resealed) == (None, 10)
    assert part.unopened == [f"variants.origin_url {ids[('damaged', 'full')]}"]
    assert bytes((await row(keys.catalog, "variants", id=ids[("damaged", "full")]))["origin_url"]) == damaged
    with pytest.raises(Conflict, match="still need a previous master key"):
        await keys.rekeying.retire(at_once=True)


async def test_a_key_is_retired_when_nothing_needs_it_and_its_urls_have_expired(keys):
    await fill(keys)
    old_url_key = keys.sealer.url_key_id
    await keys.rekeying.rotate()
    with pytest.raises(Conflict, match="run `mediavault master-key rotate`"):
        await keys.rekeying.retire(at_once=True)
    await keys.reseal()
    with pytest.raises(Conflict, match="may live until 20"):
        await keys.rekeying.retire(at_once=False)
    keys.now += LONGEST_URL_LIFE
    gone = await keys.rekeying.retire(at_once=False)
    assert [each.id for each in gone] == [MasterKey(FIRST).id]
    assert len(keys.kept) == 1
    assert old_url_key not in keys.sealer.url_keys
    await keys.restarted()
    with pytest.raises(WrongMasterKey):
        await check_master_key(keys.catalog, Sealer(FIRST))
    assert await keys.rekeying.retire(at_once=False) == []


async def test_urls_of_a_key_that_is_retired_at_once_end(keys):
    signer = UrlSigner("http://m", keys.sealer.url_keys, keys.sealer.url_key_id)
    keys.sealer.follow(lambda: signer.use(keys.sealer.url_keys, keys.sealer.url_key_id))
    token = signer.sign_variant("ab" * 16, ttl_seconds=60, now=NOW).rpartition("/")[2]
    await keys.rekeying.rotate()
    await keys.reseal()
    assert signer.verify(token, now=NOW)
    await keys.rekeying.retire(at_once=True)
    with pytest.raises(BadSignature):
        signer.verify(token, now=NOW)


async def test_no_process_starts_without_a_key_that_may_be_needed(keys):
    """The old key is taken away too early: refused with what to do, though the vault's own check opens."""
    await fill(keys)
    await keys.rekeying.rotate()
    new = keys.kept[0]
    with pytest.raises(WrongMasterKey):
        await check_master_key(keys.catalog, Sealer(new))
    await keys.reseal()
    with pytest.raises(WrongMasterKey, match=f"may still need the master key {MasterKey(FIRST).id}: give it too"):
        await check_master_key(keys.catalog, Sealer(new))
    await check_master_key(keys.catalog, Sealer(new, FIRST))


async def test_a_key_that_is_refused_leaves_no_trace(keys):
    before = await rows(keys.catalog, "installation")
    for wrong in (Sealer(SECOND), Sealer(SECOND, THIRD)):
        with pytest.raises(WrongMasterKey, match="give it the key it was made with"):
            await check_master_key(keys.catalog, wrong)
    assert await rows(keys.catalog, "installation") == before


async def test_keys_that_are_given_from_outside_rotate_too(keys):
    await fill(keys)
    before = await opened(keys)
    given = Keys(keys.catalog, keys.sealer, keys.kept, outside=True)
    with pytest.raises(Conflict, match="given from outside: put a new one"):
        await given.rekeying.rotate()
    # First every process can open both and seals with the old one, then each seals with the new one.
    waiting = Keys(keys.catalog, Sealer(FIRST, SECOND), (FIRST, SECOND), outside=True)
    await check_master_key(keys.catalog, waiting.sealer)
    given = Keys(keys.catalog, Sealer(SECOND, FIRST), (SECOND, FIRST), outside=True)
    await check_master_key(keys.catalog, given.sealer)
    assert await opened(waiting) == before
    await given.rekeying.rotate()
    assert await given.reseal() == 10
    assert await opened(waiting) == before
    await given.rekeying.retire(at_once=True)
    alone = Keys(keys.catalog, Sealer(SECOND), (SECOND,), outside=True)
    await check_master_key(keys.catalog, alone.sealer)
    assert await opened(alone) == before


async def test_a_key_that_comes_back_is_not_retired_by_an_old_note(keys):
    await keys.rekeying.rotate()
    await keys.reseal()
    new = keys.kept[0]
    back = Keys(keys.catalog, Sealer(FIRST, new), (FIRST, new))
    await check_master_key(keys.catalog, back.sealer)
    assert [each.left_at for each in await back.rekeying.keys()] == [None, None]


async def test_secrets_that_were_sealed_before_there_was_a_ring_open_and_rotate(keys):
    """Version 1 named no key."""
    place = connecting.session_place("o", "http://127.0.0.1:1", "9")
    nonce = os.urandom(12)
    old = b"\1" + nonce + keys.sealer.current.at_rest.encrypt(nonce, b"old session", "\0".join(place).encode())
    assert Sealer(SECOND, FIRST).open(old, place) == b"old session"
    with pytest.raises(WrongMasterKey):
        Sealer(SECOND).open(old, place)
    await keys.catalog.run(organisations.create, "o", "o", "{}", NOW)
    await keys.catalog.run(connections.save, connection_row("o", "9", session=old), 4)
    assert await keys.reseal() == 1
    assert keys.sealer.is_current(bytes((await row(keys.catalog, "connections"))["session"]))


async def test_only_a_bounded_ring_of_different_keys_is_held():
    with pytest.raises(ConfigError, match="more than 8 master keys"):
        Sealer(*(bytes([number]) * 32 for number in range(9)))
    twins: dict[int, bytes] = {}
    for number in range(1000):
        key = number.to_bytes(32)
        if (other := twins.setdefault(MasterKey(key).url_key_id, key)) != key:
            break
    with pytest.raises(ConfigError, match="by chance; make another"):
        Sealer(key, other)
    assert len(Sealer(FIRST, FIRST).keys) == 1


async def test_a_cursor_of_nobodys_is_refused(keys):
    for cursor in ("", "x", "9:", "-1:", "٣:a", "999999999999:a"):
        with pytest.raises(InvalidRequest):
            await keys.rekeying.reseal(cursor)


async def test_a_fact_of_something_else_is_not_taken_for_a_key(keys):
    def note() -> Any:
        yield Do(insert(installation).values(name="another", content=b"fact"))

    await keys.catalog.run(note)
    await keys.restarted()
