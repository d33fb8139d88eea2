"""The label collector: every entry is kept with its origin, problems are listed or raised as errors."""

import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_prep.annotations.film_lookup import FilmNames, ListedFilm
from data_prep.annotations.label_collector import LabelCollector
from data_prep.annotations.reconcile import reconcile, reconcile_splits
from data_prep.annotations.row_problems import Place, RowProblem, problems_csv
from data_prep.annotations.settings import DrawingSettings
from data_prep.shard_format.boxes import Box
from data_prep.shard_format.label_policy import LabelPolicy, reconcile_values, resolve_labels
from data_prep.shard_format.label_tables import read_labels
from tests.builders.set_builder import Scanned, save, write

FILM = ListedFilm(0, "a/x.png", 60, 48, 1, "png")
TABLE, OTHER = Path("t.csv"), Path("u.csv")


def collector(*, strict: bool = False, listed: tuple[str, ...] = ()) -> LabelCollector:
    return LabelCollector(FilmNames([FILM]), DrawingSettings(), strict=strict, listed=listed)


def contradictions(found: LabelCollector) -> LabelCollector:
    """Two values of a label, a box that contradicts a label, a repeated box, a row without a film."""
    found.add_label(FILM, "fracture", "present", Place(TABLE, 2))
    found.add_label(FILM, "fracture", "absent", Place(OTHER, 5))
    found.add_label(FILM, "coin", "absent", Place(TABLE, 2))
    for line in (3, 4):
        found.add_box(FILM, "coin", Box(1, 2, 3, 4), Place(TABLE, line))
    found.find_film("b", Place(TABLE, 9))
    return found


def test_a_lenient_collector_lists_codes() -> None:
    found = contradictions(collector())
    labels = {entry.label: entry.value for entry in reconcile(found).labels}
    assert labels == {"fracture": "uncertain", "coin": "uncertain"} and len(reconcile(collector()).labels) == 0
    assert sorted(found.problems) == [
        ("box_against_label", Place(TABLE, 3), "box_against_label", False),
        ("box_repeated", Place(TABLE, 4), "box_repeated", False),
        ("label_conflict", Place(OTHER, 5), "label_conflict", False),
        ("row_without_file", Place(TABLE, 9), "row_without_file", False),
    ]


def test_a_strict_collector_rejects_the_same_rows_with_messages() -> None:
    found = contradictions(collector(strict=True))
    entries = reconcile(found)
    assert [entry.value for entry in entries.labels] == ["present", "absent"]  # nothing is decided for the experts
    assert sorted((problem.place, problem.problem) for problem in found.problems) == [
        (Place(TABLE, 3), "the box contradicts line 2, which states absent; correct one of them"),
        (Place(TABLE, 4), "the box contradicts line 2, which states absent; correct one of them"),
        (Place(TABLE, 4), "the box repeats that of line 3; remove one of them"),
        (Place(TABLE, 9), "no film of the scan has this name (unknown_films=list skips such rows)"),
        (
            Place(OTHER, 5),
            "the row labels the film of t.csv line 2 again; keep one row per film, label, source and reader",
        ),
    ]
    assert all(problem.is_error for problem in found.problems)
    listed = contradictions(collector(strict=True, listed=("row_without_file",)))
    assert [problem.is_error for problem in listed.problems if problem.place.line == 9] == [False]


def test_every_entry_keeps_its_file_line_and_reader() -> None:
    found = collector(strict=True)
    part = found.for_reader("Dr Torvark")
    part.add_label(FILM, "fracture", "present", Place(TABLE, 7))
    part.add_box(FILM, "fracture", Box(1, 2, 3, 4), Place(TABLE, 8), reader="Dr Marnosch")
    found.for_reader("", adjudicated=True).add_label(FILM, "fracture", "absent", Place(OTHER, 1))
    assert [(entry.reader, entry.origin) for entry in (*found.labels, *found.boxes)] == [
        (1, ("/a/x.png", Place(TABLE, 7), "Dr Torvark")),
        (0, ("/a/x.png", Place(OTHER, 1), "")),
        (2, ("/a/x.png", Place(TABLE, 8), "Dr Marnosch")),
    ]


