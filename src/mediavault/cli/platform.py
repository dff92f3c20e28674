"""`mediavault platform`: the sandbox creator platform, for trying things out and for tests."""

import asyncio
import json
from typing import Annotated

import typer

from mediavault.cli.answers import command
from mediavault.cli.servers import Running, bind, server, stop_signal, url_of


@command
def platform(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 8082,
    url_seconds: Annotated[int, typer.Option(min=1, help="Life of the platform's media URLs.")] = 3600,
) -> None:
    """Serve the sandbox platform: made-up creators with real media on URLs that expire."""
    asyncio.run(_serve(port, url_seconds))


async def _serve(port: int, url_seconds: int) -> None:
    from mediavault.platform.application import application
    from mediavault.platform.sandbox import Sandbox

    stop = stop_signal()
    listener = bind("127.0.0.1", port)
    running = Running([(server(application(Sandbox(url_lifetime_seconds=url_seconds)), drain_seconds=1), listener)])
    await running.started()
    print(json.dumps({"event": "ready", "platform": url_of(listener)}), flush=True)
    await stop.wait()
    await running.stop()
