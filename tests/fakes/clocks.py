"""A clock that stands still until the test moves it."""

from dataclasses import dataclass, field

from mediavault.assembly import milliseconds


@dataclass
class Clock:
    """Unix milliseconds; called, it tells them."""

    now: int = field(default_factory=milliseconds)

    def __call__(self) -> int:
        return self.now

    def forward(self, ms: int) -> None:
        """Let so much time pass."""
        self.now += ms
