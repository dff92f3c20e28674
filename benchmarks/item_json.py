"""The item endpoint beside a bare ASGI callable that answers the same bytes as a constant, on the same server.

    .venv/bin/python benchmarks/item_json.py [--rounds 5] [--seconds 4]

Needs wrk (Debian: apt-get install wrk). Each is a process of its own and they are loaded in turn, so that a noisy
moment meets both. Prints each round, the medians and their ratio.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import urllib.request
from statistics import median
from typing import Any

import psutil
import uvloop

from hot_paths import KEY, load, process, stored_urls
from mediavault.cli.servers import serving


class Constant:
    """Answers the bytes it was given, under the headers of an item, whatever is asked."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(content)),
            (b"cache-control", b"no-store"),
            (b"x-request-id", b"req_" + b"0" * 24),
        ]

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        """Answer one HTTP request."""
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._content})


async def serve_constant() -> None:
    """Serve what standard input has, on the vault's own server; ends with the process."""
    async with serving(Constant(sys.stdin.buffer.read()), 0) as (url, running):
        print(url, flush=True)
        await running.ended()


def compared(item_url: str, headers: dict[str, str], vault_pid: int, options: argparse.Namespace) -> None:
    """Load both in turn and print."""
    with urllib.request.urlopen(urllib.request.Request(item_url, headers=headers)) as answer:  # noqa: S310 - loopback
        content = answer.read()
    command = [sys.executable, __file__, "--constant"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as constant:
        assert constant.stdin is not None
        assert constant.stdout is not None
        constant.stdin.write(content)
        constant.stdin.close()
        urls = {"item": item_url, "constant": constant.stdout.readline().decode().strip() + "/item"}
        servers = {"item": psutil.Process(vault_pid), "constant": psutil.Process(constant.pid)}
        figures: dict[str, list[dict[str, float]]] = {"item": [], "constant": []}
        print(f"{len(content):,} bytes\n")
        print("| round | item req/s | CPU µs | constant req/s | CPU µs |\n|---|--:|--:|--:|--:|")
        for number in range(1, options.rounds + 1):
            for name in figures:
                told = load(urls[name], headers, servers[name], options.seconds, options.connections)
                figures[name].append(told)
            row = [f"{figures[name][-1]['requests_s']:,.0f} | {figures[name][-1]['cpu_us']:.0f}" for name in figures]
            print(f"| {number} | {' | '.join(row)} |", flush=True)
        constant.terminate()
    medians = {
        (name, key): median(each[key] for each in rounds)
        for name, rounds in figures.items()
        for key in ("requests_s", "cpu_us")
    }
    row = [f"{medians[name, 'requests_s']:,.0f} | {medians[name, 'cpu_us']:.0f}" for name in figures]
    print(f"| median | {' | '.join(row)} |\n")
    print(f"item / constant: {medians['item', 'requests_s'] / medians['constant', 'requests_s']:.2f} of the requests,")
    print(f"{medians['constant', 'cpu_us'] / medians['item', 'cpu_us']:.2f} of the requests a CPU second.")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--constant", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.constant:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve_constant())
        return
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
        connection, media_id, _ = stored_urls(ready["api"], platform["platform"])
        headers = {"apiKey": KEY, "x-connection-id": connection}
        compared(f"{ready['api']}/v2/vault-plus/media/{media_id}", headers, vault.pid, options)


if __name__ == "__main__":
    main()
