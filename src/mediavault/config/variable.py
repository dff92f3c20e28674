"""What is known of one variable of the environment."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Variable:
    """A setting in the environment."""

    field: str  #: what it fills
    read: Callable[[str], Any]  #: raises ValueError or ConfigError for what it cannot be
    meaning: str
    default: str
    secret: bool = False  #: may also lie in the file that NAME_FILE names; never shown
