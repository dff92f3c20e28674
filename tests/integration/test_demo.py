"""`mediavault demo` and `mediavault platform`, as processes."""

import asyncio
import json
import signal
import socket
import stat
from pathlib import Path

import aiohttp
import pytest

from fakes.programs import Program, program, run

PORTS = ("--api-port", 0, "--media-port", 0, "--platform-port", 0)


async def printed(demo: Program) -> dict[str, str]:
    """What the demo prints, until it serves: the item, the line to paste, the signed URL."""
    json_lines = []
    while (line := await demo.line()) != "}":
        assert line, demo.err
        json_lines.append(line)
    found = {"item": "\n".join(json_lines) + "}"}
    while "url" not in found:
        line = await demo.line()
        if line.startswith("curl "):
            found["curl"] = line
        elif line.startswith("http"):
            found["url"] = line
    return found


async def shell(line: str) -> str:
    """What a line prints when it is pasted into another terminal."""
    pasted = await asyncio.create_subprocess_exec("sh", "-c", line, stdout=asyncio.subprocess.PIPE, cwd="/")
    out, _ = await pasted.communicate()
    assert pasted.returncode == 0
    return out.decode()


async def test_twice_on_the_same_folder_with_the_same_key(tmp_path):
    keys = []
    for _ in range(2):
        ended = await run("demo", "--data", "it's here", *PORTS, "--exit", cwd=tmp_path)
        assert ended.code == 0, ended.err
        assert ended.err.count("stored             ") == 2
        assert '"status": "stored"' in ended.out
        key = tmp_path / "it's here" / "demo.key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        keys.append(key.read_text())
    assert keys[0] == keys[1]
    assert keys[0].strip() not in ended.out + ended.err


async def test_what_it_prints_works_while_it_serves(tmp_path):
    """With a key of another catalog in the folder, which is replaced."""
    data = tmp_path / "it's here"
    data.mkdir()
    (data / "demo.key").write_text("mv_of-another-catalog\n")
    async with program("demo", "--data", data, *PORTS, cwd=tmp_path) as demo:
        found = await printed(demo)
        item = json.loads(found["item"])
        assert {variant["status"] for variant in item["media"].values()} == {"stored"}
        pasted = json.loads(await shell(found["curl"]))
        assert (pasted["id"], pasted["media"].keys()) == (item["id"], item["media"].keys())
        async with aiohttp.ClientSession() as http, http.get(found["url"]) as response:
            assert (response.status, response.content_type) == (200, "video/mp4")
            assert len(await response.read()) == item["media"]["full"]["sizeBytes"]
        assert (await demo.stop(signal.SIGINT)).code == 0


async def test_interrupted_before_everything_is_stored_it_says_so(tmp_path):
    async with program("demo", "--data", "data", *PORTS, cwd=tmp_path) as demo:
        async with asyncio.timeout(20):
            while "sandbox platform" not in demo.err:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.005)
        ended = await demo.stop(signal.SIGINT)
    assert (ended.code, ended.out) == (130, "")
    assert "Traceback" not in ended.err


async def test_a_port_in_use_is_a_clear_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = await run("demo", "--data", "data", *PORTS, "--api-port", port, "--exit", cwd=tmp_path)
    assert (ended.code, ended.out) == (8, "")
    assert f"127.0.0.1:{port} is in use" in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_platform_alone(tmp_path: Path, number: signal.Signals):
    async with program("platform", "--port", 0, cwd=tmp_path) as platform:
        ready = await platform.ready()
        assert ready["event"] == "ready"
        async with aiohttp.ClientSession() as http, http.get(ready["platform"] + "/none") as response:
            assert response.status == 404
        ended = await platform.stop(number)
    assert (ended.code, ended.err) == (0, "")
