"""Find films of an archive by the names in tables: a path, the end of a path, or a file name without its ending."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")


class ListedFilm(NamedTuple):
    """A readable film of an archive.

    Attributes:
        row: of the manifest.
        below: path relative to the archive, with slashes.
        rows, columns: size in pixels of the stored raster.
        orientation: EXIF orientation 1 to 8; 1 for DICOM.
        source: png, jpeg or dicom.
    """

    row: int
    below: str
    rows: int
    columns: int
    orientation: int
    source: str

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) in pixels of the raster with its orientation applied, as in the shards."""
        return (self.rows, self.columns) if self.orientation >= 5 else (self.columns, self.rows)

    @property
    def stored_size(self) -> tuple[int, int]:
        """(width, height) in pixels of the stored raster."""
        return self.columns, self.rows


class FilmNames:
    """Finds films by name.

    Args:
        films: readable films.
        other_paths: paths of files that are no films.
        uids: SOP Instance UID → film. If given, a name may also be that of a picture made from a film: the UID, or the
            name of the film with another ending.
    """

    def __init__(
        self, films: Iterable[ListedFilm], other_paths: Iterable[str] = (), uids: Mapping[str, ListedFilm] | None = None
    ) -> None:
        self.films, self.other_paths, self._uids = list(films), list(other_paths), uids
        self._files = [_ArchiveFile.of(film.below, film) for film in self.films]
        self._files += [_ArchiveFile.of(below, None) for below in self.other_paths]
        self._by_path: dict[_PathParts, list[_ArchiveFile]] = defaultdict(list)
        for file in self._files:
            self._by_path[file.path].append(file)
        self._by_end_length: dict[int, dict[_PathParts, list[_ArchiveFile]]] = {}

    def find(self, name: str, *, below: str = "") -> list[ListedFilm | None]:
        """Find the films with a name.

        Args:
            name: path or end of a path, with or without the ending of the file name; may begin above the archive.
            below: folder that must contain the film; empty means any.

        Returns:
            No entry if the name is unknown, several if it is ambiguous; None for a file that is no film. A name with
            the ending of another kind of picture finds the only file of this stem.
        """
        parts = tuple(part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in (".", "/"))
        if not parts:
            return []
        stem, ending = split_image_ending(parts[-1])
        path_end = (*parts[:-1], stem)
        candidates = [*self._files_by_end(len(path_end)).get(path_end, ())]
        for start in range(1, len(path_end)):
            candidates += self._by_path.get(path_end[start:], ())
        in_folder = [file for file in candidates if not below or below in file.path[:-1]]
        films = [file.film for file in in_folder if ending in ("", file.ending)]
        if films:
            return films
        if self._uids is None:  # a picture that was converted
            return [file.film for file in in_folder] if len(in_folder) == 1 else []
        by_uid: list[ListedFilm | None] = [
            self._uids[uid] for uid in dict.fromkeys((stem, parts[-1])) if uid in self._uids
        ]
        return by_uid or [file.film for file in in_folder]

    def first_unique(self, names: Sequence[str], otherwise: str) -> str:
        """Select the first name that matches exactly one file.

        Args:
            names: candidates, the preferred ones first.
            otherwise: result if none matches exactly one file.

        Returns:
            The name.
        """
        return next((name for name in names if len(self.find(name)) == 1), otherwise)

    def name_below(self, folder: str, stem: str) -> str:
        """Name the film with a stem in a folder: directly in it, else the only one in its subfolders.

        Args:
            folder: relative to the archive, with slashes.
            stem: name of the film without ending.

        Returns:
            Path without ending that :meth:`find` takes; in ``folder`` itself if no film or several have the stem.
        """
        direct = f"{folder}/{stem}"
        if self.find(direct):
            return direct
        below = [film.below for film in self.find(stem) if film is not None and film.below.startswith(f"{folder}/")]
        return below[0] if len(below) == 1 else direct

    def _files_by_end(self, length: int) -> dict["_PathParts", list["_ArchiveFile"]]:
        """Last ``length`` parts of a path → files; built at the first use."""
        if length not in self._by_end_length:
            by_end: dict[_PathParts, list[_ArchiveFile]] = defaultdict(list)
            for file in self._files:
                if len(file.path) >= length:
                    by_end[file.path[-length:]].append(file)
            self._by_end_length[length] = by_end
        return self._by_end_length[length]


_PathParts = tuple[str, ...]


class _ArchiveFile(NamedTuple):
    path: _PathParts
    """Folders relative to the archive, and the name without ending."""
    ending: str
    film: ListedFilm | None

    @classmethod
    def of(cls, below: str, film: ListedFilm | None) -> "_ArchiveFile":
        *folders, name = below.split("/")
        stem, ending = split_image_ending(name)
        return cls((*map(sys.intern, folders), stem), ending, film)


def split_image_ending(name: str) -> tuple[str, str]:
    """Split the name of an image file into (name, ending in lower case); other dots are part of the name."""
    for ending in IMAGE_ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)], ending
    return name, ""
