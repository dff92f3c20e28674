"""Callers who ask too much: each limit holds, says so in headers, and others are answered meanwhile."""

import asyncio
import io
from typing import Any

import pytest

from fakes.documents import resolved, validator
from fakes.vaults import AURORA, CORAL, KEY, RunningVault, running_vault, until
from mediavault.api.limits import LimitConfig
from mediavault.catalog import organisations
from mediavault.domain.client_address import TrustedProxies
from mediavault.vault.fills.turns import TurnConfig

WHOAMI = "/v2/account/whoami"
ERROR = resolved({"$ref": "#/components/schemas/Error"})
NOW = 1_700_000_000_000


@pytest.fixture
def limited(tmp_path):
    """A vault with these limits, whose wall clock stands still: what a minute brings back is not seen in a test."""
    return lambda **limits: running_vault(tmp_path / "data", now=lambda: NOW, limits=LimitConfig(**limits))


@pytest.fixture
def limited_anywhere(tmp_path, database_url):
    """The same on each engine: where a limit comes before a row is looked up, or after."""
    kept = {"now": lambda: NOW, "database_url": database_url}
    return lambda **limits: running_vault(tmp_path / "data", limits=LimitConfig(**limits), **kept)


def check_refused(answer: Any, limit: int | None = None) -> None:
    """The contract's 429."""
    assert answer.status == 429, answer.body
    validator(ERROR).validate(answer.json)
    assert answer.json["type"] == "RATE_LIMIT_EXCEEDED"
    assert answer.headers["X-Request-Id"] == answer.json["requestId"]
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    if limit is not None:
        assert told(answer)[:2] == (limit, 0)


def told(answer: Any) -> tuple[int, int, int]:
    names = ("Limit", "Remaining", "Reset")
    limit, remaining, reset = (int(answer.headers[f"X-RateLimit-{name}"]) for name in names)
    assert all(len(answer.headers.getall(f"X-RateLimit-{name}")) == 1 for name in names)
    return limit, remaining, reset


async def another_key(vault: RunningVault, organisation: str = "default") -> str:
    made = await vault.vault.foundation.authorising.create_key(organisation, ["ACCOUNT", "ACCESS"])
    return str(made.secret)


async def test_a_key_has_so_many_requests_a_minute_and_is_told_what_is_left(limited):
    async with limited(key_per_minute=3) as vault:
        for remaining in (2, 1, 0):
            answer = await vault.call("GET", WHOAMI)
            assert answer.status == 200
            limit, left, reset = told(answer)
            assert (limit, left) == (3, remaining)
            assert NOW // 1000 < reset <= NOW // 1000 + 61
        check_refused(await vault.call("GET", WHOAMI), 3)
        assert (await vault.call("GET", WHOAMI, key=await another_key(vault))).status == 200


async def test_errors_tell_what_is_left_too(limited):
    async with limited(key_per_minute=5) as vault:
        answer = await vault.call("GET", "/v2/vault-plus/media/1")
        assert (answer.status, told(answer)[:2]) == (400, (5, 4))


async def test_the_item_is_limited_like_everything_else(limited):
    async with limited(key_per_minute=1_000, connection_per_minute=8) as vault:
        connection = await vault.connect()
        await vault.see(connection)  # about the connection, as the six that follow
        item = f"/v2/vault-plus/media/{vault.sandbox.add_media('aurora').id}"
        answers = [await vault.call("GET", item, connection=connection) for _ in range(8)]
        assert [answer.status for answer in answers] == [404] * 7 + [429]
        assert told(answers[0])[:2] == (8, 6)
        check_refused(answers[-1], 8)


async def test_a_connection_over_its_rate_holds_up_no_other(limited):
    async with limited(connection_per_minute=4) as vault:
        aurora, coral = await vault.connect(AURORA), await vault.connect(CORAL)
        status = "/v2/vault-plus/status"
        statuses = [(await vault.call("GET", status, connection=aurora)).status for _ in range(6)]
        assert statuses == [200] * 4 + [429] * 2
        assert (await vault.call("GET", status, connection=coral)).status == 200


