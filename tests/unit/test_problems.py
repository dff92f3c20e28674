"""What errors mean over HTTP: every error has its line, one shape, and nothing that callers must not know."""

import json

import pytest

from mediavault import errors
from mediavault.problems import TABLE, Problem, new_request_id, problem


def tree(kind: type[errors.VaultError]) -> list[type[errors.VaultError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]


EVERY_ERROR = [kind for kind in tree(errors.VaultError) if kind.__module__ == errors.__name__]
#: Their own text is for the operator: paths, SQL, keys.
UNTOLD = {"INTERNAL_ERROR", "STORAGE_ERROR", "STORAGE_UNAVAILABLE", "DATABASE_ERROR", "DATABASE_UNAVAILABLE"}


def test_every_error_has_a_line_in_the_table_and_every_line_an_error():
    assert set(TABLE) == set(EVERY_ERROR)


def test_every_error_is_drawn_in_the_tree():
    drawn = {word for line in (errors.__doc__ or "").splitlines() for word in line.split()[:2]}
    assert {kind.__name__ for kind in EVERY_ERROR} <= drawn


def test_one_type_always_has_one_status_but_for_the_sessions():
    statuses: dict[str, set[int]] = {}
    for status, kind in TABLE.values():
        statuses.setdefault(kind, set()).add(status)
    assert {kind: found for kind, found in statuses.items() if len(found) > 1} == {}


@pytest.mark.parametrize("kind", EVERY_ERROR, ids=lambda kind: kind.__name__)
def test_an_error_is_told_in_the_contracts_shape(kind):
    told = problem(kind("canary /data/catalog.sqlite"))
    body = json.loads(told.body("req_1"))
    assert set(body) == {"error", "message", "type", "code", "requestId"}
    assert body["error"] == body["message"]
    assert body["type"] == body["code"] == told.type
    assert body["requestId"] == "req_1"
    assert ("canary" in body["error"]) is (told.type not in UNTOLD)


def test_a_class_without_a_line_is_told_as_its_nearest_ancestor():
    class Newer(errors.MediaNotFound):
        """Newer"""

    assert (problem(Newer()).status, problem(Newer()).text) == (404, "Newer")


def test_what_is_not_the_vaults_own_tells_nothing():
    told = problem(ValueError("secret"))
    assert (told.status, told.type, told.text) == (500, "INTERNAL_ERROR", "Internal server error")


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (errors.TooManyRequests(retry_after=7), "7"),
        (errors.TooManyRequests(retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), "Wed, 21 Oct 2026 07:28:00 GMT"),
        (errors.OriginCoolingDown(retry_after=3), "3"),
        (errors.CatalogUnavailable(), "5"),
        (errors.DiskFull(), "5"),
    ],
)
def test_what_may_pass_says_when_to_ask_again(error, seconds):
    assert problem(error).headers == {"Retry-After": seconds}


def test_details_are_told_where_there_are_any():
    assert json.loads(Problem(400, "BAD_REQUEST", "no", details=[1]).body("r"))["details"] == [1]


def test_request_ids_differ():
    assert len({new_request_id() for _ in range(1000)}) == 1000
