"""DICOM objects: header facts of one radiograph, without touching its pixels."""

import re
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
from data_prep.archive.reject_rules import marks
from data_prep.archive.settings import ReadSettings
from data_prep.deidentify import header_screening
from data_prep.deidentify.pseudonyms import Pseudonyms
from data_prep.dicom.dicom_header import Header, header_of
from data_prep.dicom.dicomdir import missing_files
from data_prep.errors import FilmReject, Reason
from data_prep.shard_format.sidecar import MAX_FRAMES

_STORAGE = "1.2.840.10008.5.1.4.1.1."
CR = f"{_STORAGE}1"
DX_FOR_PRESENTATION = f"{_STORAGE}1.1"
DX_FOR_PROCESSING = f"{_STORAGE}1.1.1"
SECONDARY_CAPTURE = f"{_STORAGE}7"
CT = f"{_STORAGE}2"

_RULE_OF_CLASS: dict[str, Reason | None] = {
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
"""Projection radiographs (PS3.4 B.5) and the rule of selection that each falls under."""
_DOCUMENTS = tuple(f"{_STORAGE}{branch}." for branch in ("11", "88", "104"))
"""Presentation states, structured reports, encapsulated documents."""
_DOCUMENT_MODALITIES = frozenset({"DOC", "SR", "PR", "KO"})
_RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "RG"})
_INTENT = {DX_FOR_PRESENTATION: "FOR PRESENTATION", DX_FOR_PROCESSING: "FOR PROCESSING"}
_CAPTURE_EQUIPMENT = ("SecondaryCaptureDeviceID", "SecondaryCaptureDeviceManufacturer", "DateOfSecondaryCapture")
"""Of the SC Equipment module (PS3.3 C.8.6.1), beside Conversion Type."""
_RULE_OF_CONVERSION = {
    "DF": Reason.DIGITIZED_FILM,
    "SI": Reason.DIGITIZED_FILM,
    "DRW": Reason.SCREENSHOT,
    "SYN": Reason.SCREENSHOT,
}
"""Conversion Type: digitized film, scanned image; drawing, synthetic image. Others are secondary captures."""
_SCREEN = re.compile(r"SCREEN|SNAPSHOT|CAPTURE|HARDCOPY")
_LOCALIZER = re.compile(r"LOCALI[ZS]ER|SCOUT")

_FACTS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "IssuerOfPatientID"),
    *("AccessionNumber", "StudyDate", "PatientBirthDate", "PatientAge", "PatientSex", "InstitutionName", "StationName"),
    *("Modality", "ImageType", "ConversionType", "BurnedInAnnotation", "NumberOfFrames", "PresentationIntentType"),
    *("BodyPartExamined", "ViewPosition", "ImageLaterality", "Laterality", "AnatomicRegionSequence"),
    *("ViewCodeSequence", "Manufacturer", "ManufacturerModelName", "SeriesDescription", *_CAPTURE_EQUIPMENT),
    *("IrradiationEventUID", "SourceImageSequence", "AcquisitionDate", "AcquisitionTime", "Rows", "Columns"),
    *("BitsStored", "PhotometricInterpretation", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"),
    "EstimatedRadiographicMagnificationFactor",
)
_FACT_TAGS = [Tag(keyword) for keyword in _FACTS]
_LARGEST_UNSIGNED_SHORT = 65_535


def is_dicom(head: bytes) -> bool:
    """Whether the first 132 bytes have the DICOM prefix after the preamble (PS3.10 section 7.1)."""
    return head[128:132] == b"DICM"