async def test_another_organisation_cannot_use_up_the_rate_of_a_connection(limited_anywhere):
    async with limited_anywhere(connection_per_minute=4) as vault:
        connection = await vault.connect()
        await vault.vault.foundation.authorising.create_organisation("rivals")
        rival = await another_key(vault, "rivals")
        for _ in range(8):
            await vault.call("GET", "/v2/vault-plus/status", key=rival, connection=connection)
        assert (await vault.call("GET", "/v2/vault-plus/status", connection=connection)).status == 200


async def test_an_address_has_so_many_requests_whatever_its_keys_but_probes_are_answered(limited):
    async with limited(address_per_minute=3) as vault:
        assert [(await vault.call("GET", WHOAMI, key=None)).status for _ in range(3)] == [401] * 3
        check_refused(await vault.call("GET", WHOAMI), 3)
        check_refused(await vault.call("GET", "/no/such/route"), 3)
        assert [(await vault.call("GET", path, key=None)).status for path in ("/livez", "/readyz")] == [200, 200]


async def test_nobody_says_who_he_is_unless_the_proxy_is_trusted(limited):
    async with limited(address_per_minute=2) as vault:
        for number in range(2):
            assert (await vault.call("GET", WHOAMI, headers={"x_forwarded_for": f"9.9.9.{number}"})).status == 200
        check_refused(await vault.call("GET", WHOAMI, headers={"x_forwarded_for": "9.9.9.9"}), 2)


async def test_behind_a_trusted_proxy_each_client_has_its_own_rate(limited):
    async with limited(address_per_minute=2, trusted=TrustedProxies.parse("127.0.0.0/8")) as vault:

        async def ask(forwarded: str):
            return (await vault.call("GET", WHOAMI, headers={"x_forwarded_for": forwarded})).status

        assert [await ask("9.9.9.9") for _ in range(3)] == [200, 200, 429]
        assert await ask("1.2.3.4, 9.9.9.9") == 429  # what a client writes itself stands first
        assert await ask("9.9.9.9, 8.8.8.8") == 200


async def test_off_is_off(limited):
    async with limited(key_per_minute=0, connection_per_minute=0, address_per_minute=0) as vault:
        answer = await vault.call("GET", WHOAMI)
        assert answer.status == 200
        assert not [name for name in answer.headers if name.lower().startswith("x-ratelimit")]


async def test_guessed_keys_are_not_looked_up_any_more_while_known_keys_go_on(limited_anywhere, monkeypatch):
    looked_up = []
    find_key = organisations.find_key

    async def counted(catalog: Any, *asked: Any) -> Any:
        looked_up.append(asked)
        return await find_key(catalog, *asked)

    monkeypatch.setattr(organisations, "find_key", counted)
    async with limited_anywhere(guesses_per_minute=5) as vault:
        assert (await vault.call("GET", WHOAMI)).status == 200
        looked_up.clear()
        guesses = [await vault.call("GET", WHOAMI, key=f"a-guess-of-a-key-{number:04}") for number in range(20)]
        assert [answer.status for answer in guesses] == [401] * 5 + [429] * 15
        assert len(looked_up) == 5
        check_refused(guesses[-1], 5)
        assert (await vault.call("GET", WHOAMI)).status == 200
        # Nobody can be told that a key is right while he guesses: a right one he never used is refused like the others.
        assert (await vault.call("GET", WHOAMI, key=await another_key(vault))).status == 429


async def test_guesses_at_once_are_counted_before_any_is_looked_up(limited_anywhere):
    async with limited_anywhere(guesses_per_minute=5) as vault:
        answers = await asyncio.gather(
            *(vault.call("GET", WHOAMI, key=f"a-guess-of-a-key-{number:04}") for number in range(30))
        )
        assert sorted(answer.status for answer in answers) == [401] * 5 + [429] * 25


async def test_right_keys_are_no_guesses(limited_anywhere):
    async with limited_anywhere(guesses_per_minute=2) as vault:
        for _ in range(6):
            assert (await vault.call("GET", WHOAMI, key=await another_key(vault))).status == 200


