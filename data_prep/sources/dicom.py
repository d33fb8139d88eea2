"""DICOM objects: header facts of one radiograph, without touching its pixels."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import FileDataset
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from data_prep.config import ScanSettings
from data_prep.deidentify import fields
from data_prep.deidentify.keys import Pseudonyms
from data_prep.errors import FilmReject, Reason
from data_prep.sources.row import FileRow

CR = "1.2.840.10008.5.1.4.1.1.1"
DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

_INTENT = {DX_FOR_PRESENTATION: "FOR PRESENTATION", DX_FOR_PROCESSING: "FOR PROCESSING"}
_RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "RG"})
_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Float, Double Float and plain Pixel Data (PS3.3 C.7.6.3, C.7.6.24, C.7.6.25)."""
_UNDEFINED_LENGTH = 0xFFFFFFFF
_LARGEST_UNSIGNED_SHORT = 65_535
_LONGEST_VALUE = 2**20
"""Bytes; longer values (reports, waveforms) are skipped, none of them is a fact of a film."""


def is_dicom(head: bytes) -> bool:
    """Whether the first 132 bytes have the DICOM prefix after the preamble (PS3.10 section 7.1)."""
    return head[128:132] == b"DICM"


def may_be_bare(head: bytes) -> bool:
    """Whether the file may be a data set without preamble: it begins with an element of group 0002 or 0008."""
    return head[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08")


def read_dicom(path: Path, head: bytes, pseudonyms: Pseudonyms, settings: ScanSettings) -> FileRow:
    """Facts of one DICOM file of which ``head`` is the beginning, or the reason why it is no film."""
    with path.open("rb") as file, _silent_pydicom():
        try:
            header, has_pixels = _read_header(file)
        except OSError as error:
            if error.errno is not None:  # the disk, not the file
                raise
            return _unreadable(head)
        except Exception:  # pydicom raises whatever a broken file makes it stumble over
            return _unreadable(head)
        try:
            if not is_dicom(head) and not _text(header, "SOPClassUID"):
                return FileRow("other", Reason.NOT_A_FILM)
            return _film(header, has_pixels, pseudonyms, settings)
        except FilmReject as reject:
            return FileRow("dicom", reject.reason)
        except Exception:  # pydicom converts an element when it is first asked for, and may stumble only then
            return _unreadable(head)


def _unreadable(head: bytes) -> FileRow:
    if is_dicom(head):
        return FileRow("dicom", Reason.UNREADABLE_HEADER)
    return FileRow("other", Reason.NOT_A_FILM)


def _read_header(file: BinaryIO) -> tuple[FileDataset, bool]:
    """Everything before the pixels, and whether pixels follow.

    Raises:
        EOFError: the file ends inside an element of the header.
    """
    size = file.seek(0, 2)
    file.seek(0)
    pixels = False
    end = 0

    def at_pixels(tag: int, _: str | None, length: int) -> bool:
        nonlocal pixels, end
        pixels = pixels or (tag in _PIXEL_TAGS and length > 0)
        end = size if length == _UNDEFINED_LENGTH else file.tell() + length
        return tag in _PIXEL_TAGS

    header = read_partial(file, stop_when=at_pixels, defer_size=_LONGEST_VALUE, force=True)
    deflated = header.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    if not pixels and not deflated and end != size:  # pydicom takes a shortened last value as it is
        raise EOFError
    return header, pixels


def _film(header: FileDataset, has_pixels: bool, pseudonyms: Pseudonyms, settings: ScanSettings) -> FileRow:
    sop_class = _check_radiograph(header, has_pixels, settings)
    sop = _text(header, "SOPInstanceUID")
    series, study = _text(header, "SeriesInstanceUID"), _text(header, "StudyInstanceUID")
    patient_id = _text(header, "PatientID")
    key = pseudonyms.film(sop)
    study_key = pseudonyms.study(study) if study else pseudonyms.study_of_film(key)
    issuer = _text(header, "IssuerOfPatientID") or settings.source
    patient = pseudonyms.patient(issuer, patient_id) if patient_id else pseudonyms.patient_of_study(study_key)
    study_date = fields.day(_text(header, "StudyDate"))
    institution, station = _text(header, "InstitutionName"), _text(header, "StationName")
    words = {
        "body_part": _text(header, "BodyPartExamined") or _meaning(header, "AnatomicRegionSequence"),
        "view": _text(header, "ViewPosition") or _meaning(header, "ViewCodeSequence"),
    }
    mapped = {"body_part": fields.body_part(words["body_part"]), "view": fields.view(words["view"])}
    facts = {
        "key": key,
        "patient": patient,
        "study": study_key,
        "series": pseudonyms.series(series) if series else pseudonyms.series_of_film(key),
        "site": pseudonyms.site(institution, station) if institution or station else None,
        "patient_known": bool(patient_id),
        "study_day": pseudonyms.study_day(patient, study_date) if patient_id and study_date else None,
        "transfer_syntax": _transfer_syntax(header),
        "presentation_intent": fields.presentation_intent(_text(header, "PresentationIntentType"))
        or _INTENT.get(sop_class),
        "laterality": fields.laterality(_text(header, "ImageLaterality"))
        or fields.laterality(_text(header, "Laterality")),
        "sex": fields.sex(_text(header, "PatientSex")),
        "age_years": fields.age_years(
            _text(header, "PatientAge"), fields.day(_text(header, "PatientBirthDate")), study_date
        ),
        "manufacturer": fields.manufacturer(_text(header, "Manufacturer")),
        "model": fields.model_name(_text(header, "ManufacturerModelName")),
        **_pixel_facts(header),
        **mapped,
    }
    identifiers = {
        "sop_instance_uid": sop,
        "series_uid": series or None,
        "study_uid": study or None,
        "accession": _text(header, "AccessionNumber") or None,
        "patient_id": patient_id or None,
    }
    unmapped = tuple((name, word) for name, word in words.items() if word and mapped[name] is None)
    return FileRow("dicom", None, facts, identifiers, unmapped)


def _check_radiograph(header: FileDataset, has_pixels: bool, settings: ScanSettings) -> str:
    """The SOP class of a film that may be taken.

    Raises:
        FilmReject: it is none, by its header.
    """
    sop_class = _text(header, "SOPClassUID")
    if header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        raise FilmReject(Reason.NOT_A_FILM)
    captured = sop_class == SECONDARY_CAPTURE and _text(header, "Modality") in _RADIOGRAPH_MODALITIES
    if sop_class not in (CR, *_INTENT) and not (captured and settings.secondary_captures):
        raise FilmReject(Reason.NOT_A_RADIOGRAPH)
    if not has_pixels:
        raise FilmReject(Reason.NO_PIXELS)
    if not _text(header, "SOPInstanceUID"):
        raise FilmReject(Reason.NO_IDENTIFIER)
    if _integer(header, "NumberOfFrames") > 1:
        raise FilmReject(Reason.MULTI_FRAME)
    if _text(header, "BurnedInAnnotation").upper() == "YES":
        raise FilmReject(Reason.BURNED_IN_ANNOTATION)
    return sop_class


def _pixel_facts(header: FileDataset) -> dict[str, object]:
    rows, columns, bits = (_integer(header, name) for name in ("Rows", "Columns", "BitsStored"))
    colours = _text(header, "PhotometricInterpretation")
    if min(rows, columns, bits) < 1 or max(rows, columns, bits) > _LARGEST_UNSIGNED_SHORT or not colours:
        raise FilmReject(Reason.UNREADABLE_HEADER)
    photometric = fields.photometric(colours)
    if photometric is None or bits > 64:
        raise FilmReject(Reason.PIXEL_LAYOUT)
    spacing = fields.pixel_spacing(
        _texts(header, "PixelSpacing"),
        _texts(header, "ImagerPixelSpacing"),
        _texts(header, "EstimatedRadiographicMagnificationFactor"),
        _texts(header, "NominalScannedPixelSpacing"),
    )
    return {
        "rows": rows,
        "columns": columns,
        "bits_stored": bits,
        "photometric": photometric,
        "pixel_spacing_mm": spacing and spacing[0],
        "pixel_spacing_from": spacing and spacing[1],
    }


def _transfer_syntax(header: FileDataset) -> str | None:
    """The declared transfer syntax, else the one that the bytes show."""
    declared = str(header.file_meta.get("TransferSyntaxUID") or "")
    if declared:
        return fields.uid(declared)
    implicit, little = header.original_encoding
    if implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if little else ExplicitVRBigEndian)


def _meaning(header: FileDataset, keyword: str) -> str:
    """Code meaning of the first item of a code sequence."""
    try:
        items = header.get(keyword) or []
        return _text(items[0], "CodeMeaning") if len(items) else ""
    except Exception:  # as in _texts
        return ""


def _integer(header: FileDataset, keyword: str) -> int:
    """A whole number; 0 where there is none."""
    text = _text(header, keyword)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _text(header: FileDataset, keyword: str) -> str:
    return "\\".join(_texts(header, keyword)).strip()


def _texts(header: FileDataset, keyword: str) -> list[str]:
    """The values of an element as texts without padding; none where it is absent, empty or not valid."""
    try:
        value = header.get(keyword)
    except Exception:  # pydicom converts late, and raises what an invalid value makes it stumble over
        return []
    if value is None:
        return []
    values = value if isinstance(value, MultiValue) else [value]
    return [str(part).strip(" \t\r\n\0") for part in values]


@contextmanager
def _silent_pydicom() -> Iterator[None]:
    """Let pydicom say nothing: its warnings and log records quote header values and file names."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before
