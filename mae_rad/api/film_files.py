"""Read film files in the preprocessing of a model."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.folder_url import local_path
from data_prep.sharding.single_film import ArchiveFile, list_files
from mae_rad.prediction.film_reader import FilmFileReader, ReadResult


def read_files(films: Sequence[str | Path], read: FilmFileReader) -> Iterator[tuple[ArchiveFile, ReadResult]]:
    """Read files one after another in this process.

    Args:
        films: paths of DICOM, PNG or JPEG files, in any order; a folder stands for its files, ordered by name.
        read: reads one file.

    Yields:
        The file, and its films or the reason why it has none.

    Raises:
        ArchiveError: a path does not exist.
    """
    for path in films:
        for file in list_files([local_path(path)]):
            yield file, read(file)