async def test_a_key_has_so_many_requests_under_way_and_a_failed_one_gives_its_seat_back(limited):
    async with limited(key_at_once=2) as vault:
        connection = await vault.connect()
        vault.sandbox.faults.delay_ms = 0
        for _ in range(6):
            assert (await vault.call("GET", "/v2/access/no/such/thing", connection=connection)).status in {404, 502}
        limits = vault.vault.api._limits
        assert len(limits.key_seats) == len(limits.connection_seats) == 0


async def test_requests_over_those_that_may_be_under_way_are_refused_and_others_answered(limited):
    """The bodies that do not come hold the seats: nothing else has to be slow."""
    async with limited(key_at_once=2) as vault:
        other = await another_key(vault)
        writers = [await begun_body(vault) for _ in range(2)]
        limits = vault.vault.api._limits

        async def seated():
            return limits.key_seats._taken.total() == 2

        await until(seated)
        check_refused(await vault.call("GET", WHOAMI))
        assert (await vault.call("GET", WHOAMI, key=other)).status == 200
        for writer in writers:
            writer.close()

        async def free():
            return (await vault.call("GET", WHOAMI)).status == 200

        await until(free)
        assert len(limits.key_seats) == 0


async def test_requests_about_one_connection_at_once_are_capped(limited):
    async with limited(connection_at_once=1) as vault:
        aurora, coral = await vault.connect(AURORA), await vault.connect(CORAL)
        writer = await begun_body(vault, "/v2/vault-plus/media/batch", aurora)
        limits = vault.vault.api._limits

        async def seated() -> bool:
            return len(limits.connection_seats) == 1

        await until(seated)
        check_refused(await vault.call("GET", "/v2/vault-plus/status", connection=aurora))
        assert (await vault.call("GET", "/v2/vault-plus/status", connection=coral)).status == 200
        writer.close()


async def test_bodies_in_memory_are_bounded_for_a_key_and_small_ones_are_always_taken(limited):
    async with limited(bodies_bytes=4 << 20) as vault:
        connection = await vault.connect()
        large = io.BytesIO(b"x" * (3 << 20))
        check_refused(await vault.call("POST", "/v2/access/posts", connection=connection, data=large))
        answer = await vault.call("POST", "/v2/vault-plus/media/batch", connection=connection, json={"mediaIds": ["1"]})
        assert answer.status == 200
        assert not vault.vault.api._limits.bodies


async def begun_body(
    vault: RunningVault, path: str = "/v2/account/connections/import", connection: str | None = None
) -> asyncio.StreamWriter:
    """A request whose body has begun to arrive, and no more."""
    host, port = vault.api_url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    about = f"x-connection-id: {connection}\r\n" if connection else ""
    writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\napiKey: {KEY}\r\n{about}Content-Length: 100\r\n\r\n{{".encode())
    await writer.drain()
    return writer


async def test_bytes_from_an_origin_come_at_the_rate_of_their_connection_and_all_of_them_come(tmp_path):
    rate, size = 4 << 20, 9 << 20
    turns = TurnConfig(connection_bytes_per_second=rate)
    async with running_vault(tmp_path / "data", turns=turns) as vault:
        aurora, coral = await vault.connect(AURORA), await vault.connect(CORAL)
        _, item = await vault.add(aurora, type="photo", size_bytes=size)
        _, other = await vault.add(coral, CORAL, type="photo", size_bytes=1 << 20)
        clock = asyncio.get_running_loop().time
        began_at = clock()
        slow = asyncio.create_task(vault.ask("GET", item["media"]["full"]["url"]))
        quick = await vault.ask("GET", other["media"]["full"]["url"])
        assert (quick.status, len(quick.body)) == (200, 1 << 20)
        answer = await slow
        assert (answer.status, len(answer.body)) == (200, size)
        assert clock() - began_at >= (size - rate) / rate / 2  # a second's bytes and a chunk pass at once
