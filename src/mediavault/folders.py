"""Folders: their room, and names that outlive a power cut; one is durable when the folder that it is in was synced."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes(folder: Path | str) -> int:
    """Bytes that an unprivileged process may still write on the folder's file system. Raises OSError."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def make_durable(folder: Path, mode: int = 0o777) -> None:
    """Make a folder, of that mode, and its missing parents, and sync the name of each one made. Raises OSError."""
    if folder.is_dir():
        return
    make_durable(folder.parent)
    folder.mkdir(mode=mode, exist_ok=True)
    sync_folder(folder.parent)
