"""What a bench run is made of: nginx's configuration and signatures, the origin's parts, the load's bookkeeping."""

import base64
import hashlib
import os
import stat
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.bench import nginx, objects, origin, wrk
from mediavault.bench.load import Target, body_length
from mediavault.bench.machine import facts
from mediavault.bench.nginx import Setting, configuration, signed
from mediavault.bench.processes import Cores, child
from mediavault.bench.waking import kept_awake
from mediavault.errors import VaultError

TARGET = Target("127.0.0.1", 81, "/v2/token")
SETTING = Setting(Path("/tmp/n"), Path("/tmp/m"), "127.0.0.1:7", 8, 9, "s3cret", 1024, None)  # noqa: S108 - only named


def test_the_peer_is_set_up_for_this_work():
    text = configuration(SETTING)
    for line in (
        "worker_processes 1;",
        "sendfile on;",
        "tcp_nopush on;",
        "access_log off;",
        "open_file_cache max=10000",
        "secure_link $arg_md5,$arg_expires;",
        'secure_link_md5 "$secure_link_expires$uri s3cret";',
        "proxy_cache_lock on;",
        "keepalive 64;",
        "listen 127.0.0.1:8 ",
        "listen 127.0.0.1:9;",
        "server 127.0.0.1:7;",
    ):
        assert line in text
    assert text.count("{") == text.count("}")
    assert "user " not in text
    assert "user root;\n" in configuration(replace(SETTING, user="root"))


def test_everything_of_the_peer_lies_in_its_folder():
    paths = [word for word in configuration(SETTING).replace(";", " ").split() if word.startswith("/")]
    assert {path for path in paths if not path.startswith(("/tmp/n/", "/tmp/m/"))} == {"/hot/", "/cold/"}  # noqa: S108


@pytest.mark.parametrize("folder", ["/tmp/a b", "/tmp/a;b", "/tmp/$a", "/tmp/a}", "/tmp/ä", '/tmp/"'])  # noqa: S108
def test_a_folder_that_would_need_quoting_is_refused(folder):
    with pytest.raises(VaultError, match="TMPDIR"):
        configuration(Setting(Path(folder), Path("/m"), "127.0.0.1:7", 8, 9, "s", 9, None))


def test_a_signature_is_what_secure_link_computes():
    """The example in nginx's own documentation: MD5 of the expression, base64url, no padding."""
    digest = base64.b64encode(hashlib.md5(b"2147483647/s/link s3cret", usedforsecurity=False).digest()).decode()
    expected = digest.translate(str.maketrans("+/", "-_")).replace("=", "")
    assert signed("/s/link", 2147483647, "s3cret") == f"/s/link?md5={expected}&expires=2147483647"


def test_missing_programs_are_told_with_how_to_get_them(tmp_path, monkeypatch):
    with pytest.raises(VaultError, match="apt-get install nginx"):
        nginx.find(str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VaultError, match="apt-get install wrk"):
        wrk.find()


def test_an_nginx_that_cannot_sign_is_refused(tmp_path):
    program = tmp_path / "nginx"
    program.write_text("#!/bin/sh\necho 'nginx version: nginx/1.0 --without-everything' >&2\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(VaultError, match="http_secure_link_module"):
        nginx.find(str(tmp_path))


def test_wrk_is_given_whole_seconds_and_every_header():
    target = Target("127.0.0.1", 81, "/x", headers=(("If-None-Match", '"a"'), ("apiKey", "k")))
    assert wrk.arguments(target, 4, 0.3, Path("t.lua")) == (
        ["-t1", "-c4", "-d1s", "-s", "t.lua", "-H", 'If-None-Match: "a"', "-H", "apiKey: k", "http://127.0.0.1:81/x"]
    )


@pytest.mark.parametrize(
    ("allowed", "cores"),
    [([3], Cores(3, 3, 3)), ([1, 0], Cores(0, 1, 1)), ([5, 4, 7, 6], Cores(4, 5, 6))],
)
def test_servers_share_no_core_with_the_load_unless_there_is_only_one(allowed, cores):
    assert Cores.of(allowed) == cores


def test_facts_name_machine_and_versions():
    told = facts(Cores(0, 1, 2), nginx=None, wrk=None)
    assert {"date", "processor", "memory", "kernel", "python", "mediavault", "uvicorn"} <= set(told)
    assert all(told.values())
    assert "nginx" not in told


# The load generator


@pytest.mark.parametrize(
    ("head", "target", "length"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n", TARGET, 12),
        (b"HTTP/1.1 200 OK\r\nx: y\r\ncontent-length:7\r\n", TARGET, 7),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n", Target("h", 1, "/", "HEAD"), 0),
        (b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n", Target("h", 1, "/", status=304), 0),
    ],
)
def test_a_body_is_as_long_as_its_head_says(head, target, length):
    assert body_length(head, target) == length


@pytest.mark.parametrize("head", [b"HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n", b"HTTP/1.1 200 OK\r\nx: y\r\n"])
def test_another_status_or_no_length_ends_the_measurement(head):
    with pytest.raises(VaultError):
        body_length(head, TARGET)


def test_a_request_goes_out_with_its_headers():
    target = Target("127.0.0.1", 81, "/x", "HEAD", (("Range", "bytes=0-1"),))
    assert target.request == b"HEAD /x HTTP/1.1\r\nHost: 127.0.0.1:81\r\nRange: bytes=0-1\r\n\r\n"


# The origin


def test_a_head_is_taken_apart():
    request = origin.Request.parse(b"GET /media/herd/1/full.mp4 HTTP/1.1\r\nRANGE:  bytes=1-2\r\nHost: x")
    assert (request.method, request.target) == ("GET", "/media/herd/1/full.mp4")
    assert request.headers == {"range": "bytes=1-2", "host": "x"}


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 150))
def test_a_range_gives_that_part_and_anything_else_the_whole(first, last, size):
    asked = origin.part(origin.Request("GET", "/", {"range": f"bytes={first}-{last}"}), size, '"e"')
    if first >= size:
        assert asked == origin.Part(0, size, is_whole=True)
    else:
        assert (asked.start, asked.stop, asked.is_whole) == (first, min(last + 1, size), False)


