"""A registered predictor, loaded by MLflow, answers as ``mae_rad.load_predictor`` does."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import mae_rad
from data_prep.sharding.single_film import ArchiveFile
from mae_rad.errors import PredictionError
from mae_rad.export.predictor_folder import load_predictor
from mae_rad.prediction import mlflow_predictor
from mae_rad.prediction.film_reader import FilmFileReader, ReadResult
from mae_rad.prediction.mlflow_predictor import ServedPredictor, registered_predictor
from mae_rad.prediction.settings import PredictRuntime
from mae_rad.tracking import Tracker, default_uri
from tests.builders.private_builder import write_archive
from tests.builders.small_predictor import write_predictor


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films") / "archive"
    write_archive(folder, patients=2)
    return folder


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_predictor(tmp_path_factory.mktemp("model") / "predictor")


@pytest.fixture(scope="module")
def served(predictor: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    import mlflow

    store = tmp_path_factory.mktemp("store")
    tracker = Tracker.start(default_uri(store), "finetune", "heads")
    tracker.register(registered_predictor(predictor, "heads", tracker.run_id))
    tracker.finish()
    (description,) = (store / "mlartifacts").rglob("MLmodel")
    return mlflow.pyfunc.load_model(str(description.parent))


def _table(*files: Path) -> pd.DataFrame:
    return pd.DataFrame({"file": [file.read_bytes() for file in files]})


def test_a_file_as_bytes_gets_the_answer_of_the_file(served: Any, predictor: Path, archive: Path) -> None:
    files = [archive / "p0" / "PA.dcm", archive / "note.txt", archive / "p1" / "PA.dcm"]
    answers = served.predict(_table(*files))
    records = mae_rad.load_predictor(predictor).predict(files)
    assert [answer["file"] for answer in answers] == [0, 1, 2]
    for answer, record in zip(answers, records, strict=True):
        for name in ("status", "reason", "body_part", "view", "rows", "columns"):
            assert answer[name] == getattr(record, name)
        assert answer["findings"] == record.model_dump(mode="json")["findings"]
    assert [answer["status"] for answer in answers] == ["answered", "no_film", "answered"]
    assert not {"path", "size", "changed"} & set(answers[0])


def test_the_caller_states_what_a_picture_does_not(served: Any, archive: Path) -> None:
    (answer,) = served.predict(_table(archive / "a.png"))
    assert (answer["status"], answer["reason"]) == ("out_of_scope", "body_part_unknown")
    (answer,) = served.predict(_table(archive / "a.png"), {"body_part": "HAND", "view": "PA"})
    assert answer["status"] == "answered"
    with pytest.raises(PredictionError, match="body_part=KNEE"):
        served.predict(_table(archive / "a.png"), {"body_part": "KNEE"})
    with pytest.raises(ValueError, match="out_of_scope"):
        served.predict(_table(archive / "a.png"), {"out_of_scope": "guess"})


def test_a_file_that_hangs_or_crashes_costs_only_itself(
    predictor: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_predictor, "FilmFileReader", Faulty)
    monkeypatch.setattr(mlflow_predictor, "PredictRuntime", lambda: PredictRuntime(file_timeout_seconds=3))
    served = ServedPredictor(load_predictor(predictor))
    hangs, crashes = archive.parent / "hangs", archive.parent / "crashes"
    hangs.write_bytes(b"hangs")
    crashes.write_bytes(b"crashes")
    answers = served.predict(_table(archive / "p0" / "PA.dcm", hangs, crashes, archive / "p1" / "PA.dcm"))
    assert [(answer["status"], answer["reason"]) for answer in answers] == [
        ("answered", None), ("no_film", "decoder_timeout"), ("no_film", "decoder_crashed"), ("answered", None),
    ]  # fmt: skip


class Faulty(FilmFileReader):
    """A reader whose decoder hangs or crashes where the file says so."""

    def __call__(self, file: ArchiveFile) -> ReadResult:
        """Read a file."""
        word = Path(file.path).read_bytes()[:10]
        if word == b"hangs":
            time.sleep(600)
        if word == b"crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().__call__(file)
