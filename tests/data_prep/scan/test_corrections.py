"""The table of corrections: what a person confirmed beats every source; a wrong row stops the scan with its place."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.archive.manifest import read_linkage, read_manifest
from data_prep.errors import ArchiveError
from data_prep.scan.scan import scan
from data_prep.scan.scan_summary import ScanSummary
from data_prep.scan.settings import ScanSettings
from data_prep.shard_format.frame_key import frame_key
from tests.builders.dicom_builder import write_film


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", "the random secret of these tests")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for name in "abc":
        write_film(tmp_path / "archive" / "HAND_NEU" / name, BodyPartExamined="HAND", ViewPosition="AP", PatientSex="F")
    return tmp_path / "archive"


def scanned(archive: Path, private: Path, corrections: Path | None = None) -> ScanSummary:
    values = {"workers": 1, "image_pattern": "^(?P<body_part>[^/]+)/", "facts": {"corrections": corrections}}
    return scan([archive], private, ScanSettings.model_validate(values))


def keys(private: Path) -> dict[str, str]:
    """Name of a film → its key."""
    linkage = read_linkage(private)
    return {
        Path(path).name: key for path, key in zip(linkage["path"].to_pylist(), linkage["key"].to_pylist(), strict=True)
    }


def test_what_a_person_confirmed_beats_header_and_path(archive: Path, tmp_path: Path) -> None:
    scanned(archive, tmp_path / "private")
    key = keys(tmp_path / "private")
    table = tmp_path / "corrections.csv"
    table.write_text(
        f"key,field,value,score\n{key['a']},body_part,WRIST,0.9\n{key['a']},age_years,12,\n{key['b']},view,seitlich,\n"
        f"{key['b']},laterality,L,\n{key['c'].upper()},sex,M,\n",
        encoding="utf-8",
    )
    summary = scanned(archive, tmp_path / "private", table)
    rows = {row["key"]: row for row in read_manifest(tmp_path / "private").to_pylist()}
    first, second, third = (rows[key[name]] for name in "abc")
    assert (first["body_part"], first["body_part_from"], first["age_years"]) == ("WRIST", "correction", 12)
    assert (second["view"], second["view_from"], second["laterality"]) == ("LATERAL", "correction", "L")
    assert (second["body_part"], second["body_part_from"]) == ("HAND", "header")
    assert (third["sex"], third["sex_from"]) == ("M", "correction")
    assert summary.corrected == 5 and "corrected facts" in str(summary)


def test_a_further_frame_stands_for_its_file(tmp_path: Path) -> None:
    write_film(
        tmp_path / "archive" / "two", values=np.zeros((6, 5), np.uint16), NumberOfFrames=2, BodyPartExamined="HAND"
    )
    scanned(tmp_path / "archive", tmp_path / "private")
    (key,) = keys(tmp_path / "private").values()
    table = tmp_path / "corrections.csv"
    table.write_text(f"key,field,value\n{frame_key(key, 1)},body_part,KNEE\n")
    scanned(tmp_path / "archive", tmp_path / "private", table)
    assert read_manifest(tmp_path / "private")["body_part"].to_pylist() == ["KNEE"]
    table.write_text(f"key,field,value\n{frame_key(key, 1)},body_part,KNEE\n{key},body_part,HAND\n")
    with pytest.raises(ArchiveError, match="line 3, column key: a row above"):
        scanned(tmp_path / "archive", tmp_path / "private", table)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0123456789abcdef0123456789abcdef,body_part,KNEE", r"line 3, column key: no film of this scan"),
        (",body_part,KNEE", r"line 3, column key: no film of this scan"),
        ("KEY,region,KNEE", r"line 3, column field: none of body_part, view, laterality, sex, age_years"),
        ("KEY,body_part,ZWIEBEL", r"line 3, column value: no value of body_part"),
        ("KEY,body_part,", r"line 3, column value: no value of body_part"),
        ("KEY,laterality,up", r"line 3, column value: no value of laterality: L, R or B"),
        ("KEY,age_years,400", r"line 3, column value: no value of age_years"),
        ("KEY,sex,M", r"line 3, column key: a row above has the sex of this film"),
    ],
)
def test_a_wrong_row_stops_the_scan_and_is_not_quoted(row: str, message: str, archive: Path, tmp_path: Path) -> None:
    scanned(archive, tmp_path / "private")
    before = (tmp_path / "private" / "manifest.parquet").read_bytes()
    key = keys(tmp_path / "private")["a"]
    table = tmp_path / "corrections.csv"
    table.write_text(f"key,field,value\n{key},sex,F\n{row.replace('KEY', key)}\n")
    with pytest.raises(ArchiveError, match=message) as raised:
        scanned(archive, tmp_path / "private", table)
    assert str(table) in str(raised.value) and "ZWIEBEL" not in str(raised.value)
    assert (tmp_path / "private" / "manifest.parquet").read_bytes() == before


def test_a_table_without_its_columns_is_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "corrections.csv").write_text("key,column,value\n")
    with pytest.raises(ArchiveError, match="no column 'field'"):
        scanned(archive, tmp_path / "private", tmp_path / "corrections.csv")
    with pytest.raises(ArchiveError, match="is missing"):
        scanned(archive, tmp_path / "private", tmp_path / "absent.csv")
