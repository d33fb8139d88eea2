"""Repeated scans, media with a DICOMDIR, long headers and deflated files."""

import os
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset

from data_prep.archive import dicom_file
from data_prep.archive.manifest import read_linkage, read_manifest
from data_prep.errors import ArchiveError, Reason
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from tests.builders.dicom_builder import uid, write_film


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", "the random secret of these tests")


def rows_of(archive: Path, private: Path) -> dict[str, dict[str, Any]]:
    scan([archive], private, ScanSettings(workers=1))
    paths = [Path(path).name for path in read_linkage(private)["path"].to_pylist()]
    return dict(zip(paths, read_manifest(private).to_pylist(), strict=True))


def tables(private: Path) -> list[bytes]:
    return [(private / name).read_bytes() for name in ("manifest.parquet", "linkage.parquet", "unmapped.csv")]


def aged(archive: Path) -> None:
    """Set old modification times: recently modified files are always read again."""
    for path in archive.rglob("*"):
        os.utime(path, (1.5e9, 1.5e9))


def test_a_second_scan_reads_what_is_new_or_changed_and_equals_a_fresh_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, private = tmp_path / "archive", tmp_path / "private"
    monkeypatch.setattr("data_prep.archive.header_pool.FILES_PER_TASK", 3)
    for number in range(8):
        write_film(
            archive / f"film{number}", patient_id=f"P{number // 3}", ViewPosition="strange" if number == 5 else "PA"
        )
    Image.new("L", (7, 5)).save(archive / "hand.png")
    (archive / "note.txt").write_text("no film")
    aged(archive)
    settings = ScanSettings(workers=1)
    assert scan([archive], private, settings).changes is None
    before = tables(private)
    read = []
    monkeypatch.setattr(
        "data_prep.archive.header_pool.read_dicom", lambda path, *rest: read.append(path.name) or whole(path, *rest)
    )
    again = scan([archive], private, settings).changes
    assert (again and (again.new, again.read_again, again.removed, again.unchanged)) == (0, 0, 0, 10)
    assert tables(private) == before and read == []
    (archive / "film3").unlink()
    write_film(archive / "film4", patient_id="P9", BodyPartExamined="HAND")
    write_film(archive / "aaa", patient_id="P1", study=None)
    write_film(archive / "film6", patient_id="P2", ViewPosition="LL", StudyDate="20200201", StationName="ROOM")
    os.utime(archive / "film6", (1.5e9, 1.5e9))  # same time, another size
    changed = scan([archive], private, settings).changes
    assert (changed and (changed.new, changed.read_again, changed.removed, changed.unchanged)) == (1, 2, 1, 7)
    assert sorted(read) == ["aaa", "film4", "film6"]
    scan([archive], tmp_path / "fresh", settings)
    assert tables(private) == tables(tmp_path / "fresh") != before


whole = dicom_file.read_dicom


def test_other_settings_or_another_secret_read_everything_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, private = tmp_path / "archive", tmp_path / "private"
    write_film(archive / "film")
    aged(archive)
    scan([archive], private, ScanSettings(workers=1))
    scan([archive], private, ScanSettings(workers=1, source="NORTH"))
    assert tables(private) == fresh(archive, tmp_path / "a", source="NORTH")
    monkeypatch.setenv("MAE_RAD_KEY", "another random secret of these tests")
    scan([archive], private, ScanSettings(workers=1, source="NORTH"))
    assert tables(private) == fresh(archive, tmp_path / "b", source="NORTH")


def fresh(archive: Path, private: Path, **settings: Any) -> list[bytes]:
    scan([archive], private, ScanSettings(workers=1, **settings))
    return tables(private)


def test_an_interrupted_scan_continues_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, private = tmp_path / "archive", tmp_path / "private"
    monkeypatch.setattr("data_prep.archive.header_pool.FILES_PER_TASK", 2)
    monkeypatch.setattr("data_prep.archive.header_cache._BATCH_ROWS", 2)
    for number in range(10):
        write_film(archive / f"film{number}", patient_id=f"P{number}")
    aged(archive)
    read: list[str] = []

    def stopped_at(limit: int) -> None:
        def reads(path: Path, *rest: Any) -> Any:
            if len(read) == limit:
                raise KeyboardInterrupt
            read.append(path.name)
            return whole(path, *rest)

        monkeypatch.setattr("data_prep.archive.header_pool.read_dicom", reads)

    for limit in (5, 7, 99):
        stopped_at(limit)
        if limit < 99:
            with pytest.raises(KeyboardInterrupt):
                scan([archive], private, ScanSettings(workers=1))
            assert not (private / "manifest.parquet").exists()
    scan([archive], private, ScanSettings(workers=1))
    assert 10 <= len(read) <= 12  # at most the files of the batches that were cut off
    assert sorted(path.name for path in private.iterdir()) == [
        "differences.csv", "facts.parquet", "headers.arrow", "linkage.parquet", "manifest.parquet", "unmapped.csv",
    ]  # fmt: skip
    assert tables(private) == fresh(archive, tmp_path / "fresh")


