"""GRAZPEDWRI-DX as published."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.errors import ArchiveError
from tests.builders.set_builder import Scanned, film, save, write

HEADER = (
    "\ufefffilestem,patient_id,study_number,timehash,gender,age,laterality,projection,initial_exam,ao_classification,cast,"
    "diagnosis_uncertain,osteopenia,fracture_visible,metal,pixel_spacing,device_manufacturer"
)
FIRST, SECOND, THIRD = "0001_12978603_01_WRI-L1_M014", "0001_12978604_01_WRI-L2_M014", "0002_03544857_01_WRI-R1_F012"
FILMS = {
    FIRST: f"images_part1/{FIRST}.png",
    SECOND: f"images_part1/{SECOND}.png",
    THIRD: f"images_part2/{THIRD}.png",
}
CLASSES = "boneanomaly bonelesion foreignbody fracture metal periostealreaction pronatorsign softtissue text"
META = f"names: [{', '.join(CLASSES.split())}]\n"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "graz"
    for path in FILMS.values():
        save(root / path, film(path).astype(np.uint16) * 257)
    write(
        root / "dataset.csv",
        [
            HEADER,
            f"{FIRST},1,1,1297860395,M,14.1,L,1,1,23r-M/2.1,,,,1,,0.144,Siemens",
            f"{SECOND},1,1,1297860435,M,14.1,L,2,1,23r-M/2.1,1,,,,,0.144,Siemens",
            f"{THIRD},2,1,354485735,F,0.5,R,3,1,,,,1,,1,0.144,Siemens",
        ],
    )
    write(root / "folder_structure" / "yolov5" / "meta.yaml", META)
    for stem, lines in (
        (FIRST, "3 0.5 0.5 0.5 0.25\n8 0.1 0.1 0.1 0.1\n"),
        (SECOND, "2 0.5 0.5 0.5 0.5\n"),
        (THIRD, ""),
    ):
        write(root / "folder_structure" / "yolov5" / "labels" / f"{stem}.txt", lines)
    return root


def test_patients_and_findings_are_read_from_the_table(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Scanned(archive, monkeypatch, layout="auto")
    names = ("patient_id", "body_part", "view", "laterality", "sex", "age_years", "bits_stored")
    assert found.told(FILMS[FIRST], *names) == ("1", "WRIST", "AP", "L", "M", 14, 16)
    assert found.told(FILMS[SECOND], *names) == ("1", "WRIST", "LATERAL", "L", "M", 14, 16)
    assert found.told(FILMS[THIRD], *names) == ("2", "WRIST", "OBLIQUE", "R", "F", 0, 16)
    assert found.told(FILMS[FIRST], "study") == found.told(FILMS[SECOND], "study")
    labels = ("fracture", "metal", "cast", "osteopenia")
    values = {stem: [found.value(path, label) for label in labels] for stem, path in FILMS.items()}
    assert values == {
        FIRST: ["present", "absent", "absent", "absent"],
        SECOND: ["absent", "absent", "present", "absent"],
        THIRD: ["absent", "present", "absent", "present"],
    }
    assert found.splits == {} and not found.problems


def test_boxes_are_read_from_yolo_lines(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Scanned(archive, monkeypatch, layout="grazpedwri_dx")
    assert found.edges(FILMS[FIRST], "fracture") == [(12, 22.5, 36, 37.5)]
    assert found.edges(FILMS[FIRST], "text") == [(2.4, 3, 7.2, 9)]
    assert found.edges(FILMS[SECOND], "foreign_object") == [(12, 15, 36, 45)]


def test_pascal_voc_is_preferred_to_yolo(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = "<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>20</xmax><ymax>30</ymax></bndbox>"
    write(
        archive / "folder_structure" / "pascalvoc" / f"{FIRST}.xml",
        f"<annotation><filename>{FIRST}.png</filename><size><width>48</width><height>60</height></size>"
        f"<object><name>fracture</name>{box}</object><object><name>axis</name>{box}</object></annotation>",
    )
    found = Scanned(archive, monkeypatch, layout="grazpedwri_dx")
    assert found.boxes.keys() == {(FILMS[FIRST], "fracture"), (FILMS[FIRST], "axis")}
    assert found.edges(FILMS[FIRST], "fracture") == [(5, 6, 20, 30)]
    assert found.problems == {"film_without_annotation": 2}
    assert (FILMS[SECOND], "boneanomaly") not in found.labels


def test_metal_gives_no_label_of_foreign_objects(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Scanned(archive, monkeypatch, layout="grazpedwri_dx")
    assert found.value(FILMS[FIRST], "foreign_object") == "absent"
    assert found.value(FILMS[SECOND], "foreign_object") == "present"
    assert (FILMS[THIRD], "foreign_object") not in found.labels


def test_a_fracture_box_that_contradicts_the_table_is_uncertain(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(archive / "folder_structure" / "yolov5" / "labels" / f"{SECOND}.txt", "3 0.5 0.5 0.5 0.5\n")
    found = Scanned(archive, monkeypatch, layout="grazpedwri_dx")
    assert found.value(FILMS[SECOND], "fracture") == "uncertain"
    assert found.problems == {"box_against_label": 1}


def test_a_missing_column_is_named(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(archive / "dataset.csv", ["filestem,fracture_visible", f"{FIRST},1"])
    with pytest.raises(ArchiveError, match=r"dataset\.csv has no column 'patient_id'"):
        Scanned(archive, monkeypatch, layout="grazpedwri_dx")


@pytest.mark.parametrize("line", ["9 0.5 0.5 0.1 0.1", "foreignbody 0.5 0.5 0.1 0.1"])
def test_a_box_that_is_not_understood_is_no_negative(archive: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    labels = archive / "folder_structure" / "yolov5" / "labels"
    write(labels / f"{FIRST}.txt", line)
    write(labels / f"{SECOND}.txt", "2.0 0.5 0.5 0.5 0.5")
    found = Scanned(archive, monkeypatch, layout="grazpedwri_dx")
    names = {label for below, label in found.labels if below == FILMS[FIRST]}
    assert names == {"fracture", "metal", "cast", "osteopenia", "diagnosis_uncertain"}  # by the table alone
    assert found.value(FILMS[SECOND], "foreign_object") == "present" and found.problems == {"label_unknown": 1}


@pytest.mark.parametrize("name", ["", "foreign body"])
def test_an_object_without_a_known_class_is_no_negative(
    archive: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    box = "<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>20</xmax><ymax>30</ymax></bndbox>"
    drawn = f"<annotation><object><name>{name}</name>{box}</object></annotation>"
    write(archive / "folder_structure" / "pascalvoc" / f"{FIRST}.xml", drawn)
    found = Scanned(archive, monkeypatch, layout="grazpedwri_dx")
    assert (FILMS[FIRST], "boneanomaly") not in found.labels
    assert found.labels.get((FILMS[FIRST], "foreign_object"), ("present",))[0] == "present"
