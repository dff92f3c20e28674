"""Server CPU and throughput of the hot paths: the item endpoint; stored 32 KB, 1 MB and 100 MB; a 1 MB range; a 304.

    .venv/bin/python benchmarks/hot_paths.py [--seconds 8] [--connections 16]

Needs wrk (Debian: apt-get install wrk). Starts the sandbox platform and `mediavault serve` as processes of their own,
stores what it asks for, and reads the server's CPU from the kernel before and after each load. Prints a Markdown table.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

MEDIAVAULT = Path(sys.executable).parent / "mediavault"
KEY = "benchmark-key-0123456789abcdef"
SIZES = {"32 KB": 32 * 1024, "1 MB": 1024 * 1024, "100 MB": 100_000_000}


@contextlib.contextmanager
def process(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A mediavault command that prints a ready line."""
    with subprocess.Popen(
        [str(MEDIAVAULT), "--log-level", "error", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    ) as started:
        assert started.stdout is not None
        try:
            yield started, json.loads(started.stdout.readline())
        finally:
            started.terminate()


def call(method: str, url: str, body: Any = None, **headers: str) -> Any:
    """One JSON call."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, named, method=method)  # noqa: S310 - loopback
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        content = answer.read()
        return json.loads(content) if "json" in answer.headers["Content-Type"] else content


def stored_urls(api: str, platform: str) -> tuple[str, str, dict[str, str]]:
    """`(connection, an item's id, signed URL by size)` of stored media."""
    of_key = {"apiKey": KEY}
    session = {"cookie": "sess=sandbox-aurora", "userAgent": "benchmark"}
    connection = call("POST", f"{api}/v2/account/connections/import", session, **of_key)["id"]
    headers = of_key | {"x_connection_id": connection}
    urls = {}
    for name, size in SIZES.items():
        call("POST", f"{platform}/_sandbox/media", {"creator": "aurora", "type": "photo", "size_bytes": size})
        seen = call("GET", f"{api}/v2/access/vault/media?limit=1", **headers)["list"][0]
        urls[name] = seen["files"]["full"]["url"]
        call("GET", urls[name])
        item: Any = {"media": {"full": {"status": None}}}
        while item["media"]["full"]["status"] != "stored":
            time.sleep(0.05)
            item = call("GET", f"{api}/v2/vault-plus/media/{seen['id']}", **headers)
    page = call("GET", f"{api}/v2/access/vault/media?limit=100", **headers)["list"]
    three = next(media for media in page if media["type"] == "photo" and media["files"].get("thumb"))
    return connection, str(three["id"]), urls


def load(url: str, headers: dict[str, str], server: psutil.Process, seconds: int, connections: int) -> dict[str, float]:
    """Requests/s, MB/s and the server's CPU µs a request."""
    sent = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    wrk = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", *sent, url]
    subprocess.run(["wrk", "-t1", f"-c{connections}", "-d1s", *sent, url], check=True, capture_output=True)
    before = server.cpu_times()
    report = subprocess.run(wrk, check=True, capture_output=True, text=True).stdout
    after = server.cpu_times()
    if "Non-2xx" in report or "Socket errors" in report:
        raise SystemExit(report)
    found = re.search(r"(\d+) requests in ([\d.]+)s", report)
    assert found is not None
    requests, took = int(found[1]), float(found[2])
    cpu = after.user + after.system - before.user - before.system
    return {"requests_s": requests / took, "cpu_us": cpu / requests * 1e6}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing (Debian, Ubuntu: apt-get install wrk)")
    with (
        tempfile.TemporaryDirectory() as data,
        process("platform", "--port", "0") as (_, platform),
        process(
            *("serve", "--data", data, "--api-port", "0", "--media-port", "0"),
            MEDIAVAULT_BOOTSTRAP_API_KEY=KEY,
            MEDIAVAULT_UPSTREAM_URL=platform["platform"],
            MEDIAVAULT_ORIGIN_ALLOW=platform["platform"].removeprefix("http://"),
        ) as (vault, ready),
    ):
        server = psutil.Process(vault.pid)
        connection, media_id, urls = stored_urls(ready["api"], platform["platform"])
        headers = {"apiKey": KEY, "x-connection-id": connection}
        print("| path | requests/s | MB/s | server CPU µs a request |\n|---|--:|--:|--:|")
        item_url = f"{ready['api']}/v2/vault-plus/media/{media_id}"
        size = len(json.dumps(call("GET", item_url, apiKey=KEY, x_connection_id=connection)))
        rows = [("item JSON", item_url, headers, size)]
        rows += [(f"stored {name}", url, {}, SIZES[name]) for name, url in urls.items()]
        rows.append(("1 MB range", urls["100 MB"], {"Range": "bytes=7000000-8048575"}, 1 << 20))
        rows.append(("304", urls["32 KB"], {"If-None-Match": "*"}, 0))
        for name, url, sent, size in rows:
            figures = load(url, sent, server, options.seconds, options.connections)
            megabytes = figures["requests_s"] * size / 1e6
            print(
                f"| {name} | {figures['requests_s']:,.0f} | {megabytes:,.0f} | {figures['cpu_us']:,.0f} |", flush=True
            )
        print(f"\nRSS of the server: {server.memory_info().rss / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
