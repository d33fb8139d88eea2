"""No file of an archive hangs the scan, ends it, or costs more than its own row."""

import gzip
import logging
import os
from pathlib import Path

import pytest

from data_prep.archive.manifest import read_linkage, read_manifest
from data_prep.errors import ArchiveError, SecretError, SettingsError
from data_prep.public_datasets.registry import matching_layouts
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.settings import load
from tests.builders.dicom_builder import write_film
from tests.builders.set_builder import save

ALONE = ScanSettings(workers=1, read_ahead=1)


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", "0123456789abcdef0123456789abcdef")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for number in range(2):
        save(tmp_path / "archive" / f"p{number}.png")
    return tmp_path / "archive"


def _reasons(archive: Path) -> dict[str, str | None]:
    private = archive.parent / "private"
    scan([archive], private, ALONE)
    names = [Path(path).name for path in read_linkage(private)["path"].to_pylist()]
    return dict(zip(names, read_manifest(private)["reason"].to_pylist(), strict=True))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.yaml", b"names: [a]\nmade: 2020-99-99\n"),
        ("data.yaml", b"[" * 20_000),
        ("a.xml", b'<?xml version="1.0" encoding="utf-99"?><annotation/>'),
        ("a.json", b"[" * 200_000),
        ("train.csv", b'"' * 100_000),
    ],
)
def test_a_file_that_only_looks_like_a_table_costs_one_row(archive: Path, name: str, content: bytes) -> None:
    (archive / name).write_bytes(content)
    assert _reasons(archive) == {"p0.png": None, "p1.png": None, name: "not_a_film"}


@pytest.mark.parametrize("name", ["data.yaml", "a.json", "a.xml", "train.csv", "classes.txt", "x.dcm"])
def test_a_pipe_is_left_out(archive: Path, name: str) -> None:
    (archive / "labels").mkdir()
    (archive / "labels" / "p0.txt").write_text("0 .5 .5 .2 .2\n")
    os.mkfifo(archive / name)
    assert _reasons(archive) == {"p0.png": None, "p1.png": None, "p0.txt": "not_a_film"}


def test_a_pipe_in_place_of_the_archive_or_the_secret_is_refused(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArchiveError, match="is a pipe or device"):
        scan([tmp_path / "pipe"], tmp_path / "private", ALONE)
    monkeypatch.delenv("MAE_RAD_KEY")
    with pytest.raises(SecretError, match="is not a regular file"):
        scan([archive], tmp_path / "private", ScanSettings(key_file=tmp_path / "pipe"))


def test_links_are_told_and_those_to_the_system_passed_over(archive: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_film(archive.parent / "elsewhere" / "b.dcm")
    (archive / "process").symlink_to("/proc/self")
    (archive / "other").symlink_to(archive.parent / "elsewhere")
    (archive / "inner").symlink_to(archive / "p0.png")
    with caplog.at_level(logging.WARNING):
        assert _reasons(archive) == {"p0.png": None, "p1.png": None, "b.dcm": None}
    assert "1 links lead out of the archive" in caplog.text
    assert "1 links are passed over" in caplog.text
    assert "elsewhere" not in caplog.text


def test_a_sparse_file_costs_one_row(archive: Path) -> None:
    write_film(archive / "long.dcm")
    os.truncate(archive / "long.dcm", 30 * 2**30)
    assert _reasons(archive)["long.dcm"] == "too_large"


def test_a_gzipped_table_of_one_endless_line_is_refused(archive: Path) -> None:
    with gzip.open(archive / "Data_Entry_2017.csv.gz", "wb", 1) as file:
        for _ in range(40):
            file.write(b"a" * 10**6)
    with pytest.raises(ArchiveError, match="has a row of more than"):
        scan([archive], archive.parent / "private", ALONE.model_copy(update={"layout": "nih_chestxray14"}))


def test_a_large_file_of_no_known_set_is_not_read_to_find_out(archive: Path) -> None:
    with (archive / "a.json").open("wb") as file:
        file.write(b'{"images":[0')
    os.truncate(archive / "a.json", 2**32)
    assert matching_layouts(archive) == []


@pytest.mark.parametrize("value", ["2020-99-99", "[" * 5000])
def test_a_value_that_yaml_cannot_hold_names_its_setting(tmp_path: Path, value: str) -> None:
    with pytest.raises(SettingsError, match=r"^workers: .* is not a valid YAML value$"):
        load(ScanSettings, None, [f"workers={value}"])
    (tmp_path / "config.yaml").write_text(f"workers: {value}")
    with pytest.raises(SettingsError, match="is not valid YAML"):
        load(ScanSettings, tmp_path / "config.yaml")
