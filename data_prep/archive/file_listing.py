"""Lists every file of an archive once, in an order that depends on the names only."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from data_prep.dicom.dicomdir import is_dicomdir
from data_prep.errors import ArchiveError


class ArchiveFile(NamedTuple):
    """A file of an archive; its paths are strings, which take less memory than Path objects.

    Attributes:
        path: absolute path, symbolic links resolved.
        below: path relative to its archive, with slashes; for an archive that is a single file, the file's name.
    """

    path: str
    below: str

    @property
    def is_unicode(self) -> bool:
        """Whether the path is valid Unicode; other paths cannot be stored in a table."""
        return not any("\ud800" <= letter <= "\udfff" for letter in self.path)

    @property
    def is_hidden(self) -> bool:
        """Whether the name of the file, or of a folder between it and its archive, begins with a dot."""
        return any(name.startswith(".") for name in self.below.split("/"))


def resolve_archive(archive: Path) -> Path:
    """Resolve the path of an archive; a DICOMDIR stands for its folder."""
    path = archive.resolve()
    return path.parent if is_dicomdir(path) else path


def list_files(archives: Sequence[Path]) -> list[ArchiveFile]:
    """List all regular files of the archives, each once, following symbolic links.

    An archive inside another one adds no file: its files are listed below the outer one, in any order of the archives.
    A DICOMDIR stands for its folder, since it may not list all files of the medium.

    Args:
        archives: folders and files.

    Raises:
        ArchiveError: a path does not exist, a folder cannot be listed, or there is no file in any archive.
    """
    for archive in archives:
        if not archive.exists():
            raise ArchiveError(f"archive {archive} does not exist. Give folders or files with films.")
    archive_of_root = {resolve_archive(archive): archive for archive in reversed(archives)}
    listed: set[str] = set()
    # an outer folder sorts before the folders inside it
    files = [file for root in sorted(archive_of_root) for file in _walk(root, archive_of_root[root], listed)]
    if not files:
        given = ", ".join(str(archive) for archive in archives)
        raise ArchiveError(f"there is no file in {given}. Give folders or files with films.")
    return files


def _walk(root: Path, given_path: Path, listed: set[str]) -> Iterator[ArchiveFile]:
    """The files of ``root`` that are not in ``listed``: the files of a folder by name, then its folders by name."""
    if not root.is_dir():
        if str(root) not in listed:
            listed.add(str(root))
            yield ArchiveFile(str(root), root.name)
        return
    pending = [(str(root), "")]
    while pending:
        folder, prefix = pending.pop()
        if folder in listed:
            continue
        listed.add(folder)
        files, folders = _entries(folder, given_path)
        for name, path in files:
            if path not in listed:
                listed.add(path)
                yield ArchiveFile(path, prefix + name)
        pending.extend((path, f"{prefix}{name}/") for name, path in reversed(folders))


def _entries(folder: str, given_path: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(name, resolved path) of the files and of the folders in a folder, each by name.

    Sockets, pipes and devices are left out, since opening one can block; so are broken links.
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
            f"a folder in {given_path} cannot be listed ({error.strerror}). Find it with"
            f" 'find {given_path} -type d ! -readable', then make it readable or move it away."
        ) from None
    return sorted(files), sorted(folders)
