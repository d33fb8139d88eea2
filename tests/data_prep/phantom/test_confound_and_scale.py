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


def relative_edges(row: dict[str, Any], planted: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Edges of the box as fractions of the longer side of the film."""
    return np.array(planted["box"]) / max(row["rows"], row["columns"])


def test_scale_keeps_draws_and_truth_and_scales_films_and_boxes(tmp_path: Path) -> None:
    edges: dict[str, list[float]] = {"foreign_object": [], "fracture": []}
    for seed in (4, 5, 6):
        large_folder, small_folder = tmp_path / f"large{seed}", tmp_path / f"small{seed}"
        write_archive(large_folder, patients=9, seed=seed, workers=1, level="clear", scale=0.4)
        write_archive(small_folder, patients=9, seed=seed, workers=1, level="clear", scale=0.2)
        for name in ("labels.csv", "measurements.csv", "report_labels.csv"):
            assert (large_folder / "truth" / name).read_text() == (small_folder / "truth" / name).read_text()
        for large, small in zip(films(large_folder), films(small_folder), strict=True):
            assert large["draw"] == small["draw"] and large["anatomy"] == small["anatomy"]
            assert (large["rows"], large["columns"]) == pytest.approx((2 * small["rows"], 2 * small["columns"]), abs=2)
            header = pydicom.dcmread(small_folder / "archive" / small["path"], stop_before_pixels=True)
            assert (header.Rows, header.Columns) == (small["rows"], small["columns"])
            for label, moved in edges.items():
                for one, other in zip(large[label], small[label], strict=True):
                    assert one["size"] == pytest.approx(other["size"], rel=0.25)
                    shift = relative_edges(large, one) - relative_edges(small, other)
                    moved.append(float(np.abs(shift).max()))
    for moved in edges.values():
        assert len(moved) > 15
        assert np.median(moved) < 0.008 and np.quantile(moved, 0.9) < 0.02  # of the longer side of 270 pixels or fewer
    assert max(edges["fracture"]) < 0.025  # no fracture is on another bone
