"""Writes docs/configuration.md from the table of the environment's variables.

.venv/bin/python scripts/generate_configuration.py
"""

from pathlib import Path

from mediavault.config import PREFIX, VARIABLES

DOCUMENT = Path(__file__).parents[1] / "docs" / "configuration.md"

_HEAD = f"""# Configuration

Generated from `config/variables.py` by `scripts/generate_configuration.py`: change that, then run this.

`mediavault serve` needs none of these. A flag (`--data`, `--host`, `--api-port`, `--media-port`, `--role`) goes before
its variable, and a variable before the default. An empty variable counts as unset. A variable that begins with
`{PREFIX}` and is not in this table is refused, so that a slip of the pen is not a silent default.

A secret (🔒) may lie in a file instead, which `{PREFIX}MASTER_KEY_FILE=/run/secrets/master-key` names; to set both is
refused.

| variable | what it is | default |
|---|---|---|
"""


def configuration() -> str:
    """The document."""
    rows = [
        f"| `{PREFIX}{name}`{' 🔒' if variable.secret else ''} | {variable.meaning} | {variable.default} |\n"
        for name, variable in VARIABLES.items()
    ]
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    DOCUMENT.write_text(configuration(), encoding="utf-8")
