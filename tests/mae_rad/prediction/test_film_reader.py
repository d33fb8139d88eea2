"""A file that ends its reading process is rejected alone; the order of files is kept."""

import os
import time
from pathlib import Path

import pytest

from data_prep.errors import Reason
from data_prep.sharding.single_film import ArchiveFile, PreparationSettings
from mae_rad.prediction.film_reader import FilmFileReader, ReadResult, read_ahead
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import anatomy


def named(*names: str) -> list[ArchiveFile]:
    return [ArchiveFile(name, name) for name in names]


def dangerous(file: ArchiveFile) -> ReadResult:
    if file.path == "kills":
        os.abort()
    while file.path == "sleeps":
        time.sleep(1)
    return Reason.NOT_A_FILM


@pytest.mark.slow
def test_a_file_that_kills_its_process_is_rejected_and_the_others_are_read() -> None:
    files = named("a", "kills", "b", "c", "kills", "d")
    found = [read for _, read in read_ahead(files, dangerous, workers=2)]
    killed, fine = Reason.DECODER_CRASHED, Reason.NOT_A_FILM
    assert found == [fine, killed, fine, fine, killed, fine]


@pytest.mark.slow
def test_a_file_that_takes_too_long_is_rejected() -> None:
    found = [read for _, read in read_ahead(named("a", "sleeps", "b"), dangerous, workers=1, file_timeout_seconds=2)]
    assert found == [Reason.NOT_A_FILM, Reason.DECODER_TIMEOUT, Reason.NOT_A_FILM]


@pytest.mark.slow
def test_processes_read_what_this_process_reads(tmp_path: Path) -> None:
    for name in "abcde":
        write_film(tmp_path / name, values=anatomy(name))
    read = FilmFileReader(PreparationSettings(max_side=64), tokens=36, patch=8)
    files = [ArchiveFile(str(tmp_path / name), name) for name in "abcde"]
    in_process, in_workers = (list(read_ahead(files, read, workers=workers)) for workers in (0, 2))
    for (file, films_in_process), (other, films_in_workers) in zip(in_process, in_workers, strict=True):
        assert file == other
        assert isinstance(films_in_process, list)
        assert isinstance(films_in_workers, list)
        assert films_in_process[0].stream == films_in_workers[0].stream
        assert (films_in_process[0].patches.values == films_in_workers[0].patches.values).all()
        assert films_in_process[0].header == films_in_workers[0].header


def test_an_unexpected_error_rejects_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a name of a patient")

    monkeypatch.setattr("mae_rad.prediction.film_reader.read_films", broken)
    read = FilmFileReader(PreparationSettings(), tokens=36, patch=8)
    assert [one for _, one in read_ahead(named("a"), read, workers=0)] == [Reason.DECODER_CRASHED]
