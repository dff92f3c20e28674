"""`docs/durability.md` names tests, and every one of them is there."""

import re
from pathlib import Path

from mediavault.domain.findings import BY_TESTS_ONLY, INVARIANTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "durability.md").read_text()
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def test_every_test_that_is_named_exists():
    named = NAMED.findall(PAGE)
    assert len(named) > 60
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / "tests" / file).exists()
        or not re.search(rf"^(async )?def {name}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE)
    ]
    assert missing == []


def test_every_invariant_and_every_fault_has_a_line_with_a_test():
    tables = PAGE.partition("\n## Damaged bytes")[0]
    lines = [line for line in tables.splitlines() if line.startswith("| ") and not line.startswith(("| #", "| Fault"))]
    numbered = {int(line.split("|")[1]): line for line in lines if line.split("|")[1].strip().isdigit()}
    assert sorted(numbered) == sorted(INVARIANTS)
    assert all(NAMED.search(line) for line in numbered.values())
    assert all(numbered[number].split("|")[3].strip().startswith("no:") for number in BY_TESTS_ONLY)
    faults = [line for line in lines if line not in numbered.values()]
    assert len(faults) > 30
    assert [line for line in faults if not NAMED.search(line)] == []
    assert "no test" not in tables
