"""Files and folders that are there as a whole or not at all, with the same bytes for the same content.

A file is written under a temporary name of its own beside its place, synced, and renamed. A folder is written the same
way. The temporary name is of this process alone, on whatever machine: one that outlives its killed parent for a moment,
or writes the same file elsewhere, disturbs nobody.
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
"""Permissions of files: what the umask leaves; and for the owner alone."""

_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF})
"""Errors of file systems that sync names by themselves, or not at all."""

_TEMPORARY = re.compile(r"\.(?P<name>.+?)((\.[0-9a-f]+)?\.(part|partial)|\.[0-9a-f]+\.old)", re.DOTALL)
"""``.NAME.NUMBER.part``; ``.old`` is a folder that was being replaced. Earlier versions wrote ``.NAME.partial``."""


@contextmanager
def atomic_file(path: Path, mode: int = PUBLIC_MODE) -> Iterator[BinaryIO]:
    """A file to write into; it takes the name ``path``, synced to disk, when the block ends without error.

    Args:
        path: in an existing folder; a file that is there is replaced.
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
    """Write ``text`` as UTF-8; bytes of file names that are no Unicode are escaped.

    Args:
        path: in an existing folder; a file that is there is replaced.
        text: with the line ends as they are to be in the file.
        mode: permissions.

    Raises:
        OSError: the file cannot be written; ``path`` is as before.
    """
    with atomic_file(path, mode) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


@contextmanager
def atomic_folder(path: Path, mark: str) -> Iterator[Path]:
    """A temporary folder to write into; it is synced and takes the name ``path`` when the block ends without error.

    Args:
        path: to be made, with its parents; a folder that is there and holds ``mark`` is replaced.
        mark: name of a file that every folder of this kind holds.

    Raises:
        FileExistsError: ``path`` is there and is something else.
        OSError: the folder cannot be written; ``path`` is as before.
    """
    if path.exists() and not (path / mark).is_file():
        raise FileExistsError(errno.EEXIST, f"exists and holds no {mark}", str(path))
    part = _temporary(path, "part")
    try:
        part.mkdir(parents=True)
        yield part
        for inner in [*part.rglob("*"), part]:
            (sync_folder if inner.is_dir() else _sync)(inner)
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
    """A new file with the permissions ``mode``, synced to disk when the block ends without error."""
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        if mode == PRIVATE_MODE:  # also where the file was there with other permissions
            os.fchmod(file.fileno(), mode)
        yield file
        file.flush()
        os.fsync(file.fileno())


def is_temporary(path: Path) -> bool:
    """Whether ``path`` is a temporary file or folder that an interrupted command left."""
    return _TEMPORARY.fullmatch(path.name) is not None


def temporary_paths(folder: Path, *names: str) -> list[Path]:
    """The temporary files and folders that interrupted commands left in ``folder``; with ``names``, those of them."""
    found = ((path, _TEMPORARY.fullmatch(path.name)) for path in folder.iterdir())
    return sorted(path for path, match in found if match and (not names or match["name"] in names))


def remove_temporary(folder: Path, *names: str) -> None:
    """Remove what :func:`temporary_paths` finds; no other command may write into ``folder`` meanwhile."""
    for path in temporary_paths(folder, *names):
        (shutil.rmtree if path.is_dir() else os.unlink)(path)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut."""
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def canonical_json(values: object) -> bytes:
    """Compact JSON with sorted keys: equal values, equal bytes."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _temporary(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.{ending}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
