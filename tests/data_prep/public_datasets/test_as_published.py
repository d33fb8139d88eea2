"""Sets as published: annotation folders at any depth, pictures in class folders, several formats side by side."""

import json
import shutil
from pathlib import Path

import pytest

from data_prep.errors import ArchiveError
from data_prep.public_datasets.registry import matching_layouts
from tests.builders.set_builder import Scanned, save, write
from tests.data_prep.annotations.test_not_understood import annotation, coco, image
from tests.data_prep.annotations.test_voc import xml

CLASSES = ((0, "fractured"),)
BROKEN, WHOLE = ("IMG0000019", "IMG0000025"), ("IMG0000000", "IMG0000001")


@pytest.fixture
def fracatlas(tmp_path: Path) -> Path:
    """The tree of FracAtlas, with two films of either class."""
    root = tmp_path / "FracAtlas"
    for folder, names in (("Fractured", BROKEN), ("Non_fractured", WHOLE)):
        for name in names:
            save(root / "images" / folder / f"{name}.jpg")
    images = [image(number, f"{name}.jpg") for number, name in enumerate(BROKEN)]
    boxes = [annotation(number, 0) for number in range(2)]
    write(root / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json", coco(images, boxes, CLASSES))
    write(root / "Annotations" / "VGG JSON" / "VGG_fracture_masks.json", json.dumps({name: {} for name in BROKEN}))
    for name in (*BROKEN, *WHOLE):
        drawn = [("fractured", 5, 6, 15, 16)] if name in BROKEN else []
        write(root / "Annotations" / "PASCAL VOC" / f"{name}.xml", xml(f"{name}.jpg", drawn))
        write(root / "Annotations" / "YOLO" / f"{name}.txt", "0 0.5 0.5 0.5 0.5" if drawn else "")
    header = "image_id,hand,leg,hip,shoulder,mixed,hardware,multiscan,fractured,fracture_count,frontal,lateral,oblique"
    rows = [f"{name}.jpg,1,0,0,0,0,0,0,{int(name in BROKEN)},1,0,1,0" for name in (*BROKEN, *WHOLE)]
    write(root / "dataset.csv", [header, *rows])
    return root


def test_fracatlas_is_found_and_read_by_itself(fracatlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Scanned(fracatlas, monkeypatch, layout="auto")
    values = {Path(below).stem: value for (below, label), (value, *_) in found.labels.items() if label == "fracture"}
    assert values == dict.fromkeys(BROKEN, "present") | dict.fromkeys(WHOLE, "absent")
    assert found.edges(f"images/Fractured/{BROKEN[0]}.jpg", "fracture") == [(5, 6, 15, 16)] and not found.problems
    assert found.told(f"images/Fractured/{BROKEN[0]}.jpg", "body_part", "view") == ("HAND", "LATERAL")


def test_the_table_of_fracatlas_and_its_boxes_may_contradict(fracatlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = fracatlas / "dataset.csv"
    write(table, table.read_text(encoding="utf-8").replace("0,0,0,1,1,0,1,0", "0,0,0,0,1,0,1,0", 1))
    found = Scanned(fracatlas, monkeypatch, layout="fracatlas")
    assert found.value(f"images/Fractured/{BROKEN[0]}.jpg", "fracture") == "uncertain"
    assert found.problems == {"box_against_label": 1}


def test_without_boxes_the_table_of_fracatlas_is_read(fracatlas: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(fracatlas / "Annotations")
    table = fracatlas / "dataset.csv"
    write(table, table.read_text(encoding="utf-8").replace("0,0,0,0,1,0,1,0", "0,0,0,?,1,0,1,0"))
    found = Scanned(fracatlas, monkeypatch, layout="auto")
    values = {Path(below).stem: value for (below, label), (value, *_) in found.labels.items() if label == "fracture"}
    assert values == dict.fromkeys(BROKEN, "present") and found.problems == {"boxes_missing": 1, "label_unknown": 2}


@pytest.mark.parametrize("layout", ["coco", "voc", "yolo"])
def test_formats_side_by_side_are_named_and_each_reads_its_own_folder(
    fracatlas: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    (fracatlas / "dataset.csv").unlink()
    write(fracatlas / "Annotations" / "YOLO" / "classes.txt", "fractured")
    with pytest.raises(ArchiveError, match="may be any of coco, voc, yolo; give one of them"):
        Scanned(fracatlas, monkeypatch, layout="auto")
    found = Scanned(fracatlas, monkeypatch, layout=layout)
    broken = {Path(below).stem for (below, _), (value, *_) in found.labels.items() if value == "present"}
    assert broken == set(BROKEN) and len(found.boxes) == 2 and not found.problems
    assert len(found.labels) == (2 if layout == "coco" else 4)


@pytest.mark.parametrize("layout", ["voc", "yolo"])
def test_pictures_in_class_folders_are_found_by_their_only_stem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    root = tmp_path / "set"
    for path in ("images/a/f0.png", "images/b/f1.png", "images/a/f2.png", "images/b/f2.png", "elsewhere/f3.png"):
        save(root / path)
    for number in range(4):
        if layout == "voc":
            write(root / "Annotations" / f"f{number}.xml", xml("", [("fracture", 5, 6, 15, 16)] * (number != 1)))
        else:
            write(root / "labels" / f"f{number}.txt", "0 0.5 0.5 0.5 0.5" if number != 1 else "")
            write(root / "data.yaml", "names: [fracture]")
    found = Scanned(root, monkeypatch, layout="auto")
    values = {below: value for (below, _), (value, *_) in found.labels.items()}
    assert values == {"images/a/f0.png": "present", "images/b/f1.png": "absent"}
    assert found.problems == {"row_without_file": 2}  # two films have the third stem; the fourth is not below images/


def test_pictures_that_were_converted_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("f0.png", "f1.jpg", "twice.png", "sub/twice.png"):
        save(tmp_path / "set" / name)
    names = ("f0.jpg", "f1.dcm", "twice.jpg")
    content = coco([image(number, name) for number, name in enumerate(names)], [annotation(n, 1) for n in range(3)])
    write(tmp_path / "set" / "a.json", content)
    found = Scanned(tmp_path / "set", monkeypatch, layout="coco")
    assert {below for below, _ in found.labels} == {"f0.png", "f1.jpg"}


def test_coco_is_found_among_many_other_json_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "set" / "f0.png")
    write(tmp_path / "set" / "z.json", coco([image(0, "f0.png")], [annotation(0, 1)]))
    for number in range(70):
        write(tmp_path / "set" / "labelme" / f"x{number}.json", json.dumps({"shapes": [], "imagePath": "x.png"}))
    found = Scanned(tmp_path / "set", monkeypatch, layout="auto")
    assert found.value("f0.png", "fracture") == "present" and not found.problems


@pytest.mark.parametrize(
    ("path", "text", "name"),
    [
        ("CXR8/Data_Entry_2017_v2020.csv", "Image Index", "nih_chestxray14"),
        ("MURA-v1.1/train/XR_HAND/patient00001/study1_positive/x.txt", "", "mura"),
        ("vindr/1.0.0/annotations/annotations_train.csv", "image_id,rad_id,class_name,x_min,y_min,x_max,y_max",
         "vindr_cxr"),
        ("object-CXR/train.csv", "image_name,annotation", "object_cxr"),
    ],
)  # fmt: skip
def test_a_set_one_or_two_folders_below_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, text: str, name: str
) -> None:
    save(tmp_path / "set" / Path(path).parts[0] / "images" / "a.png")
    write(tmp_path / "set" / path, text)
    for layout in ("auto", name) if name != "mura" else ("auto",):
        with pytest.raises(ArchiveError, match=f"not the folder of {name}: it lies in .*{Path(path).parts[0]}.*; give"):
            Scanned(tmp_path / "set", monkeypatch, layout=layout)


def test_a_yolo_set_in_a_folder_below_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "set" / "below" / "images" / "a.png")
    write(tmp_path / "set" / "below" / "data.yaml", "names: [fracture]")
    write(tmp_path / "set" / "below" / "labels" / "a.txt", "0 0.5 0.5 0.5 0.5")
    assert matching_layouts(tmp_path / "set") == ["yolo"]
    assert Scanned(tmp_path / "set", monkeypatch, layout="auto").value("below/images/a.png", "fracture") == "present"
