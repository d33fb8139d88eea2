"""Header facts of one DICOM file, read without its pixels."""

import re
from datetime import date
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileDataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from data_prep.archive.file_facts import FileRow
from data_prep.archive.reject_by_header import format_marks
from data_prep.archive.species import SPECIES_ELEMENTS, is_animal
from data_prep.deidentify import safe_header_values
from data_prep.deidentify.image_type import image_type as closed_image_type
from data_prep.deidentify.image_type import is_page
from data_prep.deidentify.person_digests import date_digests, name_digests
from data_prep.deidentify.pseudonyms import Pseudonyms
from data_prep.dicom.dicom_header import Header, read_header_elements
from data_prep.dicom.dicomdir import count_missing_files
from data_prep.dicom.header_values import photometric_of
from data_prep.dicom.repair import dicom_start
from data_prep.errors import FilmReject, Reason
from data_prep.shard_format.sidecar import MAX_FRAMES

_STORAGE = "1.2.840.10008.5.1.4.1.1."
CR = f"{_STORAGE}1"
DX_FOR_PRESENTATION = f"{_STORAGE}1.1"
DX_FOR_PROCESSING = f"{_STORAGE}1.1.1"
SECONDARY_CAPTURE = f"{_STORAGE}7"
CT = f"{_STORAGE}2"

_RULE_BY_SOP_CLASS: dict[str, Reason | None] = {
    CR: None,
    DX_FOR_PRESENTATION: None,
    DX_FOR_PROCESSING: None,
    f"{_STORAGE}1.2": Reason.MAMMOGRAPHY,
    f"{_STORAGE}1.2.1": Reason.MAMMOGRAPHY,
    f"{_STORAGE}1.3": Reason.INTRA_ORAL,
    f"{_STORAGE}1.3.1": Reason.INTRA_ORAL,
    f"{_STORAGE}12.1": Reason.FLUOROSCOPY,
    f"{_STORAGE}12.2": Reason.FLUOROSCOPY,
    SECONDARY_CAPTURE: Reason.SECONDARY_CAPTURE,
    f"{_STORAGE}7.2": Reason.SECONDARY_CAPTURE,
    f"{_STORAGE}7.3": Reason.SECONDARY_CAPTURE,
}
"""SOP classes of projection radiographs (PS3.4 B.5) → selection rule that applies to them; None for no rule."""
_DOCUMENTS = tuple(f"{_STORAGE}{branch}." for branch in ("11", "88", "104"))
"""Presentation states, structured reports, encapsulated documents."""
_DOCUMENT_MODALITIES = frozenset({"DOC", "SR", "PR", "KO"})
_RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "RG"})
_INTENT_BY_SOP_CLASS = {DX_FOR_PRESENTATION: "FOR PRESENTATION", DX_FOR_PROCESSING: "FOR PROCESSING"}
_CAPTURE_EQUIPMENT = ("SecondaryCaptureDeviceID", "SecondaryCaptureDeviceManufacturer", "DateOfSecondaryCapture")
"""Elements of the SC Equipment module (PS3.3 C.8.6.1) besides Conversion Type."""
_RULE_BY_CONVERSION_TYPE = {
    "DF": Reason.DIGITIZED_FILM,
    "SI": Reason.DIGITIZED_FILM,
    "DRW": Reason.SCREENSHOT,
    "SYN": Reason.SCREENSHOT,
}
"""Conversion Type → selection rule: digitized film, scanned image; drawing, synthetic image. All other types are
secondary captures."""
_PAGE = re.compile(
    r"SCREEN|SNAPSHOT|CAPTURE|HARD ?COPY|BILDSCHIRM|DOSE[ _]?(REPORT|INFO|SHEET|RECORD)|DOSIS|\bREPORT\b|BERICHT|BEFUND"
    r"|PROTO[CK]OL+ ?(SHEET|PAGE|BLATT)|PATIENT(EN)?[ _]?(PROTO[CK]OL|INFO|DATEN|DATA|SHEET|BLATT)|SCAN(NED)?[ _]DOC"
    r"|DOCUMENT|DOKUMENT|ETIKETT|\bLABEL\b|AUFKLEBER|STICKER|COVER ?SHEET|DECKBLATT|WORK ?SHEET|CONSENT|EINWILLIGUNG"
)
"""Words of a page with text, on which the name of a patient stands, instead of an exposure."""
_PAGE_TEXTS = ("ImageType", "SeriesDescription", "StudyDescription", "DerivationDescription")
_LOCALIZER = re.compile(r"LOCALI[ZS]ER|SCOUT")

