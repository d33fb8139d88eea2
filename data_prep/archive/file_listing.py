"""Every file of an archive, once, in an order that depends on names only."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from data_prep.dicom.dicomdir import is_dicomdir
from data_prep.errors import ArchiveError


class ArchiveFile(NamedTuple):
    """A file of an archive; plain texts, as there are millions.

    Attributes:
        path: absolute, links resolved.
        below: the path below its archive, with slashes; for a file that was given by itself, its name.
    """

    path: str
    below: str

    @property
    def nameable(self) -> bool:
        """Whether the path is Unicode: any other has no place in a table."""
        return not any("\ud800" <= letter <= "\udfff" for letter in self.path)

    @property
    def hidden(self) -> bool:
        """Whether the file, or a folder between it and its archive, has a name that begins with a dot."""
        return any(name.startswith(".") for name in self.below.split("/"))


def root_of(archive: Path) -> Path:
    """The folder or file that an archive, as the user typed it, stands for."""
    path = archive.resolve()
    return path.parent if is_dicomdir(path) else path


def list_files(archives: Sequence[Path]) -> list[ArchiveFile]:
    """All regular files of folders and files, symbolic links followed, each file once.

    A folder inside another given one adds nothing: its files keep their place below the outer one, whatever the order.
    A DICOMDIR that is given by itself stands for its folder: no medium is trusted to name all its files.

    Raises:
        ArchiveError: a path does not exist, a folder cannot be listed, or nothing is in any of them.
    """
    for archive in archives:
        if not archive.exists():
            raise ArchiveError(f"archive {archive} does not exist; give folders or files with films")
    typed = {root_of(archive): archive for archive in reversed(archives)}
    seen: set[str] = set()
    files = [file for root in sorted(typed) for file in _walk(root, typed[root], seen)]  # outer folders sort first
    if not files:
        named = ", ".join(str(archive) for archive in archives)
        raise ArchiveError(f"there is no file in {named}; give folders or files with films")
    return files


def _walk(root: Path, typed: Path, seen: set[str]) -> Iterator[ArchiveFile]:
    """The files of ``root`` that are not yet in ``seen``: those of a folder by name, then its folders by name."""
    if not root.is_dir():
        if str(root) not in seen:
            seen.add(str(root))
            yield ArchiveFile(str(root), root.name)
        return
    waiting = [(str(root), "")]
    while waiting:
        folder, prefix = waiting.pop()
        if folder in seen:
            continue
        seen.add(folder)
        files, folders = _entries(folder, typed)
        for name, path in files:
            if path not in seen:
                seen.add(path)
                yield ArchiveFile(path, prefix + name)
        waiting.extend((path, f"{prefix}{name}/") for name, path in reversed(folders))


def _entries(folder: str, typed: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(name, resolved path) of the files and of the folders in a folder, each by name.

    Sockets, pipes and devices are left out, since opening one may wait for ever, and so are links that lead nowhere.
    """
    files, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                link = entry.is_symlink()
                path = os.path.realpath(entry.path) if link else entry.path
                if Path(path).is_dir() if link else entry.is_dir():
                    folders.append((entry.name, path))
                elif Path(path).is_file() if link else entry.is_file():
                    files.append((entry.name, path))
    except OSError as error:
        raise ArchiveError(
            f"a folder in {typed} cannot be listed ({error.strerror}); find it with"
            f" 'find {typed} -type d ! -readable', then make it readable or move it away"
        ) from None
    return sorted(files), sorted(folders)
