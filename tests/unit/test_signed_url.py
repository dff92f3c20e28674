"""Signed media URLs: what was altered is refused, in any encoding; their life is never short and rarely changes."""

import base64
import hashlib
import hmac
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain.signed_url import Grant, Purpose, UrlSigner, rounded_expiry
from mediavault.errors import BadSignature

NOW = 1_750_000_000_000
ID = "0197f0c0ffee7000800000000000beef"
KEYS = {1: b"k" * 32, 2: b"q" * 32}
SIGNER = UrlSigner("https://media.example/", KEYS, 1)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def token_of(url: str) -> str:
    return url.rpartition("/")[2]


TOKEN = token_of(SIGNER.sign_variant(ID, ttl_seconds=3600, now=NOW))


def signed(body: bytes, key: bytes = KEYS[1]) -> str:
    """A token with a true MAC over any body."""
    return base64.urlsafe_b64encode(body + hmac.digest(key, body, hashlib.sha256)).rstrip(b"=").decode()


def head(version: int = 1, key_id: int = 1, purpose: int = 1, expiry: int = NOW // 1000 + 60) -> bytes:
    return struct.pack(">BBBI", version, key_id, purpose, expiry)


def refused(token: str, now: int = NOW) -> bool:
    with pytest.raises(BadSignature):
        SIGNER.verify(token, now=now)
    return True


def test_a_variants_url_grants_that_variant():
    url = SIGNER.sign_variant(ID, ttl_seconds=3600, now=NOW)
    assert url == f"https://media.example/v2/{TOKEN}"
    grant = SIGNER.verify(TOKEN, now=NOW)
    assert (grant.purpose, grant.variant_id) == (Purpose.VARIANT, ID)
    assert set(TOKEN) <= set(ALPHABET)


@given(st.binary(min_size=16, max_size=3000))
def test_a_direct_url_carries_what_was_sealed(sealed):
    token = token_of(SIGNER.sign_direct(sealed, ttl_seconds=60, now=NOW))
    expires_at = rounded_expiry(NOW, 60) * 1000
    assert SIGNER.verify(token, now=NOW) == Grant(Purpose.DIRECT, sealed, expires_at)


@pytest.mark.parametrize("position", range(len(TOKEN)))
def test_any_other_character_at_any_place_is_refused(position):
    for character in set(ALPHABET + "=+/%. \n\0é") - {TOKEN[position]}:
        assert refused(TOKEN[:position] + character + TOKEN[position + 1 :])


@given(st.integers(0, len(TOKEN)), st.text(st.sampled_from(ALPHABET + "=\n \t+/"), min_size=1, max_size=4))
def test_nothing_may_be_added_anywhere(position, added):
    assert refused(TOKEN[:position] + added + TOKEN[position:])


@given(st.integers(0, len(TOKEN) - 1), st.integers(1, len(TOKEN)))
def test_nothing_may_be_left_out(start, length):
    shorter = TOKEN[:start] + TOKEN[start + length :]
    assert refused(shorter)


@given(st.text(max_size=200))
def test_no_text_is_a_token_by_chance(text):
    assert refused(text)


@pytest.mark.parametrize("token", ["", "=", "A" * 8193, "é" * 40, "\ud800" * 10, "A" * 8192])
def test_what_cannot_be_a_token_is_refused(token):
    assert refused(token)


def test_it_ends_at_its_expiry_and_not_a_millisecond_before():
    expires_at = SIGNER.verify(TOKEN, now=NOW).expires_at
    assert SIGNER.verify(TOKEN, now=expires_at - 1).variant_id == ID
    with pytest.raises(BadSignature, match="expired"):
        SIGNER.verify(TOKEN, now=expires_at)


def test_an_expired_token_that_was_altered_is_not_called_expired():
    altered = ("B" if TOKEN[0] == "A" else "A") + TOKEN[1:]
    with pytest.raises(BadSignature, match="altered"):
        SIGNER.verify(altered, now=NOW * 2)


@pytest.mark.parametrize(
    "body",
    [
        head(version=0) + bytes(16),
        head(version=2) + bytes(16),
        head(key_id=3) + bytes(16),
        head(purpose=0) + bytes(16),
        head(purpose=3) + bytes(16),
        head(purpose=255) + bytes(40),
        head() + bytes(17),
        head() + bytes(15),
        head(),
        b"",
    ],
    ids=repr,
)
def test_a_true_signature_over_something_unknown_is_refused(body):
    assert refused(signed(body))


def test_the_crafted_tokens_are_signed_as_ours_are():
    assert SIGNER.verify(signed(head() + bytes(16)), now=NOW).variant_id == "00" * 16


def test_a_second_key_is_taken_and_a_retired_one_is_not():
    rotated = UrlSigner("https://media.example", KEYS, 2)
    assert rotated.verify(TOKEN, now=NOW).variant_id == ID
    new = token_of(rotated.sign_variant(ID, ttl_seconds=60, now=NOW))
    assert SIGNER.verify(new, now=NOW).variant_id == ID
    with pytest.raises(BadSignature):
        UrlSigner("https://media.example", {2: KEYS[2]}, 2).verify(TOKEN, now=NOW)


def test_a_token_that_was_taken_before_is_refused_once_it_expires_or_its_key_retires():
    signer = UrlSigner("https://media.example", KEYS, 1)
    token = token_of(signer.sign_variant(ID, ttl_seconds=60, now=NOW))
    expires_at = signer.verify(token, now=NOW).expires_at
    assert signer.verify(token, now=expires_at - 1).variant_id == ID
    with pytest.raises(BadSignature, match="expired"):
        signer.verify(token, now=expires_at)
    signer.use({2: KEYS[2]}, 2)
    with pytest.raises(BadSignature):
        signer.verify(token, now=NOW)


def test_a_key_id_does_not_lend_another_keys_signature():
    assert refused(signed(head(key_id=1) + bytes(16), KEYS[2]))


TTL = st.integers(60, 604_800)
MOMENT = st.integers(0, 4_000_000_000_000 - 604_800_000 * 2)


@given(now=MOMENT, ttl=TTL)
def test_a_life_is_never_shorter_than_asked_and_a_quarter_longer_at_most(now, ttl):
    life_ms = rounded_expiry(now, ttl) * 1000 - now
    assert ttl * 1000 <= life_ms <= ttl * 1250 + 1000


@given(now=MOMENT, ttl=TTL)
def test_equal_questions_within_a_quarter_have_at_most_two_answers(now, ttl):
    quarter_ms = ttl // 4 * 1000
    answers = {rounded_expiry(now + part * quarter_ms // 8, ttl) for part in range(9)}
    assert len(answers) <= 2


@given(now=MOMENT, ttl=TTL)
def test_the_url_stays_the_same_until_its_expiry_must_move(now, ttl):
    expiry = rounded_expiry(now, ttl)
    last = (expiry - ttl) * 1000  # the last moment at which that expiry is long enough
    assert last >= now
    assert rounded_expiry(last, ttl) == expiry
    assert rounded_expiry(last + 1, ttl) == expiry + ttl // 4


def test_a_token_of_no_key_takes_the_same_way_as_a_wrong_signature(monkeypatch):
    """One MAC over the same bytes and one comparison in constant time, whatever is wrong."""
    compared: list[int] = []
    compare = hmac.compare_digest

    def counted(one: bytes, other: bytes) -> bool:
        compared.append(len(one))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    raw = base64.urlsafe_b64decode(TOKEN + "=" * (-len(TOKEN) % 4))
    for altered in (
        raw[:1] + bytes([200]) + raw[2:],  # a key that is not there
        b"\2" + raw[1:],  # a version that is not there
        raw[:2] + b"\x63" + raw[3:],  # a purpose that is not there
        raw[:-32] + bytes(32),  # wrong from the first byte on
        raw[:-1] + bytes([raw[-1] ^ 1]),  # wrong in the last bit
    ):
        compared.clear()
        with pytest.raises(BadSignature):
            SIGNER.verify(base64.urlsafe_b64encode(altered).rstrip(b"=").decode(), now=NOW)
        assert compared == [32]


def test_keys_that_change_sign_at_once_and_verify_what_both_signed():
    signer = UrlSigner("https://media.example", {1: KEYS[1]}, 1)
    old = signer.sign_variant(ID, ttl_seconds=3600, now=NOW)
    signer.use(KEYS, 2)
    new = signer.sign_variant(ID, ttl_seconds=3600, now=NOW)
    assert new != old
    for url in (old, new):
        assert signer.verify(url.rpartition("/")[2], now=NOW).variant_id == ID
    signer.use({2: KEYS[2]}, 2)
    with pytest.raises(BadSignature):
        signer.verify(old.rpartition("/")[2], now=NOW)
