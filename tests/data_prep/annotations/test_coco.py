"""Data sets with boxes in COCO format."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import ArchiveError
from tests.builders.set_builder import Scanned, save


def write_json(path: Path, images: list[Any], annotations: list[Any], categories: tuple[str, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": [
            {"id": number, "file_name": name, "width": width, "height": height}
            for number, (name, width, height) in enumerate(images)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(categories)],
    }
    path.write_text(json.dumps(content))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for path in ("train/a.jpg", "train/b.jpg", "val/c.jpg", "val/d.jpg"):
        save(root / path)
    annotations = [
        {"image_id": 0, "category_id": 1, "bbox": [5, 6, 10, 20.5]},
        {"image_id": 0, "category_id": 1, "bbox": [5, 6, 10, 20.5]},
        {"image_id": 0, "category_id": 2, "segmentation": [[1, 2, 30, 4, 8, 40]]},
        {"image_id": 0, "category_id": 2, "bbox": [60, 70, 5, 5]},
        {"image_id": 1, "category_id": 7, "bbox": [1, 1, 5, 5]},
        {"image_id": 9, "category_id": 1, "bbox": [1, 1, 5, 5]},
        {"image_id": 2, "category_id": 1, "bbox": [1, 1, 5, 5]},
        {"image_id": 1, "category_id": 1, "bbox": [1, 1, "wide", 5]},
    ]
    names = ("bones", "Wrist fracture", "Screw")
    write_json(root / "annotations" / "instances_train.json", [("a.jpg", 48, 60), ("b.jpg", 48, 60), ("x.jpg", 1, 1)],
               annotations, names)  # fmt: skip
    write_json(root / "annotations" / "instances_val.json", [("c.jpg", 96, 120)],
               [{"image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5]}], names)  # fmt: skip
    (root / "info.json").write_text("[1, 2]")
    return root


def test_boxes_and_findings(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Scanned(archive, monkeypatch, layout="auto", tables={"film_is_patient": True})
    assert found.edges("train/a.jpg", "wrist_fracture") == [(5, 6, 15, 26.5)]
    assert found.edges("train/a.jpg", "screw") == [(1, 2, 30, 40)]
    assert found.value("train/a.jpg", "screw") == "present"
    assert found.value("train/b.jpg", "wrist_fracture") == "present"
    assert ("train/b.jpg", "screw") not in found.labels  # one of its annotations has no known class
    assert ("val/d.jpg", "screw") not in found.labels
    assert "bones" not in {label for _, label in found.labels}  # no box is of this class
    assert found.splits == {"train/a.jpg": "train", "train/b.jpg": "train", "val/c.jpg": "val", "val/d.jpg": "val"}
    assert found.problems == {
        "row_without_file": 2,
        "image_unknown": 1,
        "label_unknown": 1,
        "box_repeated": 1,
        "box_outside": 1,
        "box_not_a_number": 1,
        "box_of_another_size": 1,
    }


def test_classes_are_renamed_merged_and_ignored(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = {"Wrist fracture": "fracture", "Screw": None}
    found = Scanned(archive, monkeypatch, layout="coco", tables={"rename": rename})
    assert {label for _, label in found.labels} == {"fracture"}
    both = {"Wrist fracture": "foreign_object", "Screw": "foreign_object"}
    found = Scanned(archive, monkeypatch, layout="coco", tables={"rename": both})
    assert found.value("train/a.jpg", "foreign_object") == "present"
    assert len(found.boxes["train/a.jpg", "foreign_object"]) == 2 and not found.problems["label_conflict"]


def test_without_complete_boxes_nothing_is_absent(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Scanned(archive, monkeypatch, layout="coco", tables={"boxes_complete": False})
    assert {value for value, *_ in found.labels.values()} == {"present"}


def test_ambiguous_names_are_listed_and_not_used(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(archive / "val" / "a.jpg")
    found = Scanned(archive, monkeypatch, layout="coco")
    assert found.problems["name_fits_several"] == 1
    assert not found.boxes


def test_a_folder_without_annotations_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "set" / "a.jpg")
    with pytest.raises(ArchiveError, match="no JSON file with images, annotations, categories"):
        Scanned(tmp_path / "set", monkeypatch, layout="coco")


def test_a_finding_with_an_unreadable_outline_is_present(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "set" / "a.jpg")
    runs = {"counts": [10, 20, 2850], "size": [60, 48]}
    annotations = [{"image_id": 0, "category_id": 0, "segmentation": runs, "iscrowd": 1}]
    write_json(tmp_path / "set" / "x.json", [("a.jpg", 48, 60)], annotations, ("fracture",))
    found = Scanned(tmp_path / "set", monkeypatch, layout="coco")
    assert found.value("a.jpg", "fracture") == "present" and not found.boxes
    assert found.problems == {"box_not_a_number": 1}


def test_odd_identifiers_and_sizes_are_listed_or_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "set" / "a.jpg")
    write_json(tmp_path / "set" / "x.json", [("a.jpg", 48.0, 60.0)], [
        {"image_id": "0", "category_id": "0", "bbox": [1, 2, 3, 4]},
        {"image_id": [0], "category_id": 0, "bbox": [1, 2, 3, 4]},
        {"image_id": 0, "category_id": {"0": 0}, "bbox": [1, 2, 3, 4]},
    ], ("fracture",))  # fmt: skip
    (tmp_path / "set" / "deep.json").write_text("[" * 100_000)
    found = Scanned(tmp_path / "set", monkeypatch, layout="coco")
    assert found.edges("a.jpg", "fracture") == [(1, 2, 4, 6)]
    assert found.problems == {"image_unknown": 1, "label_unknown": 1}


def test_a_film_of_two_splits_is_kept_out_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "set" / "a.jpg")
    for name in ("a_train.json", "b_val.json", "c_test.json"):
        write_json(tmp_path / "set" / name, [("a.jpg", 48, 60)], [], ("fracture",))
    found = Scanned(tmp_path / "set", monkeypatch, layout="coco", tables={"film_is_patient": True})
    assert found.splits == {"a.jpg": "test"} and found.problems == {"split_conflict": 2}
