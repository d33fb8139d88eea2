"""Films of an archive by what the tables of a set call them: a path, the end of one, or a name without ending."""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

ENDINGS = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")


class Film(NamedTuple):
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
    """Looks films up; ``others`` are files that are no readable films."""

    def __init__(self, films: Iterable[Film], others: Iterable[str] = ()) -> None:
        self.films = list(films)
        self._by_stem: dict[str, list[tuple[tuple[str, ...], str, Film | None]]] = {}
        for film in self.films:
            self._add(film.below, film)
        for below in others:
            self._add(below, None)

    def find(self, name: str, *, below: str = "") -> list[Film | None]:
        """The films that ``name`` fits: none is unknown, None is a file that is no film, several are ambiguous.

        Args:
            name: path or end of a path, with or without the ending of the file name.
            below: folder in which the film has to be; empty means anywhere.
        """
        parts = tuple(part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in (".", "/"))
        if not parts:
            return []
        stem, ending = split_ending(parts[-1])
        wanted = (*parts[:-1], stem)
        found = []
        for path, kind, film in self._by_stem.get(stem, ()):
            shared = min(len(path), len(wanted))  # a set's paths may begin above the archive, or below it
            fits = path[-shared:] == wanted[-shared:] and ending in ("", kind)
            if fits and (not below or below in path[:-1]):
                found.append(film)
        return found

    def _add(self, below: str, film: Film | None) -> None:
        *folders, name = below.split("/")
        stem, ending = split_ending(name)
        self._by_stem.setdefault(stem, []).append(((*folders, stem), ending, film))


def split_ending(name: str) -> tuple[str, str]:
    """(name, ending in lower case) of the name of an image file; other dots belong to the name."""
    for ending in ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)], ending
    return name, ""
