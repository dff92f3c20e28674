"""`mediavault platform`: the sandbox creator platform, for trying things out and for tests."""

import json
from typing import Annotated

import typer

from mediavault.cli.answers import command


@command
def platform(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 8082,
    url_seconds: Annotated[int, typer.Option(min=1, help="Life of the platform's media URLs.")] = 3600,
) -> None:
    """Serve the sandbox platform: made-up creators with real media on URLs that expire."""
    from mediavault.cli.running import run

    run(lambda: _serve(port, url_seconds))


async def _serve(port: int, url_seconds: int) -> None:
    from mediavault.cli.servers import serving
    from mediavault.platform.application import application
    from mediavault.platform.sandbox import Sandbox

    async with serving(application(Sandbox(url_lifetime_seconds=url_seconds)), port) as (url, running):
        print(json.dumps({"event": "ready", "platform": url}), flush=True)
        await running.ended()
