"""Data sets with boxes in YOLO format."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from data_prep.errors import ArchiveError
from tests.builders.set_builder import Scanned, save, write


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    write(root / "data.yaml", "train: train/images\nnc: 2\nnames: ['fracture', 'Metal plate']\n")
    write(root / "README.txt", "3 0.5 0.5 0.1 0.1")
    for path in ("train/images/a.jpg", "train/images/b.jpg", "test/images/a.jpg", "test/images/c.jpg"):
        save(root / path)
    write(root / "train" / "labels" / "a.txt", "0 0.5 0.5 0.5 0.5\n\n1 0.25 0.25 0.5 0.25 0.5 0.75\n")
    write(root / "train" / "labels" / "b.txt", "")
    write(root / "train" / "labels" / "z.txt", "0 0.5 0.5 0.5 0.5\n")
    write(root / "test" / "labels" / "a.txt", "5 0.5 0.5 0.5 0.5\n0 0.5 0.5\n0 0.9 0.5 0.5 0.5\n")
    return root


def test_boxes_polygons_and_empty_files(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Scanned(archive, monkeypatch, layout="auto", tables={"film_is_patient": True})
    assert found.edges("train/images/a.jpg", "fracture") == [(12, 15, 36, 45)]
    assert found.edges("train/images/a.jpg", "metal_plate") == [(12, 15, 24, 45)]
    assert found.edges("test/images/a.jpg", "fracture") == [(31.2, 15, 48, 45)]
    assert found.value("train/images/b.jpg", "fracture") == "absent"
    assert ("test/images/c.jpg", "fracture") not in found.labels
    assert found.splits["train/images/a.jpg"] == "train" and found.splits["test/images/a.jpg"] == "test"
    assert found.problems == {"row_without_file": 1, "label_unknown": 1, "polygon_too_short": 1, "box_cut": 1}


def test_a_film_of_the_same_name_in_another_folder_is_not_used(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(archive / "train" / "labels" / "c.txt", "0 0.5 0.5 0.5 0.5\n")  # only test/images has c.jpg
    found = Scanned(archive, monkeypatch, layout="yolo")
    assert ("test/images/c.jpg", "fracture") not in found.boxes and found.problems["row_without_file"] == 2


def test_names_of_classes_are_required(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (archive / "data.yaml").unlink()
    with pytest.raises(ArchiveError, match="add one of them with the names of the classes"):
        Scanned(archive, monkeypatch, layout="yolo")
    write(archive / "classes.txt", ["fracture", "metal"])
    assert Scanned(archive, monkeypatch, layout="yolo").value("train/images/a.jpg", "metal") == "present"


def test_labels_in_another_folder_than_the_films_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "set" / "meta.yaml", "names: {0: fracture}\n")
    save(tmp_path / "set" / "films" / "a.png")
    write(tmp_path / "set" / "yolo" / "labels" / "a.txt", "0 0.5 0.5 1 1\n")
    assert Scanned(tmp_path / "set", monkeypatch, layout="yolo").edges("films/a.png", "fracture") == [(0, 0, 48, 60)]


def test_a_class_without_a_complete_box_is_present(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(archive / "train" / "labels" / "b.txt", "\ufeff0 0.5 0.5 0.5 0.5 0.93\r\n")  # with a confidence
    found = Scanned(archive, monkeypatch, layout="yolo")
    assert (found.value("train/images/b.jpg", "fracture"), found.value("train/images/b.jpg", "metal_plate")) == (
        "present",
        "absent",
    )


def test_an_unreadable_file_gives_no_labels(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (archive / "train" / "labels" / "b.txt").write_bytes("0 0.5 0.5 0.5 0.5".encode("utf-16"))
    found = Scanned(archive, monkeypatch, layout="yolo")
    assert ("train/images/b.jpg", "fracture") not in found.labels and found.problems["annotation_unreadable"] == 1


def test_rename_is_checked_against_names_and_labels(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(archive / "data.yaml", f"names: [fracture, {'x' * 65}]\n")
    found = Scanned(archive, monkeypatch, layout="yolo", tables={"rename": {"Fracture": "fracture_of_bone"}})
    assert found.problems["rename_without_name"] == 1 and found.problems["label_needs_rename"] > 0
    assert {label for _, label in found.labels} == {"fracture"}
    with pytest.raises(ValidationError, match="rename"):
        Scanned(archive, monkeypatch, layout="yolo", tables={"rename": {"fracture": "Bone fracture!"}})


@pytest.mark.parametrize("form", ["{}", "./{}", "[{}]", "lists/{}"])
def test_the_splits_are_those_of_the_lists_that_the_yaml_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    root, lists = tmp_path / "S", {"train": ["a", "b", "c"], "val": ["d"], "test": ["e", "f"]}
    folder = root / "lists" if form.startswith("lists") else root
    for split, names in lists.items():
        write(folder / f"{split}.txt", "".join(f"./images/{name}.png\n" for name in names))
        for name in names:
            save(root / "images" / f"{name}.png")
            write(root / "labels" / f"{name}.txt", "0 0.5 0.5 0.5 0.5\n")
    lines = [f"{split}: {form.format(f'{split}.txt')}" for split in lists]
    write(root / "data.yaml", "\n".join(["names: [fracture]", *lines, ""]))
    found = Scanned(root, monkeypatch, layout="yolo", tables={"film_is_patient": True})
    assert found.splits == {f"images/{name}.png": split for split, names in lists.items() for name in names}
    assert not found.problems


def test_a_list_of_a_split_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "S"
    save(root / "images" / "a.png")
    write(root / "labels" / "a.txt", "0 0.5 0.5 0.5 0.5\n")
    write(root / "data.yaml", "names: [fracture]\ntrain: train.txt\n")
    found = Scanned(root, monkeypatch, layout="yolo", tables={"film_is_patient": True})
    assert found.problems == {"split_list_missing": 1} and not found.splits
