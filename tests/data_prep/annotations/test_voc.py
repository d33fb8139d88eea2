"""Data sets with boxes in PASCAL VOC format."""

from pathlib import Path

import pytest

from tests.builders.set_builder import Scanned, save, write


def xml(name: str, objects: list[tuple[str, int, int, int, int]], width: int = 48, height: int = 60) -> str:
    drawn = "".join(
        f"<object><name>{kind}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{right}</xmax><ymax>{low}</ymax>"
        "</bndbox></object>"
        for kind, x, y, right, low in objects
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>1</depth></size>"
    return f"<annotation><folder>x</folder><filename>{name}</filename>{size}{drawn}</annotation>"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for name in ("a", "b", "c", "d"):
        save(root / "JPEGImages" / f"{name}.jpg")
    write(root / "Annotations" / "a.xml", xml("renamed_since.jpg", [("Fracture", 5, 6, 20, 30)]))
    write(root / "Annotations" / "b.xml", xml("b.jpg", []))
    write(root / "Annotations" / "c.xml", xml("c.jpg", [("Fracture", 30, 6, 20, 30), ("Fracture", 1, 1, 60, 9)]))
    write(root / "Annotations" / "d.xml", "<annotation><filename>d.jpg</file")
    write(root / "Annotations" / "e.xml", xml("e.jpg", [("Fracture", 5, 6, 20, 30)]))
    write(root / "ImageSets" / "Main" / "train.txt", ["a", "b"])
    write(root / "ImageSets" / "Main" / "val.txt", ["c"])
    write(root / "ImageSets" / "Main" / "fracture_trainval.txt", ["a  1"])
    return root


def test_boxes_findings_and_splits(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Scanned(archive, monkeypatch, layout="auto", tables={"film_is_patient": True})
    assert found.edges("JPEGImages/a.jpg", "fracture") == [(5, 6, 20, 30)]
    assert found.edges("JPEGImages/c.jpg", "fracture") == [(1, 1, 48, 9)]
    values = {below: value for (below, _), (value, *_) in found.labels.items()}
    assert values == {"JPEGImages/a.jpg": "present", "JPEGImages/b.jpg": "absent", "JPEGImages/c.jpg": "present"}
    assert found.splits == {"JPEGImages/a.jpg": "train", "JPEGImages/b.jpg": "train", "JPEGImages/c.jpg": "val"}
    assert found.problems == {"annotation_unreadable": 1, "row_without_file": 1, "box_empty": 1, "box_cut": 1}


def test_a_film_of_the_same_name_in_another_folder_is_not_used(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(archive / "elsewhere" / "e.jpg")
    found = Scanned(archive, monkeypatch, layout="voc")
    assert ("elsewhere/e.jpg", "fracture") not in found.boxes and found.problems["row_without_file"] == 1


def test_annotation_files_next_to_the_films_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("train", "test"):
        save(tmp_path / "set" / folder / "a.jpg")
        write(tmp_path / "set" / folder / "a.xml", xml("a.jpg", [("object", 1, 2, 8 if folder == "train" else 9, 9)]))
    found = Scanned(tmp_path / "set", monkeypatch, layout="auto", image_pattern=r"(?P<patient>a)\.jpg")
    assert found.edges("train/a.jpg", "object") == [(1, 2, 8, 9)]
    assert found.edges("test/a.jpg", "object") == [(1, 2, 9, 9)]
    assert found.splits == {"a": "test"}
    assert "1 patients have films in several splits" in str(found.summary)


def test_a_finding_without_a_complete_box_is_present(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = xml("b.jpg", [("Fracture", 5, 6, 20, 30)]).replace("<xmax>20</xmax>", "<xmax>?</xmax>")
    write(archive / "Annotations" / "b.xml", faulty.replace("<width>48", "<width>inf"))
    found = Scanned(archive, monkeypatch, layout="voc")
    assert found.value("JPEGImages/b.jpg", "fracture") == "present"
    assert ("JPEGImages/b.jpg", "fracture") not in found.boxes and found.problems["box_not_a_number"] == 1
