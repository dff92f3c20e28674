"""The parity table: every operation of the document stands in it, and every test it names is there."""

import ast
import re
from pathlib import Path

from fakes.documents import document

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `([A-Z]+ /[^`]+)` \| `([^`]+)::(\w+)` \| (.*)\|$", re.MULTILINE)
METHODS = {"get", "head", "post", "put", "patch", "delete", "options"}
TABLE = (ROOT / "docs" / "parity.md").read_text()
ROWS = ROW.findall(TABLE)


def functions_in(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_row_is_read():
    told = [line for line in TABLE.splitlines() if line.startswith("| `")]
    assert len(told) == len(ROWS) > 40
    assert len({operation for operation, *_ in ROWS}) == len(ROWS)


def test_every_operation_of_the_document_has_a_row():
    operations = {
        f"{method.upper()} {path}" for path, at in document()["paths"].items() for method in at if method in METHODS
    }
    assert operations - {operation for operation, *_ in ROWS} == set()


def test_every_test_that_is_named_is_there():
    assert [f"{path}::{name}" for _, path, name, _ in ROWS if name not in functions_in(ROOT / path)] == []


def test_what_is_partial_says_why():
    for operation, *_, note in ROWS:
        if "partial" in note.lower():
            assert re.search(r"partial: \w+ \w+", note, re.IGNORECASE), operation
