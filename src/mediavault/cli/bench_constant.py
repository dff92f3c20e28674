"""The item's peer in `mediavault bench`: a bare ASGI callable that answers everything with a file's bytes.

    python -m mediavault.cli.bench_constant FILE

It runs on the very server that the API runs on, so what the two differ in is the vault's own work.
"""

import json
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from mediavault.cli.running import run
from mediavault.cli.servers import serving
from mediavault.serving.api_protocol import ApiProtocol
from mediavault.serving.doors import DoorConfig, Doors


def constant(body: bytes) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """The callable."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer


async def _serve(path: Path) -> None:
    api = partial(ApiProtocol, doors=Doors(DoorConfig()))
    async with serving(constant(path.read_bytes()), 0, protocol=api) as (url, running):
        print(json.dumps({"event": "ready", "constant": url}), flush=True)
        await running.ended()


if __name__ == "__main__":
    run(lambda: _serve(Path(sys.argv[1])))