_FACTS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "IssuerOfPatientID"),
    *("PatientName", "OtherPatientNames", "PatientBirthName"),
    *("AccessionNumber", "StudyDate", "PatientBirthDate", "PatientAge", "PatientSex", "InstitutionName", "StationName"),
    *("Modality", "ImageType", "ConversionType", "BurnedInAnnotation", "NumberOfFrames", "PresentationIntentType"),
    *("BodyPartExamined", "ViewPosition", "ImageLaterality", "Laterality", "AnatomicRegionSequence"),
    *("ViewCodeSequence", "Manufacturer", "ManufacturerModelName", *_PAGE_TEXTS[1:], *_CAPTURE_EQUIPMENT),
    *("IrradiationEventUID", "SourceImageSequence", "AcquisitionDate", "AcquisitionTime", "Rows", "Columns"),
    *(
        "BitsAllocated",
        "BitsStored",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PixelSpacing",
        "ImagerPixelSpacing",
        "NominalScannedPixelSpacing",
    ),
    "EstimatedRadiographicMagnificationFactor",
    *SPECIES_ELEMENTS,
)
_FACT_TAGS = [Tag(keyword) for keyword in _FACTS]
_LARGEST_UNSIGNED_SHORT = 65_535


def is_dicom(head: bytes) -> bool:
    """Whether a file has the DICOM prefix after the preamble (PS3.10 section 7.1), or damage in its place."""
    return head[128:132] == b"DICM" or dicom_start(head) >= 0


