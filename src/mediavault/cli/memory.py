"""How this process deals with memory that it frees and needs again at once."""

import ctypes
import gc
from contextlib import suppress

#: Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 << 20
_LARGEST_BUFFER_BYTES = 4 << 20


def keep_freed_buffers() -> None:
    """Let freed memory be used again, instead of being given back to the kernel and taken from it anew.

    Bytes from origins arrive in buffers of a quarter of a megabyte. By default glibc returns such memory as soon as it
    is free, and every page of the next buffer is a fault: a tenth of what a cold megabyte costs. Other C libraries have
    their own ways.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BUFFER_BYTES)


def freeze_garbage() -> None:
    """Take what the start made out of the collector's sight: a full collection over it would stall requests 60 ms."""
    gc.collect()
    gc.freeze()
