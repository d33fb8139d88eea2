"""NIH ChestX-ray14 as published."""

from pathlib import Path

import pytest

from data_prep.errors import ArchiveError
from tests.builders.set_builder import Scanned, save, write

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = (
    "00000001_000.png,Cardiomegaly,0,1,057Y,M,PA,2682,2749,0.143,0.143,",  # 2017: age with unit, a comma at the end
    "00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,PA,2894,2729,0.143,0.143",
    "00000002_000.png,No Finding,0,2,81,F,AP,2500,2048,0.171,0.171",
    "00000003_000.png,Infiltration,0,3,412,F,PA,2500,2048,0.171,0.171",
    "00000099_000.png,Hernia,0,99,30,F,PA,2500,2048,0.171,0.171",
)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "nih"
    for folder, name in (
        ("images_001", "00000001_000"),
        ("images_001", "00000001_001"),
        ("images_002", "00000002_000"),
        ("images_002", "00000003_000"),
        ("images_002", "00000077_000"),
    ):
        save(root / folder / "images" / f"{name}.png")
    write(root / "Data_Entry_2017_v2020.csv", [HEADER, *ROWS])
    write(root / "BBox_List_2017.csv", ["Image Index,Finding Label,Bbox [x,y,w,h],,,"])
    write(root / "train_val_list.txt", ["00000001_000.png", "00000001_001.png"])
    write(root / "test_list.txt", ["00000002_000.png", "00000003_000.png"])
    return root


def test_patients_findings_and_the_official_split_are_read_from_tables(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Scanned(archive, monkeypatch, layout="auto")
    first, second = "images_001/images/00000001_000.png", "images_001/images/00000001_001.png"
    names = ("patient_id", "body_part", "view", "sex", "age_years", "patient_known")
    assert found.told(first, *names) == ("1", "CHEST", "PA", "M", 57, True)
    assert found.told(second, *names) == ("1", "CHEST", "PA", "M", 58, True)
    assert found.told(first, "patient") == found.told(second, "patient")
    assert found.told(first, "study") != found.told(second, "study")
    assert found.labels[second, "emphysema"] == ("present", "report", 1.0)
    assert found.value(first, "emphysema") == "absent"
    assert {found.value("images_002/images/00000002_000.png", label) for _, label in found.labels} == {"absent"}
    assert len(found.labels) == 4 * 14
    assert found.splits == {"1": "train_val", "2": "test", "3": "test"}
    assert found.told("images_002/images/00000003_000.png", "age_years") == (None,)
    assert found.problems == {"row_without_file": 1, "age_unknown": 1}
    assert "4 films named, 1 films not" in str(found.summary)


def test_boxes_of_a_radiologist_override_mined_labels(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    save(archive / "images_002" / "images" / "00000002_000.png", np.full((1024, 1024), 7, np.uint8))
    write(
        archive / "BBox_List_2017.csv",
        [
            "Image Index,Finding Label,Bbox [x,y,w,h],,,",
            "00000002_000.png,Infiltrate,100.5,200,50,60.25",
            "00000001_000.png,Mass,1,1,5,5",  # this picture is a shrunk one
            "00000002_000.png,Elephant,1,1,5,5",
            "00000002_000.png,Mass,x,1,5,5",
        ],
    )
    found = Scanned(archive, monkeypatch, layout="nih_chestxray14")
    below = "images_002/images/00000002_000.png"
    assert found.edges(below, "infiltration") == [(100.5, 200, 150.5, 260.25)]
    assert found.labels[below, "infiltration"] == ("present", "expert", 1.0)
    assert found.labels[below, "mass"] == ("present", "expert", 1.0)  # its box cannot be read
    assert {name: found.problems[name] for name in ("box_of_another_size", "label_unknown", "box_not_a_number")} == {
        "box_of_another_size": 1,
        "label_unknown": 1,
        "box_not_a_number": 1,
    }


def test_expert_labels_in_the_folder_are_read(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = "Image Index,Patient ID,Fracture,Pneumothorax,Airspace opacity,Nodule or mass"
    write(archive / "test_labels.csv", [head, "00000002_000.png,2,YES,NO,YES,"])
    found = Scanned(archive, monkeypatch, layout="nih_chestxray14")
    below = "images_002/images/00000002_000.png"
    assert found.labels[below, "fracture"] == ("present", "expert", 1.0)
    assert found.labels[below, "pneumothorax"] == ("absent", "expert", 1.0)
    assert (below, "nodule_or_mass") not in found.labels


def test_a_missing_table_or_column_is_named(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = archive / "Data_Entry_2017_v2020.csv"
    write(table, [HEADER.replace("Patient ID", "Patient"), *ROWS])
    with pytest.raises(ArchiveError, match=r"Data_Entry_2017_v2020\.csv has no column 'Patient ID'"):
        Scanned(archive, monkeypatch, layout="nih_chestxray14")
    table.unlink()
    with pytest.raises(ArchiveError, match=r"Data_Entry_2017\.csv or .* is missing"):
        Scanned(archive, monkeypatch, layout="nih_chestxray14")


def test_the_official_test_set_is_kept_and_val_is_drawn_from_train_val(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Scanned(archive, monkeypatch, layout="nih_chestxray14")
    splits = {"val": 0.99, "test": 0, "table": found.private / "splits.csv"}
    public, summary = found.sharded(splits=splits)
    index = found.index(public)
    by_patient = dict(zip(index["patient"].to_pylist(), index["split"].to_pylist(), strict=True))
    assert by_patient[found.told("images_002/images/00000002_000.png", "patient")[0]] == "test"
    assert by_patient[found.told("images_001/images/00000001_000.png", "patient")[0]] == "val"
    assert summary.labels.used == 4 * 14 and not summary.labels.unknown
