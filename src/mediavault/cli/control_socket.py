"""The control socket of a data folder: where commands find the vault that holds it."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mediavault.errors import ConfigError

_BACKLOG = 64
#: The address of a Unix socket takes 104 to 108 bytes with its final NUL, and a data folder may lie deep.
_LONGEST_ADDRESS = 100


def path_of(data: Path) -> Path:
    """Where the control socket of a data folder is."""
    return data / "control.sock"


@contextmanager
def address(path: Path) -> Iterator[str]:
    """A name of the socket that fits into an address: a long one goes over its folder's descriptor."""
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def bind_control(path: Path) -> socket.socket:
    """A listening socket that only its owner can open. Raises ConfigError.

    For the holder of the data folder's lock: what lies there is a dead process's.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        with address(path) as name:
            listener.bind(name)
        path.chmod(0o600)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"{path} cannot be listened on: {error.strerror or error}") from None
    listener.setblocking(False)
    return listener
