"""Upstreams that misbehave: each becomes a clear error of the contract's shape, and nothing is observed."""

import asyncio
import gzip
import socket

import pytest

from fakes.documents import check_answer
from fakes.raw_origin import Ending, raw_origin
from fakes.upstreams import raw_upstream, upstream
from fakes.vaults import AURORA, RunningVault, running_vault
from mediavault.errors import OriginUnavailable, TooManyRequests, UpstreamError, UpstreamUnavailable
from mediavault.origin.access_api import LARGEST_ANSWER, AccessApi, Session, Upstream
from mediavault.origin.addresses import AllowList
from mediavault.origin.client import ClientConfig, GuardedClient
from mediavault.origin.pacing import PaceConfig, Pacing
from mediavault.platform.faults import Fault

PATH = "/v2/access/{path}"
MEDIA = "/v2/access/vault/media"


async def ask(vault: RunningVault, connection: str, path: str = MEDIA):
    answer = await vault.call("GET", path, connection=connection)
    check_answer(answer, "GET", PATH)
    return answer


UNUSABLE = [
    (Fault(status=500), "UPSTREAM_UNAVAILABLE"),
    (Fault(status=503, body="{}", content_type="application/json"), "UPSTREAM_UNAVAILABLE"),
    (Fault(body="<html>Sign in</html>"), "UPSTREAM_ERROR"),
    (Fault(status=404, body="<html>"), "UPSTREAM_ERROR"),
    (Fault(status=403, body="<html>"), "UPSTREAM_ERROR"),
    (Fault(body="{", content_type="application/json"), "UPSTREAM_ERROR"),
    (Fault(body="", content_type="application/json"), "UPSTREAM_ERROR"),
    (Fault(body="[" * 100_000, content_type="application/json"), "UPSTREAM_ERROR"),
    (Fault(body="{}", content_type="text/plain"), "UPSTREAM_ERROR"),
    (Fault(truncate_at=100), "UPSTREAM_UNAVAILABLE"),
    (Fault(truncate_at=0), "UPSTREAM_UNAVAILABLE"),
    (Fault(headers={"content-encoding": "gzip"}), "UPSTREAM_ERROR"),
    (Fault(headers={"content-encoding": "br"}), "UPSTREAM_ERROR"),
    *((Fault(status=status, redirect="/v2/access/self"), "UPSTREAM_ERROR") for status in (301, 302, 303, 307, 308)),
]


async def test_what_cannot_be_handed_on_is_502_and_observes_nothing(vault: RunningVault):
    connection = await vault.connect()
    for fault, kind in UNUSABLE:
        armed = vault.sandbox.faults.add(fault)
        answer = await ask(vault, connection)
        assert (answer.status, answer.json["type"]) == (502, kind), fault
        armed.clear()
    totals = await vault.call("GET", "/v2/vault-plus/status", connection=connection)
    assert totals.json["pendingCount"] == 0
    assert (await ask(vault, connection)).status == 200


async def test_a_users_names_are_kept_as_they_can_be_shown(tmp_path):
    async with upstream() as other, running_vault(tmp_path / "data", platform_url=other.url) as vault:
        other.user = {
            "id": 7,
            "username": "\x1b[2Jnova\u202e" + "x" * 9_000,
            "name": "N\u200d\x07 \U0001f469\u200d\U0001f680",
        }
        other.user["avatar"] = "https://a.example/" + "x" * 9_000
        body = {"cookie": "a=b", "userAgent": "Nova/1"}
        told = (await vault.call("POST", "/v2/account/connections/import", json=body)).json["userData"]
        assert told["username"].startswith("\ufffd[2Jnova\ufffd")
        assert len(told["username"]) == 500
        assert told["name"] == "N\u200d\ufffd \U0001f469\u200d\U0001f680"
        assert told["avatar"] is None


ITEM = b'{"list":[{"id":1,"type":"photo","files":{"full":{"url":"http://127.0.0.1:1/a.jpg"}}}],"hasMore":false}'


