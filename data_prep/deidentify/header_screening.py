"""Allow-list screening of header values, text in, safe value or None out: what is not recognised does not pass.

Only words of a vocabulary, enumerated values and bounded numbers leave a header (DICOM PS3.15 Annex E, option 113105,
Clean Descriptors, by an allow-list). The one exception, the name of a device model, also has to be shared by several
patients: see :func:`common_models`.
"""

import math
import re
from collections.abc import Iterable
from datetime import date
from functools import lru_cache

from data_prep.deidentify.vocabulary import vocabulary

MAX_AGE = 90
"""Older patients are so few that the age would point at them."""
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
"""Of objects that may hold a film, also of copies and scout views (PS3.3 C.7.3.1.1.1)."""
PRESENTATION_INTENT = frozenset({"FOR PRESENTATION", "FOR PROCESSING"})
SPACING_ORIGINS = (
    "PixelSpacing",
    "ImagerPixelSpacing/EstimatedRadiographicMagnificationFactor",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
)
"""Where a pixel spacing may come from, the best first."""
_LATERALITY = {"L": "L", "LEFT": "L", "R": "R", "RIGHT": "R", "B": "B", "BOTH": "B", "BILATERAL": "B"}
_SEX = {"F": "F", "FEMALE": "F", "W": "F", "M": "M", "MALE": "M", "O": "O"}
_DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}
_OLDEST = 110
"""Years; more is a dummy birth date or a slip."""
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/+()-]{0,39}")
_UID = re.compile(r"[0-9.]{1,64}")
_WIDEST_SPACING_MM = 10.0
_WORDS_KEPT = 4096
"""An archive repeats the same few words."""


@lru_cache(_WORDS_KEPT)
def body_part(text: str) -> str | None:
    """Standard body part (Body Part Examined, DICOM PS3.16 Annex L)."""
    return vocabulary("body_part").match(text)


@lru_cache(_WORDS_KEPT)
def view(text: str) -> str | None:
    """Standard view position; both laterals are LATERAL."""
    return vocabulary("view").match(text)


@lru_cache(_WORDS_KEPT)
def manufacturer(text: str) -> str | None:
    """Canonical name of a known maker."""
    return vocabulary("manufacturer").find(text)


def laterality(text: str) -> str | None:
    """L, R or B (both)."""
    return _LATERALITY.get(text.strip().upper())


def sex(text: str) -> str | None:
    """F, M or O."""
    return _SEX.get(text.strip().upper())


def photometric(text: str) -> str | None:
    """Photometric Interpretation (DICOM PS3.3 C.7.6.3.1.2), in capitals."""
    return _one_of(PHOTOMETRIC, text)


def modality(text: str) -> str | None:
    """Modality (DICOM PS3.3 C.7.3.1.1.1) of a film, in capitals."""
    return _one_of(MODALITIES, text)


def presentation_intent(text: str) -> str | None:
    """FOR PRESENTATION or FOR PROCESSING."""
    return _one_of(PRESENTATION_INTENT, text)


def uid(text: str) -> str | None:
    """A syntactically valid UID."""
    return text if _UID.fullmatch(text) else None


def day(text: str) -> date | None:
    """A DICOM date, YYYYMMDD, or YYYY.MM.DD as before 1993 (PS3.5 section 6.2)."""
    match = re.fullmatch(r"(\d{4})(\.?)(\d{2})\2(\d{2})", text.strip(), re.ASCII)
    if match is None:
        return None
    try:
        return date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        return None


def age_years(age: str, birth: date | None, study: date | None) -> int | None:
    """Whole years, at most 90, by Patient's Age, else by the dates; None beyond 110 years.

    An age string has three digits and a unit (PS3.5 section 6.2): without the unit "030" may be days as well as years,
    so that it says nothing.
    """
    match = re.fullmatch(r"(\d{3})([DWMY])", age.strip(), re.ASCII)
    if match is not None:
        years = int(match[1]) if match[2] == "Y" else int(int(match[1]) * _DAYS[match[2]] / _DAYS["Y"])
    elif birth is not None and study is not None:
        years = study.year - birth.year - ((study.month, study.day) < (birth.month, birth.day))
    else:
        return None
    return min(years, MAX_AGE) if 0 <= years <= _OLDEST else None


def model_name(text: str) -> str | None:
    """The name of a device model, if it is short and plain; still to be screened by :func:`common_models`."""
    plain = " ".join(text.split())
    return plain if _MODEL.fullmatch(plain) else None


def common_models(seen: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Model names that at least three different patients share: free text of one patient's films is not among them.

    Args:
        seen: (model name, key of a known patient) pairs.
    """
    patients: dict[str, set[str]] = {}
    for model, patient in seen:
        patients.setdefault(model, set()).add(patient)
    return frozenset(model for model, whose in patients.items() if len(whose) >= MIN_PATIENTS_PER_MODEL)


def pixel_spacing(
    pixel: list[str], imager: list[str], magnification: list[str], scanned: list[str]
) -> tuple[tuple[float, float], str] | None:
    """(row, column) spacing in mm and where it comes from; None where nothing usable is given.

    Pixel Spacing as it stands (PS3.3 section 10.7.1.3), else Imager Pixel Spacing, which is measured at the detector,
    taken to the patient by Estimated Radiographic Magnification Factor where that is given, else Nominal Scanned Pixel
    Spacing. A spacing of zero, a frequent filler, counts as not given.
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
    if numbers is None or not all(0 < number <= _WIDEST_SPACING_MM for number in numbers):
        return None
    return numbers[0], numbers[1]


def _numbers(texts: list[str], count: int) -> list[float] | None:
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _one_of(allowed: frozenset[str], text: str) -> str | None:
    plain = " ".join(text.upper().split())
    return plain if plain in allowed else None
