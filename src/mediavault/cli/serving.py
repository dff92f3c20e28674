"""`mediavault serve`: the API, the media host and the storer, in one process or in roles."""

import asyncio
import json
import socket
import sys
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, replace
from functools import partial

from mediavault.assembly import Foundation, Vault, milliseconds, open_foundation, open_vault
from mediavault.catalog import sqlite
from mediavault.cli.control_socket import bind_control, path_of
from mediavault.cli.memory import freeze_garbage, keep_freed_buffers
from mediavault.cli.running import run as run_until_signalled
from mediavault.cli.servers import Running, bind, raise_file_limit, server, url_of
from mediavault.config import Config, Role
from mediavault.domain.times import Now
from mediavault.serving.api_protocol import ApiProtocol
from mediavault.serving.doors import Doors, Guarded
from mediavault.serving.protocol import MediaProtocol
from mediavault.telemetry import Events, logger


class GuardedMediaProtocol(Guarded, MediaProtocol):
    """A connection of the media port, if it is let in."""


@dataclass
class Served:
    """A vault that accepts connections."""

    vault: Vault
    running: Running
    api_url: str | None
    media_url: str | None

    async def stop(self) -> None:
        """Drain everything; the data folder is free afterwards."""
        path_of(self.vault.config.data).unlink(
            missing_ok=True
        )  # while the folder is ours: the next holder makes its own
        await asyncio.gather(self.running.stop(), self.vault.drain())
        await self.vault.stop()


async def start(config: Config, now: Now = milliseconds) -> Served:
    """Bind, build, serve. Raises VaultError; nothing is left bound or locked then."""
    raise_file_limit()
    async with AsyncExitStack() as undo:
        listeners: dict[str, socket.socket] = {}
        for name, port in _ports(config).items():
            listeners[name] = undo.enter_context(closing(bind(config.host, port)))
        if config.media_base_url is None:
            config = replace(config, media_base_url=url_of(listeners["media"]))
        urls = {name: url_of(listener) for name, listener in listeners.items()}
        foundation = await open_foundation(config, now)
        tell_secrets(foundation)
        vault = await open_vault(config, foundation, now)
        undo.push_async_callback(vault.stop)
        if config.role in {Role.ALL, Role.API}:
            listeners["control"] = undo.enter_context(closing(bind_control(path_of(config.data))))
        running = _run_servers(vault, listeners)
        undo.push_async_callback(running.stop)
        await vault.start()
        await running.started()
        undo.pop_all()
    return Served(vault, running, urls.get("api"), urls.get("media"))


def _ports(config: Config) -> dict[str, int]:
    ports = {}
    if config.role in {Role.ALL, Role.API}:
        ports["api"] = config.api_port
    if config.role in {Role.ALL, Role.MEDIA}:
        ports["media"] = config.media_port
    return ports


def _run_servers(vault: Vault, listeners: dict[str, socket.socket]) -> Running:
    drain_seconds = vault.config.drain_seconds
    doors = Doors(vault.config.doors)  # both ports together: their descriptors and memory are the same
    api = partial(ApiProtocol, doors=doors, patience=vault.config.patience)
    media = partial(GuardedMediaProtocol, doors=doors)
    servers = {
        "api": server(vault.api, drain_seconds=drain_seconds, protocol=api),
        "media": server(vault.media, drain_seconds=drain_seconds, protocol=media),
        "control": server(vault.control, drain_seconds=drain_seconds),
    }
    return Running([(servers[name], listener) for name, listener in listeners.items()])


def tell_secrets(foundation: Foundation) -> None:
    """What an operator must see at the first start, once, whatever fails after it."""
    if not foundation.catalog.shared and not sqlite.is_safe():
        logger().warning(Events.SQLITE_UNSAFE, hint="install pysqlite3, or use PostgreSQL")
    if foundation.new_master_key is not None:
        logger().warning(Events.MASTER_KEY_MADE, path=foundation.new_master_key)
        print(
            f"A master key was made: {foundation.new_master_key}\n"
            "BACK IT UP. Without it no stored session and no origin URL of this vault can be read again.",
            file=sys.stderr,
            flush=True,
        )
    if foundation.first_key is not None and not foundation.first_key_given:
        print(
            f"The first API key, shown only now: {foundation.first_key.secret}\n"
            f"(organisation {foundation.first_key.organisation}, scopes {', '.join(foundation.first_key.scopes)})",
            file=sys.stderr,
            flush=True,
        )


async def serve(config: Config) -> None:
    """Serve until cancelled, then drain. Raises VaultError when it cannot start, or a server ends by itself."""
    keep_freed_buffers()
    served = await start(config)
    try:
        freeze_garbage()
        print(json.dumps({"event": "ready", "api": served.api_url, "media": served.media_url}), flush=True)
        await served.running.ended()
    finally:
        logger().info(Events.DRAINING)
        await served.stop()
        logger().info(Events.STOPPED)


def run(config: Config) -> None:
    """`serve` until SIGTERM or SIGINT."""
    run_until_signalled(lambda: serve(config))
