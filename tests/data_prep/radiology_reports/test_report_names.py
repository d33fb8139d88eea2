"""Reports named by a pattern and by folders of films; reports of headings alone."""

import csv
from pathlib import Path
from time import process_time

import pytest
from pydantic import ValidationError

from data_prep.cli.exit_codes import BAD_INPUT
from data_prep.cli.main import main
from data_prep.errors import LabelError, SettingsError
from data_prep.labels.settings import ReportSettings
from data_prep.radiology_reports.label_reports import PROBLEMS_FILE, label_from_reports
from data_prep.radiology_reports.report_names import ReportNames
from data_prep.radiology_reports.sections import split_sentences, states_findings
from data_prep.shard_format.label_tables import read_labels
from tests.builders.report_folders import write_folders

PATTERN = r"Befund__?(?P<study>[\w-]{11})\.txt"
HEADINGS = ("Untersuchungs-ID: {}", "Untersuchung:", "Klinische Daten:", "Fragestellung:", "Voraufnahmen:", "Befund:",
            "Beurteilung:")  # fmt: skip
EMPTY = "\n\n".join(HEADINGS).format("-aB3_cD45-_")


def filled(**texts: str) -> str:
    """The report with texts under some headings."""
    return "\n".join(f"{heading}\n{texts.get(heading.strip(':').split()[0], '')}" for heading in EMPTY.split("\n\n"))


@pytest.mark.parametrize(
    ("name", "study"),
    [
        ("Befund_-aB3_cD45-_.txt", "-aB3_cD45-_"),
        ("Befund__-aB3_cD45-_.txt", "-aB3_cD45-_"),
        ("Befund___aB3_cD45-_.txt", "_aB3_cD45-_"),
        ("Befund_aB3_cD45.txt", None),
        ("Befund_-aB3_cD45-_.txt.bak", None),
    ],
)
def test_the_pattern_names_the_study(name: str, study: str | None) -> None:
    assert ReportNames(PATTERN).study_name(name, Path(name).stem) == study
    assert ReportNames().study_name(name, "whole") == "whole"


def test_the_folder_above_a_film_is_counted_from_the_file() -> None:
    path = "/mnt/KNIE_NEU/patient/examination/1/1.2.840.5"
    assert [ReportNames(study_folder=k).folder_of(path) for k in (1, 2, 3)] == ["1", "examination", "patient"]
    assert ReportNames().folder_of(path) is None
    assert ReportNames(study_folder=1).folder_of("film") is ReportNames(study_folder=9).folder_of(path) is None


def test_a_pattern_compiles_and_has_the_group() -> None:
    for wrong, message in (("(", "no regular expression"), (r"(?P<patient>\d+)", "must have the group")):
        with pytest.raises(ValidationError, match=message):
            ReportSettings(pattern=wrong)
    assert ReportSettings(pattern=PATTERN).pattern == PATTERN


def test_a_pattern_without_end_is_stopped() -> None:
    start = process_time()
    with pytest.raises(SettingsError, match=r"reports\.pattern took more than"):
        ReportNames(r"(?P<study>(a|aa)+)[bd]").study_name("a" * 60 + "c", "")
    assert process_time() - start < 10


def test_a_report_of_headings_alone_states_nothing() -> None:
    assert not states_findings(EMPTY) and not states_findings(EMPTY.replace("\n\n", "\n"))
    assert not states_findings("Untersuchungs-ID:\n8xK3\nUntersuchungsdatum: 12. März 2019\nBefund:\n-\nBeurteilung\n")
    assert not states_findings(filled(Klinische="Sturz.", Fragestellung="Fraktur?", Untersuchung="Knie a.p."))
    assert states_findings(filled(Befund="Keine Fraktur."))
    assert states_findings(filled(Beurteilung="Unauffällig."))
    assert states_findings("Keine Fraktur.") and states_findings("Untersuchungs-ID: 17\nRadiusfraktur rechts.")


def test_clinical_data_and_question_are_no_findings() -> None:
    text = filled(Klinische="Z. n. Fraktur.", Fragestellung="Fraktur?", Voraufnahmen="Radiusfraktur.", Befund="Platte.")
    sections = {text[sentence.start : sentence.stop]: sentence.section for sentence in split_sentences(text)}
    assert sections == {
        "Z. n. Fraktur.": "indication",
        "Fraktur?": "indication",
        "Radiusfraktur.": "comparison",
        "Platte.": "findings",
    }


def test_reports_find_the_films_of_the_folder_they_are_named_after(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    private, public = write_folders(tmp_path)
    reports = tmp_path / "Befundexport" / "Befunde_1"
    reports.mkdir(parents=True)
    (reports / "Befund_MARNOSCH_A.txt").write_text(filled(Befund="Radiusfraktur."), encoding="utf-8")
    (reports / "Befund__MARNOSCH_B.txt").write_text(EMPTY, encoding="utf-8")
    (reports / "Liste.txt").write_text("Radiusfraktur.", encoding="utf-8")
    with pytest.raises(LabelError, match="unknown_study"):
        label_from_reports(private, [reports.parent], public)
    settings = ["reports.pattern=Befund__?(?P<study>[A-Z_]+)\\.txt", "reports.study_folder=1"]
    command = ["label", str(private), "--reports", str(reports.parent), "--out", str(public)]
    assert main([*command, *settings]) == 0, capfd.readouterr()
    labels = {(row["key"], row["label"]): row["value"] for row in read_labels(public).to_pylist()}
    assert labels["a1", "fracture"] == "present" and {key for key, _ in labels} == {"a1", "a2"}
    with (private / PROBLEMS_FILE).open(newline="") as file:
        problems = {Path(row["file"]).name: row["problem"] for row in csv.DictReader(file)}
    assert problems["Befund__MARNOSCH_B.txt"] == "empty_report" and problems["Liste.txt"] == "name_without_study"
    (reports / "Befund_archive.txt").write_text("Radiusfraktur.", encoding="utf-8")  # the folder of all studies
    with pytest.raises(LabelError, match=r"1 several_studies"):
        names = ReportNames("Befund_(?P<study>archive)\\.txt", study_folder=2)
        label_from_reports(private, [reports], public, names=names)
    capfd.readouterr()
    assert main([*command, "reports.pattern=("]) == BAD_INPUT
    assert "reports.pattern" in capfd.readouterr().err