def may_lack_preamble(head: bytes) -> bool:
    """Whether the file may be a data set without preamble: its first element is of group 0002 or 0008."""
    return head[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08")


def read_dicom(  # noqa: PLR0911 - one way out per reason
    path: Path, head: bytes, size: int, pseudonyms: Pseudonyms
) -> FileRow:
    """Read the header of one DICOM file.

    Args:
        path: the file; it is opened only if ``head`` ends before the pixels begin.
        head: first bytes of the file.
        size: bytes of the file.
        pseudonyms: makes the keys.

    Returns:
        Facts of the film, or the reason why the file is no film.

    Raises:
        OSError: the disk fails.
    """
    try:
        header = read_header_elements(path, head, size, _FACT_TAGS)
    except OSError as error:
        if error.errno is not None:  # the disk, not the file
            raise
        return _unreadable_row(head)
    except Exception:  # pydicom raises exceptions of any type on damaged files
        return _unreadable_row(head)
    try:
        if _text(header.elements.file_meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return _dicomdir_row(path)
        if not is_dicom(head) and not _text(header.elements, "SOPClassUID"):
            return FileRow("other", Reason.NOT_A_FILM)
        return _film_row(header, pseudonyms)
    except FilmReject as reject:
        return FileRow("dicom", reject.reason)
    except OSError as error:
        if error.errno is not None:
            raise
        return _unreadable_row(head)
    except Exception:  # pydicom converts an element at its first access and can fail only then
        return _unreadable_row(head)


def _unreadable_row(head: bytes) -> FileRow:
    if is_dicom(head):
        return FileRow("dicom", Reason.UNREADABLE_HEADER)
    return FileRow("other", Reason.NOT_A_FILM)


def _dicomdir_row(path: Path) -> FileRow:
    try:
        missing = count_missing_files(path)
    except Exception:  # a damaged index; the scan lists the files without it
        missing = 0
    return FileRow("dicom", Reason.NOT_A_FILM, {"missing": missing})


def _film_row(header: Header, pseudonyms: Pseudonyms) -> FileRow:
    facts = header.elements
    sop_class = _text(facts, "SOPClassUID") or _text(facts.file_meta, "MediaStorageSOPClassUID")
    modality = _text(facts, "Modality").upper()
    image_type = _text(facts, "ImageType").upper()
    _check_radiograph(sop_class, modality, image_type)
    if not header.pixel_bytes:
        raise FilmReject(Reason.NO_PIXELS)
    sop = _text(facts, "SOPInstanceUID")
    if not sop:
        raise FilmReject(Reason.NO_IDENTIFIER)
    frames = _integer(facts, "NumberOfFrames")
    if frames > (1 if _RULE_BY_SOP_CLASS.get(sop_class) == Reason.FLUOROSCOPY else MAX_FRAMES):  # cine
        raise FilmReject(Reason.MULTI_FRAME)
    series, study = _text(facts, "SeriesInstanceUID"), _text(facts, "StudyInstanceUID")
    key = pseudonyms.film(sop)
    study_date = safe_header_values.day(_text(facts, "StudyDate"))
    institution, station = _text(facts, "InstitutionName"), _text(facts, "StationName")
    declared_intent = safe_header_values.presentation_intent(_text(facts, "PresentationIntentType"))
    intent = declared_intent or _INTENT_BY_SOP_CLASS.get(sop_class)
    rules = _rules(facts, sop_class, modality, image_type)
    if intent == "FOR PROCESSING" or sop_class == DX_FOR_PROCESSING:
        rules.add(Reason.FOR_PROCESSING)
    row = {
        "marks": format_marks(rules),
        "key": key,
        "frames": frames if frames > 1 else None,
        "study": pseudonyms.study(study) if study else pseudonyms.study_of_film(key),
        "series": pseudonyms.series(series) if series else pseudonyms.series_of_film(key),
        "site": pseudonyms.site(institution, station) if institution or station else None,
        "patient_id": _text(facts, "PatientID") or None,
        "issuer": _text(facts, "IssuerOfPatientID") or None,
        "study_date": study_date,
        "transfer_syntax": str(DeflatedExplicitVRLittleEndian) if header.is_deflated else _transfer_syntax(facts),
        "modality": safe_header_values.modality(modality),
        "presentation_intent": intent,
        "image_type": closed_image_type(_texts(facts, "ImageType")),
        "laterality": safe_header_values.laterality(_text(facts, "ImageLaterality"))
        or safe_header_values.laterality(_text(facts, "Laterality")),
        "sex": safe_header_values.sex(_text(facts, "PatientSex")),
        "age_years": safe_header_values.age_years(
            _text(facts, "PatientAge"), safe_header_values.day(_text(facts, "PatientBirthDate")), study_date
        ),
        "manufacturer": safe_header_values.manufacturer(_text(facts, "Manufacturer")),
        "model": safe_header_values.model_name(_text(facts, "ManufacturerModelName")),
        "sop_instance_uid": sop,
        "series_uid": series or None,
        "study_uid": study or None,
        "accession": _text(facts, "AccessionNumber") or None,
        **_person_digests(facts, pseudonyms, study_date),
        **_exposure_facts(facts),
        **_pixel_facts(facts),
        **_body_part_and_view(facts),
    }
    return FileRow("dicom", None, row)


def _check_radiograph(sop_class: str, modality: str, image_type: str) -> None:
    """Check that the object is a radiograph, by its SOP class.

    The modality decides only for secondary captures, which can hold any image.

    Raises:
        FilmReject: the object is no radiograph.
    """
    if sop_class.startswith(_DOCUMENTS) or modality in _DOCUMENT_MODALITIES:
        raise FilmReject(Reason.DOCUMENT)
    if sop_class == CT and _LOCALIZER.search(image_type):
        return
    captured = _RULE_BY_SOP_CLASS.get(sop_class) == Reason.SECONDARY_CAPTURE
    if sop_class not in _RULE_BY_SOP_CLASS or (captured and modality not in _RADIOGRAPH_MODALITIES):
        raise FilmReject(Reason.NOT_A_RADIOGRAPH)


def _rules(facts: FileDataset, sop_class: str, modality: str, image_type: str) -> set[Reason]:
    """The selection rules that apply to the header, except those for raw data."""
    rules = {rule} if (rule := _RULE_BY_SOP_CLASS.get(sop_class)) else set()
    if is_animal(facts):
        rules.add(Reason.NOT_HUMAN)
    if is_page(_texts(facts, "ImageType")):
        rules.add(Reason.NO_EXPOSURE)
    if _LOCALIZER.search(image_type):
        rules.add(Reason.LOCALIZER)
    if _text(facts, "BurnedInAnnotation").upper() not in ("", "NO"):
        rules.add(Reason.BURNED_IN_ANNOTATION)
    if any(_PAGE.search(_text(facts, keyword).upper()) for keyword in _PAGE_TEXTS):
        rules.add(Reason.SCREENSHOT)
    stored_as = _text(facts.file_meta, "MediaStorageSOPClassUID")
    if _RULE_BY_SOP_CLASS.get(stored_as) == Reason.SECONDARY_CAPTURE or modality in ("OT", "SC"):
        rules.add(Reason.SECONDARY_CAPTURE)
    conversion = _text(facts, "ConversionType").upper()
    if conversion or any(_text(facts, keyword) for keyword in _CAPTURE_EQUIPMENT):
        rules.add(_RULE_BY_CONVERSION_TYPE.get(conversion, Reason.SECONDARY_CAPTURE))
    return rules


def _exposure_facts(facts: FileDataset) -> dict[str, object]:
    """Facts that identify two objects of one exposure."""
    day, time = safe_header_values.day(_text(facts, "AcquisitionDate")), _text(facts, "AcquisitionTime")
    timed = day is not None and len(time) >= 6 and time.strip("0.")
    sources = {_text(item, "ReferencedSOPInstanceUID") for item in _sequence_items(facts, "SourceImageSequence")}
    return {
        "irradiation_event": _text(facts, "IrradiationEventUID") or None,
        "acquired": f"{day:%Y%m%d} {time}" if timed else None,
        "sources": sorted(sources - {""}) or None,
    }


def _body_part_and_view(facts: FileDataset) -> dict[str, str | None]:
    """Body part and view as the header has them, and as standard terms."""
    body_part = _text(facts, "BodyPartExamined") or _code_meaning(facts, "AnatomicRegionSequence")
    view = _text(facts, "ViewPosition") or _code_meaning(facts, "ViewCodeSequence")
    return {
        "body_part": safe_header_values.body_part(body_part),
        "view": safe_header_values.view(view),
        "body_part_word": body_part or None,
        "view_word": view or None,
    }


def _person_digests(facts: FileDataset, pseudonyms: Pseudonyms, study_date: date | None) -> dict[str, list[str]]:
    """Digests of names and dates, by which an audit finds them without their clear text."""
    names = " ".join(_text(facts, keyword) for keyword in ("PatientName", "OtherPatientNames", "PatientBirthName"))
    birth = safe_header_values.day(_text(facts, "PatientBirthDate"))
    key = pseudonyms.digest_key
    return {"name_digests": name_digests(key, names), "date_digests": date_digests(key, (birth, study_date))}


def _pixel_facts(facts: FileDataset) -> dict[str, object]:
    rows, columns, allocated = (_integer(facts, name) for name in ("Rows", "Columns", "BitsAllocated"))
    bits = _integer(facts, "BitsStored") or allocated
    if min(rows, columns, bits) < 1 or max(rows, columns, bits) > _LARGEST_UNSIGNED_SHORT:
        raise FilmReject(Reason.UNREADABLE_HEADER)
    colours = photometric_of(_text(facts, "PhotometricInterpretation").upper(), _integer(facts, "SamplesPerPixel") or 1)
    photometric = safe_header_values.photometric(colours)
    if photometric is None or bits > 64:
        raise FilmReject(Reason.PIXEL_LAYOUT)
    spacing = safe_header_values.pixel_spacing(
        _texts(facts, "PixelSpacing"),
        _texts(facts, "ImagerPixelSpacing"),
        _texts(facts, "EstimatedRadiographicMagnificationFactor"),
        _texts(facts, "NominalScannedPixelSpacing"),
    )
    return {
        "rows": rows,
        "columns": columns,
        "bits_stored": bits,
        "photometric": photometric,
        "pixel_spacing_mm": spacing and spacing[0],
        "pixel_spacing_from": spacing and spacing[1],
    }


def _transfer_syntax(facts: FileDataset) -> str | None:
    """The declared transfer syntax; without one, the syntax that pydicom detected."""
    declared = _text(facts.file_meta, "TransferSyntaxUID")
    if declared:
        return safe_header_values.uid(declared)
    implicit, little = facts.original_encoding
    if implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if little else ExplicitVRBigEndian)


def _code_meaning(facts: FileDataset, keyword: str) -> str:
    """Code meaning of the first item of a code sequence."""
    return next((_text(item, "CodeMeaning") for item in _sequence_items(facts, keyword)), "")


def _sequence_items(facts: FileDataset, keyword: str) -> list[Any]:
    """The items of a sequence; empty if it is absent or not valid."""
    try:
        return [item for item in facts.get(keyword) or [] if hasattr(item, "get")]
    except Exception:  # as in _texts
        return []


def _integer(facts: FileDataset, keyword: str) -> int:
    """The first value as an integer; 0 if the element has none."""
    text = next(iter(_texts(facts, keyword)), "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _text(facts: Dataset, keyword: str) -> str:
    return "\\".join(_texts(facts, keyword)).strip()


def _texts(facts: Dataset, keyword: str) -> list[str]:
    """The values of an element as texts without padding; empty if it is absent, empty or not valid."""
    try:
        value = facts.get(keyword)
    except Exception:  # pydicom converts at the first access and raises exceptions of any type on invalid values
        return []
    if value is None:
        return []
    values = value if isinstance(value, MultiValue) else [value]
    return [str(part).strip(" \t\r\n\0") for part in values]