def raw(status: str, body: bytes = ITEM, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


ODD = ["000 None", "099 Low", "101 Switching Protocols", "300 Choices", "304 Not Modified", "305 Proxy", "306 Unused"]
ODD += ["206 Partial Content", "399 Odd", "600 High", "999 Higher"]


@pytest.mark.parametrize("status", ODD)
async def test_a_status_that_answers_nothing_that_was_asked_is_502_and_observes_nothing(tmp_path, status):
    answers = {"media": raw(status, ITEM, "connection: upgrade", "upgrade: other")}
    async with raw_upstream(answers) as url, running_vault(tmp_path / "data", platform_url=url) as vault:
        connection = await vault.connect()
        answer = await ask(vault, connection)
        assert answer.status == 502
        assert answer.json["type"] in {"UPSTREAM_ERROR", "UPSTREAM_UNAVAILABLE"}
        assert f"{int(status[:3])}" in answer.json["error"] or status.startswith("304")  # has content, so it is none
        synced = await vault.call("PUT", "/v2/vault-plus/lists/media/sync", connection=connection)
        assert synced.status in {400, 502}
        totals = await vault.call("GET", "/v2/vault-plus/status", connection=connection)
        assert (totals.json["pendingCount"], totals.json["storedCount"]) == (0, 0)


@pytest.mark.parametrize(
    ("answer", "handed_on"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (raw("204 No Content"), 502),  # what follows is an answer to nothing
        (raw("205 Reset Content"), 205),
        (raw("205 Reset Content", b""), 205),
    ],
)
async def test_an_answer_without_content_has_none_whatever_follows_its_head(tmp_path, answer, handed_on):
    async with (
        raw_upstream({"media": answer}) as url,
        running_vault(tmp_path / "data", platform_url=url) as vault,
    ):
        connection = await vault.connect()
        got = await vault.call("GET", MEDIA, connection=connection)
        assert got.status == handed_on
        assert got.body == b"" or handed_on == 502
        totals = await vault.call("GET", "/v2/vault-plus/status", connection=connection)
        assert totals.json["pendingCount"] == 0


async def test_interim_answers_are_passed_over_and_end_in_time_where_they_never_do(tmp_path):
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    async with (
        raw_upstream({"media": hints * 3 + raw("200 OK")}) as url,
        running_vault(tmp_path / "data", platform_url=url) as vault,
    ):
        assert (await ask(vault, await vault.connect())).json["list"][0]["id"] == 1
    config = ClientConfig(allow=AllowList.parse("127.0.0.0/8"), head_timeout_seconds=0.3)
    dialling = GuardedClient(config)
    try:
        async with raw_origin(hints * 1000, Ending.ENDLESS) as endless:
            with pytest.raises(OriginUnavailable, match="Timeout"):
                async with dialling.get(endless.url):
                    raise AssertionError("there is no answer")
    finally:
        await dialling.close()


async def test_a_redirect_is_not_followed(vault: RunningVault):
    connection = await vault.connect()
    vault.sandbox.log.clear()
    vault.sandbox.faults.add(Fault(path=MEDIA, redirect="/v2/access/self"))
    await ask(vault, connection)
    assert [record.path for record in vault.sandbox.log.records()] == [MEDIA]


@pytest.mark.parametrize(
    ("told", "handed_on"),
    [
        (7, "7"),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT"),
        (None, "60"),
        ("soon", "60"),
        ("-5", "60"),
        ("9" * 40, "60"),
        ("\xff\xfe", "60"),
        ("1, 2", "60"),
    ],
)
async def test_a_429_passes_with_a_retry_after_that_makes_sense(vault: RunningVault, told, handed_on):
    connection = await vault.connect()
    vault.sandbox.faults.add(Fault(path=MEDIA, status=429, retry_after=told))
    answer = await ask(vault, connection)
    assert (answer.status, answer.json["type"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert answer.headers["Retry-After"] == handed_on


async def test_a_refused_session_is_told_and_the_connection_expires(vault: RunningVault):
    connection = await vault.connect()
    vault.sandbox.expire_session("aurora")
    answer = await ask(vault, connection)
    assert (answer.status, answer.json["type"]) == (401, "SESSION_EXPIRED")
    listed = await vault.call("GET", "/v2/account/connections")
    assert listed.json["list"][0]["status"] == "expired"
    vault.sandbox.restore_session("aurora")
    assert await vault.connect(AURORA) == connection
    assert (await ask(vault, connection)).status == 200


async def test_an_upstream_that_wants_a_session_and_got_none_says_so(tmp_path):
    async with upstream() as other, running_vault(tmp_path / "data", platform_url=other.url) as vault:
        body = {"cookie": "", "userAgent": "Nova/1"}
        connection = (await vault.call("POST", "/v2/account/connections/import", json=body)).json["id"]
        other.says({"error": "sign in"}, 401)
        answer = await ask(vault, connection)
        assert (answer.status, answer.json["type"]) == (401, "SESSION_NOT_PROVIDED")
        listed = await vault.call("GET", "/v2/account/connections")
        assert listed.json["list"][0]["status"] == "active"


@pytest.mark.parametrize("status", [403, 404])
async def test_json_of_403_and_404_passes(vault: RunningVault, status):
    connection = await vault.connect()
    body = '{"error":{"code":7,"message":"no"}}'
    vault.sandbox.faults.add(Fault(path=MEDIA, status=status, body=body, content_type="application/json"))
    answer = await vault.call("GET", MEDIA, connection=connection)
    assert (answer.status, answer.body.decode()) == (status, body)


async def test_a_zipped_answer_is_opened_and_a_bomb_is_not(tmp_path):
    async with upstream() as other, running_vault(tmp_path / "data", platform_url=other.url) as vault:
        connection = await _connected(vault)
        other.says(gzip.compress(b'{"a": 1.50}'), content_encoding="gzip")
        answer = await vault.call("GET", MEDIA, connection=connection)
        assert (answer.status, answer.body) == (200, b'{"a": 1.50}')
        for unusable in (
            gzip.compress(b" " * (LARGEST_ANSWER + 1)),
            gzip.compress(b"{}")[:-4],
            gzip.compress(b"{}") + b"more",
            b"",
        ):
            other.says(unusable, content_encoding="gzip")
            answer = await ask(vault, connection)
            assert (answer.status, answer.json["type"]) == (502, "UPSTREAM_ERROR")


async def test_an_answer_without_end_is_refused(tmp_path):
    async with upstream() as other, running_vault(tmp_path / "data", platform_url=other.url) as vault:
        connection = await _connected(vault)
        other.says(b" " * (LARGEST_ANSWER + 1))
        answer = await ask(vault, connection)
        assert (answer.status, answer.json["type"]) == (502, "UPSTREAM_ERROR")


async def _connected(vault: RunningVault) -> str:
    body = {"cookie": "sess=nova", "userAgent": "Nova/1"}
    return str((await vault.call("POST", "/v2/account/connections/import", json=body)).json["id"])


@pytest.fixture
async def client():
    dialling = GuardedClient(ClientConfig(allow=AllowList.parse("127.0.0.0/8"), read_timeout_seconds=0.2))
    yield dialling
    await dialling.close()


def session(url: str) -> Upstream:
    return Upstream("conn", url, Session("sess=nova", "Nova/1"))


async def test_silence_and_a_drip_end_in_time(client, vault: RunningVault):
    access_api = AccessApi(client, Pacing(PaceConfig()), longest_call_seconds=0.5)
    as_aurora = Upstream("conn", vault.platform_url, Session(AURORA.cookie, "Nova/1"))
    for fault in (Fault(stall_at=10), Fault(latency_ms=5_000), Fault(bytes_per_second=100)):
        armed = vault.sandbox.faults.add(fault)
        started = asyncio.get_running_loop().time()
        with pytest.raises(UpstreamUnavailable):
            await access_api.call(as_aurora, "GET", MEDIA + "?limit=100")
        assert asyncio.get_running_loop().time() - started < 2
        armed.clear()


async def test_a_closed_port_and_a_foreign_protocol_are_errors_of_ours(client):
    access_api = AccessApi(client, Pacing(PaceConfig()))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(UpstreamUnavailable):
            await access_api.call(session(f"http://127.0.0.1:{bound.getsockname()[1]}"), "GET", MEDIA)
    for noise in (b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 99999 OK\r\n\r\n", b""):
        async with Noisy(noise) as url:
            with pytest.raises((UpstreamUnavailable, UpstreamError)):
                await access_api.call(session(url), "GET", MEDIA)


class Noisy:
    """A server that says the same to everybody."""

    def __init__(self, noise: bytes) -> None:
        self._noise = noise

    async def __aenter__(self) -> str:
        async def say(_, writer):
            writer.write(self._noise)
            writer.close()

        self._server = await asyncio.start_server(say, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()


async def test_calls_are_paced_by_connection(tmp_path):
    pace = PaceConfig(calls_per_second=0.5, burst=3, longest_wait_seconds=0.5)
    async with running_vault(tmp_path / "data", pace=pace) as vault:
        connection = await vault.connect()
        answers = await asyncio.gather(*(ask(vault, connection, "/v2/access/self") for _ in range(8)))
        assert sorted(answer.status for answer in answers) == [200] * 3 + [429] * 5
        refused = next(answer for answer in answers if answer.status == 429)
        assert 1 <= int(refused.headers["Retry-After"]) <= 3
        assert len(vault.sandbox.log.records("/self")) == 4  # one of them by the import


async def test_a_slow_upstream_does_not_gather_callers(client, vault: RunningVault):
    access_api = AccessApi(client, Pacing(PaceConfig(most_at_once=1, longest_wait_seconds=0.1)), longest_call_seconds=1)
    armed = vault.sandbox.faults.add(Fault(latency_ms=150))
    as_aurora = Upstream("conn", vault.platform_url, Session(AURORA.cookie, "Nova/1"))
    calls = [access_api.call(as_aurora, "GET", "/v2/access/self") for _ in range(4)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    armed.clear()
    assert [type(outcome) for outcome in outcomes].count(TooManyRequests) == 3
