"""Writes the documents that derive from the source. `--check` writes nothing and fails when one is stale."""

import inspect
import re
import sys
from enum import StrEnum
from pathlib import Path

from mediavault.domain import lifecycle
from mediavault.domain.lifecycle import BY_LEASEHOLDER, INITIAL, TRANSITIONS, Event, Status

DOCS = Path(__file__).parents[1] / "docs"
_MEMBER = re.compile(r"^    \w+ = \"(\w+)\"  #: (.+)$", re.MULTILINE)


def meanings(kind: type[StrEnum]) -> dict[str, str]:
    """What the source says beside each member."""
    return dict(_MEMBER.findall(inspect.getsource(kind)))


def lifecycle_page() -> str:
    """The life of a variant: what it may be, what may happen to it, and a diagram."""
    module = Path(lifecycle.__file__)
    return "\n".join(
        [
            "# The life of a variant",
            "",
            f"Generated from `domain/{module.name}` by `scripts/generate_docs.py`: change that, then run this.",
            "",
            "## Statuses",
            "",
            "| status | meaning |",
            "|---|---|",
            *(f"| `{status}` | {meanings(Status)[status]} |" for status in Status),
            "",
            f"A variant that was just observed is `{INITIAL}`.",
            "",
            "## Events",
            "",
            "| event | meaning | from | to | needs the lease |",
            "|---|---|---|---|---|",
            *(_event_row(event) for event in Event),
            "",
            "## Diagram",
            "",
            "```mermaid",
            "stateDiagram-v2",
            f"    [*] --> {INITIAL}: observed",
            *(
                f"    {source} --> {TRANSITIONS[event].target}: {event}"
                for event in Event
                for source in _in_order(TRANSITIONS[event].sources)
            ),
            "```",
            "",
        ]
    )


def _event_row(event: Event) -> str:
    transition = TRANSITIONS[event]
    sources = ", ".join(f"`{source}`" for source in _in_order(transition.sources))
    needs = "yes" if event in BY_LEASEHOLDER else ""
    return f"| `{event}` | {meanings(Event)[event]} | {sources} | `{transition.target}` | {needs} |"


def _in_order(statuses: frozenset[Status]) -> list[Status]:
    return [status for status in Status if status in statuses]


DOCUMENTS = {"lifecycle.md": lifecycle_page}


def stale(docs: Path = DOCS) -> list[str]:
    """The documents in the folder that are not what the source makes of them."""
    return [
        name
        for name, render in DOCUMENTS.items()
        if not (docs / name).is_file() or (docs / name).read_text(encoding="utf-8") != render()
    ]


def main(arguments: list[str]) -> int:
    """0 when every document is fresh now."""
    if arguments == ["--check"]:
        for name in stale():
            print(f"docs/{name} is stale: run scripts/generate_docs.py", file=sys.stderr)
        return 1 if stale() else 0
    for name, render in DOCUMENTS.items():
        (DOCS / name).write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
