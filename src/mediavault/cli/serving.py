"""`mediavault serve`: the API, the media host and the storer, in one process or in roles."""

import asyncio
import json
import socket
import sys
from dataclasses import dataclass, replace

from mediavault.assembly import Vault, open_vault
from mediavault.catalog import sqlite
from mediavault.cli.servers import Running, bind, bind_unix, raise_file_limit, server, stop_signal, url_of
from mediavault.config import Config, Role
from mediavault.telemetry import Events, logger


@dataclass
class Served:
    """A vault that accepts connections."""

    vault: Vault
    running: Running
    api_url: str | None
    media_url: str | None

    async def stop(self) -> None:
        """Drain everything; the data folder is free afterwards."""
        await self.running.stop()
        await self.vault.stop()
        (self.vault.config.data / "control.sock").unlink(missing_ok=True)


async def start(config: Config) -> Served:
    """Bind, build, serve. Raises VaultError; nothing is left bound then."""
    raise_file_limit()
    listeners: dict[str, socket.socket] = {}
    try:
        if config.role in {Role.ALL, Role.API}:
            listeners["api"] = bind(config.host, config.api_port)
        if config.role in {Role.ALL, Role.MEDIA}:
            listeners["media"] = bind(config.host, config.media_port)
        if config.media_base_url is None:
            config = replace(config, media_base_url=url_of(listeners["media"]))
        vault = await open_vault(config)
    except BaseException:
        for listener in listeners.values():
            listener.close()
        raise
    if config.role is Role.ALL:
        listeners["control"] = bind_unix(config.data / "control.sock")
    applications = {"api": vault.api, "media": vault.media, "control": vault.control}
    running = Running(
        [
            (server(applications[name], drain_seconds=config.drain_seconds), listener)
            for name, listener in listeners.items()
        ]
    )
    await vault.start()
    await running.started()
    _tell(vault)
    urls = {name: url_of(listener) for name, listener in listeners.items() if name != "control"}
    return Served(vault, running, urls.get("api"), urls.get("media"))


def _tell(vault: Vault) -> None:
    """What an operator must see at the first start, once."""
    foundation = vault.foundation
    if not foundation.catalog.shared and not sqlite.is_safe():
        logger().warning(Events.SQLITE_UNSAFE, hint="install pysqlite3, or use PostgreSQL")
    if foundation.new_master_key is not None:
        logger().warning(Events.MASTER_KEY_MADE, path=foundation.new_master_key)
        print(
            f"A master key was made: {foundation.new_master_key}\n"
            "BACK IT UP. Without it no stored session and no origin URL of this vault can be read again.",
            file=sys.stderr,
        )
    if foundation.first_key is not None and vault.config.bootstrap_api_key is None:
        print(
            f"The first API key, shown only now: {foundation.first_key.secret}\n"
            f"(organisation {foundation.first_key.organisation}, scopes {', '.join(foundation.first_key.scopes)})",
            file=sys.stderr,
        )


async def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    stop = stop_signal()
    served = await start(config)
    print(json.dumps({"event": "ready", "api": served.api_url, "media": served.media_url}), flush=True)
    await stop.wait()
    logger().info(Events.DRAINING)
    await served.stop()
    logger().info(Events.STOPPED)


def run(config: Config) -> None:
    """`serve` on the fastest loop there is."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(config))
    else:
        uvloop.run(serve(config))
