"""Selection rules with their settings and reasons, and films that show only air."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from data_prep.archive.manifest import read_linkage, read_manifest
from data_prep.archive.reject_by_header import HEADER_RULES, QUARANTINE, find_reject_reasons
from data_prep.archive.selection_settings import SelectionSettings
from data_prep.errors import Reason
from data_prep.film.empty_exposure import empty_exposure
from data_prep.scan.scan import scan
from data_prep.scan.settings import ScanSettings
from tests.builders import dicom_builder as builder
from tests.builders.dicom_builder import uid, write_film

FILMS: dict[str, tuple[dict[str, Any], set[Reason]]] = {
    "plain": ({"ImageType": ["DERIVED", "SECONDARY", ""], "BurnedInAnnotation": "NO"}, set()),
    "mammogram": ({"sop_class": f"{builder.CR}.2", "Modality": "MG"}, {Reason.MAMMOGRAPHY}),
    "dog": ({"PatientSpeciesDescription": "Canine"}, {Reason.NOT_HUMAN}),
    "tooth": ({"sop_class": f"{builder.CR}.3", "Modality": "IO"}, {Reason.INTRA_ORAL}),
    "spot": ({"sop_class": "1.2.840.10008.5.1.4.1.1.12.2", "Modality": "RF"}, {Reason.FLUOROSCOPY}),
    "scout": ({"sop_class": builder.CT, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, {Reason.LOCALIZER}),
    "raw": ({"sop_class": builder.DX_FOR_PROCESSING}, {Reason.FOR_PROCESSING}),
    "raw_by_intent": ({"PresentationIntentType": "FOR PROCESSING"}, {Reason.FOR_PROCESSING}),
    "burned": ({"BurnedInAnnotation": "YES"}, {Reason.BURNED_IN_ANNOTATION}),
    "burned_unclear": ({"BurnedInAnnotation": "?"}, {Reason.BURNED_IN_ANNOTATION}),
    "captured": ({"sop_class": builder.SECONDARY_CAPTURE, "Modality": "DX"}, {Reason.SECONDARY_CAPTURE}),
    "captured_by_equipment": ({"ConversionType": "WSD"}, {Reason.SECONDARY_CAPTURE}),
    "scanned_sheet": ({"ConversionType": "DF"}, {Reason.DIGITIZED_FILM}),
    "drawing": ({"ImageType": ["DERIVED", "SECONDARY", "DRAWING"]}, {Reason.NO_EXPOSURE}),
    "sketch": ({"ImageType": ["ORIGINAL", "PRIMARY", "", "line drawings"]}, {Reason.NO_EXPOSURE}),
    "form": ({"ImageType": ["DERIVED", "SECONDARY", "OTHER", "Form"]}, {Reason.NO_EXPOSURE}),
    "named": ({"ImageType": ["DERIVED", "PRIMARY", "WITHDRAWN", "PERFORMED", "PLATFORM"]}, set()),
    "screen": ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, {Reason.SCREENSHOT}),
    **{
        f"page_{number}": (header, {Reason.SCREENSHOT})
        for number, header in enumerate(
            [
                *({"SeriesDescription": text} for text in ("Dose Report", "Patientenprotokoll", "Scanned Document")),
                *({"SeriesDescription": text} for text in ("Etikett", "Dosisprotokoll", "Patient Info Sheet")),
                *({"ImageType": ["DERIVED", "SECONDARY", *kind]} for kind in (["OTHER", "DOSE_INFO"], ["REPORT"])),
                *({"StudyDescription": "Screenshot"}, {"DerivationDescription": "screen capture"}),
            ]
        )
    },
    "no_page": ({"SeriesDescription": "Hand protocol PA", "StudyDescription": "Chest, reported"}, set()),
    "both": (
        {"BurnedInAnnotation": "YES", "ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
        {Reason.BURNED_IN_ANNOTATION, Reason.SCREENSHOT},
    ),
}  # fmt: skip


def scanned(archive: Path, private: Path) -> tuple[pa.Table, dict[str, int]]:
    """The manifest, and file name → row."""
    scan([archive], private, ScanSettings(workers=1))
    paths = read_linkage(private)["path"].to_pylist()
    return read_manifest(private), {Path(path).name: row for row, path in enumerate(paths)}


def reasons(manifest: pa.Table, places: dict[str, int], **keep: str) -> dict[str, str | None]:
    found = find_reject_reasons(manifest, SelectionSettings(**keep), 16).to_pylist()  # type: ignore[arg-type]
    return {name: found[row] for name, row in places.items()}


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAE_RAD_KEY", "the random secret of these tests")


def test_every_rule_marks_its_films_and_the_settings_decide(tmp_path: Path) -> None:
    for name, (attributes, _) in FILMS.items():
        write_film(tmp_path / "archive" / name, study=name, **attributes)
    manifest, places = scanned(tmp_path / "archive", tmp_path / "private")
    marked = {name: manifest["marks"][row].as_py() for name, row in places.items()}
    assert {name: set((text or "").split()) for name, text in marked.items()} == {
        name: {rule.value for rule in rules} for name, (_, rules) in FILMS.items()
    }
    assert manifest["reason"].null_count == len(FILMS)  # all are readable: the settings decide
    by_default = reasons(manifest, places)
    assert {name for name, reason in by_default.items() if reason is None} == {"plain", "no_page", "named"}
    for name, (_, rules) in FILMS.items():
        assert by_default[name] in {rule.value for rule in rules} | {None}
        kept = reasons(manifest, places, **dict.fromkeys((rule.value for rule in rules), "keep"))
        assert kept[name] is None
    one = reasons(manifest, places, burned_in_annotation="keep")
    assert (one["burned"], one["both"]) == (None, "screenshot")


def test_screenshots_and_photographs_are_rejected(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    Image.new("L", (1920, 1080)).save(archive / "screen.png")
    Image.new("L", (1024, 1024)).save(archive / "film.png")
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x829A] = 0.01  # exposure time
    Image.new("L", (300, 400)).save(archive / "telephone.jpg", exif=exif)
    named = Image.Exif()
    named[0x0131] = "Greenshot 1.2"
    Image.new("L", (301, 400)).save(archive / "program.jpg", exif=named)
    manifest, places = scanned(archive, tmp_path / "private")
    assert reasons(manifest, places) == {
        "screen.png": "screenshot", "film.png": None, "telephone.jpg": "photograph", "program.jpg": "screenshot",
    }  # fmt: skip


TWINS: dict[str, dict[str, Any]] = {
    "by event": {"IrradiationEventUID": uid("event")},
    "by time": {"AcquisitionDate": "20200131", "AcquisitionTime": "101112.5", "ViewPosition": "PA"},
}


@pytest.mark.parametrize("clue", [*TWINS, "by source"])
def test_raw_data_of_a_kept_film_are_a_processing_twin(clue: str, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    raw = write_film(archive / "raw", sop_class=builder.DX_FOR_PROCESSING, **TWINS.get(clue, {}))
    source = Dataset()
    source.ReferencedSOPInstanceUID = raw.SOPInstanceUID
    shared = TWINS.get(clue) or {"SourceImageSequence": [source]}
    write_film(archive / "shown", sop_class=builder.DX_FOR_PRESENTATION, **shared)
    write_film(archive / "alone", sop_class=builder.DX_FOR_PROCESSING, study="other", **TWINS.get(clue, {}))
    manifest, places = scanned(archive, tmp_path / "private")
    assert reasons(manifest, places) == {"raw": "processing_twin", "shown": None, "alone": "for_processing"}
    kept = reasons(manifest, places, for_processing="keep")
    assert kept == {"raw": "processing_twin", "shown": None, "alone": None}
    write_film(archive / "shown", sop_class=builder.DX_FOR_PRESENTATION, BurnedInAnnotation="YES", **shared)
    manifest, places = scanned(archive, tmp_path / "private")
    assert (
        reasons(manifest, places)["raw"] == "for_processing"
    )  # the film for presentation is rejected, so the raw data have no twin
    assert reasons(manifest, places, burned_in_annotation="keep")["raw"] == "processing_twin"


def test_films_of_another_second_or_view_are_no_twins(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    facts = {"AcquisitionDate": "20200131", "AcquisitionTime": "101112", "ViewPosition": "PA"}
    write_film(archive / "raw", sop_class=builder.DX_FOR_PROCESSING, **facts)
    write_film(archive / "later", **facts | {"AcquisitionTime": "101113"})
    write_film(archive / "side", **facts | {"ViewPosition": "LL"})
    for number, time in enumerate(("", "000000", "10")):
        write_film(archive / f"raw{number}", sop_class=builder.DX_FOR_PROCESSING, **facts | {"AcquisitionTime": time})
        write_film(archive / f"shown{number}", **facts | {"AcquisitionTime": time})
    manifest, _ = scanned(archive, tmp_path / "private")
    assert manifest["twin"].null_count == manifest.num_rows


def test_every_rule_has_a_switch_and_a_reason() -> None:
    assert {rule.value for rule in HEADER_RULES} | {"empty_exposure"} == set(SelectionSettings.model_fields)
    assert {Reason.BURNED_IN_ANNOTATION, Reason.SCREENSHOT, Reason.SECONDARY_CAPTURE} <= QUARANTINE


def air(noise: float = 30, blades: float = 0, heel: float = 0.1, marker: bool = False) -> NDArray[np.uint16]:
    """An open field with quantum noise and heel effect, optionally with a collimator and a side marker."""
    rows, columns = 1200, 1000
    down, across = np.mgrid[:rows, :columns].astype(np.float32)
    image = 3000 * (1 - heel * (down / rows - 0.5) - heel / 2 * (across / columns - 0.5) ** 2)
    if marker:
        image[150:220, 150:200] *= 0.5
    if blades:
        field = np.zeros((rows, columns), dtype=np.float32)
        field[
            int(blades * rows) : rows - int(blades * rows), int(blades * columns) : columns - int(blades * columns)
        ] = 1
        image = 100 + (image - 100) * cv2.GaussianBlur(field, (0, 0), 2)
    image = image + noise * np.random.default_rng(0).standard_normal((rows, columns), dtype=np.float32)
    return np.clip(image, 0, 4095).astype(np.uint16)


def nothing(values: NDArray[np.uint16]) -> NDArray[np.bool_]:
    return np.zeros(values.shape, dtype=np.bool_)


@pytest.mark.parametrize("noise", [0, 3, 200])
@pytest.mark.parametrize("blades", [0, 0.1])
@pytest.mark.parametrize("marker", [False, True])
def test_a_film_of_only_air_is_an_empty_exposure(noise: float, blades: float, marker: bool) -> None:
    values = air(noise, blades, marker=marker)
    assert empty_exposure(values, nothing(values))
    assert empty_exposure((4095 - values).astype(np.uint16), nothing(values))  # with either polarity


@pytest.mark.parametrize("width", [40, 100, 300])
@pytest.mark.parametrize("blades", [0, 0.1])
def test_a_finger_in_a_large_field_is_not_empty(width: int, blades: float) -> None:
    values = air(30, blades)
    finger = np.zeros(values.shape, dtype=np.uint8)
    cv2.ellipse(finger, (500, 600), (width, 3 * width if width < 200 else width), 0, 0, 360, 1, -1)
    softened = cv2.GaussianBlur(finger.astype(np.float32), (0, 0), 3)
    assert not empty_exposure((values * (1 - 0.4 * softened)).astype(np.uint16), nothing(values))


def test_hidden_pixels_are_ignored_in_empty_exposures() -> None:
    values, hidden = air(), np.ones((1200, 1000), dtype=np.bool_)
    hidden[300:900, 200:800] = False
    values[hidden] = np.random.default_rng(1).integers(0, 4096, int(hidden.sum()))
    assert empty_exposure(np.where(hidden, np.uint16(0), values), hidden)


SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "radiographs"


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared films are not there")
def test_no_real_film_counts_as_empty() -> None:
    films = sorted((SHARED / "upper-limb-fractures").rglob("*.jp*g"))[::12]
    films += sorted((SHARED / "chest-nih").rglob("*.png"))[::4] + sorted((SHARED / "hand-bone-age").rglob("*.png"))
    assert len(films) > 60
    for path in films:
        values = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.uint16)
        assert not empty_exposure(values, nothing(values))
