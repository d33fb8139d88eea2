"""Files that are there as a whole or not at all, with the same bytes for the same content."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def published(path: Path) -> Iterator[BinaryIO]:
    """Write ``path`` under a temporary name; it takes its name, synced to disk, when the block ends without error.

    The temporary name is of this process alone: one that outlives its killed parent for a moment disturbs nobody.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def is_leftover(path: Path) -> bool:
    """Whether ``path`` is a temporary file that an interruption left behind."""
    return path.name.startswith(".") and path.name.endswith(".part")


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def canonical_json(values: object) -> bytes:
    """Compact JSON with sorted keys: equal values, equal bytes."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
