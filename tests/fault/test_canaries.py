"""Canary secrets, pushed through every way that fails in a real process at debug level, come out nowhere.

Not in its log, its output, its answers, its arguments or its children's, nor in the clear in the data folder.
"""

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fakes.programs import environment, program, run
from fakes.running import serving
from fakes.vaults import AURORA, Answer, RunningVault, until
from mediavault.platform.application import application
from mediavault.platform.creators import USER_AGENT
from mediavault.platform.faults import Fault
from mediavault.platform.sandbox import Sandbox

KEY = "canary-api-key-0123456789abcdef"
MASTER_KEY = "c0ffee" * 10 + "5a5a"
PREVIOUS_MASTER_KEY = "beefed" * 10 + "a5a5"
COOKIE = "canary-cookie"
HEADER = "canary-header"
QUERY = "canary-query"
S3_SECRET, S3_SESSION = "canary-s3-secret", "canary-s3-session"
#: In every origin URL of the sandbox.
ORIGIN = "Signature="
IMPORT = "/v2/account/connections/import"


@dataclass
class Canaries:
    """What must not come out, and what came out."""

    secrets: dict[str, str] = field(default_factory=dict)
    answers: list[bytes] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)

    def found_in(self, text: bytes) -> list[str]:
        return [name for name, secret in self.secrets.items() if secret.encode() in text]


