"""Patients: never two keys for one person, as far as the headers reveal it."""

from pathlib import Path
from typing import Any

import pytest

from data_prep.archive.manifest import read_linkage, read_manifest
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from tests.builders.dicom_builder import uid, write_film


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", "the random secret of these tests")


def rows_of(archive: Path, private: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    scan([archive], private, ScanSettings(workers=1, **settings))
    paths = [Path(path).name for path in read_linkage(private)["path"].to_pylist()]
    return dict(zip(paths, read_manifest(private).to_pylist(), strict=True))


def test_patients_are_distinguished_by_issuer_and_number(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write_film(archive / "plain", patient_id="7", StudyDate="20200101")
    write_film(archive / "padded", patient_id=" 7 ", study="2", StudyDate="20200131")
    write_film(archive / "north", patient_id="8", study="3", IssuerOfPatientID="NORTH")
    write_film(archive / "east", patient_id="8", study="4", IssuerOfPatientID="EAST")
    write_film(archive / "blank", patient_id="  ", StudyInstanceUID=uid("x"))
    write_film(archive / "none", patient_id=None, StudyInstanceUID=uid("y"))
    found = rows_of(archive, tmp_path / "private")
    assert found["plain"]["patient"] == found["padded"]["patient"] != found["north"]["patient"]
    assert found["north"]["patient"] != found["east"]["patient"]
    assert found["padded"]["study_day"] - found["plain"]["study_day"] == 30
    assert found["blank"]["patient"] != found["none"]["patient"]
    for name in ("blank", "none"):
        assert (found[name]["patient_known"], found[name]["study_day"]) == (False, None)
    elsewhere = rows_of(archive, tmp_path / "elsewhere", source="SOUTH")
    assert elsewhere["plain"]["patient"] != found["plain"]["patient"]
    assert elsewhere["north"]["patient"] == found["north"]["patient"]


@pytest.mark.parametrize("source", ["", "SOUTH"])
def test_possibly_equal_patients_share_one_key(source: str, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    films = {
        "issued": ("7", "NORTH", "a"), "plain": ("7", None, "b"), "elsewhere": ("7", "EAST", "c"),
        "renumbered": ("70", "NORTH", "b"), "other": ("9", "NORTH", "d"),
    }  # fmt: skip
    for name, (number, issuer, study) in films.items():
        write_film(
            archive / name,
            patient_id=number,
            IssuerOfPatientID=issuer,
            StudyInstanceUID=uid(study),
            StudyDate="20200101",
        )
    found = rows_of(archive, tmp_path / "private", source=source)
    joined = {found[name]["patient"] for name in ("issued", "plain", "elsewhere", "renumbered")}
    assert len(joined) == 1 and found["other"]["patient"] not in joined
    assert len({found[name]["study_day"] for name in ("issued", "plain", "renumbered")}) == 1
    assert all(row["patient_known"] for row in found.values())
    assert scan([archive], tmp_path / "private", ScanSettings(workers=1, source=source)).joined == 3


def test_a_film_without_number_belongs_to_the_patient_of_its_study(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    study = uid("study")
    write_film(archive / "known", StudyInstanceUID=study)
    write_film(archive / "lost", patient_id=None, StudyInstanceUID=study)
    found = rows_of(archive, tmp_path / "private")
    for name in ("patient", "patient_known", "study_day"):
        assert found["lost"][name] == found["known"][name]


def test_without_study_and_series_each_film_is_its_own(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    for name in ("a", "b"):
        write_film(archive / name, patient_id=None, study=None)
    found = rows_of(archive, tmp_path / "private")
    for name in ("patient", "study", "series"):
        assert found["a"][name] != found["b"][name]
