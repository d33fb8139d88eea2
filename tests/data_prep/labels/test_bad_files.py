"""Errors in a file of labels or boxes are raised with file and line, for every format; nothing is written."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import LabelError
from data_prep.labels.write_labels import PROBLEMS_FILE, LabelFiles
from tests.builders.label_builder import COLUMNS, ROWS, Folders

ONE, OTHER = "1.2.826.111.png", "MARNOSCH_A/s2/IM0001.png"
"""Pictures made from two films, named by UID and by path."""


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def assert_rejected(folders: Folders, files: LabelFiles, message: str) -> None:
    """Check the message, with the file; a file inside a given folder is named only in the private table."""
    with pytest.raises(LabelError) as error:
        folders.label(files)
    said = str(error.value)
    assert not re.search(r"1\.2\.826|MARNOSCH|perhaps", said)
    if line := re.search(rf"^(.*): (.*) \(which file: .*{PROBLEMS_FILE} line (\d+); \d+ in all\)$", said):
        with (folders.private / PROBLEMS_FILE).open(encoding="utf-8") as file:
            row = list(csv.DictReader(file))[int(line[3]) - 2]
        place = (
            f" {row['part']}[{row['line']}]" if row["part"] else f" line {row['line']}" if row["line"] != "0" else ""
        )
        assert row["file"].startswith(line[1].removesuffix("data.yaml")) and row["problem"] == line[2]
        said = f"{row['file']}{place}: {row['problem']}"
    assert re.search(message, said), said
    assert not (folders.public / "labels.parquet").exists() and not (folders.public / "boxes.parquet").exists()


# --- CSV

CSV = f"sop_instance_uid,label,x_min,y_min,x_max,y_max,polygon\n1.2.826.111,fracture,0,0,{COLUMNS},{ROWS},\n"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1.2.826.111,fracture,,,,,1 2 3 4", "a polygon needs three points"),
        ("1.2.826.111,fracture,,,,,1 2 3 4 5 6 7", "a polygon needs three points"),
        ("1.2.826.111,fracture,1,2,3,4,1 2 3 4 5 6", "give either the edges of a box or a polygon"),
        ("1.2.826.111,fracture,,,,,1 2 3 4 5 x", "the column polygon must be a number"),
        ("1.2.826.111,fracture,,,,,1 2 3 4 5 301", "the box extends beyond the film"),
        ("1.2.826.111,fracture,1,2,201,4,", "the box extends beyond the film"),
        ("9.9,fracture,1,2,3,4,", "no film of the scan has this name"),
        ("1.2.826.111,fracture,0,0,200,300,", "the box repeats that of line 2"),
        ("1.2.826.111,,1,2,3,4,", "a label is 1 to 64"),
        ("1.2.826.111,fracture,0.1,0.1,0.4,0.4,", "the box is in fractions"),
    ],
)
def test_boxes_in_csv(folders: Folders, row: str, message: str) -> None:
    assert_rejected(folders, LabelFiles(boxes=folders.write("b.csv", f"{CSV}{row}\n")), rf"b\.csv line 3: {message}")


def test_a_polygon_in_csv_is_the_box_around_it(folders: Folders) -> None:
    folders.run(None, f"{CSV}1.2.826.111,fracture,,,,,10 20 30 25 12 60\n")
    assert folders.boxes()[1] == ("aaaa", "fracture", 10, 20, 30, 60, None)


def test_tables_of_another_task_are_rejected(folders: Folders) -> None:
    labels = folders.write("l.csv", "sop_instance_uid,label,value\n1.2.826.111,fracture,present\n")
    boxes = folders.write("b.csv", CSV)
    assert_rejected(
        folders, LabelFiles(labels=boxes), r"b\.csv line 1: the column value .* table of boxes, give it with --boxes"
    )
    assert_rejected(
        folders, LabelFiles(boxes=labels), r"l\.csv line 1: the column x_min .* table of labels, give it with --labels"
    )
    annotations = folders.write("c.json", json.dumps(coco()))
    assert_rejected(
        folders, LabelFiles(labels=annotations), r"c\.json holds annotations of boxes.*give it with --boxes"
    )
    names = folders.write("n.csv", "sop_instance_uid,reader\n1.2.826.111,Dr Torvark\n")
    assert_rejected(folders, LabelFiles(labels=names), r"n\.csv line 1: no column is a label")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("1.2.826.111,1,0\n1.2.826.111,1,0\n", "line 3: the row labels the film of line 2 again"),
        ("1.2.826.111,1,perhaps\n1.2.826.222,1,0\n", "line 2: the cell in column 3 is no value"),
        ("9.9,1,0\n", "line 2: no film of the scan has this name"),
        ("1.2.826.111,1\n", "line 2: 2 cells"),
    ],
)
def test_wide_tables(folders: Folders, table: str, message: str) -> None:
    assert_rejected(
        folders, LabelFiles(folders.write("w.csv", f"sop_instance_uid,Fracture,Coin\n{table}")), rf"w\.csv {message}"
    )


def test_columns_whose_names_cannot_be_labels_are_rejected(folders: Folders) -> None:
    twice = folders.write("w.csv", "sop_instance_uid,Old fracture,old_fracture\n")
    assert_rejected(folders, LabelFiles(twice), r"w\.csv line 1: columns 2 and 3 are the same label")
    table = folders.write("w.csv", "sop_instance_uid,骨折\n")
    assert_rejected(folders, LabelFiles(table), r"w\.csv line 1: the name of column 2 cannot be a label")


def test_a_file_without_entries_never_deletes_earlier_labels(folders: Folders) -> None:
    good = folders.write("good.csv", "sop_instance_uid,fracture\n1.2.826.111,1\n")
    folders.label(LabelFiles(good))
    before = (folders.public / "labels.parquet").read_bytes()
    header = folders.write("h.csv", "sop_instance_uid,label,value\n")
    blank = folders.write("blank.csv", "sop_instance_uid,fracture\n1.2.826.111,\n")
    nothing = folders.write("c.json", json.dumps(coco(images=[], annotations=[])))
    for files, message in (
        (LabelFiles(header), r"h\.csv line 1: the table has a header and no rows"),
        (LabelFiles([*good, *header]), r"h\.csv line 1: the table has a header and no rows"),
        (LabelFiles(good, adjudicated=header), r"h\.csv line 1: the table has a header and no rows"),
        (LabelFiles(boxes=nothing), r"c\.json: the file lists no image"),
        (LabelFiles(blank), "no row is about a film"),
    ):
        with pytest.raises(LabelError, match=message):
            folders.label(files)
        assert (folders.public / "labels.parquet").read_bytes() == before


def test_an_empty_column_of_a_wide_table_is_listed(folders: Folders) -> None:
    summary = folders.label(LabelFiles(folders.write("w.csv", "sop_instance_uid,fracture,coin\n1.2.826.111,,1\n")))
    assert PROBLEMS_FILE in str(summary)
    with (folders.private / PROBLEMS_FILE).open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["problem"], row["line"]) == ("the label in column 2 has no value in any row", "1")


# --- COCO


def coco(*annotations: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """A file with two films, two classes and a box; further annotations are of the first film and class."""
    size = {"width": COLUMNS, "height": ROWS}
    content = {
        "images": [{"id": 1, "file_name": ONE, **size}, {"id": 2, "file_name": OTHER, **size}],
        "categories": [{"id": 5, "name": "fracture"}, {"id": 6, "name": "coin"}],
        "annotations": [{"image_id": 1, "category_id": 5, "bbox": [10, 20, 30, 40]}],
    } | parts
    content["annotations"] += [{"image_id": 1, "category_id": 5} | one for one in annotations]
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (coco({"segmentation": [[1, 2, 3, 4]]}), r"annotations\[1\]: a polygon needs three points"),
        (coco({"bbox": [1, 2, 3, 4], "segmentation": [[1, 2, 3, 4]]}), r"annotations\[1\]: a polygon needs three"),
        (coco({"bbox": [180, 20, 30, 40]}), r"annotations\[1\]: the box extends beyond the film"),
        (coco({"bbox": [300, 20, 30, 40]}), r"annotations\[1\]: the box lies outside the film"),
        (coco({"bbox": [10, 20, 0, 40]}), r"annotations\[1\]: the box is empty"),
        (coco({"bbox": [0.1, 0.1, 0.3, 0.3]}), r"annotations\[1\]: the box is in fractions"),
        (coco({"bbox": [10, 20, "x", 40]}), r"annotations\[1\]: the numbers are not a valid box"),
        (coco({"image_id": 3, "bbox": [1, 2, 3, 4]}), r"annotations\[1\]: the file lists no image with this id"),
        (coco(images=[{"id": 1, "file_name": "9.9.png"}]), r"images\[0\]: no film of the scan has this name"),
        (coco(images=[{"id": 1, "file_name": "IM0001"}]), r"images\[0\]: the name matches several films"),
        (coco({"bbox": [10, 20, 30, 40]}), r"annotations\[1\]: the box repeats that of annotations\[0\]; remove one"),
        (coco(images=[{"id": 1, "file_name": ONE}] * 2), r"images\[1\]: an image before this one has the same id"),
        (
            coco(images=[{"id": n, "file_name": ONE} for n in (1, 2)]),
            r"images\[1\]: an entry before this one names the same film",
        ),
        (coco(categories=[{"id": 5, "name": " "}]), r"categories\[0\]: a class has no name"),
        (
            coco(categories=[{"id": 5, "name": n} for n in "ab"]),
            r"categories\[1\]: .* of another name has the same id",
        ),
        (
            coco({"category_id": 7, "bbox": [1, 2, 3, 4]}),
            r"annotations\[1\]: the class is missing, or is not in the list",
        ),
        (
            coco(images=[{"id": 1, "file_name": ONE, "width": 100, "height": 150}]),
            r"annotations\[0\]: the annotated picture has another size",
        ),
        (
            coco({"caption": "no fracture"}),
            r"annotations\[1\]: the object has no box and no outline; .* of a detection task",
        ),
        ({"images": [], "info": {}}, ": the file is not a valid annotation file of this format"),
    ],
)
def test_coco(folders: Folders, content: dict[str, Any], message: str) -> None:
    path = folders.write("c.json", json.dumps(content))
    assert_rejected(folders, LabelFiles(boxes=path), rf"c\.json ?{message}")


# --- VOC


def voc(*objects: str, size: tuple[int, int] = (COLUMNS, ROWS)) -> str:
    """A file with a box and further objects."""
    first = voc_object("fracture", (10, 20, 40, 60))
    picture = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    return f"<annotation>{picture}{first}{''.join(objects)}</annotation>"


def voc_object(name: str, edges: tuple[float, ...] = (), polygon: tuple[float, ...] = ()) -> str:
    """One object."""
    corners = zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=False)
    box = "".join(f"<{edge}>{value}</{edge}>" for edge, value in corners)
    points = "".join(
        f"<{'xy'[n % 2]}{n // 2 + 1}>{value}</{'xy'[n % 2]}{n // 2 + 1}>" for n, value in enumerate(polygon)
    )
    outline = f"<polygon>{points}</polygon>" if polygon else ""
    return f"<object><name>{name}</name>{f'<bndbox>{box}</bndbox>' if box else ''}{outline}</object>"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({ONE: voc(voc_object("coin", polygon=(1, 2, 3, 4)))}, r"111\.xml object\[1\]: a polygon needs three points"),
        ({ONE: voc(voc_object("coin", (150, 20, 203, 40)))}, r"111\.xml object\[1\]: the box extends beyond the film"),
        ({ONE: voc(voc_object("coin", (1, 2, 1, 4)))}, r"111\.xml object\[1\]: the box is empty"),
        ({ONE: voc(voc_object("coin", (1, 2)))}, r"111\.xml object\[1\]: the numbers are not a valid box"),
        ({ONE: voc(voc_object("coin"))}, r"111\.xml object\[1\]: the object has no box and no outline"),
        ({ONE: voc(voc_object("coin", (0.1, 0.1, 0.4, 0.4)))}, r"111\.xml object\[1\]: the box is in fractions"),
        ({"9.9": voc()}, r"9\.9\.xml: no film of the scan has this name"),
        ({"IM0001": voc()}, r"IM0001\.xml: the name matches several films"),
        (
            {ONE: voc(voc_object("fracture", (10, 20, 40, 60)))},
            r"111\.xml object\[1\]: the box repeats that of object\[0\]; remove one",
        ),
        ({ONE: voc(), "MARNOSCH_A/s1/IM0001": voc()}, r"IM0001\.xml: an entry before this one names the same film"),
        ({ONE: voc(voc_object("", (1, 2, 3, 4)))}, r"111\.xml: the class is missing"),
        ({ONE: voc(size=(100, 150))}, r"111\.xml object\[0\]: the annotated picture has another size"),
        ({ONE: "<CodeMeta/>"}, r"111\.xml: the file is not a valid annotation file"),
    ],
)
def test_voc(folders: Folders, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        folders.write(f"voc/{name.removesuffix('.png')}.xml", text)
    assert_rejected(folders, LabelFiles(boxes=[folders.here / "voc"]), message)


# --- YOLO

YAML = "names: [fracture, coin]\n"


@pytest.mark.parametrize(
    ("yaml", "name", "line", "message"),
    [
        (YAML, ONE, "0 0.5 0.5", r"111\.txt line 2: a polygon needs three points"),
        (YAML, ONE, "0 0.1 0.1 0.2 0.2 0.3", r"111\.txt line 2: the numbers are not a valid box"),
        (YAML, ONE, "0 0.9 0.5 0.4 0.2", r"111\.txt line 2: the box extends beyond the film"),
        (YAML, ONE, "0 90 100 20 40", r"111\.txt line 2: the box lies outside the film"),
        (YAML, ONE, "0 0.5 0.5 0 0.2", r"111\.txt line 2: the box is empty"),
        (YAML, "9.9", "", r"9\.9\.txt: no film of the scan has this name"),
        (YAML, ONE, "1 0.5 0.5 0.2 0.2", r"111\.txt line 2: the box repeats that of line 1; remove one"),
        (YAML, ONE, "7 0.5 0.5 0.2 0.2", r"111\.txt line 2: the class is missing, or is not in the list"),
        (YAML, ONE, "fracture 0.5 0.5 0.2 0.2", r"111\.txt line 2: the class is missing, or is not in the list"),
        ("names: [fracture, coin, '']\n", ONE, "", r"yolo: a class has no name"),
        (f"{YAML}kpt_shape: [3, 2]\n", ONE, "", r"data\.yaml describes key points, not boxes"),
        ("nc: 2\n", ONE, "", r"yolo: no YAML file with 'names'"),
    ],
)
def test_yolo(folders: Folders, yaml: str, name: str, line: str, message: str) -> None:
    folders.write("yolo/data.yaml", yaml)
    folders.write(f"yolo/labels/{name.removesuffix('.png')}.txt", f"1 0.5 0.5 0.2 0.2\n{line}\n")
    assert_rejected(folders, LabelFiles(boxes=[folders.here / "yolo"]), message)


def test_yolo_files_that_name_the_classes_differently_are_rejected(folders: Folders) -> None:
    folders.write("yolo/data.yaml", YAML)
    folders.write("yolo/labels/classes.txt", "coin\nfracture\n")
    folders.write("yolo/labels/1.2.826.111.txt", "0 0.5 0.5 0.2 0.2\n")
    assert_rejected(folders, LabelFiles(boxes=[folders.here / "yolo"]), "give class 0 different names")


def test_what_was_not_used_of_annotation_files_is_listed(folders: Folders) -> None:
    folders.write("yolo/data.yaml", YAML)
    folders.write("yolo/labels/1.2.826.111.txt", "0 0.5 0.5 0.2 0.2\n")
    folders.label(LabelFiles(boxes=[folders.here / "yolo"]))
    assert [row[:3] for row in folders.labels()] == [("aaaa", "fracture", "present")]  # no line uses coin
    crowd = coco({"image_id": 2, "bbox": [1, 2, 30, 40], "iscrowd": 1})
    summary = folders.label(LabelFiles(boxes=folders.write("c.json", json.dumps(crowd))))
    assert [row[0] for row in folders.boxes()] == ["aaaa"] and len(folders.labels()) == 2
    assert summary.problems is not None and "several objects (iscrowd)" in summary.problems.read_text(encoding="utf-8")


def test_a_file_that_names_another_film_inside_is_rejected(folders: Folders) -> None:
    name = f"<filename>{OTHER}</filename>"
    folders.write("voc/1.2.826.111.xml", voc().replace("<annotation>", f"<annotation>{name}"))
    assert_rejected(folders, LabelFiles(boxes=[folders.here / "voc"]), "names another film inside than its own name")


@pytest.mark.parametrize("columns", ["no_finding,fracture", "normal,coin_left", "fracture,no_fracture"])
def test_a_finding_against_a_label_for_none_is_listed(folders: Folders, columns: str) -> None:
    summary = folders.label(LabelFiles(folders.write("w.csv", f"sop_instance_uid,{columns}\n1.2.826.111,1,1\n")))
    assert summary.problems is not None
    assert "so is a label that says there is none" in summary.problems.read_text(encoding="utf-8")
    folders.label(LabelFiles(folders.write("w.csv", f"sop_instance_uid,{columns}\n1.2.826.111,1,0\n")))
    assert not (folders.private / PROBLEMS_FILE).exists()


def test_columns_of_labels_in_a_long_table_are_listed(folders: Folders) -> None:
    table = "sop_instance_uid,label,value,metal\n1.2.826.111,fracture,present,1\n"
    summary = folders.label(LabelFiles(folders.write("l.csv", table)))
    assert summary.problems is not None
    assert "column 4 beside label and value is not read" in summary.problems.read_text(encoding="utf-8")


def test_the_yaml_of_a_yolo_folder_is_read_as_the_folder(folders: Folders) -> None:
    yaml = folders.write("yolo/data.yaml", YAML)
    folders.write("yolo/boxes.json", json.dumps(coco()))
    folders.write("yolo/labels/1.2.826.111.txt", "0 0.5 0.5\n")
    assert_rejected(folders, LabelFiles(boxes=yaml), r"111\.txt line 1: a polygon needs three points")
    assert_rejected(
        folders,
        LabelFiles(boxes=[folders.here / "yolo"]),
        r"annotations of several formats \(coco and yolo\); .* the YAML file",
    )


def test_a_film_with_two_yolo_files_is_rejected(folders: Folders) -> None:
    folders.write("yolo/data.yaml", YAML)
    for part in ("train", "val"):
        folders.write(f"yolo/{part}/labels/1.2.826.111.txt", "0 0.5 0.5 0.2 0.2\n")
    assert_rejected(
        folders,
        LabelFiles(boxes=[folders.here / "yolo"]),
        r"val/labels/1\.2\.826\.111\.txt: an entry before this one names the same film",
    )


# --- all


def test_every_error_is_listed_and_the_first_is_raised(folders: Folders) -> None:
    table = f"{CSV}1.2.826.111,fracture,1,2,201,4,\n9.9,coin,1,2,3,4,\n1.2.826.222,,1,2,3,4,\n"
    assert_rejected(
        folders, LabelFiles(boxes=folders.write("b.csv", table)), rf"b\.csv line 3: .* \(2 more: .*{PROBLEMS_FILE}\)"
    )
    lines = (folders.private / PROBLEMS_FILE).read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[-2] for line in lines] == ["line", "3", "4", "5"]
    assert (folders.private / PROBLEMS_FILE).stat().st_mode & 0o077 == 0
    folders.run(None, CSV)
    assert not (folders.private / PROBLEMS_FILE).exists()


def test_a_folder_of_no_format_or_of_several_is_rejected(folders: Folders) -> None:
    (folders.here / "empty").mkdir()
    assert_rejected(folders, LabelFiles(boxes=[folders.here / "empty"]), "holds no annotations")
    assert_rejected(folders, LabelFiles(boxes=[folders.here / "nowhere"]), "nowhere does not exist")
    folders.write("both/a.xml", voc())
    folders.write("both/a.json", json.dumps(coco()))
    assert_rejected(
        folders, LabelFiles(boxes=[folders.here / "both"]), r"annotations of several formats \(voc and coco\)"
    )


def test_a_name_in_rename_that_occurs_in_no_file_is_an_error(folders: Folders) -> None:
    with pytest.raises(LabelError, match="rename: 'Fractur' occurs in no file"):
        folders.run("sop_instance_uid,label,value\n1.2.826.111,fracture,present\n", None, "rename={Fractur: fracture}")


def test_a_file_with_several_films_needs_a_frame(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    from data_prep.labels.archive_films import ArchiveFilms

    monkeypatch.setattr(ArchiveFilms, "frame_count", lambda self, film: 3)
    path = folders.write("c.json", json.dumps(coco()))
    assert_rejected(
        folders,
        LabelFiles(boxes=path),
        r"c\.json images\[0\]: the file holds several films; give their boxes as a CSV table",
    )
