"""Tables of experts: identifiers become keys, every row is counted, errors are raised with their line."""

import csv
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_prep.errors import ArchiveError, LabelError, SecretError, ShardFormatError, UserError
from data_prep.labels.write_labels import PROBLEMS_FILE, LabelFiles, write_labels
from data_prep.shard_format.label_schema import BOXES_SCHEMA, LABELS_SCHEMA
from tests.builders.label_builder import Folders


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


LABELS = """sop_instance_uid,label,value
1.2.826.222,fracture,absent
1.2.826.111,fracture,present
1.2.826.111,coin,uncertain
"""
BOXES = "sop_instance_uid,label,x_min,y_min,x_max,y_max\n1.2.826.111,fracture,0,10.5,200,300\n"


def test_identifiers_become_keys(folders: Folders) -> None:
    summary = folders.run(LABELS, BOXES)
    labels, boxes = pq.read_table(folders.public / "labels.parquet"), pq.read_table(folders.public / "boxes.parquet")
    assert labels.schema.equals(LABELS_SCHEMA) and boxes.schema.equals(BOXES_SCHEMA)
    assert [(row["key"], row["label"], row["value"]) for row in labels.to_pylist()] == [
        ("aaaa", "coin", "uncertain"),
        ("aaaa", "fracture", "present"),
        ("bbbb", "fracture", "absent"),
    ]
    assert set(labels["source"].to_pylist()) == {"expert"} and set(labels["confidence"].to_pylist()) == {1.0}
    assert boxes.to_pylist() == [
        {
            "key": "aaaa",
            "label": "fracture",
            "x_min": 0.0,
            "y_min": 10.5,
            "x_max": 200.0,
            "y_max": 300.0,
            "source": "expert",
            "reader": None,
        }
    ]
    assert (summary.labels.used, summary.boxes.used, summary.films) == (3, 1, 2)
    assert summary.values == {"fracture": {"present": 1, "absent": 1}, "coin": {"uncertain": 1}}


def test_nothing_identifying_reaches_the_public_folder(folders: Folders) -> None:
    folders.run(LABELS, BOXES)
    written = b"".join(path.read_bytes() for path in folders.public.iterdir())
    assert not [word for word in (b"1.2.826", b"MARNOSCH", b"IM0001") if word in written]


@pytest.mark.parametrize(
    "path",
    ["/archive/MARNOSCH_A/s1/IM0001", "MARNOSCH_A/s1/IM0001", "s1/IM0001", "./s1/IM0001", r"MARNOSCH_A\s1\IM0001"],
)
def test_a_film_is_found_by_the_end_of_its_path(folders: Folders, path: str) -> None:
    folders.run(f"path,label,value\n{path},fracture,present\n")
    assert pq.read_table(folders.public / "labels.parquet")["key"].to_pylist() == ["aaaa"]


def test_a_film_is_found_by_its_key(folders: Folders) -> None:
    """As ``mae-rad corrections`` names it; an unknown key is refused with its line."""
    folders.run("key,label,value,number\nbbbb,fracture,present,\naaaa,age,,7\n")
    assert folders.labels() == [("aaaa", "age", None, None), ("bbbb", "fracture", "present", None)]
    with pytest.raises(LabelError, match="line 2"):
        folders.run("key,label,value\nzzzz,fracture,present\n")


def test_part_of_a_folder_name_does_not_match(folders: Folders) -> None:
    with pytest.raises(LabelError, match=r"labels\.csv line 2: no film of the scan has this name \(unknown_films=list"):
        folders.run("path,label,value\nSCH_A/s1/IM0001,fracture,present\n")


def test_a_path_that_fits_several_films_is_rejected(folders: Folders) -> None:
    with pytest.raises(LabelError, match=r"labels\.csv line 2: the name matches several films"):
        folders.run("path,label,value\nIM0001,fracture,present\n")


