"""The synthetic archive as a whole: bytes, layout, identities, kinds of files."""

import csv
import json
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from data_prep.archive.manifest import read_linkage, read_manifest
from data_prep.errors import ArchiveError, Reason
from data_prep.phantom.dicom_film import CR_STORAGE, file_bytes, set_pixels
from data_prep.phantom.imaging.scanners import JPEG_2000, JPEG_LOSSLESS_SV1, JPEG_LS, SCANNERS
from data_prep.phantom.random_draws import OBJECT_KINDS, UnusableFile
from data_prep.phantom.unusable_files import REASONS
from data_prep.phantom.write_archive import identifying_values, write_archive
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings

PATIENTS, SEED, LONG_SIDE = 7, 11, 240


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "new"
    write_archive(folder, patients=PATIENTS, seed=SEED, workers=1, long_side=LONG_SIDE)
    return folder


def truth(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "truth" / "truth.jsonl").read_text("utf-8").splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sound_dicoms(out: Path) -> list[tuple[dict[str, Any], Dataset]]:
    kinds = ("film", "report", "screenshot", "for_processing")
    return [(row, pydicom.dcmread(out / "archive" / row["path"])) for row in truth(out) if row["kind"] in kinds]


def test_bytes_do_not_depend_on_workers(out: Path, tmp_path: Path) -> None:
    write_archive(tmp_path / "other", patients=PATIENTS, seed=SEED, workers=2, long_side=LONG_SIDE)
    assert contents(tmp_path / "other") == contents(out)


def test_another_seed_makes_other_patients(out: Path, tmp_path: Path) -> None:
    write_archive(tmp_path / "other", patients=1, seed=SEED + 1, workers=1, long_side=LONG_SIDE)
    assert not set(contents(tmp_path / "other" / "archive").values()) & (
        set(contents(out / "archive").values()) - {b""}
    )


