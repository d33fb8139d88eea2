"""Answers of the review page become labels that ``label`` takes, and say how often the labeller is right."""

import csv
import re
import stat
from pathlib import Path

import pytest

from data_prep.errors import ArchiveError, LabelError
from data_prep.labels.settings import LabelSettings
from data_prep.labels.write_labels import LabelFiles, write_labels
from data_prep.radiology_reports.label_reports import label_from_reports
from data_prep.radiology_reports.review import AGREEMENT_FILE, CONFIRMED_FILE, PROBLEMS_FILE, review
from data_prep.radiology_reports.review_page import REVIEW_FILE
from data_prep.shard_format.label_tables import read_labels
from tests.builders.report_folders import write_folders

REPORTS = """accession,text
ACCA,Distale Radiusfraktur rechts. Plattenosteosynthese in situ.
ACCB,Keine Fraktur. PICC in place. Nothing else.
ACCC,Unauffällig.
"""
HEADER = ("study", "finding", "assertion", "start", "stop", "verdict", "instead", "remark", "reader")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    private, public = write_folders(tmp_path)
    table = tmp_path / "reports.csv"
    table.write_text(REPORTS, encoding="utf-8")
    label_from_reports(private, [table], public)
    return private, public


def _displayed(private: Path) -> list[dict[str, str]]:
    """What the page displays, as its script would save it."""
    page = (private / REVIEW_FILE).read_text(encoding="utf-8")
    names = ("study", "finding", "assertion", "start", "stop")
    pattern = "<article " + " ".join(f'data-{name}="([^"]*)"' for name in names)
    return [dict(zip(names, found, strict=True)) for found in re.findall(pattern, page)]


