"""One command at a time in a folder, also where several machines share it. A lock ends with its process."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_log = logging.getLogger(__name__)

LOCK_FILE = ".lock"
"""Is there while a command runs, on file systems that lock no folders."""


@contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold ``folder``, which exists, alone; or ``shared``, together with others who hold it so.

    Network file systems lock only files that were opened for writing (flock(2), NFS); there a file stands for the
    folder, until the block ends.

    Raises:
        BlockingIOError: another process holds it.
        OSError: the folder cannot be opened, or a lock file not be made.
    """
    with ExitStack() as held:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        held.callback(os.close, descriptor)
        try:
            _lock(descriptor, shared)
        except BlockingIOError:
            raise
        except OSError:
            path = folder / LOCK_FILE
            held.callback(os.close, _lock_file(path, shared))
            if not shared:
                held.callback(path.unlink, missing_ok=True)  # before it is closed: nobody else has it
        yield


def _lock_file(path: Path, shared: bool) -> int:
    """The descriptor of the locked file at ``path``; of an unlocked one where the file system knows no locks."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(descriptor, shared)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:
            _log.warning("this file system knows no locks: see to it that no second command writes the same folder")
            return descriptor
        os.close(descriptor)  # its last holder removed it in between


def _lock(descriptor: int, shared: bool) -> None:
    fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
