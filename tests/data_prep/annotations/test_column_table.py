"""Data sets with tables of configured columns."""

from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import ArchiveError, SettingsError
from tests.builders.set_builder import Scanned, save, write

COLUMNS: dict[str, Any] = {
    "films": "films.csv",
    "boxes": "boxes.csv",
    "file": "File",
    "facts": {"patient": "Patient", "sex": "Sex", "age": "Age", "view": "View", "split": "Set"},
    "same": {"body_part": "hand"},
    "labels": {"Broken": "fracture"},
    "numbers": {"Months": "bone_age"},
    "names": "Findings",
    "vocabulary": ["cyst", "old fracture"],
    "none_name": "",
    "box_label": "What",
    "box": ["Left", "Top", "Width", "Height"],
    "box_form": "corner_and_size",
    "reader": "Who",
}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for name in ("a.png", "b.png", "sub/c.jpg"):
        save(root / name)
    write(
        root / "films.csv",  # from a spreadsheet
        [
            "\ufeffFile;Patient;Sex;Age;View;Set;Broken;Months;Findings",
            "a;7;female;12,5;ap;train;yes;144;cyst|old fracture",
            "b.png;7;female;13;ap;test;0;;",
            "sub/c.jpg;8;m;90;strange;holdout;perhaps;many;whale",
            "sub/c.jpg;8;m;90;ap;;1;1;",
            "missing.png;9;m;40;ap;train;1;1;",
        ],
    )
    write(
        root / "boxes.csv",
        [
            "File,What,Left,Top,Width,Height,Who",
            "a.png,fracture,1,2,10,20,Dr A",
            "a.png,fracture,1,2,10,20,Dr B",
            "b.png,fracture,1,2,10,20,Dr A",
            "b.png,,1,2,10,20,Dr A",
            "b.png,cyst,1,2,x,20,Dr A",
            "films.csv,cyst,1,2,3,20,Dr A",
        ],
    )
    return root