def may_be_bare(head: bytes) -> bool:
    """Whether the file may be a data set without preamble: it begins with an element of group 0002 or 0008."""
    return head[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08")


def read_dicom(  # noqa: PLR0911 - one way out per reason
    path: Path, head: bytes, size: int, pseudonyms: Pseudonyms, settings: ReadSettings
) -> FileRow:
    """Facts of one DICOM file of ``size`` bytes, or the reason why it is no film.

    The file is opened only where ``head``, its first bytes, ends before the pixels begin.
    """
    try:
        header = header_of(path, head, size, _FACT_TAGS)
    except OSError as error:
        if error.errno is not None:  # the disk, not the file
            raise
        return _unreadable(head)
    except Exception:  # pydicom raises whatever a broken file makes it stumble over
        return _unreadable(head)
    try:
        if _text(header.facts.file_meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return _directory(path)
        if not is_dicom(head) and not _text(header.facts, "SOPClassUID"):
            return FileRow("other", Reason.NOT_A_FILM)
        return _film(header, pseudonyms, settings)
    except FilmReject as reject:
        return FileRow("dicom", reject.reason)
    except OSError as error:
        if error.errno is not None:
            raise
        return _unreadable(head)
    except Exception:  # pydicom converts an element when it is first asked for, and may stumble only then
        return _unreadable(head)


def _unreadable(head: bytes) -> FileRow:
    if is_dicom(head):
        return FileRow("dicom", Reason.UNREADABLE_HEADER)
    return FileRow("other", Reason.NOT_A_FILM)


def _directory(path: Path) -> FileRow:
    try:
        missing = missing_files(path)
    except Exception:  # a broken index; the files themselves are found all the same
        missing = 0
    return FileRow("dicom", Reason.NOT_A_FILM, {"missing": missing})


def _film(header: Header, pseudonyms: Pseudonyms, settings: ReadSettings) -> FileRow:
    facts = header.facts
    sop_class = _text(facts, "SOPClassUID")
    modality = _text(facts, "Modality").upper()
    image_type = _text(facts, "ImageType").upper()
    _check_radiograph(sop_class, modality, image_type)
    if not header.pixels:
        raise FilmReject(Reason.NO_PIXELS)
    sop = _text(facts, "SOPInstanceUID")
    if not sop:
        raise FilmReject(Reason.NO_IDENTIFIER)
    frames = _integer(facts, "NumberOfFrames")
    if frames > (1 if _RULE_OF_CLASS.get(sop_class) == Reason.FLUOROSCOPY else MAX_FRAMES):  # cine
        raise FilmReject(Reason.MULTI_FRAME)
    series, study = _text(facts, "SeriesInstanceUID"), _text(facts, "StudyInstanceUID")
    key = pseudonyms.film(sop)
    study_date = header_screening.day(_text(facts, "StudyDate"))
    institution, station = _text(facts, "InstitutionName"), _text(facts, "StationName")
    intent = header_screening.presentation_intent(_text(facts, "PresentationIntentType")) or _INTENT.get(sop_class)
    rules = _rules(facts, sop_class, modality, image_type)
    if intent == "FOR PROCESSING" or sop_class == DX_FOR_PROCESSING:
        rules.add(Reason.FOR_PROCESSING)
    row = {
        "marks": marks(rules),
        "key": key,
        "frames": frames if frames > 1 else None,
        "study": pseudonyms.study(study) if study else pseudonyms.study_of_film(key),
        "series": pseudonyms.series(series) if series else pseudonyms.series_of_film(key),
        "site": pseudonyms.site(institution, station) if institution or station else None,
        "patient_id": _text(facts, "PatientID") or None,
        "issuer": _text(facts, "IssuerOfPatientID") or None,
        "study_date": study_date,
        "transfer_syntax": str(DeflatedExplicitVRLittleEndian) if header.deflated else _transfer_syntax(facts),
        "modality": header_screening.modality(modality),
        "presentation_intent": intent,
        "laterality": header_screening.laterality(_text(facts, "ImageLaterality"))
        or header_screening.laterality(_text(facts, "Laterality")),
        "sex": header_screening.sex(_text(facts, "PatientSex")),
        "age_years": header_screening.age_years(
            _text(facts, "PatientAge"), header_screening.day(_text(facts, "PatientBirthDate")), study_date
        ),
        "manufacturer": header_screening.manufacturer(_text(facts, "Manufacturer")),
        "model": header_screening.model_name(_text(facts, "ManufacturerModelName")),
        "sop_instance_uid": sop,
        "series_uid": series or None,
        "study_uid": study or None,
        "accession": _text(facts, "AccessionNumber") or None,
        **_exposure(facts),
        **_pixel_facts(facts),
        **_words(facts),
    }
    return FileRow("dicom", None, row)


def _check_radiograph(sop_class: str, modality: str, image_type: str) -> None:
    """By SOP class; the modality decides only for secondary captures, which may hold anything.

    Raises:
        FilmReject: it is no radiograph.
    """
    if sop_class.startswith(_DOCUMENTS) or modality in _DOCUMENT_MODALITIES:
        raise FilmReject(Reason.DOCUMENT)
    if sop_class == CT and _LOCALIZER.search(image_type):
        return
    captured = _RULE_OF_CLASS.get(sop_class) == Reason.SECONDARY_CAPTURE
    if sop_class not in _RULE_OF_CLASS or (captured and modality not in _RADIOGRAPH_MODALITIES):
        raise FilmReject(Reason.NOT_A_RADIOGRAPH)


def _rules(facts: FileDataset, sop_class: str, modality: str, image_type: str) -> set[Reason]:
    """The rules of selection that the header falls under, but for those of raw data."""
    rules = {rule} if (rule := _RULE_OF_CLASS.get(sop_class)) else set()
    if _LOCALIZER.search(image_type):
        rules.add(Reason.LOCALIZER)
    if _text(facts, "BurnedInAnnotation").upper() not in ("", "NO"):
        rules.add(Reason.BURNED_IN_ANNOTATION)
    if _SCREEN.search(image_type) or _SCREEN.search(_text(facts, "SeriesDescription").upper()):
        rules.add(Reason.SCREENSHOT)
    stored_as = _text(facts.file_meta, "MediaStorageSOPClassUID")
    if _RULE_OF_CLASS.get(stored_as) == Reason.SECONDARY_CAPTURE or modality in ("OT", "SC"):
        rules.add(Reason.SECONDARY_CAPTURE)
    conversion = _text(facts, "ConversionType").upper()
    if conversion or any(_text(facts, keyword) for keyword in _CAPTURE_EQUIPMENT):
        rules.add(_RULE_OF_CONVERSION.get(conversion, Reason.SECONDARY_CAPTURE))
    return rules


def _exposure(facts: FileDataset) -> dict[str, object]:
    """What tells that two objects come from one exposure."""
    day, time = header_screening.day(_text(facts, "AcquisitionDate")), _text(facts, "AcquisitionTime")
    timed = day is not None and len(time) >= 6 and time.strip("0.")
    sources = {_text(item, "ReferencedSOPInstanceUID") for item in _items(facts, "SourceImageSequence")}
    return {
        "irradiation_event": _text(facts, "IrradiationEventUID") or None,
        "acquired": f"{day:%Y%m%d} {time}" if timed else None,
        "sources": sorted(sources - {""}) or None,
    }


def _words(facts: FileDataset) -> dict[str, str | None]:
    """Body part and view by the vocabularies, and the words that these do not know."""
    body_part = _text(facts, "BodyPartExamined") or _meaning(facts, "AnatomicRegionSequence")
    view = _text(facts, "ViewPosition") or _meaning(facts, "ViewCodeSequence")
    known = header_screening.body_part(body_part), header_screening.view(view)
    return {
        "body_part": known[0],
        "view": known[1],
        "unmapped_body_part": body_part if body_part and known[0] is None else None,
        "unmapped_view": view if view and known[1] is None else None,
    }


def _pixel_facts(facts: FileDataset) -> dict[str, object]:
    rows, columns, bits = (_integer(facts, name) for name in ("Rows", "Columns", "BitsStored"))
    colours = _text(facts, "PhotometricInterpretation")
    if min(rows, columns, bits) < 1 or max(rows, columns, bits) > _LARGEST_UNSIGNED_SHORT or not colours:
        raise FilmReject(Reason.UNREADABLE_HEADER)
    photometric = header_screening.photometric(colours)
    if photometric is None or bits > 64:
        raise FilmReject(Reason.PIXEL_LAYOUT)
    spacing = header_screening.pixel_spacing(
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
    """The declared transfer syntax, else the one that the bytes show."""
    declared = _text(facts.file_meta, "TransferSyntaxUID")
    if declared:
        return header_screening.uid(declared)
    implicit, little = facts.original_encoding
    if implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if little else ExplicitVRBigEndian)


def _meaning(facts: FileDataset, keyword: str) -> str:
    """Code meaning of the first item of a code sequence."""
    return next((_text(item, "CodeMeaning") for item in _items(facts, keyword)), "")


def _items(facts: FileDataset, keyword: str) -> list[Any]:
    """The items of a sequence; none where it is absent or not valid."""
    try:
        return [item for item in facts.get(keyword) or [] if hasattr(item, "get")]
    except Exception:  # as in _texts
        return []


def _integer(facts: FileDataset, keyword: str) -> int:
    """A whole number; 0 where there is none."""
    text = _text(facts, keyword)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _text(facts: Dataset, keyword: str) -> str:
    return "\\".join(_texts(facts, keyword)).strip()


def _texts(facts: Dataset, keyword: str) -> list[str]:
    """The values of an element as texts without padding; none where it is absent, empty or not valid."""
    try:
        value = facts.get(keyword)
    except Exception:  # pydicom converts late, and raises what an invalid value makes it stumble over
        return []
    if value is None:
        return []
    values = value if isinstance(value, MultiValue) else [value]
    return [str(part).strip(" \t\r\n\0") for part in values]