def test_a_folder_that_holds_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ArchiveError, match="holds files already"):
        write_archive(tmp_path, patients=1, seed=0, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_no_patient_and_no_contrast_are_refused(tmp_path: Path) -> None:
    for wrong in ({"patients": 0}, {"contrast": 0.0}, {"contrast": float("nan")}):
        with pytest.raises(ArchiveError, match="--patients"):
            write_archive(tmp_path / "out", **{"patients": 1, "seed": 0, "workers": 1} | wrong)  # type: ignore[arg-type]


def test_contrast_makes_the_same_findings_easier_to_see(out: Path, tmp_path: Path) -> None:
    write_archive(tmp_path / "clear", patients=PATIENTS, seed=SEED, workers=1, contrast=3.0, long_side=LONG_SIDE)
    usual, clear = ([row for row in truth(folder) if row["kind"] == "film"] for folder in (out, tmp_path / "clear"))
    ratios = []
    for one, other in zip(usual, clear, strict=True):
        assert one["path"] == other["path"]
        for before, after in zip(one["foreign_object"], other["foreign_object"], strict=True):
            assert before["box"] == after["box"]
            ratios.append(after["contrast_to_noise"] / before["contrast_to_noise"])
    assert len(ratios) > 3 and np.median(ratios) == pytest.approx(3, rel=0.01)


def test_every_kind_of_file_is_there_and_every_file_is_in_the_truth(out: Path) -> None:
    rows = truth(out)
    assert {row["path"] for row in rows} == set(contents(out / "archive"))
    kinds = Counter(row["kind"] for row in rows)
    assert set(kinds) == {"film", *(kind.name.lower() for kind in UnusableFile)}
    assert set(REASONS) == set(UnusableFile)
    assert all((row["expected_reason"] is None) == (row["kind"] == "film") for row in rows)


def test_unusable_files_match_their_kind(out: Path) -> None:
    rows = {row["kind"]: row for row in truth(out)}
    files = {kind: out / "archive" / row["path"] for kind, row in rows.items()}
    assert files["empty_file"].stat().st_size == 0
    assert b"DICM" not in files["text_file"].read_bytes()[:140]
    whole = [path.read_bytes() for path in files["duplicate"].parent.iterdir()]
    assert whole.count(files["duplicate"].read_bytes()) == 2
    report, screenshot, raw = (pydicom.dcmread(files[k]) for k in ("report", "screenshot", "for_processing"))
    assert "PixelData" not in report
    assert (report.Modality, screenshot.PhotometricInterpretation) == ("SR", "RGB")
    assert raw.PresentationIntentType == "FOR PROCESSING"
    assert raw.SOPInstanceUID != rows["film"]["sop_instance_uid"]
    damaged = pydicom.dcmread(files["truncated"], stop_before_pixels=True)
    assert files["truncated"].stat().st_size < int(damaged.Rows) * int(damaged.Columns) * 2


def test_a_scan_finds_films_and_rejects_other_files_as_expected(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", "a secret of the tests, long enough")
    scan([out / "archive"], tmp_path / "private", ScanSettings(workers=1))
    paths = [
        Path(path).relative_to(out / "archive").as_posix()
        for path in read_linkage(tmp_path / "private")["path"].to_pylist()
    ]
    manifest = read_manifest(tmp_path / "private").to_pylist()
    found = dict(zip(paths, manifest, strict=True))
    by_pixels = {Reason.CORRUPT_PIXELS, Reason.DUPLICATE, Reason.PROCESSING_TWIN}  # known only while sharding
    for row in truth(out):
        assert found[row["path"]]["reason"] == (None if row["expected_reason"] in by_pixels else row["expected_reason"])
        if row["kind"] == "film":
            facts = found[row["path"]]
            assert facts["body_part"] == row["study"]["body_part"]
            assert facts["manufacturer"] is not None and facts["view"] is not None
            assert (facts["rows"], facts["columns"]) == (row["rows"], row["columns"])


def test_each_film_has_both_labels_and_boxes_only_where_present(out: Path) -> None:
    films = {row["sop_instance_uid"]: row for row in truth(out) if row["kind"] == "film"}
    with (out / "truth" / "labels.csv").open(newline="") as file:
        labels = {(row["sop_instance_uid"], row["label"]): row["value"] for row in csv.DictReader(file)}
    assert set(labels) == {(uid, label) for uid in films for label in ("foreign_object", "fracture")}
    with (out / "truth" / "boxes.csv").open(newline="") as file:
        boxed = {(row["sop_instance_uid"], row["label"]) for row in csv.DictReader(file)}
    assert boxed == {film for film, value in labels.items() if value == "present"}
    assert boxed


def test_no_label_is_in_a_header(out: Path) -> None:
    words = ("foreign", "fracture", "contrast_to_noise", "planted", "phantom", "synthetic", *OBJECT_KINDS)
    for _, dataset in sound_dicoms(out):
        text = " ".join(str(e.value) for e in dataset.iterall() if e.VR not in ("SQ", "OB", "OW", "UI")).lower()
        assert not [word for word in words if word in text]


def test_every_identifying_value_is_in_some_header(out: Path) -> None:
    raw = b"\n".join(contents(out / "archive").values())
    values = identifying_values(out)
    missing = {value for value in values if value.encode() not in raw and value.encode("latin-1") not in raw}
    assert not missing
    assert len(values) > 20 * PATIENTS


def test_what_identifies_a_person_is_listed(out: Path) -> None:
    values = identifying_values(out)
    singles = ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyInstanceUID", "SOPInstanceUID",
               "InstitutionName", "StationName", "ReferringPhysicianName", "StudyDate", "PatientAddress",
               "PatientTelephoneNumbers", "DeviceSerialNumber", "PatientComments", "StudyDescription")  # fmt: skip
    for _, dataset in sound_dicoms(out):
        assert {str(dataset[keyword].value) for keyword in singles} <= values
        note = dataset[0x0011, 0x1003].value  # bytes where the value representation is not in the file
        assert (note.decode("latin-1") if isinstance(note, bytes) else note).strip() in values
        assert dataset.OtherPatientIDsSequence[0].PatientID in values
        assert str(dataset.PatientName).split("^")[0] in values


def test_folders_are_named_after_patients(out: Path) -> None:
    names = {str(dataset.PatientName).split("^")[0].upper() for _, dataset in sound_dicoms(out)}
    folders = {path.name for path in (out / "archive").iterdir()}
    assert any(folder.startswith(name) for folder in folders for name in names)


def test_the_error_for_a_missing_archive_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="mae-rad phantom"):
        identifying_values(tmp_path)


@pytest.mark.parametrize("syntax", sorted({syntax for look in SCANNERS for syntax in look.syntaxes}))
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_stored_values_survive_each_transfer_syntax(syntax: str, bits: int) -> None:
    values = np.random.default_rng(bits).integers(0, 2**bits, (37, 53)).astype(np.uint16)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CR_STORAGE, "1.2.3"
    set_pixels(dataset, values, bits, syntax)
    read = pydicom.dcmread(BytesIO(file_bytes(dataset, syntax)))
    assert read.file_meta.TransferSyntaxUID == syntax
    decoders = {
        JPEG_LOSSLESS_SV1: imagecodecs.jpegsof3_decode,
        JPEG_LS: imagecodecs.jpegls_decode,
        JPEG_2000: imagecodecs.jpeg2k_decode,
    }
    if syntax in decoders:
        decoded = decoders[syntax](next(generate_frames(read.PixelData, number_of_frames=1)))
    else:
        decoded = np.frombuffer(read.PixelData, "<u2").reshape(values.shape)
    assert np.array_equal(decoded, values)