def test_a_damaged_header_table_is_ignored(tmp_path: Path) -> None:
    archive, private = tmp_path / "archive", tmp_path / "private"
    write_film(archive / "film")
    aged(archive)
    before = fresh(archive, private)
    content = (private / "headers.arrow").read_bytes()
    for damaged in (b"", b"nonsense", content[:300], content[: len(content) // 2]):
        (private / "headers.arrow").write_bytes(damaged)
        assert fresh(archive, private) == before


def test_a_dicomdir_is_no_film_and_its_missing_files_are_counted(tmp_path: Path) -> None:
    medium = tmp_path / "medium"
    records = []
    for number in range(3):
        write_film(medium / "dicom" / f"im{number}", study=str(number))
        record = Dataset()
        record.ReferencedFileID = ["DICOM", f"IM{number}"]  # in capitals, as the standard requires
        records += [Dataset(), record]
    write_film(medium / "beside", study="beside")
    directory = Dataset()
    directory.DirectoryRecordSequence = records
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    directory.file_meta.MediaStorageSOPInstanceUID = uid("directory")
    directory.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    directory.save_as(medium / "DICOMDIR", enforce_file_format=True)
    for archive in (medium, medium / "DICOMDIR"):
        summary = scan([archive], tmp_path / "private", ScanSettings(workers=1))
        assert (summary.files, summary.films, summary.reasons, summary.missing) == (
            5,
            {"dicom": 4},
            {"not_a_film": 1},
            0,
        )
    aged(medium)
    (medium / "dicom" / "im1").unlink()
    for private in ("private", "fresh"):
        summary = scan([medium], tmp_path / private, ScanSettings(workers=1))
        assert (summary.films, summary.missing) == ({"dicom": 3}, 1)
    assert tables(tmp_path / "private") == tables(tmp_path / "fresh")
    with pytest.raises(ArchiveError, match="lies inside the archive"):
        scan([medium / "DICOMDIR"], medium / "private", ScanSettings(workers=1))


def test_a_header_longer_than_what_is_read_ahead_is_read_to_its_end(tmp_path: Path) -> None:
    write_film(
        tmp_path / "archive" / "film",
        OtherPatientIDs=["x" * 60] * 600,
        ImageComments="x" * 60_000,
        BodyPartExamined="HAND",
    )
    row = rows_of(tmp_path / "archive", tmp_path / "private")["film"]
    assert (row["reason"], row["body_part"], row["rows"]) == (None, "HAND", 24)


def test_a_deflated_film_is_read_and_a_bomb_is_limited(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write_film(archive / "film", BodyPartExamined="HAND")
    plain = (archive / "film").read_bytes()
    start = 144 + int.from_bytes(plain[140:144], "little")
    uid_at = plain.index(b"1.2.840.10008.1.2.1")
    deflater = zlib.compressobj(wbits=-15)
    packed = deflater.compress(plain[start:]) + deflater.flush()
    old, new = plain[uid_at - 2 : uid_at + 20], b"\x16\x001.2.840.10008.1.2.1.99"
    head = plain[:start].replace(old, new)
    head = (
        head[:140] + (int.from_bytes(head[140:144], "little") + len(new) - len(old)).to_bytes(4, "little") + head[144:]
    )
    (archive / "deflated").write_bytes(head + packed)
    bomb = zlib.compressobj(wbits=-15)
    (archive / "bomb").write_bytes(head + bomb.compress(b"\x08\x00\x08\x00LT\xff\xff" + bytes(2**26)) + bomb.flush())
    found = rows_of(archive, tmp_path / "private")
    assert (found["deflated"]["reason"], found["deflated"]["transfer_syntax"]) == (None, "1.2.840.10008.1.2.1.99")
    assert found["deflated"]["body_part"] == "HAND"
    assert found["bomb"]["reason"] == Reason.UNREADABLE_HEADER


def test_a_file_that_ends_in_zeros_fails_early(tmp_path: Path) -> None:
    write_film(tmp_path / "archive" / "film")
    whole = (tmp_path / "archive" / "film").read_bytes()
    cut = whole.index(b"20200131") + 8
    with (tmp_path / "archive" / "film").open("wb") as file:
        file.write(whole[:cut])
        file.truncate(2**24)
    begun = time.process_time()
    assert rows_of(tmp_path / "archive", tmp_path / "private")["film"]["reason"] == Reason.UNREADABLE_HEADER
    assert time.process_time() - begun < 2
