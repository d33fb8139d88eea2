"""No patient comes into two splits by a later scan: it is refused, and the setting is named."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep.archive.manifest import read_manifest
from data_prep.errors import SettingsError, ShardFormatError
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.index import read_index
from data_prep.sharding.append import append
from data_prep.sharding.shard import shard
from tests.builders.dicom_builder import write_film
from tests.builders.private_builder import SECRET, anatomy, settings

PATIENTS = 8


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", SECRET)


def _films(archive: Path, numbers: range, number: Callable[[int], str] = "{:03d}".format, **header: Any) -> None:
    for film in numbers:
        path = archive / f"{film:02d}.dcm"
        write_film(path, values=anatomy(film), patient_id=number(film % PATIENTS), study=f"study {film}", **header)


def _scan(folder: Path, archive: str = "A", private: str = "P", **values: Any) -> Path:
    scan([folder / archive], folder / private, ScanSettings(workers=1, **values))
    return folder / private


def _begin(folder: Path, **values: Any) -> Path:
    shard(_scan(folder, **values), folder / "Q", settings())
    return folder / "Q"


def _torn(public: Path) -> int:
    splits: dict[str, set[str]] = defaultdict(set)
    for row in read_index(public, ["patient", "split"]).to_pylist():
        splits[row["patient"]].add(row["split"])
    return sum(len(of_patient) > 1 for of_patient in splits.values())


def _issuer(folder: Path) -> dict[str, Any]:
    _films(folder / "A", range(16, 24), IssuerOfPatientID="HOSP")
    return {}


def _issuer_in_new_files_alone(folder: Path) -> dict[str, Any]:
    _films(folder / "B", range(16, 24), IssuerOfPatientID="HOSP")
    return {"archive": "B"}


def _source(folder: Path) -> dict[str, Any]:
    _films(folder / "A", range(16, 24))
    return {"source": "clinic"}


def _source_of_new_files_alone(folder: Path) -> dict[str, Any]:
    _films(folder / "B", range(16, 24))
    return {"archive": "B", "source": "clinic"}


def _joined_studies(folder: Path) -> dict[str, Any]:
    for pair in (0, 2, 4, 6):
        for film in (0, 1):
            path = folder / "A" / f"joined{pair}{film}.dcm"
            write_film(
                path, values=anatomy(path.name), patient_id=f"{pair + film:03d}", StudyInstanceUID=f"1.2.{pair + 1}"
            )
    return {}


def _keys_of_today(folder: Path) -> dict[str, Any]:
    _films(folder / "A", range(16, 24))
    return {"keys": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_issuer, "films of earlier generations would have another patient"),
        (_issuer_in_new_files_alone, "without an issuer"),
        (_source, "begun with another source"),
        (_source_of_new_files_alone, "begun with another source"),
        (_joined_studies, "films of earlier generations would have another patient"),
        (_keys_of_today, "begun with keys=2: scan again with keys=2"),
    ],
)
def test_a_scan_that_would_tear_patients_apart_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    _films(tmp_path / "A", range(16))
    public = _begin(tmp_path)
    before = read_index(public)
    private = _scan(tmp_path, private="P2", **change(tmp_path))
    with pytest.raises((SettingsError, ShardFormatError), match=message):
        append(private, public, settings())
    assert read_index(public).equals(before)


def test_keys_of_dicom_films_do_not_depend_on_the_layout(tmp_path: Path) -> None:
    _films(tmp_path / "A", range(16))
    public = _begin(tmp_path)
    (tmp_path / "A" / "films.csv").write_text("path,hand\n00.dcm,1\n")
    _films(tmp_path / "A", range(16, 32))
    columns = {"films": "films.csv", "labels": {"hand": "hand"}}
    append(_scan(tmp_path, private="P2", layout="table", columns=columns), public, settings())
    assert read_index(public).num_rows == 32 and _torn(public) == 0


def test_numbers_that_differ_in_zeros_case_and_blanks_are_one_patient(tmp_path: Path) -> None:
    forms = iter([form for form in ("{:07d}", "{}", " {:07d} ", "0{}") for _ in range(PATIENTS)])
    _films(tmp_path / "A", range(32), lambda number: next(forms).format(number + 1))
    spellings = iter(["ab{:03d}", "AB{:03d}", "Ab{:03d}"] * 8)
    _films(tmp_path / "A2", range(24), lambda number: next(spellings).format(number))
    for archive in ("A", "A2"):
        private = _scan(tmp_path, archive, f"P{archive}")
        assert len(set(read_manifest(private)["patient"].to_pylist())) == PATIENTS
    summary = scan([tmp_path / "A"], tmp_path / "PA", ScanSettings(workers=1))
    assert summary.joined > 0


@pytest.mark.parametrize("placeholder", ["ANONYMOUS", "0", "000000", "unknown", "N/A", "none", "-", "XXXX"])
def test_a_placeholder_is_no_patient(placeholder: str, tmp_path: Path) -> None:
    _films(tmp_path / "A", range(4), lambda _: placeholder)
    manifest = read_manifest(_scan(tmp_path))
    assert set(manifest["patient_known"].to_pylist()) == {False}
    assert len(set(manifest["patient"].to_pylist())) == 4


def test_the_folder_and_the_private_folder_say_how_keys_were_made(tmp_path: Path) -> None:
    _films(tmp_path / "A", range(8))
    card = read_dataset_card(_begin(tmp_path, source="clinic"))
    assert card.keys == 2 and len(card.source) == 32


def test_a_folder_of_today_goes_on_with_its_keys(tmp_path: Path) -> None:
    _films(tmp_path / "A", range(16), "{:07d}".format)
    public = _begin(tmp_path, keys=1)
    assert read_dataset_card(public).keys == 1
    _films(tmp_path / "A", range(16, 24), "{:07d}".format)
    append(_scan(tmp_path, private="P2", keys=1), public, settings())
    assert read_index(public).num_rows == 24 and _torn(public) == 0


def test_a_split_table_that_a_spreadsheet_saved_finds_its_patients(tmp_path: Path) -> None:
    _films(tmp_path / "A", range(16), lambda number: f"{number + 1:05d}")
    rows = "".join(f"{number + 1},{'test' if number < 4 else 'train'}\n" for number in range(PATIENTS))
    (tmp_path / "splits.csv").write_text(f"patient,split\n{rows}")
    shard(_scan(tmp_path), tmp_path / "Q", settings(splits={"table": str(tmp_path / "splits.csv")}))
    assert read_index(tmp_path / "Q", ["split"])["split"].to_pylist().count("test") == 8


def test_pictures_have_the_same_keys_with_and_without_a_layout(tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    for film in range(8):
        Image.fromarray(anatomy(film, bits=8).astype(np.uint8)).save(tmp_path / "A" / f"p{film // 2}_{film}.png")
    (tmp_path / "A" / "films.csv").write_text("path,hand\np0_0.png,1\n")
    pattern, columns = r"(?P<patient>p\d+)_", {"films": "films.csv", "labels": {"hand": "hand"}}
    plain = read_manifest(_scan(tmp_path, image_pattern=pattern))
    laid_out = read_manifest(_scan(tmp_path, private="P2", image_pattern=pattern, layout="table", columns=columns))
    for name in ("key", "study", "patient"):
        assert plain[name].equals(laid_out[name])


def test_another_pattern_for_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    for film in range(12):
        Image.fromarray(anatomy(film, bits=8).astype(np.uint8)).save(tmp_path / "A" / f"p{film // 2:02d}_{film}.png")
    public = _begin(tmp_path, image_pattern=r"(?P<patient>p\d+)_")
    for values in ({"image_pattern": r"p(?P<patient>\d+)_"}, {}):
        with pytest.raises(SettingsError, match="would have another patient"):
            append(_scan(tmp_path, private="P2", **values), public, settings())


def test_an_empty_part_is_said_before_anything_is_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _films(tmp_path / "A", range(4), lambda _: "1")
    shard(_scan(tmp_path), tmp_path / "Q", settings())
    assert "will be empty: too few patients" in caplog.text


@pytest.mark.parametrize("hashes", ["all", "none"])
def test_pictures_that_are_there_under_another_folder_are_refused(tmp_path: Path, hashes: str) -> None:
    kept, pattern = settings(sidecar={"hashes": hashes}), r"(?P<patient>p\d+)_"
    folder = tmp_path / "S" / "images"
    folder.mkdir(parents=True)
    for film in range(12):
        Image.fromarray(anatomy(film, bits=8).astype(np.uint8)).save(folder / f"p{film // 2:02d}_{film}.png")
    scan([tmp_path / "S"], tmp_path / "P", ScanSettings(workers=1, image_pattern=pattern))
    shard(tmp_path / "P", tmp_path / "Q", kept)
    scan([folder], tmp_path / "P", ScanSettings(workers=1, image_pattern=pattern))
    with pytest.raises(
        SettingsError, match=r"12 of 12 new pictures .*folder that the first generation was scanned from"
    ):
        append(tmp_path / "P", tmp_path / "Q", kept)
    assert read_index(tmp_path / "Q").num_rows == 12 and not list((tmp_path / "Q").glob(".generation*"))
    for film in range(12, 20):  # new films, of which two are copies
        values = anatomy(film - 12 if film < 14 else film, bits=8).astype(np.uint8)
        Image.fromarray(values).save(folder / f"p{film // 2:02d}_{film}.png")
    scan([tmp_path / "S"], tmp_path / "P", ScanSettings(workers=1, image_pattern=pattern))
    append(tmp_path / "P", tmp_path / "Q", kept)
    assert read_index(tmp_path / "Q").num_rows == 20
