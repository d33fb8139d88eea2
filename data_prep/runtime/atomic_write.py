"""Atomic and durable writing of files and folders, with the same bytes for the same content.

A file or folder is written under a temporary name in the same folder, synced, and renamed. Temporary names are random,
so that processes which write the same file at the same time do not disturb each other.
"""

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PUBLIC_MODE, PRIVATE_MODE = 0o666, 0o600
"""Permissions of files: all that the umask allows; read and write for the owner only."""

_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF})
"""Errors of file systems on which folders cannot be synced."""

_TEMPORARY = re.compile(r"\.(?P<name>.+?)((\.[0-9a-f]+)?\.(part|partial)|\.[0-9a-f]+\.old)", re.DOTALL)
"""``.NAME.NUMBER.part``; ``.old`` is a folder that was being replaced. Earlier releases wrote ``.NAME.partial``."""


@contextmanager
def atomic_file(path: Path, mode: int = PUBLIC_MODE) -> Iterator[BinaryIO]:
    """Open a temporary file, which is synced and renamed to ``path`` when the block ends without error.

    Args:
        path: in an existing folder; an existing file is replaced.
        mode: permissions.

    Raises:
        OSError: the file cannot be written; ``path`` is as before.
    """
    part = _temporary(path, "part")
    try:
        with synced_file(part, mode) as file:
            yield file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def atomic_text(path: Path, text: str, mode: int = PUBLIC_MODE) -> None:
    """Write a text file as UTF-8; characters that are no valid Unicode, as in some file names, are escaped.

    Args:
        path: in an existing folder; an existing file is replaced.
        text: written with its line ends unchanged.
        mode: permissions.

    Raises:
        OSError: the file cannot be written; ``path`` is as before.
    """
    with atomic_file(path, mode) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


@contextmanager
def atomic_folder(path: Path, mark: str) -> Iterator[Path]:
    """Create a temporary folder, which is synced and renamed to ``path`` when the block ends without error.

    Args:
        path: is created with its parents; an existing folder that holds ``mark`` is replaced.
        mark: name of a file that every folder of this kind holds.

    Raises:
        FileExistsError: ``path`` exists and does not hold ``mark``.
        OSError: the folder cannot be written; ``path`` is as before.
    """
    if path.exists() and not (path / mark).is_file():
        raise FileExistsError(errno.EEXIST, f"exists and holds no {mark}", str(path))
    part = _temporary(path, "part")
    try:
        part.mkdir(parents=True)
        yield part
        for written in [*part.rglob("*"), part]:
            (sync_folder if written.is_dir() else sync_path)(written)
        old = _temporary(path, "old")
        if path.exists():
            path.rename(old)
        part.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    sync_folder(path.parent)


@contextmanager
def synced_file(path: Path, mode: int = PUBLIC_MODE) -> Iterator[BinaryIO]:
    """Open a file for writing, which is synced to disk when the block ends without error.

    Args:
        path: an existing file is overwritten.
        mode: permissions.
    """
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        if mode == PRIVATE_MODE:  # os.open does not change the permissions of an existing file
            os.fchmod(file.fileno(), mode)
        yield file
        file.flush()
        os.fsync(file.fileno())


def is_temporary(path: Path) -> bool:
    """Whether ``path`` is a temporary file or folder that an interrupted command left."""
    return _TEMPORARY.fullmatch(path.name) is not None


def temporary_paths(folder: Path, *names: str) -> list[Path]:
    """List the temporary files and folders that interrupted commands left in a folder.

    Args:
        folder: is searched without its subfolders.
        *names: names of the final files or folders; without any, all temporary ones are listed.
    """
    matches = ((path, _TEMPORARY.fullmatch(path.name)) for path in folder.iterdir())
    return sorted(path for path, match in matches if match and (not names or match["name"] in names))


def remove_temporary(folder: Path, *names: str) -> None:
    """Remove the paths of :func:`temporary_paths`; no other command may write into ``folder`` at the same time."""
    for path in temporary_paths(folder, *names):
        (shutil.rmtree if path.is_dir() else os.unlink)(path)


def sync_folder(folder: Path) -> None:
    """Sync the names in ``folder`` to disk, so that they survive a power failure."""
    try:
        sync_path(folder)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def canonical_json(values: object) -> bytes:
    """Encode values as compact JSON with sorted keys; equal values give equal bytes."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _temporary(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.{ending}")


def sync_path(path: Path) -> None:
    """Sync the contents of a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
