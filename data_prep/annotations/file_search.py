"""Find annotation files at any depth of a data set."""

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(root: Path, *suffixes: str) -> Iterator[Path]:
    """Find regular files by their suffixes, without hidden files and folders; links to folders are not followed.

    Args:
        root: folder of the data set.
        suffixes: such as ".xml".

    Yields:
        Paths, those of a folder before those of its subfolders, sorted.
    """
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if name.endswith(suffixes) and not name.startswith(".") and path.is_file():
                yield path
