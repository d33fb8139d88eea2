"""The private folder: access rights, consistent tables, and clear errors for other folders."""

import os
import stat
from pathlib import Path

import pyarrow as pa
import pytest

from data_prep.archive import manifest
from data_prep.errors import ArchiveError


def tables(rows: int, mark: str) -> tuple[pa.Table, pa.Table]:
    facts = [{"row": row, "source": "dicom", "file_size": 1, "key": f"{mark}{row}"} for row in range(rows)]
    facts[0]["pixel_spacing_mm"] = [0.1, 0.2]
    links = [{"row": row, "path": f"/archive/{mark}{row}", "key": f"{mark}{row}"} for row in range(rows)]
    table = pa.Table.from_pylist(facts, manifest.MANIFEST_SCHEMA)
    return manifest.with_fingerprint(table, f"print of {mark}"), pa.Table.from_pylist(links, manifest.LINKAGE_SCHEMA)


def test_written_tables_are_read_back(tmp_path: Path) -> None:
    facts, links = tables(3, "a")
    manifest.write_manifest(tmp_path / "deep" / "private", facts, links)
    read = manifest.read_manifest(tmp_path / "deep" / "private")
    assert read.equals(facts) and read.schema.equals(manifest.MANIFEST_SCHEMA)
    assert manifest.read_linkage(tmp_path / "deep" / "private").equals(links)
    assert manifest.key_fingerprint(read) == "print of a"


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_only_the_owner_can_read(mask: int, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o755)
    before = os.umask(mask)
    try:
        manifest.write_manifest(private, *tables(2, "a"))
        manifest.write_private_text(private / manifest.UNMAPPED_FILE, "field,word,films\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert sorted(path.name for path in private.iterdir()) == ["linkage.parquet", "manifest.parquet", "unmapped.csv"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private.iterdir()} == {0o600}


def test_an_interruption_never_mixes_two_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = tmp_path / "private"
    replace = Path.replace
    for survived in range(3):
        monkeypatch.setattr(Path, "replace", replace)
        manifest.write_manifest(private, *tables(2, "old"))
        left = iter(range(survived))

        def interrupted(self: Path, target: Path, left: object = left) -> Path:
            if next(left, None) is None:  # type: ignore[call-overload]
                raise KeyboardInterrupt
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", interrupted)
        if survived < 2:
            with pytest.raises(KeyboardInterrupt):
                manifest.write_manifest(private, *tables(2, "new"))
            with pytest.raises(ArchiveError, match="its scan has not finished"):
                manifest.read_manifest(private)
        else:
            manifest.write_manifest(private, *tables(2, "new"))
            assert manifest.read_manifest(private)["key"].equals(manifest.read_linkage(private)["key"])


def test_reports_in_the_folder_do_not_stop_the_next_scan(tmp_path: Path) -> None:
    """The user may write reports there; the manifest is missing after an interrupted scan."""
    (tmp_path / "report.html").write_text("private")
    (tmp_path / manifest.HEADERS_FILE).write_bytes(b"")
    manifest.prepare_private(tmp_path)
    assert (tmp_path / "report.html").exists()


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all I have")
    with pytest.raises(ArchiveError, match="holds other files"):
        manifest.prepare_private(tmp_path)
    with pytest.raises(ArchiveError, match="is a file"):
        manifest.prepare_private(tmp_path / "thesis.txt")
    with pytest.raises(ArchiveError, match="cannot be used"):
        manifest.prepare_private(tmp_path / "thesis.txt" / "private")
    assert (tmp_path / "thesis.txt").read_text() == "all I have"


def test_a_folder_of_an_interrupted_scan_is_accepted(tmp_path: Path) -> None:
    (tmp_path / ".linkage.parquet.part").write_bytes(b"half")
    manifest.write_manifest(tmp_path, *tables(2, "a"))
    assert manifest.read_manifest(tmp_path).num_rows == 2


def test_errors_say_how_to_make_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"does not exist.*mae-rad scan"):
        manifest.read_manifest(tmp_path / "absent")
    with pytest.raises(ArchiveError, match=r"no private folder.*mae-rad scan"):
        manifest.read_linkage(tmp_path)
    manifest.write_manifest(tmp_path, *tables(2, "a"))
    (tmp_path / "manifest.parquet").write_bytes(b"not a table")
    with pytest.raises(ArchiveError, match=r"cannot be read.*mae-rad scan"):
        manifest.read_manifest(tmp_path)


def test_another_version_is_refused(tmp_path: Path) -> None:
    facts, links = tables(2, "a")
    manifest.write_manifest(tmp_path, facts.replace_schema_metadata({b"format_version": b"99"}), links)
    with pytest.raises(ArchiveError, match="version 99"):
        manifest.read_manifest(tmp_path)
