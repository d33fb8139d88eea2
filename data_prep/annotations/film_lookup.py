"""Films of an archive by their names in tables: a path, the end of a path, or a file name without its ending."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

ENDINGS = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")


class ListedFilm(NamedTuple):
    """A readable film of the archive.

    Attributes:
        row: of the manifest.
        below: path below the archive, with slashes.
        rows, columns: of the raster as it is stored.
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
        """(width, height) of the raster as it is sharded: with the orientation applied."""
        return (self.rows, self.columns) if self.orientation >= 5 else (self.columns, self.rows)

    @property
    def stored_size(self) -> tuple[int, int]:
        """(width, height) of the raster as it is stored."""
        return self.columns, self.rows


class FilmNames:
    """Finds films by name.

    Args:
        films: readable films.
        others: paths of files that are no films.
        uids: SOP Instance UID → film. If given, a name may be that of a picture made of a film: the UID, or the film's
            own name with another ending.
    """

    def __init__(
        self, films: Iterable[ListedFilm], others: Iterable[str] = (), uids: Mapping[str, ListedFilm] | None = None
    ) -> None:
        self.films, self.others, self._uids = list(films), list(others), uids
        self._files = [_File.of(film.below, film) for film in self.films]
        self._files += [_File.of(below, None) for below in self.others]
        self._whole: dict[_Path, list[_File]] = defaultdict(list)
        for file in self._files:
            self._whole[file.path].append(file)
        self._ends: dict[int, dict[_Path, list[_File]]] = {}

    def find(self, name: str, *, below: str = "") -> list[ListedFilm | None]:
        """The films that a name fits.

        Args:
            name: path or end of a path, with or without the ending of the file name; may begin above the archive.
            below: folder in which the film has to be; empty means anywhere.

        Returns:
            No entry where the name is unknown, several where it is ambiguous; None for a file that is no film.
        """
        parts = tuple(part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in (".", "/"))
        if not parts:
            return []
        stem, ending = split_ending(parts[-1])
        wanted = (*parts[:-1], stem)
        fits = [*self._of_length(len(wanted)).get(wanted, ())]
        for start in range(1, len(wanted)):
            fits += self._whole.get(wanted[start:], ())
        placed = [file for file in fits if not below or below in file.path[:-1]]
        found = [file.film for file in placed if ending in ("", file.ending)]
        if found or self._uids is None:
            return found
        by_uid: list[ListedFilm | None] = [
            self._uids[uid] for uid in dict.fromkeys((stem, parts[-1])) if uid in self._uids
        ]
        return by_uid or [file.film for file in placed]

    def first_unique(self, names: Sequence[str], otherwise: str) -> str:
        """The first of ``names`` that fits one file alone; ``otherwise`` where none does."""
        return next((name for name in names if len(self.find(name)) == 1), otherwise)

    def _of_length(self, length: int) -> dict["_Path", list["_File"]]:
        """Last ``length`` parts of a path → files; made at its first use."""
        if length not in self._ends:
            ends: dict[_Path, list[_File]] = defaultdict(list)
            for file in self._files:
                if len(file.path) >= length:
                    ends[file.path[-length:]].append(file)
            self._ends[length] = ends
        return self._ends[length]


_Path = tuple[str, ...]


class _File(NamedTuple):
    path: _Path
    """Folders below the archive and the name without ending."""
    ending: str
    film: ListedFilm | None

    @classmethod
    def of(cls, below: str, film: ListedFilm | None) -> "_File":
        *folders, name = below.split("/")
        stem, ending = split_ending(name)
        return cls((*map(sys.intern, folders), stem), ending, film)


def split_ending(name: str) -> tuple[str, str]:
    """(name, ending in lower case) of the name of an image file; other dots belong to the name."""
    for ending in ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)], ending
    return name, ""
