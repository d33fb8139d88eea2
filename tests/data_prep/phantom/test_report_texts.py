"""Reports of the synthetic archive: one per study, with the planted findings except known uncertain and missed ones."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from data_prep.phantom.difficulty import HARD, LEVELS, Difficulty
from data_prep.phantom.graded_questions import graded_labels, measure_film
from data_prep.phantom.random_draws import OBJECT_KINDS, draw_patient
from data_prep.phantom.report_sentences import KINDS
from data_prep.phantom.report_texts import MISSED_SHARE, UNCERTAIN_SHARE, StudyReport, draw_report
from data_prep.phantom.write_archive import identifying_values, write_archive
from data_prep.radiology_reports.film_values import label_values, select_mentions_on_film
from data_prep.radiology_reports.finding_words import FINDINGS
from data_prep.radiology_reports.language import language_of
from data_prep.radiology_reports.mentions import find_mentions

PATIENTS, SEED = 400, 7


def drawn(level: Difficulty = HARD) -> list[tuple[str, str | None, bool, list[str], StudyReport]]:
    """(body part, side, fracture, objects, report) of many studies, without rendering."""
    out: list[tuple[str, str | None, bool, list[str], StudyReport]] = []
    for index in range(PATIENTS):
        patient = draw_patient(SEED, index, PATIENTS, level)
        for study in patient.studies:
            fracture = any(film.fracture for film in study.films)
            objects = [finding.kind for film in study.films for finding in film.objects]
            graded = {
                label: value
                for film in study.films
                for label, value in graded_labels(measure_film(patient.anatomy, study.body_part, film.view)).items()
            }
            report = draw_report(SEED, index, study, fracture, objects, graded)
            side = None if study.body_part == "CHEST" else study.side
            out.append((study.body_part, side, fracture, objects, report))
    return out


def test_the_report_reader_finds_the_labels_of_every_report() -> None:
    for body_part, side, _, _, report in drawn():
        assert language_of(report.text) == report.language
        mentions = select_mentions_on_film(find_mentions(report.text, report.language), body_part, side, [body_part])
        reported = {finding: label_values(mentions)[finding].value for finding in FINDINGS}
        assert {finding: value for finding, value in reported.items() if value != "not_mentioned"} == report.labels, (
            report
        )


def test_sentences_about_graded_findings_do_not_change_the_labels_that_the_reader_finds() -> None:
    stated = Counter[tuple[str, str]]()
    for body_part, side, _, _, report in drawn(LEVELS["clinical"]):
        assert language_of(report.text) == report.language
        mentions = select_mentions_on_film(find_mentions(report.text, report.language), body_part, side, [body_part])
        reported = {finding: label_values(mentions)[finding].value for finding in FINDINGS}
        planted = {finding: value for finding, value in report.labels.items() if finding in FINDINGS}
        assert {finding: value for finding, value in reported.items() if value != "not_mentioned"} == planted, report
        stated.update((finding, value) for finding, value in report.labels.items() if finding not in FINDINGS)
    assert {label for label, _ in stated} == {"cardiomegaly", "effusion", "osteopenia", "growth_plates"}
    assert all(stated[label, value] > 5 for label, _ in list(stated) for value in ("present", "absent"))


def test_reports_state_planted_findings_except_uncertain_and_missed_ones() -> None:
    studies = drawn()
    fracture_values = Counter(one[4].labels.get("fracture", "missed") for one in studies if one[2])
    values_without_fracture = {one[4].labels.get("fracture") for one in studies if not one[2]}
    assert values_without_fracture == {"absent", None}
    assert fracture_values["absent"] == 0
    for value, share in (("uncertain", UNCERTAIN_SHARE), ("missed", MISSED_SHARE)):
        assert fracture_values[value] / fracture_values.total() == pytest.approx(share, abs=0.05)
    for _, _, _, objects, report in studies:
        reported = {finding for finding, value in report.labels.items() if value == "present"} - {"fracture"}
        assert reported <= {KINDS[kind] for kind in objects}
    assert set(OBJECT_KINDS) <= set(KINDS)
    assert Counter(one[4].language for one in studies)["de"] / len(studies) == pytest.approx(0.5, abs=0.07)


def test_every_study_of_an_archive_has_a_report_and_its_truth(tmp_path: Path) -> None:
    write_archive(tmp_path / "out", patients=3, seed=SEED, workers=1, long_side=120)
    with (tmp_path / "out" / "reports" / "german.csv").open(encoding="utf-8", newline="") as file:
        german = {row["accession"] for row in csv.DictReader(file, delimiter=";")}
    english = {path.stem for path in (tmp_path / "out" / "reports" / "english").iterdir()}
    with (tmp_path / "out" / "truth" / "report_labels.csv").open(newline="") as file:
        truth = list(csv.DictReader(file))
    studies = sum(len(draw_patient(SEED, index, 3).studies) for index in range(3))
    assert len(german | english) == len(german) + len(english) == studies
    assert {row["accession"] for row in truth} <= german | english <= identifying_values(tmp_path / "out")
    assert {row["value"] for row in truth} <= {"present", "absent", "uncertain"}
