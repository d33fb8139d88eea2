"""MURA as published."""

from pathlib import Path

import pytest

from tests.builders.set_builder import Scanned, save, write

FILMS = (
    "train/XR_WRIST/patient00001/study1_positive/image1.png",
    "train/XR_WRIST/patient00001/study1_positive/image2.png",
    "train/XR_HAND/patient00001/study1_negative/image1.png",
    "train/XR_ELBOW/patient00002/study1_negative/image1.png",
    "valid/XR_SHOULDER/patient11185/study1_positive/image1.png",
)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "MURA-v1.1"
    for path in FILMS:
        save(root / path)
    write(root / "train" / "XR_WRIST" / "._image1.png", "resource fork of another system")
    write(
        root / "train_labeled_studies.csv",
        [
            "MURA-v1.1/train/XR_WRIST/patient00001/study1_positive/,1",
            "MURA-v1.1/train/XR_HAND/patient00001/study1_negative/,0",
            "MURA-v1.1/train/XR_ELBOW/patient00002/study1_negative/,1",
            "MURA-v1.1/train/XR_ELBOW/patient00009/study1_negative/,0",
        ],
    )
    write(root / "valid_labeled_studies.csv", ["MURA-v1.1/valid/XR_SHOULDER/patient11185/study1_positive/,1"])
    write(root / "train_image_paths.csv", [f"MURA-v1.1/{path}" for path in FILMS[:4]])
    write(
        root / "valid_image_paths.csv",
        [f"MURA-v1.1/{FILMS[4]}", "MURA-v1.1/valid/XR_HAND/patient1/study1_negative/a.png"],
    )
    return root


def test_patient_study_body_part_and_split_are_read_from_paths(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Scanned(archive, monkeypatch, layout="auto")
    assert found.told(FILMS[0], "body_part", "patient_id") == ("WRIST", "00001")
    assert found.told(FILMS[2], "body_part", "patient_id") == ("HAND", "00001")
    assert len({found.told(path, "patient") for path in FILMS[:3]}) == 1
    assert found.told(FILMS[0], "study") == found.told(FILMS[1], "study") != found.told(FILMS[2], "study")
    assert found.splits == {"00001": "train", "00002": "train", "11185": "val"}


def test_abnormal_is_not_fracture(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Scanned(archive, monkeypatch, layout="mura")
    assert {label for _, label in found.labels} == {"abnormal"}
    assert found.labels[FILMS[0], "abnormal"] == ("present", "expert", 1.0)
    assert found.value(FILMS[2], "abnormal") == "absent"


def test_a_label_whose_table_contradicts_the_folder_is_uncertain(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Scanned(archive, monkeypatch, layout="mura")
    assert found.value(FILMS[3], "abnormal") == "uncertain"
    assert found.problems == {"label_conflict": 1, "row_without_file": 2}
