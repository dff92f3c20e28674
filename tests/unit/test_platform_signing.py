"""The sandbox's media URLs: stable for a while, refused once altered or expired."""

import pytest

from mediavault.platform.signing import Refused, Signer

SIGNER = Signer(b"key", "K1", lifetime_seconds=3600)


def expiry(query: str) -> int:
    return int(query.split("&")[0].removeprefix("Expires="))


def test_a_url_lives_for_its_lifetime_and_at_most_a_quarter_more():
    for now in (0.0, 899.9, 900.0, 1_735_732_801.5):
        assert now + 3600 <= expiry(SIGNER.query("a", now)) <= now + 4500


def test_equal_questions_get_equal_urls_until_the_step_is_over():
    assert SIGNER.query("a", 1.0) == SIGNER.query("a", 900.0)
    assert SIGNER.query("a", 900.0) != SIGNER.query("a", 901.0)


def test_it_opens_until_the_second_it_expires():
    query = SIGNER.query("a", 0.0)
    SIGNER.verify("a", query, 3599.9)
    with pytest.raises(Refused):
        SIGNER.verify("a", query, 3600.0)


def test_a_lifetime_of_a_second_still_has_whole_steps():
    short = Signer(b"key", "K1", lifetime_seconds=1)
    assert expiry(short.query("a", 10.2)) == 12


@pytest.mark.parametrize(
    "spoil",
    [
        lambda query: query[:0],
        lambda query: query.replace("Expires=3", "Expires=4"),
        lambda query: query[: query.index("&Key")],
        lambda query: query + "&more=1",
        lambda query: query.replace("Signature=", "Signature=A"),
        lambda query: query.replace("K1", "K2"),
        lambda query: query.replace("Expires=3600", "Expires=\u0663"),
        lambda query: query.replace("Signature=", "Signature=\u00e9"),
    ],
)
def test_an_altered_url_is_refused(spoil):
    query = SIGNER.query("a", 0.0)
    assert spoil(query) != query
    with pytest.raises(Refused):
        SIGNER.verify("a", spoil(query), 0.0)


def test_a_url_opens_no_other_path_and_no_other_platforms_files():
    query = SIGNER.query("a", 0.0)
    with pytest.raises(Refused):
        SIGNER.verify("b", query, 0.0)
    with pytest.raises(Refused):
        Signer(b"other", "K1", 3600).verify("a", query, 0.0)