def test_every_row_is_counted_as_used_or_skipped(folders: Folders) -> None:
    table = (
        LABELS + "1.2.826.333,fracture,absent\n\n1.2.826.444,fracture,absent\n9.9,fracture,present\n9.9,coin,absent\n"
    )
    boxes = BOXES + "1.2.826.333,coin,0,0,5,5\n9.9,fracture,1,1,2,2\n"
    with pytest.raises(
        LabelError, match=r"boxes\.csv line 4: no film of the scan has this name .*\(2 more: .*label_problems"
    ):
        folders.run(table, boxes)
    summary = folders.run(table, boxes, "unknown_films=list")
    assert (summary.labels.used, summary.labels.not_in_shards, summary.labels.unknown) == (3, 2, 2)
    assert (summary.boxes.used, summary.boxes.not_in_shards, summary.boxes.unknown) == (1, 1, 1)
    with (folders.private / PROBLEMS_FILE).open(encoding="utf-8") as file:
        listed = [(Path(row["file"]).name, int(row["line"]), row["problem"][:12]) for row in csv.DictReader(file)]
    assert listed == [
        ("boxes.csv", 3, "the film is "),
        ("boxes.csv", 4, "no film of t"),
        ("labels.csv", 5, "the film is "),
        ("labels.csv", 7, "the film is "),
        ("labels.csv", 8, "no film of t"),
        ("labels.csv", 9, "no film of t"),
    ]
    text = str(summary)
    assert "3 rows used, 2 of films that are not in the shards, 2 of unknown films" in text
    assert f"file and line of rows that are not used: {folders.private / PROBLEMS_FILE}" in text
    assert "9.9" not in text and "1.2.826" not in text
    assert set(pq.read_table(folders.public / "labels.parquet")["key"].to_pylist()) == {"aaaa", "bbbb"}


def test_source_confidence_and_reader(folders: Folders) -> None:
    labels = (
        "sop_instance_uid,label,value,source,confidence\n1.2.826.111,a,present,report,0.75\n1.2.826.222,a,absent,,\n"
    )
    header, box = BOXES.splitlines()
    boxes = f"{header},reader\n{box},Dr Marnosch\n{box},Dr Torvark\n{box.replace('111', '222')},\n"
    folders.run(labels, boxes)
    rows = [row for row in pq.read_table(folders.public / "labels.parquet").to_pylist() if row["label"] == "a"]
    assert [(row["source"], row["confidence"]) for row in rows] == [("report", 0.75), ("expert", 1.0)]
    table = folders.public / "boxes.parquet"
    assert pq.read_table(table)["reader"].to_pylist() == [1, 2, None]
    assert b"Marnosch" not in table.read_bytes()


def test_numbers_are_labels_too(folders: Folders) -> None:
    summary = folders.run("sop_instance_uid,label,value,number\n1.2.826.111,age,,7.5\n1.2.826.222,coin,absent,\n")
    rows = pq.read_table(folders.public / "labels.parquet").to_pylist()
    assert [(row["value"], row["number"]) for row in rows] == [(None, 7.5), ("absent", None)]
    assert summary.values["age"] == {"number": 1}


def test_a_table_saved_by_a_spreadsheet_is_read(folders: Folders) -> None:
    folders.run("\ufeffsop_instance_uid;label;value\r\n1.2.826.111; fracture ;present\r\n")
    assert pq.read_table(folders.public / "labels.parquet")["label"].to_pylist() == ["fracture"]


