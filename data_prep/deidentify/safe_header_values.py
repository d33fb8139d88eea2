"""Screens header values by allow-lists: each function maps a text to a safe value, or to None if it is not allowed.

Only standard terms, enumerated values and bounded numbers are taken from a header (DICOM PS3.15 Annex E, option 113105,
Clean Descriptors, by an allow-list). The one exception, the name of a device model, must also be shared by several
patients: see :func:`shared_model_names`.
"""

import math
import re
from collections.abc import Iterable
from datetime import date
from functools import lru_cache

from data_prep.deidentify.vocabulary import vocabulary

MAX_AGE = 90
"""Years; older patients are so few that the age could identify them."""
MIN_PATIENTS_PER_MODEL = 3

PHOTOMETRIC = frozenset(
    {
        "MONOCHROME1",
        "MONOCHROME2",
        "PALETTE COLOR",
        "RGB",
        "YBR_FULL",
        "YBR_FULL_422",
        "YBR_PARTIAL_420",
        "YBR_PARTIAL_422",
        "YBR_ICT",
        "YBR_RCT",
        "XYB",
    }
)
MODALITIES = frozenset({"CR", "DX", "RG", "RF", "XA", "MG", "IO", "PX", "CT", "OT", "SC"})
"""Modalities of objects that can hold a film, including copies and scout views (PS3.3 C.7.3.1.1.1)."""
PRESENTATION_INTENT = frozenset({"FOR PRESENTATION", "FOR PROCESSING"})
SPACING_ORIGINS = (
    "PixelSpacing",
    "ImagerPixelSpacing/EstimatedRadiographicMagnificationFactor",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
)
"""Sources of a pixel spacing, the best first."""
_LATERALITY = {
    **dict.fromkeys(("L", "LEFT", "LT", "LI", "LINKS", "LINKE", "LINKER", "LINKES"), "L"),
    **dict.fromkeys(("R", "RIGHT", "RT", "RE", "RECHTS", "RECHTE", "RECHTER", "RECHTES"), "R"),
    **dict.fromkeys(("B", "BOTH", "BILATERAL", "BDS", "BEIDE", "BEIDSEITS"), "B"),
}
_SEX = {
    **dict.fromkeys(("F", "FEMALE", "W", "WEIBLICH"), "F"),
    **dict.fromkeys(("M", "MALE", "MÄNNLICH", "MAENNLICH"), "M"),
    "O": "O",
}
_DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}
_MAX_PLAUSIBLE_AGE = 110
"""Years; a higher age comes from a dummy birth date or an error."""
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/+()-]{0,39}")
_DATE_OR_NUMBER = re.compile(r"\d{1,4}[./ -]\d{1,2}[./ -]\d{1,4}|\d{6}|(\d[ ()/+-]*){7}")
_UID = re.compile(r"[0-9.]{1,64}")
_MIN_SPACING_MM, _MAX_SPACING_MM = 0.001, 10.0
_YEARS = range(1850, 2101)
"""Years of birth dates and films; others are errors or fillers."""
_CACHED_TEXTS = 4096
"""Texts whose result is cached: an archive repeats few values."""


@lru_cache(_CACHED_TEXTS)
def body_part(text: str) -> str | None:
    """Map a text to a standard body part (Body Part Examined, DICOM PS3.16 Annex L)."""
    return vocabulary("body_part").match(text)


@lru_cache(_CACHED_TEXTS)
def view(text: str) -> str | None:
    """Map a text to a standard view position; both laterals are LATERAL."""
    return vocabulary("view").match(text)


@lru_cache(_CACHED_TEXTS)
def manufacturer(text: str) -> str | None:
    """Map a text to the canonical name of a known manufacturer."""
    return vocabulary("manufacturer").find(text)


def laterality(text: str) -> str | None:
    """Map a text to L, R or B (both)."""
    return _LATERALITY.get(text.strip(" .\t").upper())


def sex(text: str) -> str | None:
    """Map a text to F, M or O."""
    return _SEX.get(text.strip().upper())


def photometric(text: str) -> str | None:
    """Check a Photometric Interpretation (DICOM PS3.3 C.7.6.3.1.2); returned in capitals."""
    return _one_of(PHOTOMETRIC, text)


def modality(text: str) -> str | None:
    """Check a modality (DICOM PS3.3 C.7.3.1.1.1) of a film; returned in capitals."""
    return _one_of(MODALITIES, text)


def presentation_intent(text: str) -> str | None:
    """Check a Presentation Intent Type: FOR PRESENTATION or FOR PROCESSING."""
    return _one_of(PRESENTATION_INTENT, text)


