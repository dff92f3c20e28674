"""The project's API document, and answers held against it."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

import mediavault.api

DOCUMENT = Path(mediavault.api.__file__).with_name("openapi.yaml")


@cache
def document() -> Any:
    """The document, parsed."""
    return yaml.safe_load(DOCUMENT.read_text())


def resolved(node: Any) -> Any:
    """The node, or what its `$ref` names."""
    while isinstance(node, dict) and "$ref" in node:
        target: Any = document()
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def validator(schema: Any) -> Draft202012Validator:
    """Checks instances of a schema of the document; formats too."""
    inside = {"$schema": Draft202012Validator.META_SCHEMA["$id"], "components": document()["components"], **schema}
    return Draft202012Validator(inside, format_checker=Draft202012Validator.FORMAT_CHECKER)


def check_answer(answer: Any, method: str, path: str) -> None:
    """Raise unless the document foresees this answer of the operation, its headers and its body."""
    operation = document()["paths"][path][method.lower()]
    assert str(answer.status) in operation["responses"], f"{method} {path} answers {answer.status}: {answer.body[:300]}"
    foreseen = resolved(operation["responses"][str(answer.status)])
    for name, header in foreseen.get("headers", {}).items():
        described = resolved(header)
        if described.get("required"):
            validator(described["schema"]).validate(answer.headers[name])
    schema = foreseen["content"]["application/json"]["schema"]
    assert answer.headers["Content-Type"] == "application/json"
    validator(schema).validate(answer.json)
