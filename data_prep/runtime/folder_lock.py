"""Lock of a folder against other commands, also on other machines; it is released when its process ends."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_log = logging.getLogger(__name__)

LOCK_FILE = ".lock"
"""Exists while a command runs, on file systems that cannot lock folders."""


@contextmanager
def locked(folder: Path, *, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Lock an existing folder until the block ends.

    Network file systems lock only files that were opened for writing (flock(2), NFS); there LOCK_FILE in the folder is
    locked instead.

    Args:
        folder: the folder.
        shared: other processes may hold a shared lock at the same time.
        wait: wait until no other process holds the lock.

    Raises:
        BlockingIOError: another process holds the lock, and ``wait`` is False.
        OSError: the folder cannot be opened, or the lock file cannot be created.
    """
    with ExitStack() as stack:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, descriptor)
        try:
            _lock(descriptor, shared, wait)
        except BlockingIOError:
            raise
        except OSError:
            path = folder / LOCK_FILE
            stack.callback(os.close, _lock_file(path, shared, wait))
            if not shared:
                stack.callback(path.unlink, missing_ok=True)  # runs before the file is closed and the lock released
        yield


def _lock_file(path: Path, shared: bool, wait: bool) -> int:
    """Descriptor of the locked file at ``path``; it is not locked where the file system does not support locks."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(descriptor, shared, wait)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:
            _log.warning("this file system does not support locks. Make sure that no other command writes this folder")
            return descriptor
        os.close(descriptor)  # another process removed the file in between


def _lock(descriptor: int, shared: bool, wait: bool) -> None:
    fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
