"""Read films, from files or arrays, in the preprocessing of a model."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.folder_url import local_path
from data_prep.sharding.single_film import ArchiveFile, list_files
from mae_rad.errors import EvaluationError
from mae_rad.prediction.film_reader import FilmFileReader, ReadResult

FilmInput: TypeAlias = str | Path | NDArray[Any]
"""Path of a DICOM, PNG or JPEG file, or of a folder, which stands for its files ordered by name; or a film as
[rows, columns] display values, dark to bright: uint8, uint16, or float in [0, 1]."""

Films: TypeAlias = FilmInput | Sequence[FilmInput]
"""Films, or one film."""


def read_films(films: Films, read: FilmFileReader) -> Iterator[tuple[FilmInput, ArchiveFile, ReadResult]]:
    """Read films one after another in this process.

    Args:
        films: in any order.
        read: reads one file.

    Yields:
        What was given, the file, and its films or the reason why it has none; an array has no file, and stands as
        ``array K``, where K counts what was given from 1.

    Raises:
        ArchiveError: a path does not exist.
        EvaluationError: an array is not a film.
    """
    if isinstance(films, np.ndarray) and films.ndim == 3 and films.shape[2] in (3, 4):
        raise EvaluationError(
            f"the array has {films.shape[2]} colours. Give one channel [rows, columns] of display values."
        )
    if isinstance(films, str | Path) or (isinstance(films, np.ndarray) and films.ndim == 2):
        films = [films]
    for number, film in enumerate(films, 1):
        if isinstance(film, str | Path):
            for file in list_files([local_path(film)]):
                yield film, file, read(file)
        else:
            name = f"array {number}"
            yield film, ArchiveFile(name, name), _read_array(film, name, read)


def _read_array(values: NDArray[Any], name: str, read: FilmFileReader) -> ReadResult:
    """Read an array as the PNG of its values, so that it is prepared as every other film."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.png"
        path.write_bytes(cv2.imencode(".png", _display_values(values, name))[1].tobytes())
        return read(ArchiveFile(str(path), path.name))


def _display_values(values: NDArray[Any], name: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """[rows, columns] of the full range of its type, 0 dark."""
    if not isinstance(values, np.ndarray) or values.ndim != 2:
        kind = f"has {values.ndim} axes" if isinstance(values, np.ndarray) else f"is a {type(values).__name__}"
        raise EvaluationError(f"{name} {kind}. Give a path, or a NumPy array [rows, columns] of display values.")
    if values.dtype in {np.dtype(np.uint8), np.dtype(np.uint16)}:
        return values
    if not np.issubdtype(values.dtype, np.floating) or not ((values >= 0) & (values <= 1)).all():
        raise EvaluationError(
            f"{name} holds {values.dtype} values that are no display values. Give uint8, uint16, or float in [0, 1],"
            " dark to bright."
        )
    return np.rint(values.astype(np.float64) * 65535).astype(np.uint16)