def test_a_stated_label_overrides_an_implied_one() -> None:
    found = collector()
    found.add_findings(FILM, ["fracture"], ["fracture", "coin"], Place(OTHER), implied=True)
    found.add_label(FILM, "fracture", "uncertain", Place(TABLE, 2))
    found.add_box(FILM, "metal", Box(1, 2, 3, 4), Place(TABLE, 3))
    values = {entry.label: entry.value for entry in reconcile(found).labels}
    assert values == {"fracture": "uncertain", "coin": "absent", "metal": "present"} and not found.problems


def test_a_box_overrides_an_implied_absence_of_another_file() -> None:
    found = collector(strict=True).for_reader("", adjudicated=True)
    found.add_findings(FILM, [], ["coin"], Place(OTHER), implied=True)
    found.add_box(FILM, "coin", Box(1, 2, 3, 4), Place(TABLE, 3))
    (entry,) = reconcile(found).labels
    assert (entry.value, entry.reader, entry.origin.place) == ("present", 0, Place(TABLE, 3)) and not found.problems


def test_contradicting_implied_labels_are_listed() -> None:
    for strict in (False, True):
        found = collector(strict=strict)
        for path, present in ((TABLE, ["coin"]), (OTHER, [])):
            found.add_findings(FILM, present, ["coin"], Place(path), implied=True)
        (entry,) = reconcile(found).labels
        assert entry.value == "uncertain"
        assert [(one.code, one.place, one.is_error) for one in found.problems] == [
            ("label_conflict", Place(OTHER), strict)
        ]


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [
        ("present", "present", "present"),
        ("present", "absent", "uncertain"),
        ("uncertain", "present", "uncertain"),
        (None, "present", None),
        ("absent", None, "absent"),
    ],
)
def test_two_values_of_one_reader_are_reconciled(one: str | None, other: str | None, value: str | None) -> None:
    assert reconcile_values(one, other) == value


def test_the_strictest_of_several_splits_is_kept() -> None:
    found = collector()
    for line, split in enumerate(("train", "valid", "train", "nonsense"), 1):
        found.add_split(FILM, split, Place(TABLE, line))
    assert reconcile_splits(found) == {"a/x.png": "val"}
    assert sorted((one.problem, one.place.line) for one in found.problems) == [
        ("split_conflict", 2),
        ("split_conflict", 3),
        ("split_unknown", 4),
    ]


def test_all_problems_have_one_csv_format() -> None:
    rows = [RowProblem("box_cut", Place(TABLE, 3)), RowProblem("image_unknown", Place(OTHER, 0, "images"))]
    assert list(csv.DictReader(problems_csv(rows).splitlines())) == [
        {"problem": "box_cut", "file": "t.csv", "line": "3", "part": ""},
        {"problem": "image_unknown", "file": "u.csv", "line": "0", "part": "images"},
    ]


def test_entries_of_report_and_expert_are_kept_and_the_policy_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report denies a pneumothorax; the expert states one on the same film."""
    save(tmp_path / "nih" / "images" / "00000002_000.png")
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
    write(tmp_path / "nih" / "Data_Entry_2017.csv", [header, "00000002_000.png,No Finding,0,2,81,F,AP"])
    experts = "Image Index,Fracture,Pneumothorax,Airspace opacity,Nodule or mass"
    write(tmp_path / "nih" / "experts.csv", [experts, "00000002_000.png,,YES,,"])
    public, _ = Scanned(tmp_path / "nih", monkeypatch, layout="nih_chestxray14").sharded()
    rows = pq.read_table(public / "labels.parquet").to_pylist()
    assert [(row["source"], row["value"]) for row in rows if row["label"] == "pneumothorax"] == [
        ("expert", "present"),
        ("report", "absent"),
    ]
    for merge, value in (("expert_wins", 1.0), ("expert_only", 1.0), ("weak_only", 0.0)):
        found = resolve_labels(read_labels(public), LabelPolicy(merge=merge), names=["pneumothorax"])
        assert found.values.tolist() == [[value]]
