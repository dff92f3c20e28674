"""The direction of imports: the contracts are kept, and each of them would notice if it were not."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SOURCE = PROJECT / "src" / "mediavault"
LINTER = Path(sys.executable).with_name("lint-imports")
CONTRACTS = [
    contract["name"]
    for contract in tomllib.loads((PROJECT / "importlinter.toml").read_text())["tool"]["importlinter"]["contracts"]
]

#: For each contract a module that breaks it, what that imports, and what the linter then says.
VIOLATIONS = {
    "Imports point downwards, and every module has a floor": (
        "blobs.climbing",
        "mediavault.vault",
        "mediavault.blobs.climbing -> mediavault.vault ",
    ),
    "The domain is pure": ("domain.ticking", "time", "mediavault.domain.ticking -> time "),
    "SQL lives in the catalog": ("vault.querying", "sqlalchemy", "mediavault.vault.querying -> sqlalchemy "),
    "The control plane goes through the vault's verbs": (
        "api.reaching",
        "mediavault.catalog",
        "mediavault.api.reaching -> mediavault.catalog ",
    ),
    "Few may move a variant": (
        "serving.moving",
        "mediavault.catalog.transitions",
        "mediavault.serving.moving -> mediavault.catalog.transitions ",
    ),
    "No cycles between siblings": (
        "domain.turning",
        "mediavault.domain.returning",
        "No cycles are allowed in mediavault.domain.",
    ),
    "One door to the buckets": ("vault.uploading", "obstore", "mediavault.vault.uploading -> obstore "),
    "One door to the outside": ("storer.dialling", "aiohttp", "mediavault.storer.dialling -> aiohttp "),
    "The sandbox platform knows nothing of the vault": (
        "platform.knowing",
        "mediavault.errors",
        "mediavault.platform.knowing -> mediavault.errors ",
    ),
}
#: The way back of the cycle.
ACCOMPLICE = ("domain.returning", "mediavault.domain.turning")

#: The rooms that may open a connection, and the standard library's clients: the linter takes only whole packages of
#: others, and `urllib.parse` and `http.HTTPStatus` are nobody's door.
DOORS = ("cli/", "bench/", "assembly.py", "origin/", "platform/", "blobs/s3_bucket.py")
STANDARD_CLIENTS = {"urllib.request", "http.client", "ftplib", "smtplib", "telnetlib", "xmlrpc.client"}


def lint(source: Path) -> subprocess.CompletedProcess[str]:
    """Run the linter on the packages in `source`, whatever is installed."""
    return subprocess.run(
        [LINTER, "--config", PROJECT / "importlinter.toml", "--no-cache"],
        cwd=source,
        env=os.environ | {"PYTHONPATH": str(source), "NO_COLOR": "1", "COLUMNS": "400"},
        capture_output=True,
        text=True,
    )


def verdicts(output: str) -> dict[str, str]:
    """What the linter says of each contract: KEPT or BROKEN."""
    found = {name: re.search(rf"^{re.escape(name)} (KEPT|BROKEN)", output, re.MULTILINE) for name in CONTRACTS}
    return {name: match[1] for name, match in found.items() if match}


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> subprocess.CompletedProcess[str]:
    """The linter's report on a copy of the source with every violation in it."""
    source = tmp_path_factory.mktemp("broken")
    shutil.copytree(SOURCE, source / "mediavault", ignore=shutil.ignore_patterns("__pycache__"))
    imports = [(importer, imported) for importer, imported, _ in VIOLATIONS.values()]
    for importer, imported in [*imports, ACCOMPLICE]:
        path = source / "mediavault" / (importer.replace(".", "/") + ".py")
        path.write_text(f"import {imported}\n")
    return lint(source)


def test_every_contract_is_kept():
    report = lint(SOURCE.parent)
    assert verdicts(report.stdout) == dict.fromkeys(CONTRACTS, "KEPT"), report.stdout + report.stderr
    assert report.returncode == 0


def test_every_contract_has_a_violation_to_prove_it():
    assert sorted(VIOLATIONS) == sorted(CONTRACTS)


@pytest.mark.parametrize("contract", VIOLATIONS)
def test_a_violation_is_caught(broken, contract):
    assert broken.returncode == 1
    assert verdicts(broken.stdout).get(contract) == "BROKEN", broken.stdout + broken.stderr
    assert VIOLATIONS[contract][-1] in broken.stdout


def imported_modules(tree: ast.Module) -> set[str]:
    """Every name a module may have imported a module by."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_nobody_dials_with_the_standard_library():
    modules = {path.relative_to(SOURCE).as_posix(): path for path in SOURCE.rglob("*.py")}
    assert not {
        name: used
        for name, path in modules.items()
        if not name.startswith(DOORS) and (used := imported_modules(ast.parse(path.read_text())) & STANDARD_CLIENTS)
    }


@pytest.mark.parametrize("statement", ["import http.client", "from http import client", "from http.client import X"])
def test_a_client_of_the_standard_library_is_seen(statement):
    assert imported_modules(ast.parse(statement)) & STANDARD_CLIENTS
