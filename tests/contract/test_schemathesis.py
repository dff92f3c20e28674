"""schemathesis over the served document against a served vault: every check, one worker, real HTTP.

`MEDIAVAULT_SCHEMATHESIS_EXAMPLES` asks for more examples of each operation than a quick run makes.
"""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fakes.vaults import AURORA, CORAL, JUNIPER, KEY, RunningVault
from mediavault.platform.creators import USER_AGENT

EXAMPLES = int(os.environ.get("MEDIAVAULT_SCHEMATHESIS_EXAMPLES", "5"))
#: Operations that would take away what the others stand on get a connection of their own.
DESTRUCTIVE = ["purgeMedia", "olderPurge", "removeMedia", "olderRemoveMedia"]


@dataclass
class Fixtures:
    """What the operations are asked about."""

    connection: str
    doomed: str
    settled: str
    media_id: str
    list_id: str
    media_url: str


async def fixtures(vault: RunningVault) -> Fixtures:
    """A connection with a stored photo, one to purge, one to configure."""
    connection = await vault.connect()
    photo, item = await vault.add(connection, type="photo", size_bytes=2_000)
    await vault.ask("GET", item["media"]["full"]["url"])
    await vault.until_stored(connection, photo.id)
    await vault.see(connection)
    lists = await vault.see(connection, "/v2/access/vault/lists")
    doomed, settled = await vault.connect(CORAL), await vault.connect(JUNIPER)
    await vault.see(doomed)
    url = (await vault.item(connection, photo.id))["media"]["full"]["url"]
    return Fixtures(connection, doomed, settled, str(photo.id), str(lists["list"][0]["id"]), url)


def operation(ids: list[str], **parameters: Any) -> str:
    """A section of schemathesis's configuration for some operations."""
    section = f"[[operations]]\ninclude-operation-id = {json.dumps(ids)}\n"
    return section + f"parameters = {{ {', '.join(f'{json.dumps(k)} = {json.dumps(v)}' for k, v in parameters.items())} }}\n"


async def schemathesis(folder: Path, configuration: str, *arguments: str) -> tuple[int, str, Any]:
    """Run it in a process of its own; its exit code, what it wrote, its report."""
    settings, report = folder / "schemathesis.toml", folder / "report.json"
    settings.write_text(configuration)
    command = [
        *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
        *("--config-file", str(settings), "run"),
        *("--report", "json", "--report-json-path", str(report), "--no-color", *arguments),
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    written, _ = await process.communicate()
    told = json.loads(report.read_text()) if report.exists() else None
    return process.returncode or 0, written.decode(), told


GENERAL = f"""
workers = 1
seed = 20260101
continue-on-failure = true
warnings = false
suppress-health-check = ["all"]
[generation]
max-examples = {EXAMPLES}
database = "none"
[phases.stateful]
enabled = false
"""


@pytest.mark.slow
async def test_every_operation_of_the_api_is_as_the_document_says(vault: RunningVault, tmp_path: Path):
    seeded = await fixtures(vault)
    configuration = GENERAL + f"""
[parameters]
"header.x-connection-id" = "{seeded.connection}"
"path.mediaId" = "{seeded.media_id}"
"path.listId" = "{seeded.list_id}"
"path.connectionId" = "{seeded.settled}"
"path.path" = "self"
[headers]
apiKey = "{KEY}"
"""
    code, written, report = await schemathesis(
        tmp_path, configuration, f"{vault.api_url}/openapi.json", "--exclude-tag", "Media host", "--checks", "all"
    )
    print(written[-25000:], json.dumps(report)[:3000])
    assert code == 0
