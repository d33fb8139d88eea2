"""A film that did not arrive is missed; another file in the folder is not."""

from pathlib import Path

import pytest

from data_prep.errors import Reason
from mae_rad.prediction.answer_columns import AnswerColumns
from mae_rad.prediction.predict import predict
from mae_rad.prediction.record import Record
from mae_rad.prediction.settings import PredictSettings
from mae_rad.prediction.summary import INCOMPLETE, summarise
from tests.builders.private_builder import write_archive
from tests.builders.small_predictor import write_predictor

COLUMNS = AnswerColumns()


@pytest.mark.parametrize(
    ("name", "size", "reason", "expected"),
    [
        ("film.dcm", 0, Reason.NOT_A_FILM, INCOMPLETE),
        ("film.DCM", 512, Reason.NOT_A_FILM, INCOMPLETE),
        ("hand.png", 0, Reason.NOT_A_FILM, INCOMPLETE),
        ("IM000001", 0, Reason.NOT_A_FILM, INCOMPLETE),
        ("film.dcm", 900, Reason.UNREADABLE_FILE, INCOMPLETE),
        ("README", 40, Reason.NOT_A_FILM, 0),
        ("notes.txt", 0, Reason.NOT_A_FILM, 0),
        ("__init__.py", 0, Reason.NOT_A_FILM, 0),
        ("ct.dcm", 900, Reason.NOT_A_RADIOGRAPH, 0),
    ],
)
def test_a_file_that_is_named_as_a_film_is_expected_to_be_one(
    name: str, size: int, reason: Reason, expected: int
) -> None:
    answered = Record(number=1, path="/films/good.dcm", size=9, changed=0, status="answered")
    other = Record(number=2, path=f"/films/{name}", size=size, changed=0, status="no_film", reason=reason)
    assert summarise([answered, other], Path("out"), COLUMNS).exit_code == expected


def test_an_empty_film_and_a_link_to_a_missing_one_are_named(tmp_path: Path) -> None:
    write_archive(tmp_path / "archive", patients=1)
    films = tmp_path / "films"
    films.mkdir()
    (tmp_path / "archive" / "p0" / "PA.dcm").rename(films / "good.dcm")
    (films / "empty.dcm").touch()
    (films / "gone.dcm").symlink_to(tmp_path / "elsewhere.dcm")
    model = write_predictor(tmp_path / "model")
    words = {"out": tmp_path / "out", "overlays": "none", "reports": False, "runtime": {"workers": 0}}
    summary = predict(model, [films], PredictSettings.model_validate(words))
    assert summary.exit_code == INCOMPLETE
    table = (tmp_path / "out" / "predictions.csv").read_text()
    assert "empty.dcm,,no_film,not_a_film" in table and "gone.dcm,,no_film,unreadable" in table
