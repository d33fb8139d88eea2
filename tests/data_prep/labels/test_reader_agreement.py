"""Several readers, adjudication and annotation files: every entry is kept, with a number in place of a name."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.labels.overview import write_overview
from data_prep.labels.settings import LabelSettings
from data_prep.labels.write_labels import LabelFiles
from data_prep.shard_format.label_policy import LabelPolicy, resolve_labels
from data_prep.shard_format.label_schema import LABELS_SCHEMA
from data_prep.shard_format.label_tables import read_labels
from tests.builders.label_builder import COLUMNS, ROWS, Folders

HEADER = "sop_instance_uid,label,value"
READ_ONCE = f"{HEADER}\n1.2.826.111,fracture,present\n1.2.826.222,fracture,present\n"
READ_AGAIN = f"{HEADER}\n1.2.826.111,fracture,absent\n1.2.826.222,fracture,present\n"


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def two(folders: Folders, *more: tuple[str, str]) -> LabelFiles:
    """Files of two readers, and adjudicated ones."""
    files = folders.write("one.csv", READ_ONCE) + folders.write("other.csv", READ_AGAIN)
    return LabelFiles(labels=files, adjudicated=[path for name, text in more for path in folders.write(name, text)])


def test_every_file_is_of_a_reader_of_its_own(folders: Folders) -> None:
    summary = folders.label(two(folders))
    assert folders.labels() == [
        ("aaaa", "fracture", "present", 1),
        ("aaaa", "fracture", "absent", 2),
        ("bbbb", "fracture", "present", 1),
        ("bbbb", "fracture", "present", 2),
    ]
    assert summary.readers == 2 and "2 films labelled by 2 readers" in str(summary)


def test_a_column_names_the_reader_and_names_stay_private(folders: Folders) -> None:
    table = f"{HEADER},reader\n" + "".join(
        f"{line},{who}\n" for who in ("Dr Marnosch", "Dr Torvark") for line in READ_ONCE.splitlines()[1:]
    )
    boxes = "sop_instance_uid,label,x_min,y_min,x_max,y_max,reader\n1.2.826.111,fracture,1,2,3,4,Dr Torvark\n"
    folders.run(table, boxes)
    assert [reader for *_, reader in folders.labels()] == [1, 2, 1, 2]
    assert folders.boxes() == [("aaaa", "fracture", 1, 2, 3, 4, 2)]  # the same person, the same number
    assert b"Torvark" not in b"".join(path.read_bytes() for path in folders.public.iterdir())
    origins = pq.read_table(folders.private / "label_origins.parquet").to_pylist()
    assert {(row["reader"], row["reader_name"]) for row in origins} == {(1, "Dr Marnosch"), (2, "Dr Torvark")}
    assert (folders.private / "label_origins.parquet").stat().st_mode & 0o077 == 0


def test_an_adjudicated_entry_overrides_readers_and_theirs_are_kept(folders: Folders) -> None:
    settled = ("settled.csv", f"{HEADER}\n1.2.826.111,fracture,absent\n")
    folders.label(two(folders, settled))
    assert folders.labels()[:3] == [
        ("aaaa", "fracture", "absent", 0),
        ("aaaa", "fracture", "present", 1),
        ("aaaa", "fracture", "absent", 2),
    ]
    resolved = resolve_labels(read_labels(folders.public), LabelPolicy())
    assert dict(zip(resolved.keys, resolved.values[:, 0].tolist(), strict=True)) == {"aaaa": 0, "bbbb": 1}


def test_adjudicated_boxes_may_be_of_any_format(folders: Folders) -> None:
    folders.write("settled/data.yaml", "names: [fracture]\n")
    folders.write("settled/labels/1.2.826.111.txt", "0 0.5 0.5 0.5 0.5\n")
    folders.label(two(folders)._replace(adjudicated=[folders.here / "settled"]))
    assert folders.boxes() == [("aaaa", "fracture", 50, 75, 150, 225, 0)]
    assert ("aaaa", "fracture", "present", 0) in folders.labels()


def test_a_wide_table(folders: Folders) -> None:
    table = (
        "path;Old fracture;Coin;bone age;comment;reader\nMARNOSCH_A/s1/IM0001;1;No;144;see note;A\n"
        "MARNOSCH_A/s2/IM0001;-1;;;;A\n"
    )
    folders.run(table, None, "rename={Coin: foreign_object, comment: null}", "numbers=[bone age]")
    rows = pq.read_table(folders.public / "labels.parquet").to_pylist()
    assert [(row["key"], row["label"], row["value"], row["number"]) for row in rows] == [
        ("aaaa", "bone_age", None, 144.0),
        ("aaaa", "foreign_object", "absent", None),
        ("aaaa", "old_fracture", "present", None),
        ("bbbb", "old_fracture", "uncertain", None),
    ]


def test_columns_of_other_names(folders: Folders) -> None:
    labels = "Bild,Befund,value,Wer\ns1/IM0001,Fraktur,present,A\ns1/IM0001,Notiz,present,A\n"
    boxes = "Bild,Befund,l,t,w,h\ns1/IM0001,Fraktur,10,20,30,40\n"
    columns = "columns={film: Bild, label: Befund, reader: Wer, box: [l, t, w, h], box_form: corner_and_size}"
    summary = folders.run(labels, boxes, columns, "rename={Fraktur: fracture, Notiz: null}")
    assert folders.labels() == [("aaaa", "fracture", "present", None), ("aaaa", "fracture", "present", 1)]
    assert folders.boxes() == [("aaaa", "fracture", 10, 20, 40, 60, None)]
    assert summary.labels.ignored == 1 and "1 ignored by rename" in str(summary)


COCO = {
    "images": [
        {"id": 1, "file_name": "exported/1.2.826.111.png", "width": COLUMNS, "height": ROWS},
        {"id": 2, "file_name": "MARNOSCH_A/s2/IM0001.jpg", "width": COLUMNS, "height": ROWS},
    ],
    "categories": [{"id": 1, "name": "Fracture"}, {"id": 2, "name": "Coin"}, {"id": 3, "name": "bones"}],
    "annotations": [
        {"image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40]},
        {"image_id": 2, "category_id": 2, "segmentation": [[10, 20, 30, 25, 12, 60]]},
    ],
}
EXPECTED_BOXES = [("aaaa", "fracture", 10, 20, 40, 60, None), ("bbbb", "coin", 10, 20, 30, 60, None)]
EXPECTED_LABELS = [
    ("aaaa", "coin", "absent", None),
    ("aaaa", "fracture", "present", None),
    ("bbbb", "coin", "present", None),
    ("bbbb", "fracture", "absent", None),
]


def coco_file(folders: Folders) -> Path:
    return folders.write("boxes.json", json.dumps(COCO))[0]


def voc_folder(folders: Folders) -> Path:
    box = "<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>40</xmax><ymax>60</ymax></bndbox>"
    outline = "<polygon><x1>10</x1><y1>20</y1><x2>30</x2><y2>25</y2><x3>12</x3><y3>60</y3></polygon>"
    for name, content in (("1.2.826.111", f"<name>Fracture</name>{box}"), ("x", f"<name>Coin</name>{outline}")):
        place = "<filename>MARNOSCH_A/s2/IM0001.jpg</filename>" if name == "x" else ""
        folders.write(f"voc/{name}.xml", f"<annotation>{place}<object>{content}</object></annotation>")
    return folders.here / "voc"


def yolo_folder(folders: Folders) -> Path:
    folders.write("yolo/data.yaml", "names: [Fracture, Coin]\n")
    folders.write("yolo/README.txt", "exported on Monday\n")
    folders.write("yolo/labels/1.2.826.111.txt", f"0 {25 / COLUMNS} {40 / ROWS} {30 / COLUMNS} {40 / ROWS}\n")
    points = " ".join(f"{x / COLUMNS} {y / ROWS}" for x, y in ((10, 20), (30, 25), (12, 60)))
    folders.write("yolo/labels/MARNOSCH_A/s2/IM0001.txt", f"1 {points}\n")
    return folders.here / "yolo"


@pytest.mark.parametrize("make", [coco_file, voc_folder, yolo_folder])
def test_annotation_files_of_every_format_label_films_of_the_archive(folders: Folders, make) -> None:  # type: ignore[no-untyped-def]
    folders.label(LabelFiles(boxes=[make(folders)]))
    assert folders.boxes() == EXPECTED_BOXES and folders.labels() == EXPECTED_LABELS
    folders.label(LabelFiles(boxes=[make(folders)]), "boxes_complete=false", "rename={Fracture: null}")
    assert folders.boxes() == EXPECTED_BOXES[1:] and folders.labels() == EXPECTED_LABELS[2:3]


def test_a_class_without_annotations_is_listed(folders: Folders) -> None:
    summary = folders.label(LabelFiles(boxes=[coco_file(folders)]))
    assert summary.problems is not None and "file and line of rows that are not used" in str(summary)
    (row,) = csv.DictReader(summary.problems.read_text(encoding="utf-8").splitlines())
    assert (row["part"], row["line"]) == ("categories", "2") and "no annotation has this class" in row["problem"]


def test_stated_labels_override_those_that_boxes_imply(folders: Folders) -> None:
    labels = folders.write("labels.csv", f"{HEADER}\n1.2.826.111,coin,uncertain\n1.2.826.222,fracture,present\n")
    folders.label(LabelFiles(labels=labels, boxes=[coco_file(folders)]))
    values = {row[:2]: row[2] for row in folders.labels()}
    assert values == {row[:2]: row[2] for row in EXPECTED_LABELS} | {
        ("aaaa", "coin"): "uncertain",
        ("bbbb", "fracture"): "present",
    }


def conflicts(folders: Folders, **settings: object) -> list[dict[str, str]]:
    write_overview(folders.private, folders.public, LabelSettings.model_validate(settings))
    with (folders.private / "label_conflicts.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def from_reports(folders: Folders, *rows: tuple[str, str, str]) -> None:
    """Labels from reports: rows with offsets."""
    new = [dict(zip(("key", "label", "value"), row, strict=True)) for row in rows]
    table = pa.Table.from_pylist([row | {"source": "report", "start": 0, "stop": 4} for row in new], LABELS_SCHEMA)
    pq.write_table(table, folders.public / "labels.parquet", store_schema=False)


def test_conflicts_list_file_and_line_of_each_entry(folders: Folders) -> None:
    from_reports(folders, ("bbbb", "fracture", "absent"))
    folders.label(two(folders))
    first, second, *others = conflicts(folders)
    wanted = ("conflict", "kind", "film", "row", "reader", "value", "settled", "line")
    assert [first[name] for name in wanted] == [
        "1",
        "readers",
        "1.2.826.111",
        "0",
        "file 1",
        "present",
        "labels conflict",
        "2",
    ]
    assert (second["reader"], second["value"], Path(second["file"]).name) == ("file 2", "absent", "other.csv")
    assert [(row["source"], row["value"], row["settled"], row["kind"]) for row in others] == [
        ("expert", "present", "present", "sources"),
        ("expert", "present", "present", "sources"),
        ("report", "absent", "present", "sources"),
    ]
    assert others[2]["film"] == "/archive/MARNOSCH_A/s2/IM0001" and others[2]["file"] == ""
    assert {row["settled"] for row in conflicts(folders, policy={"merge": "weak_only"})} == {"not labelled", "absent"}


def test_an_adjudicated_conflict_is_marked(folders: Folders) -> None:
    folders.label(two(folders, ("settled.csv", f"{HEADER}\n1.2.826.111,fracture,uncertain\n")))
    rows = conflicts(folders)
    assert [(row["reader"], row["value"], row["kind"]) for row in rows] == [
        ("adjudicated", "uncertain", "readers adjudicated"),
        ("file 1", "present", "readers adjudicated"),
        ("file 2", "absent", "readers adjudicated"),
    ]
    assert {row["settled"] for row in rows} == {"uncertain"}


def test_labels_from_reports_are_kept(folders: Folders) -> None:
    from_reports(folders, ("aaaa", "fracture", "present"))
    folders.run(f"{HEADER}\n1.2.826.111,fracture,absent\n")
    folders.run(f"{HEADER}\n1.2.826.111,fracture,uncertain\n")
    rows = pq.read_table(folders.public / "labels.parquet").to_pylist()
    assert {(row["source"], row["value"]) for row in rows} == {("expert", "uncertain"), ("report", "present")}


def test_statistics_count_each_film_once(folders: Folders) -> None:
    from_reports(folders, ("aaaa", "fracture", "present"), ("bbbb", "coin", "not_mentioned"))
    table = f"{HEADER},number\n1.2.826.222,coin,uncertain,\n1.2.826.222,age,,7\n"
    folders.label(two(folders)._replace(labels=[*two(folders).labels, *folders.write("c.csv", table)]))
    found = write_overview(folders.private, folders.public, LabelSettings()).statistics.to_pylist()
    assert all(row["split"] == "train" and row["body_part"] == "HAND" for row in found)
    assert all(row["films"] == sum(row[name] for name in list(row)[6:]) for row in found)
    labels = {(row["label"], row["source"]): {name: row[name] for name in list(row)[6:] if row[name]} for row in found}
    assert labels == {
        ("fracture", "expert"): {"present": 1, "conflict": 1},
        ("fracture", "report"): {"present": 1},
        ("fracture", "merged"): {"present": 1, "conflict": 1},
        ("coin", "expert"): {"uncertain": 1},
        ("coin", "report"): {"not_mentioned": 1},
        ("coin", "merged"): {"uncertain": 1},
        ("age", "expert"): {"number": 1},
        ("age", "merged"): {"number": 1},
    }
    soft = LabelSettings(policy=LabelPolicy(uncertain="positive"))
    merged = write_overview(folders.private, folders.public, soft).statistics.to_pylist()
    assert [row["present"] for row in merged if (row["label"], row["source"]) == ("coin", "merged")] == [1]


def test_statistics_of_a_source_count_entries_of_confidence_0(folders: Folders) -> None:
    folders.run(f"{HEADER},confidence\n1.2.826.111,fracture,present,0\n1.2.826.222,fracture,absent,0\n")
    found = write_overview(folders.private, folders.public, LabelSettings()).statistics.to_pylist()
    labels = {row["source"]: {name: row[name] for name in list(row)[6:] if row[name]} for row in found}
    assert labels == {"expert": {"present": 1, "absent": 1}, "merged": {"uncertain": 2}}
