"""Image Type (DICOM PS3.3 C.7.6.1.1.2) as a closed vocabulary, and the types of pages that are no exposure."""

import re
from collections.abc import Sequence

OTHER = "other"
"""Stands for each value that is in no list."""
_PIXELS = ("ORIGINAL", "DERIVED")
"""Value 1: whether the pixels are those of an exposure, or were computed from such."""
_EXAMINATION = ("PRIMARY", "SECONDARY")
"""Value 2: whether the image was made during the examination."""
_PAGES = frozenset(
    {
        *(
            "DRAWING",
            "FORM",
            "FORMULAR",
            "PAGE",
            "TEXT",
            "TEXT_PAGE",
            "GRAPH",
            "GRAPHIC",
            "GRAPHICS",
            "CHART",
            "DIAGRAM",
        ),
        *("HISTOGRAM", "PLOT", "LEGEND", "LOGO", "SIGNATURE", "QUESTIONNAIRE"),
    }
)
"""Further values of pages that show no exposure. Reports, dose sheets and screens have a rule of their own,
``screenshot``."""
_DRAWING = re.compile("DRAWING|ZEICHNUNG|SKETCH|SKIZZE")
_FURTHER = _PAGES | {
    *("POST_PROCESSED", "PROCESSED", "REPROCESSED", "RAW", "FILTERED", "ENHANCED", "SUBTRACTION", "AVERAGE", "MPR"),
    *(
        "CSA_RESAMPLED",
        "RESAMPLED",
        "PROJECTION_IMAGE",
        "AXIAL",
        "LOCALIZER",
        "SCOUT",
        "STITCHED",
        "COMPOSED",
        "MOSAIC",
    ),
    *("SINGLE_PLANE", "BIPLANE_A", "BIPLANE_B", "DUAL_ENERGY", "BONE", "SOFT_TISSUE", "TOMOSYNTHESIS", "GENERATED_2D"),
    *("REPORT", "DOCUMENT", "WORKSHEET", "PROTOCOL", "DOSE_REPORT", "DOSE_INFO", "PATIENT_PROTOCOL"),
    *("SCREEN_SAVE", "SCREENSHOT", "HARDCOPY", "ANNOTATED", "QUICK_LOOK", "COMPRESSED", "DIGITIZED", "FLUORO", "NONE"),
}
"""Values from the third on that may be public: terms of the standard and words that makers use for kinds of images."""


IMAGE_TYPE_WORDS = frozenset({*_PIXELS, *_EXAMINATION, *_FURTHER, OTHER})
"""All values that a text of :func:`image_type` can hold."""


def image_type(values: Sequence[str]) -> str | None:
    """Map the values of Image Type to a text such as ``DERIVED/PRIMARY/POST_PROCESSED``.

    Args:
        values: of the header, in order; empty ones are left out from the third on.

    Returns:
        Known values in capitals, joined by ``/``, ``other`` for each that is not known, none of them twice from the
        third on; None if the header has no value.
    """
    normalised = [_normalise(value) for value in values]
    if not any(normalised):
        return None
    leading = [
        value if value in known else OTHER for value, known in zip(normalised, (_PIXELS, _EXAMINATION), strict=False)
    ]
    further = ("DRAWING" if _DRAWING.search(value) else value for value in normalised[2:] if value)
    return "/".join([*leading, *dict.fromkeys(value if value in _FURTHER else OTHER for value in further)])


def is_image_type(value: object) -> bool:
    """Whether a value is a text that :func:`image_type` can return."""
    if not isinstance(value, str):
        return False
    first, *rest = value.split("/")
    second, *further = rest or [OTHER]
    return (
        first in (*_PIXELS, OTHER)
        and second in (*_EXAMINATION, OTHER)
        and len(set(further)) == len(further)
        and set(further) <= _FURTHER | {OTHER}
    )


def is_page(values: Sequence[str]) -> bool:
    """Whether one of the values of Image Type names a page that is no exposure, such as a drawing or a form."""
    names = [_normalise(value) for value in values]
    return any(name in _PAGES or _DRAWING.search(name) for name in names)


def _normalise(value: str) -> str:
    return "_".join(re.findall("[A-Z0-9]+", value.upper()))
