"""How much room the edge cache may take."""

from dataclasses import dataclass

from mediavault.domain.times import MINUTE
from mediavault.errors import ConfigError

GIB = 1 << 30


@dataclass(frozen=True)
class EdgeConfig:
    """The bounds of the edge cache."""

    capacity_bytes: int = 10 * GIB  #: what all copies together may have, bytes; 0 keeps none
    free_floor_bytes: int = 1 * GIB  #: fills leave at least so much of the disk free, bytes
    growth_bytes: int = 8 << 20  #: set aside at a time for a fill whose length is unknown or was wrong, bytes
    same_use_ms: int = MINUTE  #: the ranges of one viewing, closer together than this, count as one use

    def __post_init__(self) -> None:
        if min(self.capacity_bytes, self.free_floor_bytes, self.same_use_ms) < 0 or self.growth_bytes <= 0:
            raise ConfigError("the edge cache's capacity and floor must be 0 bytes or more, its growth 1 or more")
