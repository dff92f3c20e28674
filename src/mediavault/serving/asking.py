"""What a request asks of a variant's bytes."""

from mediavault.domain import byte_ranges
from mediavault.domain.byte_ranges import Slice
from mediavault.domain.first_wanted import first_wanted
from mediavault.serving.requests import Request


def is_view(request: Request, size: int | None) -> bool:
    """A GET without Range, or with one that starts at 0, is a view; a seek or a HEAD is none (contract)."""
    if request.method != "GET":
        return False
    asked = _ranges(request)
    return len(asked) != 1 or byte_ranges.starts_at_zero(asked[0], size)  # two lines are ignored


def wanted(request: Request) -> Slice | None:
    """What is wanted of media that must be fetched; None: all of it. A HEAD wants no more than their facts."""
    return Slice(0, 1) if request.method == "HEAD" else first_wanted(_ranges(request))


def _ranges(request: Request) -> list[str]:
    return [value.decode("latin-1") for name, value in request.headers if name == b"range"]
