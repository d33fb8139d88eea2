"""Archives with a label that depends on the scanner, and archives of a coarser detector."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from data_prep.errors import ArchiveError
from data_prep.phantom.difficulty import LEVELS, Confound
from data_prep.phantom.graded_questions import graded_labels, measure_film
from data_prep.phantom.random_draws import draw_patient
from data_prep.phantom.write_archive import write_archive

PATIENTS = 600


def scanner_and_label(confound: Confound | None, label: str) -> list[tuple[int, bool]]:
    """(scanner, whether a film shows the label) of the studies whose films can show it."""
    studies = []
    for index in range(PATIENTS):
        patient = draw_patient(2, index, PATIENTS, LEVELS["clinical"], confound)
        for study in patient.studies:
            labels = {"foreign_object": any(film.objects for film in study.films)}
            for film in study.films:
                labels |= graded_labels(measure_film(patient.anatomy, study.body_part, film.view))
            if label in labels:
                studies.append((study.look, labels[label]))
    return studies


@pytest.mark.parametrize("label", ["foreign_object", "cardiomegaly", "growth_plates"])
def test_confound_makes_a_label_as_frequent_on_one_scanner_as_asked(label: str) -> None:
    shares = []
    for strength in (0.0, 0.5, 1.0):
        studies = scanner_and_label(Confound(label, strength), label)
        shares.append(np.mean([look == 0 for look, is_present in studies if is_present]))
        first_without = np.mean([look == 0 for look, is_present in studies if not is_present])
        assert first_without == pytest.approx((1 - strength) / 3, abs=0.09)
    assert shares == pytest.approx([1 / 3, 2 / 3, 1.0], abs=0.09) and shares[2] == 1
    assert [is_present for _, is_present in studies] == [value for _, value in scanner_and_label(None, label)]


def test_strength_zero_draws_the_same_archive() -> None:
    for index in range(20):
        assert draw_patient(2, index, 20, LEVELS["clear"], Confound("fracture", 0.0)) == draw_patient(
            2, index, 20, LEVELS["clear"]
        )


@pytest.mark.parametrize(
    ("level", "wrong"),
    [
        ("hard", "cardiomegaly=0.5"),
        ("clear", "fracture"),
        ("clear", "fracture=2"),
        ("clear", "age=1"),
        ("clear", "=nan"),
    ],
)
def test_a_wrong_confound_is_refused(tmp_path: Path, level: str, wrong: str) -> None:
    with pytest.raises(ArchiveError, match="--confound is not LABEL=STRENGTH"):
        write_archive(tmp_path / "out", patients=1, seed=0, workers=1, level=level, confound=wrong)


def test_a_wrong_scale_is_refused(tmp_path: Path) -> None:
    for wrong in (0.0, 1.5, float("nan")):
        with pytest.raises(ArchiveError, match="--scale"):
            write_archive(tmp_path / "out", patients=1, seed=0, workers=1, scale=wrong)


def films(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "truth" / "truth.jsonl").read_text("utf-8").splitlines()]
    return [row for row in rows if row["kind"] == "film"]


def middle(box: list[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])


def test_scale_keeps_draws_and_truth_and_scales_films_and_boxes_of_objects(tmp_path: Path) -> None:
    half, quarter = tmp_path / "half", tmp_path / "quarter"
    write_archive(half, patients=14, seed=4, workers=1, level="clear", scale=0.4)
    write_archive(quarter, patients=14, seed=4, workers=1, level="clear", scale=0.2)
    assert (half / "truth" / "labels.csv").read_text() == (quarter / "truth" / "labels.csv").read_text()
    assert (half / "truth" / "measurements.csv").read_text() == (quarter / "truth" / "measurements.csv").read_text()
    moved: list[float] = []
    for large, small in zip(films(half), films(quarter), strict=True):
        assert large["draw"] == small["draw"] and large["anatomy"] == small["anatomy"]
        assert (large["rows"], large["columns"]) == pytest.approx((2 * small["rows"], 2 * small["columns"]), abs=2)
        header = pydicom.dcmread(quarter / "archive" / small["path"], stop_before_pixels=True)
        assert (header.Rows, header.Columns) == (small["rows"], small["columns"])
        assert len(large["fracture"]) == len(small["fracture"])
        for one, other in zip(large["foreign_object"], small["foreign_object"], strict=True):
            assert one["size"] == pytest.approx(other["size"], rel=0.2)
            shift = middle(one["box"]) - 2 * middle(other["box"])
            moved.append(float(np.hypot(*shift)) / max(large["rows"], large["columns"]))
    assert len(moved) > 5
    assert max(moved) < 0.08 and np.median(moved) < 0.02  # of the longer side
