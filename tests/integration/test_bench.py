"""`mediavault bench` as a command: beside a real nginx, and interrupted, with nothing left behind either way."""

import asyncio
import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from fakes import peers
from fakes.programs import environment, program, run
from mediavault.bench import nginx, objects
from mediavault.bench.checking import check_bytes, fetch
from mediavault.bench.load import Target, for_a_time, once_each
from mediavault.bench.nginx import Nginx
from mediavault.bench.objects import GROUPS, MIB
from mediavault.bench.processes import child
from mediavault.errors import VaultError

CORE = min(os.sched_getaffinity(0))


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    """nginx and wrk; without them the tests fail, they are never skipped."""
    try:
        peers.prepare()
    except peers.PeersMissing as missing:
        raise pytest.fail.Exception(f"no peers: {missing}", pytrace=False) from None


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """The objects of the small groups, in a folder."""
    folder = tmp_path / "media"
    folder.mkdir()
    for group in GROUPS.values():
        if group.size_bytes <= MIB:
            objects.write(group, folder)
    return folder


@pytest.fixture
def peer(tmp_path, media):
    """A running nginx and the origin behind it."""
    own = tmp_path / "nginx"
    own.mkdir()
    command = [sys.executable, "-m", "mediavault.bench.origin", str(media)]
    with child("origin", command, core=CORE, folder=tmp_path) as process:
        url = process.ready()["origin"]
        with nginx.running(nginx.find(), own, media, url, core=CORE, open_files=1024) as (started, _):
            yield started


def sha256(group: str, media: Path) -> str:
    return hashlib.sha256((media / GROUPS[group].file_name).read_bytes()).hexdigest()


def left_behind(folder: Path) -> list[str]:
    """The processes that name the folder of a run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                words += str((entry / "cwd").readlink())
            except OSError:
                continue
            if str(folder) in words:
                found.append(words)
    return found


def test_nginx_serves_and_caches_the_right_bytes_and_refuses_what_is_not_signed(peer: Nginx, media):
    check_bytes("nginx", peer.hot(GROUPS["hot-1m"]), sha256("hot-1m", media))
    cold = peer.cold(GROUPS["cold-1m"], 3)
    for _ in range(2):
        check_bytes("nginx", cold, sha256("cold-1m", media))
    peer.check_doors(GROUPS["hot-32k"])
    with pytest.raises(VaultError, match="other bytes"):
        check_bytes("nginx", peer.hot(GROUPS["hot-1m"]), sha256("hot-32k", media))


def test_the_load_counts_what_the_server_gave(peer: Nginx):
    group = GROUPS["cold-1m"]
    targets = [peer.cold(group, number) for number in range(10)]
    outcome = once_each(targets, 4)
    assert (outcome.requests, outcome.body_bytes) == (10, 10 * group.size_bytes)
    assert all(0 < first <= done for first, done in zip(outcome.first_byte_seconds, outcome.done_seconds, strict=True))
    hot = peer.hot(GROUPS["hot-32k"])
    repeated = for_a_time([hot], 2, 0.2)
    assert repeated.requests > 2
    assert repeated.requests * 32_768 <= repeated.body_bytes <= (repeated.requests + 2) * 32_768


def test_head_has_no_body_and_a_wrong_status_ends_the_load(peer: Nginx):
    hot = peer.hot(GROUPS["hot-32k"])
    head = Target(hot.host, hot.port, hot.path, "HEAD")
    assert for_a_time([head], 1, 0.1).body_bytes == 0
    assert fetch(head).headers["content-length"] == "32768"
    with pytest.raises(VaultError, match="403 instead of 200"):
        once_each([Target(hot.host, hot.port, hot.path[:-1] + "0", "GET")], 1)


@pytest.mark.slow
async def test_a_quick_run_measures_both_writes_a_page_and_leaves_nothing(tmp_path):
    run_in = tmp_path / "run"
    run_in.mkdir()
    ended = await run(
        *("bench", "--quick", "--only", "head", "--json", "--write", "page.md"),
        cwd=tmp_path,
        env=environment() | {"TMPDIR": str(run_in)},
    )
    assert ended.code == 0, ended.err
    (row,) = ended.json["rows"]
    assert (row["case"], row["peer"], row["goal"]) == ("head", "nginx", "≥ 0.25 ×")
    assert [len(rounds) for rounds in row["rounds"].values()] == [2, 2]
    assert all(figure > 0 for rounds in row["rounds"].values() for figure in rounds)
    assert {"nginx", "processor", "python"} <= set(ended.json["machine"])
    page = (tmp_path / "page.md").read_text()
    assert "mediavault bench --quick --only head --write page.md" in page
    assert "](page.svg)" in page
    assert (tmp_path / "page.svg").read_text().startswith("<svg ")
    assert list(run_in.iterdir()) == []
    assert left_behind(run_in) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_run_leaves_nothing(tmp_path, number):
    run_in = tmp_path / "run"
    run_in.mkdir()
    arguments = ("bench", "--only", "head", "--rounds", "50", "--json")
    async with program(*arguments, cwd=tmp_path, env=environment() | {"TMPDIR": str(run_in)}) as running:
        async with asyncio.timeout(60):
            while not any("nginx" in words for words in left_behind(run_in)):  # noqa: ASYNC110 - other programs
                await asyncio.sleep(0.05)
        ended = await running.stop(number)
    assert ended.code == 130
    assert json.loads(ended.err.splitlines()[-1]) == {"error": "interrupted", "exitCode": 130}
    assert list(run_in.iterdir()) == []
    assert left_behind(run_in) == []


async def test_what_is_missing_is_told_before_anything_starts(tmp_path):
    run_in = tmp_path / "run"
    run_in.mkdir()
    env = environment() | {"PATH": str(tmp_path), "TMPDIR": str(run_in)}
    ended = await run("bench", "--only", "hot-32k", "--json", cwd=tmp_path, env=env)
    assert ended.code == 1
    assert "apt-get install wrk" in json.loads(ended.err)["error"]
    assert list(run_in.iterdir()) == []


@pytest.mark.parametrize("page", ["page.svg", "page", "nowhere/page.md"])
async def test_a_page_that_cannot_be_written_is_told_before_the_run(tmp_path, page):
    ended = await run("bench", "--only", "head", "--write", page, cwd=tmp_path)
    assert ended.code == 2
    assert f"{page} cannot be the page" in ended.err


async def test_an_unknown_case_is_a_usage_error(tmp_path):
    ended = await run("bench", "--only", "everything", cwd=tmp_path)
    assert ended.code == 2
    assert "there is no case 'everything': take hot-32k, " in ended.err
