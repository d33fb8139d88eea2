"""The online probe asks what is there: classes, sex, age and labels of val films, as many as have enough of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.shard_format.label_schema import LABELS_SCHEMA
from mae_rad.errors import SettingsError
from mae_rad.pretraining.probe_questions import MAX_LABELS, Question, balanced_accuracy_of_votes, choose_questions
from tests.builders.film_tables import film, hexed, write_public

FILMS = 60


def _films(**columns: Any) -> list[dict[str, Any]]:
    """Val films, two of each patient; a column is one value or a function of the film's number."""
    return [
        film(number, number // 2, "val", **{name: v(number) if callable(v) else v for name, v in columns.items()})
        for number in range(FILMS)
    ]


def _asked(
    folder: Path,
    films: list[dict[str, Any]],
    labels: list[dict[str, Any]] | None = None,
    requested: list[str] | None = None,
) -> dict[str, Question]:
    public = write_public(folder / "public", films)
    if labels:
        pq.write_table(pa.Table.from_pylist(labels, schema=LABELS_SCHEMA), public / "labels.parquet")
    table = pq.read_table(public / "index.parquet")
    patients = np.unique(np.array(table.column("patient").to_pylist()), return_inverse=True)[1]
    return {one.metric: one for one in choose_questions(table, patients, [public], requested)}


def _label(film_number: int, label: str, **values: Any) -> dict[str, Any]:
    return {"key": hexed("film", film_number), "label": label, "source": "expert", "confidence": 1.0} | values


def _found(number: int, label: str, is_present: bool) -> dict[str, Any]:
    return _label(number, label, value="present" if is_present else "absent")


def test_films_without_any_value_have_no_question(tmp_path: Path) -> None:
    assert _asked(tmp_path, _films(body_part="HAND")) == {}


def test_body_part_and_view_are_classes_and_one_of_them_if_the_other_is_missing(tmp_path: Path) -> None:
    parts = ("HAND", "CHEST", None)
    both = _asked(tmp_path / "both", _films(body_part=lambda n: parts[n % 3], view=lambda n: ("AP", "PA")[n % 2]))
    assert len(both["knn"].films) == 40 and set(both["knn"].values) == {0, 1, 2, 3}
    part = _asked(tmp_path / "part", _films(body_part=lambda n: parts[n % 3]))
    assert len(part["knn"].films) == 40 and set(part["knn"].values) == {0, 1}
    view = _asked(tmp_path / "view", _films(body_part="HAND", view=lambda n: ("AP", "PA")[n % 2]))
    assert set(view["knn"].values) == {0, 1}


def test_sex_and_age_are_those_of_the_index(tmp_path: Path) -> None:
    sex = ["M"] * 20 + ["F"] * 20 + ["O"] * 10 + [None] * 10
    films = _films(sex=lambda n: sex[n], age_years=lambda n: None if n == 7 else n)
    asked = _asked(tmp_path, films)
    assert set(asked) == {"sex_auroc", "age_r2"}
    assert asked["sex_auroc"].films.tolist() == list(range(40))
    assert asked["age_r2"].values.tolist() == [n for n in range(FILMS) if n != 7]


def test_a_label_needs_ten_patients_with_and_without_it(tmp_path: Path) -> None:
    films = _films()
    labels = [_found(n, "enough", n < 20) for n in range(FILMS)] + [_found(n, "rare", n < 18) for n in range(FILMS)]
    assert set(_asked(tmp_path, films, labels)) == {"enough_auroc"}


def test_two_labels_never_share_a_metric_and_names_of_columns_are_left_out_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = [_found(n, name, n < 20) for name in ("old fracture", "old_fracture", "sex") for n in range(FILMS)]
    asked = _asked(tmp_path, _films(), labels)
    assert list(asked) == ["old_fracture_auroc"]
    assert "'old_fracture' would be logged under the name of another label" in caplog.text
    assert "the labels sex are left out" in caplog.text


def test_uncertain_findings_have_no_value_and_other_films_are_not_read(tmp_path: Path) -> None:
    labels = [_found(n, "fracture", n < 30) for n in range(FILMS - 2)]
    labels += [_label(FILMS - 1, "fracture", value="uncertain"), _found(1000, "fracture", True)]
    assert _asked(tmp_path, _films(), labels)["fracture_auroc"].films.tolist() == list(range(FILMS - 2))


def test_a_number_is_the_mean_of_the_readers_of_the_most_reliable_source(tmp_path: Path) -> None:
    labels = [_label(n, "bone age", number=float(n), source="metadata") for n in range(FILMS)]
    labels += [_label(3, "bone age", number=number, reader=reader) for reader, number in ((1, 100.0), (2, 110.0))]
    asked = _asked(tmp_path, _films(), labels)
    assert set(asked) == {"bone_age_r2"}  # without the space, which is safe in a name of MLflow
    expected = np.arange(FILMS, dtype=float)
    expected[3] = 105
    assert asked["bone_age_r2"].values.tolist() == expected.tolist()


def test_at_most_eight_labels_are_asked_about_and_the_best_supported_ones(tmp_path: Path) -> None:
    labels = [_found(n, f"label{count}", n < count) for count in range(20, 31) for n in range(FILMS)]
    asked = _asked(tmp_path, _films(sex=lambda n: "MF"[n // 2 % 2]), labels)
    assert set(asked) == {"sex_auroc", *(f"label{count}_auroc" for count in range(31 - MAX_LABELS, 31))}


def test_requested_questions_are_asked_and_missing_ones_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    films = _films(sex=lambda n: "MF"[n // 2 % 2])
    labels = [_found(n, "fracture", n < 30) for n in range(FILMS)]
    assert _asked(tmp_path / "none", films, labels, []) == {}
    assert caplog.records == []
    assert set(_asked(tmp_path / "some", films, labels, ["fracture", "age"])) == {"fracture_auroc"}
    assert "too few val films have a value of age, which is left out" in caplog.text
    with pytest.raises(SettingsError, match=r"'fractur' is neither .* Choose among: class, sex, age, fracture"):
        _asked(tmp_path / "wrong", films, labels, ["fractur"])


def test_films_without_a_neighbour_of_another_patient_have_no_vote() -> None:
    places = np.array([[2, 3], [-1, -1], [0, -1], [-1, -1]])
    assert balanced_accuracy_of_votes(np.array([0, 0, 0, 1]), places) == 1
    assert np.isnan(balanced_accuracy_of_votes(np.array([0, 1, 1]), np.full((3, 2), -1)))


def test_equal_numbers_of_films_with_neighbours_have_no_r_squared() -> None:
    question = Question("age_r2", np.arange(3), np.array([7.0, 7.0, 7.0]), np.arange(3))
    assert np.isnan(question.score(np.eye(3, dtype=np.float32)))
