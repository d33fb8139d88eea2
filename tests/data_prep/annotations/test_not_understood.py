"""Annotation files: what was not understood is never a negative, and never another label than the file says."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import ArchiveError
from tests.builders.set_builder import Scanned, save, write
from tests.data_prep.annotations.test_voc import xml

CLASSES = ((1, "fracture"), (2, "metal"))


def image(number: object, name: str, **more: object) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": 48, "height": 60, **more}


def annotation(
    of: object, category: object, bbox: tuple[float, ...] = (5, 6, 10, 10), **more: object
) -> dict[str, Any]:
    return {"image_id": of, "category_id": category, "bbox": bbox, **more}


def coco(images: list[Any], annotations: list[Any], classes: tuple[tuple[int, str], ...] = CLASSES) -> str:
    categories = [{"id": number, "name": name} for number, name in classes]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


@pytest.fixture
def films(tmp_path: Path) -> Path:
    for number in range(4):
        save(tmp_path / "set" / "images" / f"f{number}.png")
    return tmp_path / "set"


FOUR = [image(number, f"f{number}.png") for number in range(4)]


def said(found: Scanned, name: str) -> dict[str, str]:
    return {label: value for (below, label), (value, *_) in found.labels.items() if Path(below).stem == name}


def scan_coco(films: Path, monkeypatch: pytest.MonkeyPatch, *parts: Any) -> Scanned:
    write(films / "coco.json", coco(*parts))
    return Scanned(films, monkeypatch, layout="coco")


# --- COCO


@pytest.mark.parametrize("category", [7, None, "fracture", 1.5, [1]])
def test_coco_an_unknown_class_is_no_negative(films: Path, monkeypatch: pytest.MonkeyPatch, category: object) -> None:
    boxes = [annotation(0, 1), annotation(1, 2), annotation(2, category)]
    found = scan_coco(films, monkeypatch, FOUR, boxes)
    assert said(found, "f2") == {} and found.problems == {"label_unknown": 1}
    assert said(found, "f3") == {"fracture": "absent", "metal": "absent"}


def test_coco_what_is_known_of_a_film_with_an_unknown_class_stays(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = scan_coco(films, monkeypatch, FOUR, [annotation(0, 1), annotation(0, 7), annotation(1, 2)])
    assert said(found, "f0") == {"fracture": "present"}


@pytest.mark.parametrize(
    "annotations",
    [
        [annotation(0, 0), annotation(1, 1), annotation(2, 0)],
        [annotation(-1, 1), annotation(0, 2), annotation(1, 1)],
    ],
)
def test_coco_numbers_that_are_shifted_say_nothing(
    films: Path, monkeypatch: pytest.MonkeyPatch, annotations: list[Any]
) -> None:
    found = scan_coco(films, monkeypatch, FOUR, annotations)
    assert not found.labels and not found.boxes and found.problems["class_numbers_shifted"] == 1


def test_coco_an_id_of_two_classes_is_none(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = ((1, "fracture"), (1, "metal"), (2, "cast"))
    found = scan_coco(films, monkeypatch, FOUR, [annotation(0, 1), annotation(1, 2)], classes)
    assert said(found, "f0") == {} and said(found, "f1") == {"cast": "present"}


def test_coco_a_film_under_two_ids_has_the_boxes_of_both(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = scan_coco(films, monkeypatch, [*FOUR, image(9, "f3.png")], [annotation(0, 1), annotation(9, 1)])
    assert said(found, "f3") == {"fracture": "present"} and found.edges("images/f3.png", "fracture") == [(5, 6, 15, 16)]
    assert found.problems == {"film_repeated": 1}


@pytest.mark.parametrize("other", [image(9, "b/f3.png"), image(9, "f3.png", width=96)])
def test_coco_a_film_of_two_pictures_has_no_label(
    films: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    other = other | {"file_name": other["file_name"].replace("b/", "images/")}
    found = scan_coco(films, monkeypatch, [*FOUR, other], [annotation(0, 1), annotation(9, 1)])
    assert said(found, "f3") == {} and found.problems == {"film_repeated": 1}


def test_coco_an_id_of_two_images_says_nothing_of_either(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [image(1, "f0.png"), image(1, "f1.png"), image(2, "f2.png"), image(2, "f2.png")]
    found = scan_coco(films, monkeypatch, images, [annotation(1, 1), annotation(2, 1)])
    assert {Path(below).stem for below, _ in found.labels} == {"f2"} == {Path(below).stem for below, _ in found.boxes}
    assert found.problems == {"image_repeated": 2}


def test_coco_a_crowd_is_present_without_a_box(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {"counts": [10, 20, 2850], "size": [60, 48]}
    crowd = annotation(0, 1, iscrowd=1)
    found = scan_coco(films, monkeypatch, FOUR, [crowd, annotation(1, 1)])
    assert said(found, "f0") == {"fracture": "present"} and found.problems == {"box_of_crowd": 1}
    assert list(found.boxes) == [("images/f1.png", "fracture")]
    # a program that writes iscrowd with every outline in run lengths means one object
    found = scan_coco(films, monkeypatch, FOUR, [annotation(0, 1, iscrowd=1, segmentation=runs)])
    assert found.edges("images/f0.png", "fracture") == [(5, 6, 15, 16)] and not found.problems


@pytest.mark.parametrize("size", [(0, 0), (0, 60), (-1, -1)])
def test_coco_a_size_of_nothing_is_not_known(
    films: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    found = scan_coco(films, monkeypatch, [image(0, "f0.png", width=size[0], height=size[1])], [annotation(0, 1)])
    assert found.edges("images/f0.png", "fracture") == [(5, 6, 15, 16)] and not found.problems


# --- YOLO


def scan_yolo(films: Path, monkeypatch: pytest.MonkeyPatch, *lines: str, names: str = "[fracture, metal]") -> Scanned:
    write(films / "data.yaml", f"names: {names}")
    for number, line in enumerate(lines):
        write(films / "labels" / f"f{number}.txt", line)
    return Scanned(films, monkeypatch, layout="yolo")


GOOD = "0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.1 0.1\n"


@pytest.mark.parametrize(
    "line",
    ["fracture 0.5 0.5 0.2 0.2", "7 0.5 0.5 0.2 0.2", "-1 0.5 0.5 0.2 0.2", "0,0.5,0.5,0.2,0.2", "0;0.5;0.5;0.2;0.2"],
)
def test_yolo_a_line_that_is_not_understood_is_no_negative(
    films: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    found = scan_yolo(films, monkeypatch, line, GOOD, f"1 0.5 0.5 0.2 0.2\n{line}", "")
    assert said(found, "f0") == {} and said(found, "f2") == {"metal": "present"}
    assert said(found, "f3") == {"fracture": "absent", "metal": "absent"} and found.problems == {"label_unknown": 2}


def test_yolo_numbers_that_begin_at_one_say_nothing(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = scan_yolo(films, monkeypatch, "1 0.5 0.5 0.2 0.2", "2 0.5 0.5 0.2 0.2", "")
    assert not found.labels and not found.boxes
    assert found.problems == {"class_numbers_shifted": 1, "class_empty": 1}


def test_yolo_a_class_may_be_written_with_a_point(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = scan_yolo(films, monkeypatch, "0.0 0.5 0.5 0.5 0.5", GOOD)
    assert found.edges("images/f0.png", "fracture") == [(12, 15, 36, 45)] and not found.problems


def test_yolo_a_class_that_no_line_uses_is_not_absent(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = scan_yolo(films, monkeypatch, "0 0.5 0.5 0.2 0.2", "")
    assert said(found, "f0") == {"fracture": "present"} and said(found, "f1") == {"fracture": "absent"}
    assert found.problems == {"class_empty": 1}
    found = scan_yolo(films, monkeypatch, "", "")
    assert not found.labels and found.problems == {"class_empty": 2}


@pytest.mark.parametrize("other", ["a_other.yaml", "classes.txt", "labels/classes.txt"])
def test_yolo_files_that_name_the_classes_differently_are_refused(
    films: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    write(films / other, "names: [metal, fracture]" if other.endswith("yaml") else "metal\nfracture\n")
    with pytest.raises(ArchiveError, match=f"data.yaml.*class 0 different names|{other}.*class 0 different names"):
        scan_yolo(films, monkeypatch, GOOD)
    write(films / other, "names: [Fracture, metal]" if other.endswith("yaml") else "fracture\nmetal\n\n")
    assert scan_yolo(films, monkeypatch, GOOD).value("images/f0.png", "metal") == "present"


def test_yolo_numbers_of_classes_may_be_in_quotes(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = scan_yolo(films, monkeypatch, GOOD, names='{"1": metal, "0": fracture}')
    assert said(found, "f0") == {"fracture": "present", "metal": "present"}


def test_yolo_key_points_are_refused(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(films / "pose.yaml", "kpt_shape: [3, 2]")
    with pytest.raises(ArchiveError, match="key points, not boxes"):
        scan_yolo(films, monkeypatch, GOOD)


# --- VOC


def test_voc_an_object_without_a_name_is_no_negative(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(films / "Annotations" / "f0.xml", xml("f0.png", [("fracture", 5, 6, 20, 30)]))
    write(films / "Annotations" / "f1.xml", xml("f1.png", [("", 5, 6, 20, 30)]))
    write(films / "Annotations" / "f2.xml", xml("f2.png", []))
    found = Scanned(films, monkeypatch, layout="voc")
    assert said(found, "f1") == {} and said(found, "f2") == {"fracture": "absent"}
    assert found.problems == {"label_unknown": 1}


def test_voc_a_finding_in_a_part_is_present(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = "<bndbox><xmin>7</xmin><ymin>8</ymin><xmax>9</xmax><ymax>12</ymax></bndbox>"
    whole = xml("f0.png", [("hand", 5, 6, 20, 30)])
    write(films / "Annotations" / "f0.xml", whole.replace("</object>", f"<part><name>chip</name>{box}</part></object>"))
    write(films / "Annotations" / "f1.xml", xml("f1.png", [("fracture", 5, 6, 20, 30)]))
    found = Scanned(films, monkeypatch, layout="voc")
    assert said(found, "f0") == {"hand": "present", "chip": "present", "fracture": "absent"}
    assert found.edges("images/f0.png", "chip") == [(7, 8, 9, 12)]
    assert "chip" not in said(found, "f1")  # parts may be drawn on some films only


def test_voc_a_file_that_names_another_film_is_not_used(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(films / "Annotations" / "f0.xml", xml("f1.png", [("fracture", 5, 6, 20, 30)]))
    write(films / "Annotations" / "f1.xml", xml("f1.png", []))
    write(films / "Annotations" / "f2.xml", xml("renamed_since.png", [("fracture", 5, 6, 20, 30)]))
    found = Scanned(films, monkeypatch, layout="voc")
    assert said(found, "f0") == {} and said(found, "f1") == {"fracture": "absent"}
    assert said(found, "f2") == {"fracture": "present"} and found.problems == {"filename_differs": 1}


# --- boxes in parts of the film


@pytest.mark.parametrize("edges", [(0.1, 0.1, 0.4, 0.4), (0, 0, 1, 1), (0.5, 0.5, 0.99, 1.0)])
def test_boxes_in_fractions_are_not_pixels(
    films: Path, monkeypatch: pytest.MonkeyPatch, edges: tuple[float, ...]
) -> None:
    x_min, y_min, x_max, y_max = edges
    found = scan_coco(films, monkeypatch, FOUR, [annotation(0, 1, (x_min, y_min, x_max - x_min, y_max - y_min))])
    assert said(found, "f0") == {"fracture": "present"} and not found.boxes
    assert found.problems == {"box_in_fractions": 1}
    write(films / "boxes.csv", ["path,label,x_min,y_min,x_max,y_max", f"f0,fracture,{x_min},{y_min},{x_max},{y_max}"])
    found = Scanned(films, monkeypatch, layout="table", columns={"boxes": "boxes.csv"})
    assert said(found, "f0") == {"fracture": "present"} and found.problems == {"box_in_fractions": 1}


def test_the_first_pixels_of_a_film_can_be_in_a_box(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = scan_coco(films, monkeypatch, FOUR, [annotation(0, 1, (0, 0, 2, 2))])
    assert found.edges("images/f0.png", "fracture") == [(0, 0, 2, 2)]
