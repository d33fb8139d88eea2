"""Graded questions: visible in the film, independent of scanner and marker, with their measurements in the truth."""

import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.phantom.anatomy.chest_organs import frontal_organs
from data_prep.phantom.anatomy.patient_body import Anatomy
from data_prep.phantom.difficulty import HARD, LEVELS, Range
from data_prep.phantom.graded_questions import PREVALENCE, graded_labels, measure_film
from data_prep.phantom.imaging.solids import Outline, spline
from data_prep.phantom.random_draws import FilmDraw, PatientDraw, StudyDraw, draw_patient
from data_prep.phantom.render_film import RenderedFilm, render
from data_prep.phantom.write_archive import write_archive

LABELS = {"cardiomegaly", "effusion", "osteopenia", "growth_plates"}
QUESTIONS = [
    ("cardiomegaly", "CHEST", "PA"),
    ("effusion", "CHEST", "PA"),
    ("effusion", "CHEST", "LAT"),
    ("effusion", "KNEE", "LAT"),
    ("osteopenia", "HAND", "PA"),
    ("osteopenia", "KNEE", "AP"),
    ("growth_plates", "HAND", "PA"),
    ("growth_plates", "WRIST", "AP"),
    ("growth_plates", "KNEE", "AP"),
]


def middle(limits: Range) -> float:
    return sum(limits) / 2


def with_finding(anatomy: Anatomy, label: str, is_present: bool, level: str) -> Anatomy:
    """The same body with a finding of middle degree, or without it; the other findings are absent."""
    ranges = LEVELS[level].graded
    assert ranges and anatomy.graded
    ratio = ranges.enlarged_ratio if is_present and label == "cardiomegaly" else ranges.normal_ratio
    density = ranges.low_density if is_present and label == "osteopenia" else ranges.normal_density
    has_fluid = is_present and label == "effusion"
    graded = replace(
        anatomy.graded,
        cardiothoracic_ratio=middle(ratio),
        growth_plate=middle(ranges.growth_plate) if is_present and label == "growth_plates" else 0.0,
        pleural_fluid=middle(ranges.pleural_fluid) * has_fluid,
        joint_fluid=middle(ranges.joint_fluid) * has_fluid,
    )
    return replace(anatomy, density=middle(density), graded=graded)


def some_film(body_part: str, view: str) -> tuple[PatientDraw, StudyDraw, FilmDraw]:
    """The first film of this body part and view."""
    for index in range(200):
        patient = draw_patient(3, index, 200, LEVELS["clear"])
        for study in patient.studies:
            for film in study.films:
                if (study.body_part, film.view) == (body_part, view):
                    return patient, study, replace(film, objects=(), fracture=None)
    raise AssertionError


def change(label: str, body_part: str, view: str, level: str) -> tuple[RenderedFilm, float, float]:
    """Film with the finding; root mean square and largest change of smoothed values by it."""
    patient, study, film = some_film(body_part, view)
    films = [
        render(with_finding(patient.anatomy, label, is_present, level), study, film, long_side=256)
        for is_present in (False, True)
    ]
    difference = films[1].log_film - films[0].log_film
    return films[1], float(np.sqrt(np.mean(difference**2))), float(np.percentile(np.abs(difference), 99))


@pytest.mark.parametrize(("label", "body_part", "view"), QUESTIONS)
def test_a_finding_changes_the_film_more_at_clear_than_at_clinical(label: str, body_part: str, view: str) -> None:
    _, clear, largest = change(label, body_part, view, "clear")
    _, clinical, _ = change(label, body_part, view, "clinical")
    assert clear > 1.2 * clinical > 0.005
    assert largest > 0.1


@pytest.mark.parametrize("ratio", [0.43, 0.54, 0.56, 0.66])
def test_the_heart_has_the_drawn_ratio_to_the_thorax(ratio: float) -> None:
    anatomy = draw_patient(3, 0, 1, LEVELS["clear"]).anatomy
    assert anatomy.graded
    lungs = frontal_organs(replace(anatomy, graded=replace(anatomy.graded, cardiothoracic_ratio=ratio)))[1][0]
    heart, *_ = lungs.without
    assert isinstance(heart, Outline)
    thorax = np.concatenate([spline(lung.points, closed=True) for lung in lungs.bodies if isinstance(lung, Outline)])
    assert np.ptp(spline(heart.points, closed=True)[:, 0]) / np.ptp(thorax[:, 0]) == pytest.approx(ratio, abs=0.002)


@pytest.mark.parametrize("level", ["clear", "clinical"])
def test_findings_do_not_depend_on_scanner_marker_or_each_other(level: str) -> None:
    present: dict[tuple[str, str, object], list[bool]] = defaultdict(list)
    for index in range(1500):
        patient = draw_patient(5, index, 1500, LEVELS[level])
        for study in patient.studies:
            for film in study.films[:1]:
                labels = graded_labels(measure_film(patient.anatomy, study.body_part, film.view))
                for label, is_present in labels.items():
                    factors: dict[str, object] = {
                        "scanner": study.look,
                        "marker": film.marker is not None,
                        "fracture": bool(film.fracture),
                    }
                    others = {other: value for other, value in labels.items() if other != label}
                    for factor, value in (factors | others).items():
                        present[label, factor, value].append(is_present)
    large = {key: group for key, group in present.items() if len(group) >= 30}
    for factor, values in (("scanner", (0, 1, 2)), ("marker", (False, True)), ("fracture", (False, True))):
        assert all((label, factor, value) in large for label in LABELS for value in values)
    for (label, factor, value), group in large.items():
        assert np.mean(group) == pytest.approx(PREVALENCE, abs=4 * np.sqrt(0.24 / len(group))), (label, factor, value)


def test_hard_has_no_graded_findings(tmp_path: Path) -> None:
    patient = draw_patient(3, 0, 1, HARD)
    assert patient.anatomy.graded is None and measure_film(patient.anatomy, "CHEST", "PA") == {}
    write_archive(tmp_path / "out", patients=1, seed=3, workers=1, long_side=100)
    assert not (tmp_path / "out" / "truth" / "measurements.csv").exists()


def test_the_truth_has_label_and_measurement_of_each_film_that_shows_a_finding(tmp_path: Path) -> None:
    write_archive(tmp_path / "out", patients=12, seed=3, workers=1, long_side=120, level="clinical")
    with (tmp_path / "out" / "truth" / "measurements.csv").open(newline="") as file:
        numbers = {(row["sop_instance_uid"], row["label"]): float(row["number"]) for row in csv.DictReader(file)}
    with (tmp_path / "out" / "truth" / "labels.csv").open(newline="") as file:
        labels = {(row["sop_instance_uid"], row["label"]): row["value"] for row in csv.DictReader(file)}
    rules = {
        ("cardiothoracic_ratio", "cardiomegaly"): lambda number: number > 0.55,
        ("effusion_mm", "effusion"): lambda number: number > 0,
        ("bone_density", "osteopenia"): lambda number: number < 0.75,
        ("growth_plate_mm", "growth_plates"): lambda number: number > 0,
    }
    for (name, label), rule in rules.items():
        measured = {
            uid: "present" if rule(number) else "absent" for (uid, key), number in numbers.items() if key == name
        }
        assert set(measured.values()) == {"present", "absent"}
        assert measured == {uid: value for (uid, key), value in labels.items() if key == label}
