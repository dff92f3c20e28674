"""Reasons: short texts that are kept beside what happened, and shown to people."""

_LONGEST = 500


def printable(text: str) -> str:
    """The text as every database and log can hold it: what is not printable replaced, cut at a length."""
    return "".join(character if character.isprintable() else "�" for character in text[:_LONGEST])