def processes(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from processes(int(child))


def titles(pid: int) -> bytes:
    """Command lines and names of a process and its children, and the children's environments."""
    said = b""
    for each in processes(pid):
        names = ("cmdline", "comm") if each == pid else ("cmdline", "comm", "environ")
        for name in names:
            with contextlib.suppress(OSError):
                said += Path(f"/proc/{each}/{name}").read_bytes() + b"\n"
    return said


class Pushing:
    """Pushes the canaries in."""

    def __init__(self, vault: RunningVault, canaries: Canaries, connection: str) -> None:
        self.vault = vault
        self.canaries = canaries
        self.connection = connection

    async def say(self, method: str, path: str, **more: Any) -> Any:
        """One call; what is answered is remembered."""
        answer = await self.vault.call(method, path, **({"key": KEY, "connection": self.connection} | more))
        self.remember(answer)
        return answer

    def remember(self, answer: Answer) -> None:
        self.canaries.statuses.add(answer.status)
        self.canaries.answers.append(repr(dict(answer.headers)).encode() + answer.body)

    def session(self, **more: Any) -> dict[str, Any]:
        upstream = {"baseUrl": self.vault.platform_url, "headers": {"X-Own": HEADER}}
        return {"cookie": f"{AURORA.cookie}; t={COOKIE}", "userAgent": USER_AGENT, "upstream": upstream} | more

    async def through_imports(self) -> None:
        """Sessions that cannot be taken."""
        for base_url in (
            "http://127.0.0.1:1",
            f"http://u:{QUERY}@127.0.0.1",
            f"ftp://{QUERY}",
            f"http://[{QUERY}",
            f"http://127.0.0.1:1/{QUERY}",
        ):
            await self.say("POST", IMPORT, json=self.session(upstream={"baseUrl": base_url}))
        for wrong in (
            {"cookie": f"{COOKIE}\r\nx"},
            {"cookie": [COOKIE]},
            {"userAgent": ""},
            {"permissions": [COOKIE] * 999},
        ):
            await self.say("POST", IMPORT, json=self.session(**wrong))
        await self.say("POST", IMPORT, data=json.dumps(self.session())[:-3])
        await self.say("PATCH", f"{IMPORT}/{self.connection}", json={"cookie": COOKIE, "userAgent": "x"})

    async def through_upstream(self) -> None:
        """Upstream answers that cannot be used, while the session is sent along."""
        for fault in (
            Fault(status=500),
            Fault(body="<html>"),
            Fault(body="{", content_type="application/json"),
            Fault(redirect=f"http://127.0.0.1:1/{QUERY}?{ORIGIN}{QUERY}"),
            Fault(truncate_at=10),
        ):
            armed = self.vault.sandbox.faults.add(fault)
            await self.say("GET", f"/v2/access/vault/media?{QUERY}=1")
            await self.say("POST", IMPORT, json=self.session())
            armed.clear()

    async def through_media(self, urls: list[str]) -> None:
        """Origins that fail in every way, and media URLs that were altered."""
        for fault in (
            Fault(path="/cdn/", status=403),
            Fault(path="/cdn/", status=500),
            Fault(path="/cdn/", redirect=f"http://127.0.0.1:1/{QUERY}?{ORIGIN}{QUERY}"),
            Fault(path="/cdn/", truncate_at=100),
            Fault(path="/cdn/", content_type="text/html", body="<html>"),
        ):
            armed = self.vault.sandbox.faults.add(fault)
            url = urls.pop()
            for method in ("GET", "POST"):
                with contextlib.suppress(aiohttp.ClientError):
                    self.remember(await self.vault.ask(method, url))
            armed.clear()
        token = url.rpartition("/")[2]
        for altered in (token[:-1], token + "A", token[:-2] + "__", token[:40], "~" + token):
            self.remember(await self.vault.ask("GET", url.replace(token, altered)))

    async def through_keys(self) -> None:
        """Keys and paths that are nobody's."""
        for key in (KEY + "x", KEY[:-1], "\xe9" + KEY, KEY * 9):
            await self.say("GET", "/v2/account/whoami", key=key)
        for path in (f"/v2/{KEY}/..", f"/v2/vault-plus/media/{COOKIE}", f"/v2/account/connections?limit={KEY}"):
            await self.say("GET", path)

    async def through_webhooks(self) -> None:
        """A receiver that is not there: each try signs with the secret."""
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        body = {"url": f"{self.vault.platform_url}/nowhere/{port}"}
        made = await self.vault.call("POST", "/v2/webhooks/endpoints", key=KEY, json=body)
        assert made.status in {200, 201}, made.body
        secrets = re.findall(rb"whsec_[A-Za-z0-9+/=]+", made.body)
        assert secrets
        self.canaries.secrets["webhook secret"] = secrets[0].decode()
        endpoint = made.json["id"]
        await self.say("POST", f"/v2/webhooks/endpoints/{endpoint}/test")

        async def tried() -> bool:
            log = await self.say("GET", f"/v2/webhooks/endpoints/{endpoint}/deliveries")
            return b'"attempts":0' not in log.body and log.status == 200

        await until(tried)


async def _urls(pushing: Pushing) -> list[str]:
    """Signed URLs of six photos, seen through the gateway."""
    for _ in range(6):
        pushing.vault.sandbox.add_media(AURORA.username, type="photo")
    seen = await pushing.vault.call("GET", "/v2/access/vault/media?limit=6", key=KEY, connection=pushing.connection)
    assert seen.status == 200
    urls = [each["files"]["full"]["url"] for each in seen.json["list"]]
    for number, url in enumerate(urls):
        pushing.canaries.secrets[f"signed token {number}"] = url.rpartition("/")[2]
    return urls


def _in_the_clear(data: Path, canaries: Canaries) -> dict[str, list[str]]:
    """Files of the data folder that hold a secret: the database and its WAL are read as bytes."""
    files = {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert any(name.startswith("catalog.sqlite") for name in files)
    return {name: found for name, content in files.items() if (found := canaries.found_in(content))}


@pytest.mark.slow
async def test_canaries_come_out_nowhere(tmp_path):
    data, sandbox = tmp_path / "data", Sandbox()
    canaries = Canaries(
        {
            "API key": KEY,
            "master key": MASTER_KEY,
            "previous master key": PREVIOUS_MASTER_KEY,
            "cookie": COOKIE,
            "session": AURORA.session,
            "header": HEADER,
            "query": QUERY,
            "origin URL": ORIGIN,
            "S3 secret": S3_SECRET,
            "S3 session": S3_SESSION,
        }
    )
    async with serving(application(sandbox)) as platform_url:
        settings = {
            "MASTER_KEY": MASTER_KEY,
            "PREVIOUS_MASTER_KEYS": PREVIOUS_MASTER_KEY,
            "BOOTSTRAP_API_KEY": KEY,
            "S3_ACCESS_KEY_ID": "canary-id",
            "S3_SECRET_ACCESS_KEY": S3_SECRET,
            "S3_SESSION_TOKEN": S3_SESSION,
            "FREE_FLOOR_BYTES": "1000000",
            "UPSTREAM_URL": platform_url,
            "ORIGIN_ALLOW": platform_url.removeprefix("http://") + ",127.0.0.1:1",
        }
        env = environment(**settings)
        serve = ("--log-level", "debug", "serve", "--data", data, "--api-port", 0, "--media-port", 0)
        async with (
            program(*serve, cwd=tmp_path, env=env) as process,
            aiohttp.ClientSession() as http,
        ):
            served: Any = type("Elsewhere", (), {"api_url": (await process.ready())["api"]})
            vault = RunningVault(served, sandbox, platform_url, http)
            pushing = Pushing(vault, canaries, "")
            imported = await pushing.say("POST", IMPORT, json=pushing.session())
            pushing.connection = imported.json["id"]
            urls = await _urls(pushing)
            await pushing.through_imports()
            await pushing.through_upstream()
            await pushing.through_media(urls)
            await pushing.through_keys()
            await pushing.through_webhooks()
            titled = titles(process.process.pid)
            held = _in_the_clear(data, canaries)
            for arguments in (
                ("keys", "create", "--scopes", "NONE"),
                ("keys", "revoke", "x"),
                ("keys", "list"),
                ("master-key", "status"),
                ("master-key", "rotate"),
                ("master-key", "retire"),
            ):
                ended = await run(*arguments, "--data", data, cwd=tmp_path, env=env)
                canaries.answers.append((ended.out + ended.err).encode())
            ended = await process.stop()
        told = "".join(path.read_text() for path in tmp_path.glob("stderr-*"))
        assert '"level"' in told  # there was a log to look at
        assert canaries.found_in(told.encode() + ended.out.encode()) == []
        assert [canaries.found_in(answer) for answer in canaries.answers if canaries.found_in(answer)] == []
        assert b"mediavault" in titled
        assert canaries.found_in(titled) == []
        assert held == {}
        assert _in_the_clear(data, canaries) == {}
        assert len(canaries.answers) > 40
        assert canaries.statuses >= {200, 202, 400, 401, 403, 404, 502}


@pytest.mark.parametrize(
    "settings",
    [
        {"MASTER_KEY": MASTER_KEY[:-1]},
        {"MASTER_KEY": MASTER_KEY, "PREVIOUS_MASTER_KEYS": PREVIOUS_MASTER_KEY[:-1]},
        {"PREVIOUS_MASTER_KEYS": PREVIOUS_MASTER_KEY},
        {"BOOTSTRAP_API_KEY": KEY + " x"},
        {"DATABASE_URL": f"postgresql://vault:{QUERY}@127.0.0.1:1/vault"},
        {"DATABASE_URL": f"postgresql://vault:{QUERY}/@127.0.0.1:x/vault"},
        {"UPSTREAM_URL": f"http://u:{QUERY}@host"},
    ],
    ids=lambda settings: "-".join(settings),
)
async def test_a_start_that_is_refused_repeats_no_secret(tmp_path, settings):
    serve = ("--log-level", "debug", "serve", "--data", "data", "--api-port", 0, "--media-port", 0)
    ended = await run(*serve, cwd=tmp_path, env=environment(**settings))
    assert ended.code not in {0, None}
    assert ended.err
    for secret in (MASTER_KEY[:-1], PREVIOUS_MASTER_KEY[:-1], KEY, QUERY):
        assert secret not in ended.out + ended.err


def test_the_canaries_are_found_where_they_are(tmp_path):
    """The look itself: what is planted in a file is seen."""
    canaries = Canaries({"cookie": COOKIE})
    (tmp_path / "catalog.sqlite-wal").write_bytes(b"\0\1" + COOKIE.encode() + b"\2")
    assert _in_the_clear(tmp_path, canaries) == {"catalog.sqlite-wal": ["cookie"]}
