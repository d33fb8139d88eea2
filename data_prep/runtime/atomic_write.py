"""Write files and folders so that they are complete or absent, also after a crash or power failure.

A file or folder is written under a temporary name in the same folder, synced, and renamed. Temporary names are random,
so that processes that write the same file at the same time do not disturb each other.
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
"""Permissions of public files: read and write for all, less the umask; of private files: for the owner only."""

_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF})
"""Errors of file systems on which folders cannot be synced."""

_TEMPORARY = re.compile(r"\.(?P<name>.+?)((\.[0-9a-f]+)?\.(part|partial)|\.[0-9a-f]+\.old)", re.DOTALL)
"""``.NAME.HEX.part`` is being written, ``.NAME.HEX.old`` replaced; earlier releases wrote ``.NAME.partial``."""


@contextmanager
def atomic_file(path: Path, mode: int = PUBLIC_MODE) -> Iterator[BinaryIO]:
    """Open a temporary file, which is synced and renamed to ``path`` when the block ends without error.

    Args:
        path: final file, in an existing folder; an existing file is replaced.
        mode: permissions, PUBLIC_MODE or PRIVATE_MODE.

    Raises:
        OSError: the file cannot be written; ``path`` is as before.
    """
    part = _temporary_path(path, "part")
    try:
        with synced_file(part, mode) as file:
            yield file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def atomic_text(path: Path, text: str, mode: int = PUBLIC_MODE) -> None:
    """Write a text file as UTF-8; lone surrogates, which stand for invalid bytes of file names, are escaped.

    Args:
        path: final file, in an existing folder; an existing file is replaced.
        text: content; line ends are not changed.
        mode: permissions, PUBLIC_MODE or PRIVATE_MODE.

    Raises:
        OSError: the file cannot be written; ``path`` is as before.
    """
    with atomic_file(path, mode) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


@contextmanager
def atomic_folder(path: Path, marker: str) -> Iterator[Path]:
    """Create a temporary folder, which is synced and renamed to ``path`` when the block ends without error.

    Args:
        path: final folder; its parents are created, and an existing folder that holds ``marker`` is replaced.
        marker: name of a file that every folder of this kind holds, so that no other folder is replaced.

    Raises:
        FileExistsError: ``path`` exists and does not hold ``marker``.
        OSError: the folder cannot be written; ``path`` is as before.
    """
    if path.exists() and not (path / marker).is_file():
        raise FileExistsError(errno.EEXIST, f"exists and holds no {marker}", str(path))
    part = _temporary_path(path, "part")
    try:
        part.mkdir(parents=True)
        yield part
        for entry in [*part.rglob("*"), part]:
            (sync_folder if entry.is_dir() else sync_path)(entry)
        old = _temporary_path(path, "old")
        if path.exists():
            path.rename(old)
        part.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    sync_folder(path.parent)


def restore_folder(path: Path) -> bool:
    """Put back a folder that :func:`atomic_folder` was replacing when it was killed; whether there was one."""
    olds = [old for old in temporary_paths(path.parent, path.name) if old.name.endswith(".old")]
    if path.exists() or len(olds) != 1:
        return False
    olds[0].rename(path)
    sync_folder(path.parent)
    return True


@contextmanager
def synced_file(path: Path, mode: int = PUBLIC_MODE) -> Iterator[BinaryIO]:
    """Open a file for writing, which is synced to disk when the block ends without error.

    Args:
        path: file to write; an existing one is overwritten.
        mode: permissions, PUBLIC_MODE or PRIVATE_MODE.
    """
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        if mode == PRIVATE_MODE:  # os.open does not change the permissions of an existing file
            os.fchmod(file.fileno(), mode)
        yield file
        file.flush()
        os.fsync(file.fileno())


def is_temporary(path: Path) -> bool:
    """Whether the name of ``path`` is that of a temporary file or folder of this module."""
    return _TEMPORARY.fullmatch(path.name) is not None


def temporary_paths(folder: Path, *names: str) -> list[Path]:
    """List the temporary files and folders that interrupted commands left in a folder.

    Args:
        folder: folder to search, without its subfolders.
        *names: names of the final files or folders; without any, all temporary ones are listed.
    """
    matches = ((path, _TEMPORARY.fullmatch(path.name)) for path in folder.iterdir())
    return sorted(path for path, match in matches if match and (not names or match["name"] in names))


def remove_temporary(folder: Path, *names: str) -> None:
    """Remove temporary files and folders that interrupted commands left in a folder.

    No other command may write into the folder at the same time: its temporary files would be removed, too.

    Args:
        folder: folder to clean, without its subfolders.
        *names: as of :func:`temporary_paths`.
    """
    for path in temporary_paths(folder, *names):
        (shutil.rmtree if path.is_dir() else os.unlink)(path)


def sync_folder(folder: Path) -> None:
    """Sync the directory entries of ``folder`` to disk, so that a rename survives a power failure."""
    try:
        sync_path(folder)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def canonical_json(values: object) -> bytes:
    """Encode values as compact JSON with sorted keys; equal values give equal bytes."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _temporary_path(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.{suffix}")


def sync_path(path: Path) -> None:
    """Sync the contents of a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
