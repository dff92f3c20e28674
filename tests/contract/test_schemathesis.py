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

from fakes.vaults import CORAL, JUNIPER, KEY, RunningVault

EXAMPLES = int(os.environ.get("MEDIAVAULT_SCHEMATHESIS_EXAMPLES", "5"))
METHODS = {"get", "put", "post", "delete", "options", "head", "patch"}
#: Answers to a request that is right: what it asks for may be missing, taken, or out of reach.
FINE = ["2xx", "3xx", 401, 403, 404, 409, 429]
#: An upstream that answers no JSON, or does not answer, is a 502; it is no fault of ours.
UPSTREAM_MAY_FAIL = {"not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", 502]}}
#: Only an earlier page of the same question gives a cursor that is taken; a schema cannot say so.
CURSORS_ARE_REFUSED = {"positive_data_acceptance": {"expected-statuses": [*FINE, 400]}}
#: A precondition that does not hold, and a range behind the end, are in the request's own hands.
CONDITIONS_MAY_FAIL = {"positive_data_acceptance": {"expected-statuses": [*FINE, 412, 416]}}

#: A stream of events has no end to wait for; `tests/integration/test_event_stream.py` has its tests.
ENDLESS = "followEvents"
#: Which event types there are, which events are kept and that a pin ends in the future, a schema does not say.
CHOOSY = ["pinMedia", "createWebhookEndpoint", "changeWebhookEndpoint", "replayWebhookEvents"]


@dataclass
class Seeded:
    """What the operations are asked about."""

    connection: str
    changing: str  #: may be purged, configured, invalidated
    ending: str  #: may be disconnected
    media_id: str
    list_id: str
    token: str


async def seed(vault: RunningVault) -> Seeded:
    """A connection with a stored photo, and two that operations may take apart."""
    connection = await vault.connect()
    photo, item = await vault.add(connection, type="photo", size_bytes=2_000)
    await vault.ask("GET", item["media"]["full"]["url"])
    await vault.until_stored(connection, photo.id)
    await vault.see(connection)
    lists = await vault.see(connection, "/v2/access/vault/lists")
    changing, ending = await vault.connect(CORAL), await vault.connect(JUNIPER)
    await vault.see(changing)
    url = item["media"]["full"]["url"]
    return Seeded(connection, changing, ending, str(photo.id), str(lists["list"][0]["id"]), url.rpartition("/")[2])


def operations(document: Any, tag: str | None = None, parameter: str | None = None) -> list[str]:
    """Ids of the operations, of those with that tag or that parameter."""
    found = []
    for at in document["paths"].values():
        for method, operation in at.items():
            if method not in METHODS:
                continue
            names = {each.get("name") for each in operation.get("parameters", [])}
            if (tag is None or tag in operation["tags"]) and (parameter is None or parameter in names):
                found.append(operation["operationId"])
    return found


def section(ids: list[str], parameters: dict[str, str] | None = None, **checks: Any) -> str:
    """A section of schemathesis's configuration for some operations."""
    lines = ["[[operations]]", f"include-operation-id = {json.dumps(ids)}"]
    if parameters:
        told = ", ".join(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in parameters.items())
        lines.append(f"parameters = {{ {told} }}")
    for check, change in checks.items():
        lines += [f"checks.{check}.{name} = {json.dumps(value)}" for name, value in change.items()]
    return "\n".join([*lines, ""])


def configuration(seeded: Seeded, document: Any) -> str:
    """What every run shares, then what some operations need."""
    apart = {"header.x-connection-id": seeded.changing}
    return "\n".join(
        [
            "workers = 1",
            "seed = 20260101",
            "continue-on-failure = true",
            'suppress-health-check = ["all"]',
            "[generation]",
            f"max-examples = {EXAMPLES}",
            'database = "none"',
            "[phases.stateful]",
            "enabled = false",  # the document has no links to follow
            "[headers]",
            f'apiKey = "{KEY}"',
            "[parameters]",
            f'"header.x-connection-id" = "{seeded.connection}"',
            f'"path.connectionId" = "{seeded.changing}"',
            f'"path.mediaId" = "{seeded.media_id}"',
            f'"path.listId" = "{seeded.list_id}"',
            f'"path.token" = "{seeded.token}"',
            '"path.path" = "self"',
            section(["purgeMedia", "olderPurge", "removeMedia", "olderRemoveMedia"], apart),
            section(["disconnect"], {"path.connectionId": seeded.ending}),
            section(["refreshConnection"], {"path.connectionId": seeded.connection}, **UPSTREAM_MAY_FAIL),
            section(["importConnection"], None, **UPSTREAM_MAY_FAIL),
            section(operations(document, tag="Access"), None, **UPSTREAM_MAY_FAIL),
            section(["readMedia", "describeMedia"], None, **CONDITIONS_MAY_FAIL),
            section(operations(document, parameter="cursor"), None, **CURSORS_ARE_REFUSED),
            section(CHOOSY, None, **CURSORS_ARE_REFUSED),
        ]
    )


async def schemathesis(folder: Path, settings: str, document: Any, *arguments: str) -> tuple[str, Any]:
    """Run it in a process of its own; what it wrote, and its report."""
    (folder / "schemathesis.toml").write_text(settings)
    (folder / "openapi.json").write_text(json.dumps(document))
    report = folder / "report.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
        *("--config-file", "schemathesis.toml", "run", "openapi.json", "--checks", "all", "--no-color"),
        *("--report", "json", "--report-json-path", str(report), *arguments),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    written, _ = await process.communicate()
    assert report.exists(), written.decode()
    return written.decode(), json.loads(report.read_text())


async def served_document(vault: RunningVault) -> Any:
    """As the vault serves it; but that the only upstream and receiver there is to name is the sandbox.

    A vault dials what it is told to: made-up URLs would lead off this machine.
    """
    document = (await vault.ask("GET", vault.api_url + "/openapi.json")).json
    upstream = document["components"]["schemas"]["UpstreamGiven"]["properties"]
    upstream |= {"baseUrl": {"const": vault.platform_url}, "headers": {"const": {}}}
    for name in ("WebhookEndpointRequest", "WebhookEndpointChange"):
        document["components"]["schemas"][name]["properties"]["url"] = {"const": vault.platform_url + "/hook"}
    return document


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("host", ["api", "media"])
async def test_every_operation_is_as_the_document_says(vault: RunningVault, tmp_path: Path, host: str):
    seeded, document = await seed(vault), await served_document(vault)
    media_host = operations(document, tag="Media host")
    everything = operations(document)
    chosen = "--include-tag" if host == "media" else "--exclude-tag"
    url = str(vault.served.media_url) if host == "media" else vault.api_url
    written, report = await schemathesis(
        *(tmp_path, configuration(seeded, document), document, chosen, "Media host", "--url", url),
        *("--exclude-operation-id", ENDLESS),
    )
    print(written)
    assert report["complete"]
    found = {(failure["type"], operation) for failure in report["failures"] for operation in failure["operations"]}
    assert (found, report["errors"]) == (set(), [])
    tested = len(media_host) if host == "media" else len(everything) - len(media_host) - 1  # the endless one
    assert report["operations"]["tested"] == tested
    assert report["test_cases"]["generated"] > 10 * tested
