"""Secrets at rest: each opens in its own place, with its own key, unaltered; and nowhere else."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.errors import BadSignature, WrongMasterKey
from mediavault.vault.rekeying import check_master_key
from mediavault.vault.sealing import MasterKey, Sealer

KEY = bytes(range(32))
PLACE = ("connections", "session", "org", "https://a", "7")
sealer = Sealer(KEY)


@given(st.binary(max_size=200))
def test_a_secret_opens_in_its_place_and_is_not_readable(secret):
    sealed = sealer.seal(secret, PLACE)
    assert sealer.open(sealed, PLACE) == secret
    assert len(secret) < 8 or secret not in sealed


def test_equal_secrets_seal_differently():
    assert sealer.seal(b"same", PLACE) != sealer.seal(b"same", PLACE)


@pytest.mark.parametrize("position", range(len(PLACE)))
def test_a_secret_does_not_open_in_another_place(position):
    elsewhere = (*PLACE[:position], PLACE[position] + "x", *PLACE[position + 1 :])
    with pytest.raises(WrongMasterKey):
        sealer.open(sealer.seal(b"secret", PLACE), elsewhere)


def test_a_secret_does_not_open_with_another_key():
    with pytest.raises(WrongMasterKey):
        Sealer(os.urandom(32)).open(sealer.seal(b"secret", PLACE), PLACE)


@given(st.data())
def test_an_altered_or_cut_secret_does_not_open(data):
    sealed = sealer.seal(b"a secret of some length", PLACE)
    cut = data.draw(st.integers(0, len(sealed) - 1))
    with pytest.raises(WrongMasterKey):
        sealer.open(sealed[:cut], PLACE)
    flipped = bytearray(sealed)
    flipped[data.draw(st.integers(1, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(WrongMasterKey):
        sealer.open(bytes(flipped), PLACE)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_master_key_of_another_length_is_refused(length):
    with pytest.raises(WrongMasterKey):
        Sealer(bytes(length))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_a_direct_url_opens_again_and_is_the_same_each_time(url):
    sealed = sealer.seal_direct(url, "org", "conn")
    assert sealer.open_direct(sealed) == ("org", "conn", url)
    assert sealer.seal_direct(url, "org", "conn") == sealed


def test_a_direct_url_of_another_connection_is_sealed_differently():
    urls = {sealer.seal_direct("https://a/b", *owner) for owner in (("o", "c"), ("o", "d"), ("p", "c"))}
    assert len(urls) == 3


def test_an_altered_direct_url_does_not_open():
    sealed = bytearray(sealer.seal_direct("https://a/b", "org", "conn"))
    sealed[-1] ^= 1
    with pytest.raises(BadSignature):
        sealer.open_direct(bytes(sealed))
    for short in (b"", b"x" * 11, b"x" * 12, b"x" * 20):
        with pytest.raises(BadSignature):
            sealer.open_direct(short)


def test_a_secret_at_rest_is_no_direct_url_and_the_keys_differ():
    with pytest.raises(BadSignature):
        sealer.open_direct(sealer.seal(b"secret", ("direct",)))
    assert KEY not in sealer.url_keys.values()


async def test_a_vault_keeps_the_key_it_was_made_with(catalog):
    await check_master_key(catalog, sealer)
    await check_master_key(catalog, Sealer(KEY))
    with pytest.raises(WrongMasterKey, match="give it the key it was made with"):
        await check_master_key(catalog, Sealer(os.urandom(32)))


def test_a_ciphertext_says_which_key_it_needs():
    other = os.urandom(32)
    ring = Sealer(other, KEY)
    sealed = sealer.seal(b"secret", PLACE)
    assert ring.open(sealed, PLACE) == b"secret"
    assert sealer.is_current(sealed)
    assert not ring.is_current(sealed)
    assert ring.is_current(ring.seal(b"secret", PLACE))
    with pytest.raises(WrongMasterKey, match="sealed with a master key that was not given"):
        Sealer(other).open(sealed, PLACE)


def test_the_id_of_a_key_is_not_a_part_of_it():
    made = MasterKey(KEY)
    assert len(bytes.fromhex(made.id)) == 4
    assert bytes.fromhex(made.id) not in KEY
    assert MasterKey(KEY).id == made.id != MasterKey(os.urandom(32)).id


def test_a_ring_that_changes_tells_who_follows_it():
    ring, told = Sealer(KEY), []
    ring.follow(lambda: told.append(ring.url_key_id))
    direct = ring.seal_direct("https://a/b", "org", "conn")
    ring.use(bytes(32), KEY)
    assert told == [MasterKey(bytes(32)).url_key_id]
    assert set(ring.url_keys) == {MasterKey(KEY).url_key_id, MasterKey(bytes(32)).url_key_id}
    assert ring.open_direct(direct).url == "https://a/b"
    ring.use(bytes(32))
    with pytest.raises(BadSignature):
        ring.open_direct(direct)