def uid(text: str) -> str | None:
    """Check the syntax of a UID."""
    return text if _UID.fullmatch(text) else None


def day(text: str) -> date | None:
    """Parse a DICOM date of 1850 to 2100: YYYYMMDD, or YYYY.MM.DD as before 1993 (PS3.5 section 6.2)."""
    match = re.fullmatch(r"(\d{4})(\.?)(\d{2})\2(\d{2})", text.strip(), re.ASCII)
    if match is None or int(match[1]) not in _YEARS:
        return None
    try:
        return date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        return None


def age_years(age: str, birth: date | None, study: date | None) -> int | None:
    """Age of the patient in whole years, by Patient's Age, else by the dates.

    An age string has three digits and a unit (PS3.5 section 6.2). Without the unit it is not used: "030" can be days or
    years.

    Args:
        age: Patient's Age.
        birth: Patient's Birth Date.
        study: Study Date.

    Returns:
        0 to 90, higher ages as 90; None if the age is unknown or above 110.
    """
    match = re.fullmatch(r"(\d{3})([DWMY])", age.strip(), re.ASCII)
    if match is not None:
        years = int(match[1]) if match[2] == "Y" else int(int(match[1]) * _DAYS[match[2]] / _DAYS["Y"])
    elif birth is not None and study is not None:
        years = study.year - birth.year - ((study.month, study.day) < (birth.month, birth.day))
    else:
        return None
    return min(years, MAX_AGE) if 0 <= years <= _MAX_PLAUSIBLE_AGE else None


def age_in_years(text: str) -> int | None:
    """Age in years, from a number (``14.1``) or a DICOM age string (``058Y``, ``011M``)."""
    try:
        years = float(text)
    except ValueError:
        return age_years(text.zfill(4), None, None)
    return age_years(f"{int(years):03d}Y", None, None) if 0 <= years < 1000 else None


def model_name(text: str) -> str | None:
    """Check a device model name: no word of letters but those of known models, no date and no long number.

    It must also be screened by :func:`shared_model_names`.
    """
    normalised = " ".join(text.split())
    if not _MODEL.fullmatch(normalised) or _DATE_OR_NUMBER.search(normalised):
        return None
    known = vocabulary("model").spellings
    words = re.findall("[A-Za-z]+", normalised)
    return normalised if all(len(word) < 3 or word.lower() in known for word in words) else None


def shared_model_names(model_patients: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Model names that at least three patients share, which excludes free text in the films of one patient.

    Args:
        model_patients: (model name, key of a known patient) pairs.
    """
    patients: dict[str, set[str]] = {}
    for model, patient in model_patients:
        patients.setdefault(model, set()).add(patient)
    return frozenset(model for model, owners in patients.items() if len(owners) >= MIN_PATIENTS_PER_MODEL)


def pixel_spacing(
    pixel: list[str], imager: list[str], magnification: list[str], scanned: list[str]
) -> tuple[tuple[float, float], str] | None:
    """Choose the pixel spacing of a film.

    Pixel Spacing is used as it is (PS3.3 section 10.7.1.3); else Imager Pixel Spacing, which is measured at the
    detector, divided by Estimated Radiographic Magnification Factor if that is given; else Nominal Scanned Pixel
    Spacing. A spacing of zero, a frequent filler, counts as not given.

    Args:
        pixel: the two values of Pixel Spacing (row, column), mm.
        imager: the two values of Imager Pixel Spacing, mm.
        magnification: Estimated Radiographic Magnification Factor, at least 1.
        scanned: the two values of Nominal Scanned Pixel Spacing, mm.

    Returns:
        (row, column) spacing in mm and its source (SPACING_ORIGINS); None if no spacing is valid.
    """
    factor = _numbers(magnification, 1)
    detector = _spacing(imager)
    patient = None
    if detector is not None and factor is not None and factor[0] >= 1:
        patient = detector[0] / factor[0], detector[1] / factor[0]
    choices = zip((_spacing(pixel), patient, detector, _spacing(scanned)), SPACING_ORIGINS, strict=True)
    return next(((spacing, origin) for spacing, origin in choices if spacing is not None), None)


def _spacing(texts: list[str]) -> tuple[float, float] | None:
    numbers = _numbers(texts, 2)
    if numbers is None or not all(_MIN_SPACING_MM <= number <= _MAX_SPACING_MM for number in numbers):
        return None
    return numbers[0], numbers[1]


def _numbers(texts: list[str], count: int) -> list[float] | None:
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _one_of(allowed: frozenset[str], text: str) -> str | None:
    normalised = " ".join(text.upper().split())
    return normalised if normalised in allowed else None