@pytest.mark.parametrize(
    "headers", [{}, {"range": "bytes=-5"}, {"range": "bytes=1-2,4-5"}, {"range": "bytes=0-1", "if-range": '"old"'}]
)
def test_what_is_no_range_of_this_object_gives_the_whole(headers):
    assert origin.part(origin.Request("GET", "/", headers), 10, '"e"').is_whole


def test_objects_are_written_as_their_digest_says(tmp_path):
    group = objects.GROUPS["hot-32k"]
    digest = objects.write(group, tmp_path)
    written = (tmp_path / group.file_name).read_bytes()
    assert len(written) == group.size_bytes
    assert hashlib.sha256(written).hexdigest() == digest
    assert written[:3] == b"\xff\xd8\xff"


def test_media_ids_of_all_groups_differ():
    numbers = [group.number for group in objects.GROUPS.values()]
    assert len(set(numbers)) == len(numbers)
    last = [group.media_id(objects.MOST_OBJECTS - 1) for group in objects.GROUPS.values()]
    first = [group.media_id(0) for group in objects.GROUPS.values()]
    assert all(end < begin for end, begin in zip(last, first[1:], strict=False))


# Processes


def living(group: int) -> list[str]:
    """What runs in a process group. One that was killed may stay for a moment, as a zombie, until init looks."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            state, _, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(its_group) == group and state not in "ZX":
            found.append(entry.name)
    return found


BUSY = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"


def test_cpu_and_memory_are_those_of_the_process_and_all_it_started(tmp_path):
    """A shell that waits for one child and lives beside another: all three count."""
    (tmp_path / "busy.py").write_text(BUSY)
    script = f"{sys.executable} busy.py; {sys.executable} -c \"{BUSY}print('{{}}', flush=True); time.sleep(60)\" & wait"
    core = min(os.sched_getaffinity(0))
    with child("shell", ["sh", "-c", script], core=core, folder=tmp_path) as process:
        assert process.ready() == {}
        usage = process.usage()
    assert usage.cpu_seconds >= 0.35
    assert usage.rss_bytes > 5_000_000
    deadline = time.monotonic() + 10
    while left := living(process.popen.pid):
        assert time.monotonic() < deadline, left


def test_a_process_that_ends_at_once_is_told_with_its_last_words(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no room at all')"]
    with (
        child("thing", command, core=min(os.sched_getaffinity(0)), folder=tmp_path) as process,
        pytest.raises(VaultError, match="thing ended with status 1: no room at all"),
    ):
        process.ready()


def test_the_load_s_core_is_kept_awake_by_what_runs_only_when_nothing_else_would(tmp_path):
    core = max(os.sched_getaffinity(0))
    with kept_awake(core, tmp_path) as spinning:
        assert os.sched_getscheduler(spinning) == os.SCHED_IDLE
        assert os.sched_getaffinity(spinning) == {core}
    assert not living(spinning)


def test_a_process_that_will_not_go_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("mediavault.bench.processes._GOODBYE_SECONDS", 0.2)
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('{}', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", stubborn]
    with child("stubborn", command, core=min(os.sched_getaffinity(0)), folder=tmp_path) as process:
        process.ready()
    assert process.popen.returncode == -9


def test_the_cores_of_the_caller_are_as_before(tmp_path):
    before = os.sched_getaffinity(0)
    with child("brief", ["sleep", "60"], core=min(before), folder=tmp_path) as process:
        assert os.sched_getaffinity(process.popen.pid) == {min(before)}
        assert os.sched_getaffinity(0) == before
