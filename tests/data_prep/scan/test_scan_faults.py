"""Scans with failing disks, changing folders and concurrent scans."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from data_prep.archive import header_pool
from data_prep.archive.file_listing import list_files
from data_prep.archive.manifest import read_linkage, read_manifest
from data_prep.cli.main import main
from data_prep.errors import ArchiveError
from data_prep.runtime.folder_lock import locked
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from tests.builders.dicom_builder import write_film

ALONE = ScanSettings(workers=1, read_ahead=1)


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", "the random secret of these tests")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for number in range(12):
        path = tmp_path / "archive" / f"study{number // 4}" / f"{number:02d}"
        write_film(path, patient_id=f"P{number}")
        os.utime(path, (1.5e9, 1.5e9))
    return tmp_path / "archive"


def reasons(private: Path) -> dict[str, str | None]:
    names = [Path(path).name for path in read_linkage(private)["path"].to_pylist()]
    return dict(zip(names, read_manifest(private)["reason"].to_pylist(), strict=True))


def test_files_on_bad_sectors_are_skipped_until_the_next_scan(archive: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def fail(path: Path, *rest: Any) -> Any:
        if path.name in ("03", "07"):
            raise OSError(5, "Input/output error", str(path))
        return whole(path, *rest)

    whole = header_pool.read_dicom
    with monkeypatch.context() as patch:
        patch.setattr(header_pool, "read_dicom", fail)
        scan([archive], tmp_path / "private", ALONE)
    found = reasons(tmp_path / "private")
    assert {name for name, reason in found.items() if reason == "unreadable_header"} == {"03", "07"}
    assert set(found.values()) == {"unreadable_header", None} and len(found) == 12
    scan([archive], tmp_path / "private", ALONE)
    assert set(reasons(tmp_path / "private").values()) == {None}


def test_an_unmounted_archive_stops_the_scan(archive: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def vanish(path: Path, *rest: Any) -> Any:
        if path.name == "05":
            shutil.rmtree(archive)
            archive.mkdir()  # as a mount point is
        return whole(path, *rest)

    whole = header_pool.read_dicom
    monkeypatch.setattr(header_pool, "read_dicom", vanish)
    with pytest.raises(ArchiveError, match=r"cannot be read .*continues where it stopped"):
        scan([archive], tmp_path / "private", ALONE)
    assert not (tmp_path / "private" / "manifest.parquet").exists()


def test_an_archive_of_which_every_file_has_changed_has_one_row_for_each(archive: Path, tmp_path: Path) -> None:
    scan([archive], tmp_path / "private", ALONE)
    for path in archive.glob("*/*"):
        os.utime(path, (1.6e9, 1.6e9))
    again = scan([archive], tmp_path / "private", ALONE)
    assert again.files == 12 and again.changes and (again.changes.read_again, again.changes.unchanged) == (12, 0)
    assert len(reasons(tmp_path / "private")) == 12 == read_manifest(tmp_path / "private").num_rows


def test_a_file_that_vanishes_after_it_was_listed_is_a_row(archive: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def listed(archives: Any) -> Any:
        files = whole(archives)
        (archive / "study1" / "05").unlink()
        return files

    whole = list_files
    monkeypatch.setattr("data_prep.scan.scan.list_files", listed)
    scan([archive], tmp_path / "private", ALONE)
    found = reasons(tmp_path / "private")
    assert len(found) == 12 and found["05"] == "unreadable_header"


def test_two_scans_do_not_write_one_folder_at_the_same_time(archive: Path, tmp_path: Path) -> None:
    private = tmp_path / "private"
    scan([archive], private, ALONE)
    with locked(private), pytest.raises(ArchiveError, match="another scan command is writing to"):
        scan([archive], private, ALONE)
    (private / ".manifest.parquet.4711.part").write_bytes(b"of a killed scan")
    scan([archive], private, ALONE)
    assert sorted(path.name for path in private.iterdir()) == [
        "differences.csv", "facts.parquet", "headers.arrow", "linkage.parquet", "manifest.parquet", "unmapped.csv",
    ]  # fmt: skip
    assert {path.stat().st_mode & 0o777 for path in private.iterdir()} == {0o600}


def test_a_full_disk_is_reported_in_one_line(archive: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    private = tmp_path / "private"
    scan([archive], private, ALONE)
    with monkeypatch.context() as patch:
        patch.setattr("data_prep.runtime.atomic_write.os.fsync", full)
        assert main(["scan", str(archive), "--out", str(private), "workers=1"]) == 2
    assert "cannot be written (No space left on device)" in capsys.readouterr().err
    assert main(["scan", str(archive), "--out", str(private), "workers=1"]) == 0
    assert len(reasons(private)) == 12


def test_link_loops_and_invalid_names_do_not_stop_the_scan(archive: Path, tmp_path: Path) -> None:
    (archive / "study0" / "up").symlink_to(archive)
    (archive / "self").symlink_to(archive / "self")
    os.link(archive / "study0" / "00", os.fsencode(archive / "study0") + b"/f\xfcnf")
    private = tmp_path / "private"
    for _ in range(2):
        scan([archive], private, ALONE)
        assert sorted(map(str, reasons(private).values())) == ["None"] * 13  # a name that is not UTF-8 is read, too