def test_labels_without_boxes_clear_earlier_boxes(folders: Folders) -> None:
    folders.run(LABELS, BOXES)
    folders.run(LABELS)
    assert pq.read_table(folders.public / "boxes.parquet").num_rows == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("label,value\nfracture,present\n", r"labels\.csv line 1: no column names the film"),
        ("sop_instance_uid,value\n1,present\n", r"labels\.csv line 1: the column label is missing"),
        ("sop_instance_uid,label\n1,a\n", r"labels\.csv line 1: the column value"),
        ("sop_instance_uid,label,value,value\n", r"line 1: two columns of the header have the same name"),
        ("", r"line 1: no column names the film"),
        (LABELS + "1.2.826.222,coin,perhaps\n", r"labels\.csv line 5: value must be one of present, absent"),
        (LABELS + "1.2.826.222,Coin,present\n", r"labels\.csv line 5: a label is 1 to 64"),
        (LABELS + "1.2.826.222,,present\n", r"labels\.csv line 5: a label is 1 to 64"),
        (LABELS + ",coin,present\n", r"labels\.csv line 5: the column sop_instance_uid is empty"),
        (LABELS + "1.2.826.222,coin,\n", r"labels\.csv line 5: give either a value or a number"),
        (LABELS + "1.2.826.222,coin\n", r"labels\.csv line 5: 2 cells"),
        (LABELS + "1.2.826.111,fracture,absent\n", r"labels\.csv line 5: the row labels the film of line 3 again"),
        (LABELS + "1.2.826.111,fracture,present\n", r"labels\.csv line 5: the row labels the film of line 3 again"),
        ("sop_instance_uid,label,value,source\n1.2.826.111,a,absent,rumour\n", r"line 2: source must be one of"),
        ("sop_instance_uid,label,value,confidence\n1.2.826.111,a,absent,75\n", r"line 2: confidence must be from"),
        ("sop_instance_uid,label,number\n1.2.826.111,age,old\n", r"line 2: the column number must be a number"),
        ("sop_instance_uid,label,number\n1.2.826.111,age,nan\n", r"line 2: the column number must be a number"),
    ],
)
def test_an_error_in_the_labels_is_raised_with_its_line(folders: Folders, labels: str, message: str) -> None:
    with pytest.raises(LabelError, match=message) as error:
        folders.run(labels)
    assert not re.search(r"1\.2\.826|perhaps|Coin", str(error.value))
    assert not (folders.public / "labels.parquet").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1.2.826.111,fracture,20,20,20,30", "line 3: the box is empty"),
        ("1.2.826.111,fracture,30,20,20,30", "line 3: the box is empty"),
        ("1.2.826.111,fracture,0,0,200.5,30", "line 3: the box extends beyond the film"),
        ("1.2.826.111,fracture,0,0,20,301", "line 3: the box extends beyond the film"),
        ("1.2.826.111,fracture,-1,0,20,30", "line 3: the box extends beyond the film"),
        ("1.2.826.111,fracture,a,0,20,30", "line 3: the column x_min must be a number"),
        ("1.2.826.111,fracture,0,inf,20,30", "line 3: the column y_min must be a number"),
        ("1.2.826.111,fracture,0,10.5,200,300", "line 3: the box repeats that of line 2"),
        ("1.2.826.222,fracture,0,0,20,30", r"line 3: the box contradicts .*labels\.csv line 2, which states absent"),
    ],
)
def test_an_error_in_the_boxes_is_raised_with_its_line(folders: Folders, row: str, message: str) -> None:
    with pytest.raises(LabelError, match=rf"boxes\.csv {message}"):
        folders.run(LABELS, f"{BOXES}{row}\n")
    assert not (folders.public / "labels.parquet").exists()


def test_earlier_labels_are_kept_when_a_table_has_errors(folders: Folders) -> None:
    folders.run(LABELS, BOXES)
    before = (folders.public / "labels.parquet").read_bytes(), (folders.public / "boxes.parquet").read_bytes()
    for table, boxes in ((LABELS.replace("uncertain", "perhaps"), BOXES), (LABELS.replace("1.2.826", "9.9"), None)):
        with pytest.raises(LabelError):
            folders.run(table, boxes)
    assert ((folders.public / "labels.parquet").read_bytes(), (folders.public / "boxes.parquet").read_bytes()) == before
    assert not list(folders.public.glob(".*"))


def test_a_missing_table_or_folder_is_a_clear_error(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="does not exist"):
        folders.label(LabelFiles([tmp_path / "no.csv"]))
    (tmp_path / "binary.csv").write_bytes(b"sop_instance_uid,label,value\n\xff\xfe,a,b\n")
    with pytest.raises(LabelError, match="not valid CSV in UTF-8"):
        folders.label(LabelFiles([tmp_path / "binary.csv"]))
    with pytest.raises(ArchiveError):
        write_labels(tmp_path / "nowhere", folders.public)
    with pytest.raises(ShardFormatError):
        write_labels(folders.private, tmp_path / "nowhere", LabelFiles([tmp_path / "binary.csv"]))
    assert issubclass(LabelError, UserError)


def test_shards_of_another_secret_are_rejected(folders: Folders) -> None:
    folders.write_card("another")
    with pytest.raises(SecretError, match="another secret"):
        folders.run(LABELS)