def test_facts_labels_and_boxes_are_read_from_columns(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Scanned(archive, monkeypatch, layout="table", columns=COLUMNS)
    assert found.told("a.png", "patient_id", "sex", "view", "body_part") == ("7", "F", "AP", "HAND")
    assert found.told("b.png", "age_years") == (13,)
    assert found.told("sub/c.jpg", "view", "sex") == (None, "M")
    assert found.value("a.png", "bone_age") == "144.0"
    assert [found.value("a.png", name) for name in ("fracture", "cyst", "old_fracture")] == ["present"] * 3
    assert found.value("b.png", "old_fracture") == "absent"
    assert found.value("b.png", "cyst") == "uncertain"  # not in the table, but drawn with a box that cannot be read
    assert found.boxes["a.png", "fracture"] == [((1, 2, 11, 22), "Dr A"), ((1, 2, 11, 22), "Dr B")]
    assert found.value("b.png", "fracture") == "uncertain"  # drawn against the table
    assert found.splits == {"7": "test"}
    assert found.problems == {
        "age_unknown": 1,
        "split_unknown": 1,
        "label_unknown": 3,
        "not_a_number": 1,
        "film_repeated": 1,
        "row_without_file": 1,
        "box_not_a_number": 1,
        "box_against_label": 2,
        "no_film": 1,
    }


def test_corners_and_centres(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(archive / "boxes.csv", ["path,label,x_min,y_min,x_max,y_max", "a.png,cyst,10,20,30,40"])
    found = Scanned(archive, monkeypatch, layout="table", columns={"boxes": "boxes.csv"})
    assert found.edges("a.png", "cyst") == [(10, 20, 30, 40)]
    assert "1 films named, 2 films not" in str(found.summary)
    columns = {"boxes": "boxes.csv", "box_form": "centre_and_size"}
    found = Scanned(archive, monkeypatch, layout="table", columns=columns)
    assert found.edges("a.png", "cyst") == [(0, 0, 25, 40)]


def test_the_two_tables_may_name_films_in_different_columns(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = archive / "boxes.csv"
    write(boxes, boxes.read_text(encoding="utf-8").replace("File,", "Picture,"))
    found = Scanned(archive, monkeypatch, layout="table", columns=COLUMNS | {"box_file": "Picture"})
    assert found.boxes["a.png", "fracture"] == [((1, 2, 11, 22), "Dr A"), ((1, 2, 11, 22), "Dr B")]
    with pytest.raises(ArchiveError, match=r"boxes\.csv has no column 'File'"):
        Scanned(archive, monkeypatch, layout="table", columns=COLUMNS)


def test_labels_without_box_are_absent_only_on_films_of_the_tables(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(archive / "boxes.csv", ["path,label,x_min,y_min,x_max,y_max", "a.png,coin,1,2,3,4", "b.png,bone,1,2,3,4"])
    columns = {"boxes": "boxes.csv", "absent_without_box": ["coin"]}
    found = Scanned(archive, monkeypatch, layout="table", columns=columns)
    assert {key: value for key, (value, *_) in found.labels.items()} == {
        ("a.png", "coin"): "present",
        ("b.png", "coin"): "absent",
        ("b.png", "bone"): "present",
    }


def test_an_absent_label_without_any_box_is_an_error(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = COLUMNS | {"absent_without_box": ["fractures"]}
    with pytest.raises(SettingsError, match=r"no box of .*boxes\.csv has the label 'fractures'; is it 'fracture'"):
        Scanned(archive, monkeypatch, layout="table", columns=columns)


def test_a_column_with_too_many_labels_is_rejected(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"a.png,person {number},1,2,3,4" for number in range(300)]
    write(archive / "boxes.csv", ["path,label,x_min,y_min,x_max,y_max", *rows])
    with pytest.raises(ArchiveError, match="300 different labels") as error:
        Scanned(archive, monkeypatch, layout="table", columns={"boxes": "boxes.csv"})
    assert "person" not in str(error.value)


def test_a_name_without_latin_letters_is_listed_for_rename(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(archive / "boxes.csv", ["path,label,x_min,y_min,x_max,y_max", "a.png,骨折,1,2,3,4"])
    columns = {"boxes": "boxes.csv"}
    found = Scanned(archive, monkeypatch, layout="table", columns=columns)
    assert found.problems == {"label_needs_rename": 1} and not found.labels
    found = Scanned(archive, monkeypatch, layout="table", columns=columns, tables={"rename": {"骨折": "fracture"}})
    assert found.value("a.png", "fracture") == "present"


def test_missing_tables_and_columns_are_named(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"needs columns\.films or columns\.boxes"):
        Scanned(archive, monkeypatch, layout="table")
    with pytest.raises(ArchiveError, match=r"nowhere\.csv is missing"):
        Scanned(archive, monkeypatch, layout="table", columns={"films": "nowhere.csv"})
    with pytest.raises(ArchiveError, match=r"films\.csv has no column 'path' among the 9"):
        Scanned(archive, monkeypatch, layout="table", columns={"films": "films.csv"})
    write(archive / "films.csv", ["path,a", "a.png,1,2"])
    with pytest.raises(ArchiveError, match=r"films\.csv, line 2: 3 cells, but the header has 2"):
        Scanned(archive, monkeypatch, layout="table", columns={"films": "films.csv"})
    write(archive / "films.csv", ["path,a,a", "a.png,1,2"])
    with pytest.raises(ArchiveError, match="has a column twice"):
        Scanned(archive, monkeypatch, layout="table", columns={"films": "films.csv"})
    (archive / "films.csv").write_bytes(b"path,a\n\xff\xfe,1\n")
    with pytest.raises(ArchiveError, match="not valid CSV in UTF-8"):
        Scanned(archive, monkeypatch, layout="table", columns={"films": "films.csv"})


def test_numbers_are_finite_or_listed(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(archive / "films.csv", ["File,Months", "a,nan", "b,1e400", "c,12"])
    columns = {"films": "films.csv", "file": "File", "numbers": {"Months": "bone_age"}}
    found = Scanned(archive, monkeypatch, layout="table", columns=columns)
    assert found.labels == {("sub/c.jpg", "bone_age"): ("12.0", "expert", 1.0)}
    assert found.problems == {"not_a_number": 1}


def test_a_first_line_that_may_be_no_header_is_not_quoted(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(archive / "films.csv", ["a.png,Mueller^Anna,1960"])
    with pytest.raises(ArchiveError, match="no column 'File' among the 3 of its first line") as error:
        Scanned(archive, monkeypatch, layout="table", columns={"films": "films.csv", "file": "File"})
    assert "Mueller" not in str(error.value)
    write(archive / "films.csv", ["file,Months", "a,1"])
    with pytest.raises(ArchiveError, match="no column 'File'; is it 'file'"):
        Scanned(archive, monkeypatch, layout="table", columns={"films": "films.csv", "file": "File"})


def said(found: Scanned) -> dict[tuple[str, str], str]:
    return {key: value for key, (value, *_) in found.labels.items()}


def test_a_box_that_cannot_be_read_is_no_negative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        save(tmp_path / "set" / f"f{number}.png")
    rows = ["f0,coin,1,2,9,9", 'f1,coin,"1,5",1,9,9', "f2,coin,,,,", "f3,,1,1,9,9", "f4,coin,300,300,400,400"]
    rows += ["f5,coin,60,60,10,10", "f6,bone,1,2,3,4"]
    write(tmp_path / "set" / "boxes.csv", ["path,label,x_min,y_min,x_max,y_max", *rows])
    columns = {"boxes": "boxes.csv", "absent_without_box": ["coin"]}
    found = Scanned(tmp_path / "set", monkeypatch, layout="table", columns=columns)
    assert said(found) == {(f"f{number}.png", "coin"): "present" for number in (0, 1, 2, 4, 5)} | {
        ("f6.png", "coin"): "absent",
        ("f6.png", "bone"): "present",
    }
    assert list(found.boxes) == [("f0.png", "coin"), ("f6.png", "bone")]


def test_a_cell_that_is_not_understood_is_no_negative_for_lack_of_a_box(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(archive / "films.csv", ["path,coin", "a.png,?", "b.png,"])
    write(archive / "boxes.csv", ["path,label,x_min,y_min,x_max,y_max", "sub/c.jpg,coin,1,2,9,9"])
    columns = {"films": "films.csv", "labels": {"coin": "coin"}, "boxes": "boxes.csv", "absent_without_box": ["coin"]}
    found = Scanned(archive, monkeypatch, layout="table", columns=columns)
    assert said(found) == {("sub/c.jpg", "coin"): "present", ("b.png", "coin"): "absent"}


@pytest.mark.parametrize("second", ["1", "-1"])
def test_a_film_twice_saying_another_thing_is_uncertain(
    archive: Path, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    write(archive / "films.csv", ["path,fx,months", "a.png,0,12", f"a.png,{second},13", "b.png,0,5", "b.png,0,5"])
    columns = {"films": "films.csv", "labels": {"fx": "fracture"}, "numbers": {"months": "bone_age"}}
    found = Scanned(archive, monkeypatch, layout="table", columns=columns)
    assert said(found) == {
        ("a.png", "fracture"): "uncertain",
        ("b.png", "fracture"): "absent",
        ("b.png", "bone_age"): "5.0",
    }
    assert found.problems == {"film_repeated": 2, "label_conflict": 2}


@pytest.mark.parametrize(("none_name", "absent"), [(None, []), ("", ["b.png"]), ("Keine", ["sub/c.jpg"])])
def test_an_empty_cell_of_findings_says_nothing_unless_it_is_the_word_for_none(
    archive: Path, monkeypatch: pytest.MonkeyPatch, none_name: str | None, absent: list[str]
) -> None:
    write(archive / "films.csv", ["path,found", "a.png,cyst", "b.png,", "sub/c.jpg,Keine"])
    columns = {"films": "films.csv", "names": "found", "vocabulary": ["cyst"], "none_name": none_name}
    found = Scanned(archive, monkeypatch, layout="table", columns=columns)
    assert said(found) == {("a.png", "cyst"): "present"} | {(name, "cyst"): "absent" for name in absent}


@pytest.mark.parametrize(
    ("labels", "cells", "expected"),
    [
        (("no_finding", "fracture_left"), "1,1", "uncertain"),
        (("normal", "cyst"), "1,1", "uncertain"),
        (("no_fracture", "rib_fracture"), "1,1", "uncertain"),
        (("no_fracture", "fracture"), "0,0", "uncertain"),
        (("normal", "metal"), "1,1", "present"),
        (("no_fracture", "old_fracture"), "1,1", "present"),
        (("no_fracture", "cyst"), "1,1", "present"),
    ],
)
def test_a_finding_against_a_label_for_none_is_uncertain_and_listed(
    archive: Path, monkeypatch: pytest.MonkeyPatch, labels: tuple[str, str], cells: str, expected: str
) -> None:
    write(archive / "films.csv", ["path,first,second", f"a.png,{cells}"])
    columns = {"films": "films.csv", "labels": dict(zip(("first", "second"), labels, strict=True))}
    found = Scanned(archive, monkeypatch, layout="table", columns=columns)
    assert said(found) == {("a.png", label): expected for label in labels}
    assert found.problems["finding_against_none"] == (expected == "uncertain")


def test_a_sex_or_side_that_is_not_understood_is_listed(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(archive / "films.csv", ["path,male,side", "a.png,True,left", "b.png,2,1", "sub/c.jpg,n/a,"])
    columns = {"films": "films.csv", "facts": {"sex": "male", "laterality": "side"}}
    found = Scanned(archive, monkeypatch, layout="table", columns=columns)
    assert found.told("a.png", "sex", "laterality") == (None, "L")
    assert found.problems == {"sex_unknown": 2, "laterality_unknown": 1}
