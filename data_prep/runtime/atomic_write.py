"""Files that are there as a whole or not at all, with the same bytes for the same content."""

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PUBLIC_MODE, PRIVATE_MODE = 0o666, 0o600
"""Of files: what the umask leaves; and for the owner alone."""

_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF})
"""What file systems say that sync names by themselves, or not at all."""


@contextmanager
def published(path: Path, mode: int = PUBLIC_MODE) -> Iterator[BinaryIO]:
    """Write ``path`` under a temporary name; it takes its name, synced to disk, when the block ends without error.

    The temporary name is of this process alone, on whatever machine: one that outlives its killed parent for a moment,
    or writes the same file elsewhere, disturbs nobody.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with synced(part, mode) as file:
            yield file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def synced(path: Path, mode: int = PUBLIC_MODE) -> Iterator[BinaryIO]:
    """A new file with the permissions ``mode``, synced to disk when the block ends without error."""
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        if mode == PRIVATE_MODE:  # also where the file was there with other permissions
            os.fchmod(file.fileno(), mode)
        yield file
        file.flush()
        os.fsync(file.fileno())


def is_leftover(path: Path) -> bool:
    """Whether ``path`` is a temporary file that an interruption left behind."""
    return path.name.startswith(".") and path.name.endswith(".part")


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def canonical_json(values: object) -> bytes:
    """Compact JSON with sorted keys: equal values, equal bytes."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
