"""Lists every file of an archive once, in an order that depends on the names only."""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from data_prep.dicom.dicomdir import is_dicomdir
from data_prep.errors import ArchiveError

_SYSTEM_FOLDERS = ("/proc", "/sys", "/dev")
"""A link into these leads to no archive."""

_ESCAPED = re.compile(r"\\u(dc[89a-f][0-9a-f])")
"""A byte of a path that is not UTF-8, see ``os.fsdecode``, escaped."""

_log = logging.getLogger(__name__)


class ArchiveFile(NamedTuple):
    """A file of an archive; its paths are strings, which take less memory than Path objects.

    Attributes:
        path: absolute path, symbolic links resolved.
        below: path relative to its archive, with slashes; for an archive that is a single file, the file's name.
    """

    path: str
    below: str

    @property
    def is_hidden(self) -> bool:
        """Whether the name of the file, or of a folder between it and its archive, begins with a dot."""
        return any(name.startswith(".") for name in self.below.split("/"))


def path_text(path: str) -> str:
    """A path as tables hold it: bytes that are not UTF-8 are escaped."""
    return path.encode("utf-8", "backslashreplace").decode()


def path_of_text(text: str) -> str:
    """The path of a file from :func:`path_text`."""
    if _ESCAPED.search(text) is None or os.path.lexists(text):
        return text
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)


def resolve_archive(archive: Path) -> Path:
    """Resolve the path of an archive; a DICOMDIR stands for its folder."""
    path = archive.resolve()
    return path.parent if is_dicomdir(path) else path


def list_files(archives: Sequence[Path], *, broken_links: bool = False) -> list[ArchiveFile]:
    """List all regular files of the archives, each once, following symbolic links; links that lead out are counted.

    An archive inside another one adds no file: its files are listed below the outer one, in any order of the archives.
    A DICOMDIR stands for its folder, since it may not list all files of the medium.

    Args:
        archives: folders and files.
        broken_links: whether links that lead to nothing are listed as files, which cannot be read; else they are
            counted.

    Raises:
        ArchiveError: a path does not exist or is no file, a folder cannot be listed, or there is no file.
    """
    for archive in archives:
        if not archive.exists():
            raise ArchiveError(f"archive {archive} does not exist. Give folders or files with films.")
        if not (archive.is_dir() or archive.is_file()):
            raise ArchiveError(f"archive {archive} is a pipe or device. Give folders or files with films.")
    archive_of_root = {resolve_archive(archive): archive for archive in reversed(archives)}
    listed: set[str] = set()
    links = _Links([str(root) for root in archive_of_root], broken_links)
    # an outer folder sorts before the folders inside it
    files = [file for root in sorted(archive_of_root) for file in _walk(root, archive_of_root[root], listed, links)]
    links.report()
    if not files:
        given = ", ".join(str(archive) for archive in archives)
        raise ArchiveError(f"there is no file in {given}. Give folders or files with films.")
    return files


class _Links:
    """Counts links that lead out of the archives, and those that are passed over.

    Args:
        roots: resolved paths of the archives.
        lists_broken: whether links that lead to nothing are listed.
    """

    def __init__(self, roots: Sequence[str], lists_broken: bool) -> None:
        self._roots, self.lists_broken = roots, lists_broken
        self._leading_out = 0
        self.passed_over = self.broken = 0

    def follows(self, path: str) -> bool:
        """Whether to follow a link to ``path``; links into folders of the system are not followed."""
        if any(_is_below(path, folder) for folder in _SYSTEM_FOLDERS):
            self.passed_over += 1
            return False
        self._leading_out += not any(_is_below(path, root) for root in self._roots)
        return True

    def report(self) -> None:
        if self._leading_out:
            _log.warning("%d links lead out of the archive: what they lead to is scanned, too", self._leading_out)
        if self.passed_over:
            _log.warning("%d links are passed over: to the system, or to what cannot be listed", self.passed_over)
        if self.broken:
            _log.warning("%d links lead to files that are not there: what they named is missing", self.broken)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _walk(root: Path, given_path: Path, listed: set[str], links: _Links) -> Iterator[ArchiveFile]:
    """The files of ``root`` that are not in ``listed``: the files of a folder by name, then its folders by name."""
    if not root.is_dir():
        if str(root) not in listed:
            listed.add(str(root))
            yield ArchiveFile(str(root), root.name)
        return
    pending = [(str(root), "", False)]
    while pending:
        folder, prefix, is_linked = pending.pop()
        if folder in listed:
            continue
        listed.add(folder)
        try:
            files, folders = _entries(folder, links)
        except OSError as error:
            if is_linked:
                links.passed_over += 1
                continue
            raise ArchiveError(
                f"a folder in {given_path} cannot be listed ({error.strerror}). Find it with"
                f" 'find {given_path} -type d ! -readable', then make it readable or move it away."
            ) from None
        for name, path in files:
            if path not in listed:
                listed.add(path)
                yield ArchiveFile(path, prefix + name)
        pending.extend((path, f"{prefix}{name}/", is_linked or link) for name, path, link in reversed(folders))


def _entries(folder: str, links: _Links) -> tuple[list[tuple[str, str]], list[tuple[str, str, bool]]]:
    """(name, resolved path) of the files, and (name, resolved path, is a link) of the folders in a folder, by name.

    Sockets, pipes and devices are left out, since opening one can block.
    """
    files, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            link = entry.is_symlink()
            path = os.path.realpath(entry.path) if link else entry.path
            if link and not Path(path).exists():
                links.broken += 1
                files += [(entry.name, entry.path)] * links.lists_broken
                continue
            is_folder = Path(path).is_dir() if link else entry.is_dir()
            if not is_folder and not (Path(path).is_file() if link else entry.is_file()):
                continue
            if link and not links.follows(path):
                continue
            if is_folder:
                folders.append((entry.name, path, link))
            else:
                files.append((entry.name, path))
    return sorted(files), sorted(folders)
