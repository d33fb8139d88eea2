"""object-CXR as published."""

from pathlib import Path

import pytest

from data_prep.errors import ArchiveError
from tests.builders.set_builder import Scanned, save, write


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "object-CXR"
    for path in ("train/00001.jpg", "train/00002.jpg", "train/00003.jpg", "dev/00001.jpg"):
        save(root / path)
    write(
        root / "train.csv",
        [
            "image_name,annotation",
            "00001.jpg,0 5 6 20 30;1 2 2 8 9;2 10 40 20 40 15 50",
            "00002.jpg,",
            "00003.jpg,0 5 6 20;7 1 1 2 2",
            "00004.jpg,",
        ],
    )
    write(root / "dev.csv", ["image_name,annotation", "00001.jpg,0 40 50 60 70"])
    return root


def test_shapes_are_replaced_by_their_bounding_boxes(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Scanned(archive, monkeypatch, layout="auto")
    assert found.edges("train/00001.jpg", "foreign_object") == [(5, 6, 20, 30), (2, 2, 8, 9), (10, 40, 20, 50)]
    values = {below: value for (below, _), (value, *_) in found.labels.items()}
    assert values == {
        "train/00001.jpg": "present",
        "train/00002.jpg": "absent",
        "train/00003.jpg": "present",
        "dev/00001.jpg": "present",
    }
    assert found.edges("dev/00001.jpg", "foreign_object") == [(40, 50, 48, 60)]
    assert found.problems == {"shape_unknown": 2, "row_without_file": 1, "box_cut": 1}
    assert found.told("train/00001.jpg", "body_part", "patient_known") == ("CHEST", False)


def test_without_patients_the_split_of_films_is_reported_and_not_used(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Scanned(archive, monkeypatch, layout="object_cxr")
    assert found.splits == {}
    assert "4 films have a split but no patient, and are used for training only" in str(found.summary)
    assert "tables.film_is_patient=true" in str(found.summary)


def test_with_film_is_patient_the_split_is_used(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Scanned(archive, monkeypatch, layout="object_cxr", tables={"film_is_patient": True})
    assert found.splits == {
        "train/00001.jpg": "train",
        "train/00002.jpg": "train",
        "train/00003.jpg": "train",
        "dev/00001.jpg": "val",
    }
    assert len({found.told(below, "patient") for below in found.facts}) == 4


def test_the_published_table_with_paths_is_read(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(archive / "train.csv", ["image_path,annotation", "/data/train/00002.jpg,0 1 1 5 5"])
    found = Scanned(archive, monkeypatch, layout="object_cxr")
    assert found.edges("train/00002.jpg", "foreign_object") == [(1, 1, 5, 5)]


def test_a_table_without_its_columns_is_rejected(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(archive / "train.csv", ["file,annotation", "a,b"])
    with pytest.raises(ArchiveError, match=r"train\.csv has no column 'image_name'"):
        Scanned(archive, monkeypatch, layout="object_cxr")


@pytest.mark.parametrize("cell", ["n/a", "7 1 1 2 2", "unknown;?"])
def test_a_cell_that_is_no_shape_says_nothing(archive: Path, monkeypatch: pytest.MonkeyPatch, cell: str) -> None:
    write(archive / "train.csv", ["image_name,annotation", f"00003.jpg,{cell}", "00002.jpg,"])
    found = Scanned(archive, monkeypatch, layout="object_cxr")
    assert ("train/00003.jpg", "foreign_object") not in found.labels and found.problems["shape_unknown"] >= 1
    assert found.value("train/00002.jpg", "foreign_object") == "absent"


def test_the_tables_that_are_there_are_read(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (archive / "train.csv").unlink()
    found = Scanned(archive, monkeypatch, layout="auto")
    assert found.value("dev/00001.jpg", "foreign_object") == "present" and len(found.labels) == 1
