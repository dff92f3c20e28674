"""The shape of the source, kept by a test."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "mediavault"
MODULES = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}
#: Written by Alembic, one step after another: a long list of columns is read from top to bottom.
GENERATED = "catalog/migrations/versions/"
ONE_WRITER = "catalog/transitions.py"

MAX_LINES = 300
MAX_FUNCTION_LINES = 60
HOMELESS = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager", "core"}
STATUS_IN_SQL = re.compile(r"\bupdate\s+variants\b.*\bset\b.*\bstatus\b|\binto\s+variants\b.*\bstatus\b", re.I | re.S)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def names_status(call: ast.Call) -> bool:
    """Whether a `.values(...)` names the column: by keyword, or in a dict."""
    if not (isinstance(call.func, ast.Attribute) and call.func.attr == "values"):
        return False
    keys: list[object] = [keyword.arg for keyword in call.keywords]
    dicts = [argument for argument in call.args if isinstance(argument, ast.Dict)]
    keys += [key.value for each in dicts for key in each.keys if isinstance(key, ast.Constant)]
    return "status" in keys


def writes_status(tree: ast.Module) -> bool:
    """Whether a module writes a variant's status, with SQLAlchemy or with SQL as text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and names_status(node):
            return True
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATUS_IN_SQL.search(node.value):
            return True
    return False


def test_there_is_a_source():
    assert "errors.py" in MODULES


def test_no_module_is_longer_than_a_sitting():
    written = [name for name in MODULES if not name.startswith(GENERATED)]
    lengths = {name: len((SOURCE / name).read_text().splitlines()) for name in written}
    assert not {name: length for name, length in lengths.items() if length > MAX_LINES}


def test_no_function_is_longer_than_a_screen():
    assert not [
        f"{name}:{function.name} has {lines(function)} lines"
        for name, tree in MODULES.items()
        if not name.startswith(GENERATED)
        for function in functions(tree)
        if lines(function) > MAX_FUNCTION_LINES
    ]


def test_no_module_is_a_dumping_ground():
    parts = {name: {part.strip("_") for part in Path(name).with_suffix("").parts} for name in MODULES}
    assert not [name for name, found in parts.items() if found & HOMELESS]


def test_every_module_says_what_it_is_for():
    assert not [name for name, tree in MODULES.items() if not ast.get_docstring(tree)]


def test_only_transitions_writes_a_status():
    """Only variants have a `status`; every other table says `state`."""
    assert {name for name, tree in MODULES.items() if writes_status(tree)} <= {ONE_WRITER}


@pytest.mark.parametrize(
    ("statement", "writes"),
    [
        ("update(variants).where(x).values(status=target, fence=1)", True),
        ("insert(variants).values({'status': target})", True),
        ("'UPDATE variants\\n SET fence = 1, status = ?'", True),
        ("'INSERT INTO variants (id, status) VALUES (?, ?)'", True),
        ("update(deliveries).values(state=target)", False),
        ("select(variants.c.status)", False),
        ("'SELECT status FROM variants'", False),
    ],
)
def test_a_write_of_the_status_is_seen(statement, writes):
    assert writes_status(ast.parse(statement)) is writes
