"""Scanning: every file becomes one row, and identifying values are only in the linkage table."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from data_prep.archive.manifest import read_linkage, read_manifest
from data_prep.dicom import dicom_header
from data_prep.errors import ArchiveError, Reason
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from data_prep.shard_format.sidecar import MAX_FRAMES
from tests.builders import dicom_builder as builder
from tests.builders.dicom_builder import uid, write_film

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "radiographs" / "dicom"
Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", "the random secret of these tests")


def rows_of(archive: Path | list[Path], private: Path, **settings: Any) -> dict[str, Row]:
    """Scan, and return file name → row of the manifest."""
    archives = archive if isinstance(archive, list) else [archive]
    scan(archives, private, ScanSettings(workers=1, **settings))
    paths = [Path(path) for path in read_linkage(private)["path"].to_pylist()]
    rows = read_manifest(private).to_pylist()
    assert [row["row"] for row in rows] == list(range(len(paths)))
    return {path.name: row for path, row in zip(paths, rows, strict=True)}


def image(path: Path, size: tuple[int, int] = (7, 5), mode: str = "L", **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path, **options)


def test_every_file_is_a_film_or_has_its_reason(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write_film(archive / "film.dcm")
    write_film(archive / "no_suffix", preamble=False)
    write_film(archive / "processing", sop_class=builder.DX_FOR_PROCESSING)
    whole = (archive / "film.dcm").read_bytes()
    cut = whole.index(b"StudyDate") if b"StudyDate" in whole else whole.index(b"20200131")
    expected: dict[str, Reason | None] = dict.fromkeys(("film.dcm", "no_suffix", "processing", "short_pixels"))
    (archive / "short_pixels").write_bytes(whole[:-100])
    made = {
        "cut_in_a_value": (whole[: cut + 3], Reason.UNREADABLE_HEADER),
        "cut_in_a_head": (whole[: cut - 5], Reason.UNREADABLE_HEADER),
        "noise": (whole[:200] + bytes(range(256)) * 4, Reason.UNREADABLE_HEADER),
        "empty": (b"", Reason.NOT_A_FILM),
        "text.txt": (b"a note about a patient", Reason.NOT_A_FILM),
        "looks_like_dicom": (b"\x08\x00\x05\x00 but is not", Reason.NOT_A_FILM),
        ".film.dcm": (whole, Reason.HIDDEN),
        "broken.png": (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, Reason.UNREADABLE_HEADER),
        "broken.jpg": (b"\xff\xd8\xff\xe0 nothing", Reason.UNREADABLE_HEADER),
    }
    for name, (content, reason) in made.items():
        (archive / name).write_bytes(content)
        expected[name] = reason
    films: dict[str, tuple[dict[str, Any], Reason]] = {
        "ct": ({"sop_class": builder.CT}, Reason.NOT_A_RADIOGRAPH),
        "captured": ({"sop_class": builder.SECONDARY_CAPTURE, "Modality": "OT"}, Reason.NOT_A_RADIOGRAPH),
        "report": ({"sop_class": "1.2.840.10008.5.1.4.1.1.88.11"}, Reason.DOCUMENT),
        "letter": ({"Modality": "DOC"}, Reason.DOCUMENT),
        "no_class": ({"SOPClassUID": ""}, None),
        "no_uid": ({"sop": ""}, Reason.NO_IDENTIFIER),
        "no_pixels": ({"PixelData": None}, Reason.NO_PIXELS),
        "void_pixels": ({"PixelData": b""}, Reason.NO_PIXELS),
        "many": ({"NumberOfFrames": MAX_FRAMES + 1}, Reason.MULTI_FRAME),
        "cine": ({"NumberOfFrames": 2, "sop_class": "1.2.840.10008.5.1.4.1.1.12.2"}, Reason.MULTI_FRAME),
        "no_rows": ({"Rows": None}, Reason.UNREADABLE_HEADER),
        "wide": ({"BitsStored": 999}, Reason.PIXEL_LAYOUT),
        "strange": ({"photometric": "HSV"}, Reason.PIXEL_LAYOUT),
    }
    for name, (attributes, reason) in films.items():
        write_film(archive / name, **attributes)
        expected[name] = reason
    found = rows_of(archive, tmp_path / "private")
    assert {name: row["reason"] for name, row in found.items()} == expected
    sizes = {path.name: path.stat().st_size for path in archive.iterdir()}
    assert {name: row["file_size"] for name, row in found.items()} == sizes
    for row in found.values():  # a film has all its keys, anything else none
        assert {row[name] is None for name in ("key", "patient", "study", "series")} == {row["reason"] is not None}


def test_facts_of_a_film_are_screened_and_complete(tmp_path: Path) -> None:
    region = Dataset()
    region.CodeMeaning = "Knee joint"
    write_film(
        tmp_path / "archive" / "film",
        sop_class=builder.DX_FOR_PRESENTATION,
        values=np.zeros((5, 9), np.uint16),
        photometric="MONOCHROME1",
        AnatomicRegionSequence=[region],
        ViewPosition="seitlich",
        ImageLaterality="R",
        PatientSex="F",
        PatientAge="033Y",
        Manufacturer="FUJI PHOTO FILM Co., ltd.",
        ImagerPixelSpacing=[0.15, 0.15],
    )
    row = rows_of(tmp_path / "archive", tmp_path / "private")["film"]
    expected = {
        "source": "dicom",
        "rows": 5,
        "columns": 9,
        "bits_stored": 12,
        "photometric": "MONOCHROME1",
        "presentation_intent": "FOR PRESENTATION",
        "transfer_syntax": "1.2.840.10008.1.2.1",
        "body_part": "KNEE",
        "view": "LATERAL",
        "laterality": "R",
        "sex": "F",
        "age_years": 33,
        "manufacturer": "Fujifilm",
        "pixel_spacing_from": "ImagerPixelSpacing",
        "patient_known": True,
        "site": None,
        "orientation": None,
    }
    assert {name: row[name] for name in expected} == expected
    assert row["pixel_spacing_mm"] == pytest.approx([0.15, 0.15])


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize("preamble", [True, False])
def test_the_transfer_syntax_is_known_even_without_a_preamble(syntax: str, preamble: bool, tmp_path: Path) -> None:
    write_film(tmp_path / "archive" / "film", transfer_syntax=syntax, preamble=preamble)
    row = rows_of(tmp_path / "archive", tmp_path / "private")["film"]
    assert (row["reason"], row["transfer_syntax"]) == (None, syntax)


PLANTED = {
    "PatientName": "SCHWARZENEGGER^GUNDULA",
    "PatientID": "PID0815Z",
    "PatientBirthDate": "19530714",
    "AccessionNumber": "ACC4711Z",
    "InstitutionName": "Klinikum Nirgendwo",
    "StationName": "BUCKY77Z",
    "ReferringPhysicianName": "QUACKSALBER^HUGO",
    "StudyDescription": "Sturz vom Pferd",
    "BodyPartExamined": "Hand von Gundula",
    "ViewPosition": "GUNDULA",
    "Manufacturer": "Gundulas Geraete",
    "ManufacturerModelName": "Gundula 1953",
    "PatientSex": "GUNDULA",
    "PatientAge": "GUND",
    "Laterality": "GUNDULA",
    "PresentationIntentType": "GUNDULA",
    "StudyDate": "20170823",
}


def test_nothing_that_identifies_leaves_the_linkage(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    archive = tmp_path / "archive"
    for number in range(3):
        film = archive / "GUNDULA" / f"film{number}"
        write_film(film, PixelSpacing=[0.123, 0.456], **PLANTED)  # type: ignore[arg-type]
        film.write_bytes(film.read_bytes().replace(b"0.123\\0.456", b"GUNDULA\\GUN"))
    capfd.readouterr()
    caplog.clear()
    (archive / "GUNDULA" / "broken").write_bytes((archive / "GUNDULA" / "film0").read_bytes()[:500])
    summary = scan([archive], tmp_path / "private", ScanSettings(workers=1))
    printed = capfd.readouterr()
    said = printed.out + printed.err + caplog.text + str(summary) + repr(summary)
    table = read_manifest(tmp_path / "private")
    public = str(table.to_pydict()) + str(table.schema)
    identifying = [*PLANTED.values(), uid("film", archive / "GUNDULA" / "film0"), "GUNDULA", "Gundula", str(tmp_path)]
    for text in identifying:
        assert text not in public
        assert text not in said
    for name in ("body_part", "view", "manufacturer", "model", "sex", "laterality", "pixel_spacing_mm"):
        assert table[name].null_count == table.num_rows
    assert summary.unmapped == {"body_part": 3, "view": 3}
    unmapped = (tmp_path / "private" / "unmapped.csv").read_text(encoding="utf-8")
    assert "body_part,Hand von Gundula,3" in unmapped
    linkage = read_linkage(tmp_path / "private").to_pylist()
    assert [row["accession"] for row in linkage if row["key"]] == ["ACC4711Z"] * 3


def test_a_model_name_is_kept_where_three_patients_share_it(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    for number in range(3):
        write_film(archive / f"common{number}", patient_id=f"P{number}", ManufacturerModelName="DRX-1")
        write_film(archive / f"rare{number}", patient_id=f"P{number % 2}", ManufacturerModelName="Erika Muster")
        write_film(archive / f"unknown{number}", patient_id=None, study=str(number), ManufacturerModelName="Otto")
    found = rows_of(archive, tmp_path / "private")
    assert {row["model"] for name, row in found.items() if name.startswith("common")} == {"DRX-1"}
    assert {row["model"] for name, row in found.items() if not name.startswith("common")} == {None}


def test_keys_stay_when_the_archive_moves_or_grows(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write_film(archive / "sub" / "film")
    image(archive / "sub" / "film.png")
    before = rows_of(archive, tmp_path / "private")
    archive.rename(tmp_path / "moved")
    write_film(tmp_path / "moved" / "another")
    after = rows_of(tmp_path / "moved", tmp_path / "private")
    for name, row in before.items():
        for column in ("key", "patient", "study", "series", "study_day"):
            assert after[name][column] == row[column]


def test_another_secret_gives_unrelated_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_film(tmp_path / "archive" / "film", StationName="A")
    first = rows_of(tmp_path / "archive", tmp_path / "private")["film"]
    monkeypatch.setenv("MAE_RAD_KEY", "another random secret of these tests")
    second = rows_of(tmp_path / "archive", tmp_path / "private")["film"]
    for name in ("key", "patient", "study", "series", "site", "study_day"):
        assert first[name] != second[name]


def test_images_are_read_by_their_headers_only(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    exif = Image.Exif()
    exif[0x0112] = 6
    image(archive / "grey.png", (7, 5))
    image(archive / "deep.png", (7, 5), "I;16")
    image(archive / "turned.jpg", (70, 50), exif=exif)
    image(archive / "colour.jpeg", (8, 8), "RGB")
    image(archive / "palette.png", (8, 8), "P")
    (archive / "half.png").write_bytes((archive / "deep.png").read_bytes()[:60])
    found = rows_of(archive, tmp_path / "private")
    columns = ("source", "reason", "rows", "columns", "bits_stored", "photometric", "orientation")
    assert {name: tuple(row[column] for column in columns) for name, row in found.items()} == {
        "grey.png": ("png", None, 5, 7, 8, "MONOCHROME2", 1),
        "deep.png": ("png", None, 5, 7, 16, "MONOCHROME2", 1),
        "half.png": ("png", None, 5, 7, 16, "MONOCHROME2", 1),
        "turned.jpg": ("jpeg", None, 50, 70, 8, "MONOCHROME2", 6),
        "colour.jpeg": ("jpeg", None, 8, 8, 8, "RGB", 1),
        "palette.png": ("png", None, 8, 8, 8, "PALETTE COLOR", 1),
    }


def test_an_oversized_image_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image(tmp_path / "archive" / "huge.png", (40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert rows_of(tmp_path / "archive", tmp_path / "private")["huge.png"]["reason"] == Reason.TOO_LARGE


def test_image_pattern_gives_patient_study_body_part_and_view(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    for name in ("hand/p1_s1_ap.png", "hand/p1_s1_lat.png", "hand/p1_s2_ap.png", "elbow/p2_s1_xx.png", "other.png"):
        image(archive / name)
    pattern = r"(?P<body_part>[a-z]+)/(?P<patient>p\d)_(?P<study>s\d)_(?P<view>[a-z]+)"
    found = rows_of(archive, tmp_path / "private", image_pattern=pattern)
    assert len({found[name]["patient"] for name in ("p1_s1_ap.png", "p1_s1_lat.png", "p1_s2_ap.png")}) == 1
    assert found["p1_s1_ap.png"]["study"] == found["p1_s1_lat.png"]["study"] != found["p1_s2_ap.png"]["study"]
    assert found["p2_s1_xx.png"]["study"] != found["p1_s1_ap.png"]["study"]
    words = {name: (row["body_part"], row["view"], row["patient_known"]) for name, row in found.items()}
    assert words["p1_s1_lat.png"] == ("HAND", "LATERAL", True)
    assert words["p2_s1_xx.png"] == ("ELBOW", None, True)
    assert words["other.png"] == (None, None, False)
    assert (tmp_path / "private" / "unmapped.csv").read_text() == "field,word,films\nview,xx,1\n"


def test_a_file_is_read_once_however_often_it_is_reached(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write_film(archive / "sub" / "film")
    image(archive / "sub" / "deep" / "film.png")
    (archive / "again").symlink_to(archive / "sub" / "film")
    (archive / "loop").symlink_to(archive)
    (archive / "nowhere").symlink_to(archive / "absent")
    (archive / "itself").symlink_to(archive / "itself")
    os.mkfifo(archive / "pipe")
    alone = rows_of(archive, tmp_path / "private")
    many = [archive / "sub", archive, archive, archive / "sub" / "film", tmp_path / "archive" / ".." / "archive"]
    assert sorted(alone) == ["film", "film.png"]
    assert rows_of(many, tmp_path / "private") == rows_of(many[::-1], tmp_path / "private") == alone


def test_two_archives_with_the_same_image_paths_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        image(tmp_path / "both" / name / "001.png")
    with pytest.raises(ArchiveError, match="1 images have the same path"):
        scan([tmp_path / "both" / "one", tmp_path / "both" / "two"], tmp_path / "private", ScanSettings(workers=1))
    assert len(rows_of(tmp_path / "both", tmp_path / "private")) == 1  # one name, two rows
    assert read_manifest(tmp_path / "private").num_rows == 2


def test_the_number_of_workers_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "archive"
    for number in range(9):
        write_film(archive / f"film{number}", patient_id=f"P{number // 2}", ManufacturerModelName="DRX-1")
    monkeypatch.setattr("data_prep.archive.header_pool.FILES_PER_TASK", 4)
    for workers in (1, 2):
        scan([archive], tmp_path / f"private{workers}", ScanSettings(workers=workers))
    for name in ("manifest.parquet", "linkage.parquet", "unmapped.csv"):
        assert (tmp_path / "private1" / name).read_bytes() == (tmp_path / "private2" / name).read_bytes()


def test_user_errors_are_one_clear_line(tmp_path: Path) -> None:
    archive, private = tmp_path / "archive", tmp_path / "private"
    with pytest.raises(ArchiveError, match=r"archive .*absent does not exist"):
        scan([tmp_path / "absent"], private, ScanSettings())
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    with pytest.raises(ArchiveError, match=r"no file in .*empty"):
        scan([tmp_path / "empty"], private, ScanSettings())
    write_film(archive / "film")
    for inside in (archive, archive / "private", archive / "sub" / ".." / "private"):
        with pytest.raises(ArchiveError, match="lies inside the archive"):
            scan([archive], inside, ScanSettings())
    with pytest.raises(ArchiveError, match="holds other files"):
        scan([archive / "film"], tmp_path, ScanSettings())
    assert not private.exists()


def test_a_failing_disk_stops_the_scan_and_names_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        write_film(tmp_path / "archive" / f"GUNDULA{number}")

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error", str(tmp_path / "archive" / "GUNDULA"))

    monkeypatch.setattr(dicom_header, "read_partial", fail)
    with pytest.raises(ArchiveError, match="Input/output error") as raised:
        scan([tmp_path / "archive"], tmp_path / "private", ScanSettings(workers=1))
    assert "GUNDULA" not in str(raised.value)
    assert not (tmp_path / "private" / "manifest.parquet").exists()


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared films are not there")
def test_real_archives_with_films_and_other_files(tmp_path: Path) -> None:
    found = rows_of(SHARED, tmp_path / "private")
    assert len(found) == sum(path.is_file() for path in SHARED.rglob("*"))
    rejects = {name: row["reason"] for name, row in found.items() if row["reason"]}
    assert rejects.pop("CR_Canon_no_pixeldata_bad_charset.dcm") == Reason.NO_PIXELS
    assert rejects.pop("CT_no_file_meta.dcm") == Reason.NOT_A_FILM  # a stray byte first: no DICOM reader takes it
    assert rejects.pop("SR_no_pixels.dcm") == Reason.DOCUMENT
    others = {"CT_small", "MR_truncated", "OT_VOILUT_vlut04", "OT_signed_ModalityLUT_mlut18", "SC_rgb_jpeg"}
    others |= {"XA_multiframe_96_JPEGbaseline", "deflated_OT_512"}
    multi_frame = rejects.pop("XA_multiframe_96_JPEGbaseline.dcm")
    assert multi_frame == Reason.MULTI_FRAME
    others -= {"XA_multiframe_96_JPEGbaseline"}
    assert rejects == dict.fromkeys((f"{name}.dcm" for name in others), Reason.NOT_A_RADIOGRAPH)
    captures = {"cr_in_secondary_capture_jpeg_baseline.dcm", "cr_jpeg_baseline_wrongly_tagged_monochrome1.dcm"}
    captures |= {
        "dx_in_secondary_capture_implicit.dcm",
        "cr_monochrome1_jpeg_baseline.dcm",
    }  # the last: by its equipment
    assert {name: row["marks"] for name, row in found.items() if row["marks"]} == dict.fromkeys(
        captures, "secondary_capture"
    )
    reference = found["RG2_UNC.dcm"]
    assert (reference["body_part"], reference["manufacturer"], reference["sex"]) == ("HIP", "Fujifilm", "M")
    assert found["RG2_HTJ2K_lossless.dcm"]["key"] == reference["key"]  # the same object, compressed afterwards
    assert found["RG2_RLE.dcm"]["study_day"] - reference["study_day"] == -262  # 2003-12-08 and 2004-08-26
    assert found["RG1_JLSN.dcm"]["pixel_spacing_mm"] is None  # declared as zero
    assert found["RG1_JLSN.dcm"]["age_years"] == 64
    assert found["cr_dental_modality_lut_jpeg_lossless.dcm"]["age_years"] is None  # born in 1900, a dummy
    assert found["CR_16x16_CSPINE_AP"]["body_part"] == "CSPINE"
    assert found["dx_in_secondary_capture_implicit.dcm"]["age_years"] is None  # "81", without a unit


def test_files_of_excluded_folders_are_not_read_and_counted(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write_film(archive / "KNIE_NEU" / "__a" / "film")
    write_film(archive / "__Arbeit" / "copy")
    summary = scan([archive], tmp_path / "private", ScanSettings(workers=1, exclude_pattern="^__"))
    assert (summary.files, summary.excluded) == (1, 1)
    assert re.search(r"^left out +1 ", str(summary), flags=re.MULTILINE)
    assert [Path(path).name for path in read_linkage(tmp_path / "private")["path"].to_pylist()] == ["film"]
    with pytest.raises(ArchiveError, match="leaves out all 2 files"):
        scan([archive], tmp_path / "other", ScanSettings(workers=1, exclude_pattern="."))
    assert not (tmp_path / "other").exists()


def test_films_that_a_rule_rejects_are_told_beside_all_films(tmp_path: Path) -> None:
    write_film(tmp_path / "archive" / "film")
    write_film(tmp_path / "archive" / "raw", sop_class=builder.DX_FOR_PROCESSING)
    text = str(scan([tmp_path / "archive"], tmp_path / "private", ScanSettings(workers=1)))
    assert "2 dicom; without those that shard rejects by a rule below: 1" in text


@pytest.mark.parametrize(("pattern", "message"), [("(", "is no regular expression"), ("", "leave out every file")])
def test_a_wrong_exclude_pattern_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScanSettings(exclude_pattern=pattern)