def _save(path: Path, rows: list[dict[str, str]]) -> Path:
    """As the page saves it: with a byte order mark."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, HEADER, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _answers(private: Path, reader: str = "anna", **by_finding: tuple[str, str]) -> list[dict[str, str]]:
    """Every mention is right, but those of ``by_finding``: finding → (verdict, instead)."""
    return [
        one | dict(zip(("verdict", "instead"), by_finding.get(one["finding"], ("right", "")), strict=True))
        | {"reader": reader, "remark": "seen,\nhere"}
        for one in _displayed(private)
    ]  # fmt: skip


def _expert_labels(public: Path) -> dict[tuple[str, str], str]:
    rows = read_labels(public).to_pylist()
    return {(row["key"], row["label"]): row["value"] for row in rows if row["source"] == "expert"}


def test_confirmed_answers_become_labels_of_experts(folders: tuple[Path, Path]) -> None:
    private, public = folders
    answers = _save(private / "report_review.csv", _answers(private))
    summary = review(private, [answers])
    confirmed = private / CONFIRMED_FILE
    assert stat.S_IMODE(confirmed.stat().st_mode) == 0o600
    write_labels(private, public, LabelFiles([confirmed], [], []), LabelSettings())
    labels = _expert_labels(public)
    assert labels == {
        ("a1", "fracture"): "present", ("a1", "implant"): "present", ("a1", "foreign_object"): "present",
        ("a2", "implant"): "present", ("a2", "foreign_object"): "present", ("a2", "fracture"): "present",
        ("b1", "fracture"): "absent", ("b1", "tube_line"): "present", ("b1", "foreign_object"): "present",
    }  # fmt: skip
    assert (summary.labels, summary.films, summary.readers) == (len(labels), 3, 1)
    by_report = {
        (row["key"], row["label"]): row["value"] for row in read_labels(public).to_pylist() if row["source"] == "report"
    }
    assert labels.items() <= by_report.items()


def test_a_corrected_assertion_replaces_the_one_that_was_read(folders: tuple[Path, Path]) -> None:
    private, public = folders
    answers = _answers(private, fracture=("wrong", "uncertain"), implant=("wrong", "history"))
    review(private, [_save(private / "a.csv", answers)])
    write_labels(private, public, LabelFiles([private / CONFIRMED_FILE], [], []), LabelSettings())
    labels = _expert_labels(public)
    assert labels["a1", "fracture"] == labels["b1", "fracture"] == "uncertain"
    assert labels["a1", "implant"] == "uncertain" and ("a1", "foreign_object") not in labels


@pytest.mark.parametrize("answer", [("wrong", ""), ("unsure", ""), ("", "")])
def test_what_is_not_decided_confirms_nothing(folders: tuple[Path, Path], answer: tuple[str, str]) -> None:
    private, _ = folders
    review(private, [_save(private / "a.csv", _answers(private, fracture=answer))])
    with (private / CONFIRMED_FILE).open() as file:
        assert "fracture" not in {row["label"] for row in csv.DictReader(file)}


def test_agreement_is_counted_by_kind_with_intervals(folders: tuple[Path, Path]) -> None:
    private, _ = folders
    anna = _answers(private)
    ben = _answers(private, "ben", fracture=("wrong", ""), any=("wrong", "implant"), implant=("unsure", ""))
    summary = review(private, [_save(private / "a.csv", anna), _save(private / "b.csv", ben)])
    assert (summary.readers, summary.disagreements) == (2, 3)  # two fractures and the report without mentions
    with (private / AGREEMENT_FILE).open() as file:
        rows = {(row["finding"], row["assertion"]): row for row in csv.DictReader(file)}
    row = rows["fracture", "present"]
    assert (row["right"], row["wrong"], row["unsure"], row["share_right"]) == ("1", "1", "0", "0.5000")
    assert 0 < float(row["low"]) < 0.5 < float(row["high"]) < 1
    assert rows["any", "not_mentioned"]["wrong"] == "1"
    assert rows["implant", "present"]["unsure"] == "1" and rows["implant", "present"]["share_right"] == "1.0000"
    text = str(summary)
    assert "all mentions: of the page" in text and f"mae-rad label {private} --labels" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"study": "f" * 32}, "the study is not among the reports"),
        ({"finding": "fractur"}, "the finding is none of fracture, "),
        ({"verdict": "rigth"}, "the verdict is none of right, wrong, unsure"),
        ({"verdict": "wrong", "instead": "maybe"}, "instead is none of present, follow_up, "),
        ({"instead": "absent"}, "the verdict is right, and yet"),
        ({"start": "one"}, "start and stop are whole numbers"),
        ({"start": "1"}, "the report is read differently now"),
        ({"finding": "any", "assertion": "not_mentioned"}, "the report is read differently now"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_and_nothing_is_written(
    folders: tuple[Path, Path], change: dict[str, str], message: str
) -> None:
    private, _ = folders
    answers = _answers(private)
    place = next(number for number, one in enumerate(answers) if one["finding"] == "fracture")
    answers[place] |= change
    for one in answers:
        one["remark"] = "SECRET"
    path = _save(private / "a.csv", answers)
    with pytest.raises(LabelError, match=message) as raised:
        review(private, [path])
    assert str(raised.value).startswith(f"{path} line {place + 2}: ") and "(1 answers cannot be used" in str(
        raised.value
    )
    with (private / PROBLEMS_FILE).open() as file:
        (problem,) = csv.DictReader(file)
    assert problem["line"] == str(place + 2)
    assert "SECRET" not in str(raised.value) + str(problem) and "f" * 32 not in str(raised.value)
    assert not (private / CONFIRMED_FILE).exists() and not (private / AGREEMENT_FILE).exists()


def test_a_reader_cannot_answer_one_mention_in_two_ways(folders: tuple[Path, Path]) -> None:
    private, _ = folders
    first, second = _save(private / "a.csv", _answers(private)), _save(private / "b.csv", _answers(private))
    assert review(private, [first, second]).readers == 1  # the same table twice changes nothing
    other = _save(private / "c.csv", _answers(private, fracture=("unsure", "")))
    with pytest.raises(LabelError, match="the same reader answers this twice, and differently"):
        review(private, [first, other])


def test_tables_and_folders_that_cannot_be_read(folders: tuple[Path, Path], tmp_path: Path) -> None:
    private, public = folders
    table = tmp_path / "a.csv"
    table.write_text("study,finding\nx,fracture\n")
    with pytest.raises(ArchiveError, match="has no column 'assertion'"):
        review(private, [table])
    with pytest.raises(ArchiveError, match=r"absent\.csv is missing"):
        review(private, [tmp_path / "absent.csv"])
    with pytest.raises(ArchiveError, match=r"has no reports\.parquet"):
        review(public, [table])
    with pytest.raises(LabelError, match="hold no answer"):
        review(private, [_save(table, [])])
