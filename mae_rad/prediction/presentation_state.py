"""Predictions as Grayscale Softcopy Presentation States (PS3.3 A.33.1), which a viewer draws over the film.

Every box that counts as found is a closed polyline with its label and score; the answers, the warnings and "for
research" are a text in the upper left corner. Rescale, window and polarity are those of the film. Like a report, a
state refers to the film, holds no pixels, and has the patient and study of the film.
"""

import io
from collections.abc import Iterator

import highdicom as hd
import numpy as np
from highdicom import pr
from pydicom import Dataset

from mae_rad.prediction.dicom_document import (
    MANUFACTURER,
    Author,
    derived_uid,
    encode_in_unicode,
    frames_of,
    has_frames,
    with_required_attributes,
)
from mae_rad.prediction.record import FoundBox, Record

SERIES_NUMBER = 9901
_LABEL = "MAE_RAD"
_LAYER = pr.GraphicLayer(_LABEL, order=1, description="Predictions of a model, for research")
_TEXT_AREA = (0.01, 0.01, 0.6, 0.3)
"""Left, top, right and bottom of the text, in fractions of the displayed area."""
_MAX_TEXT = 1024
"""Characters of a short text (VR ST)."""


def presentation_state(header: Dataset, record: Record, author: Author) -> pr.GrayscaleSoftcopyPresentationState:
    """Build the presentation state of one film.

    Args:
        header: patient, study, object and display attributes of the film.
        record: the prediction.
        author: the model.

    Returns:
        The state.

    Raises:
        Exception: of highdicom or pydicom, where the header has values that DICOM does not allow.
    """
    film = with_required_attributes(header)
    encode_in_unicode(film)  # labels and units may have any letters
    film.SamplesPerPixel = 1  # of every film that is predicted
    if has_frames(film):
        _add_functional_groups(film)
    frames = frames_of(film, record)
    annotation = pr.GraphicAnnotation(
        referenced_images=[film],
        graphic_layer=_LAYER,
        referenced_frame_number=frames,
        graphic_objects=[_outline(box, film) for box in record.boxes if box.found] or None,
        text_objects=[_answers(record), *(_caption(box, film) for box in record.boxes if box.found)],
    )
    is_inverted = film.get("PhotometricInterpretation") == "MONOCHROME1"
    return pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[film],
        series_instance_uid=derived_uid(author, "states", film.StudyInstanceUID),
        series_number=SERIES_NUMBER,
        series_description=f"{author.name} by a model, for research",
        sop_instance_uid=derived_uid(author, "state", film.SOPInstanceUID, str(record.frame)),
        instance_number=record.number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=author.name,
        software_versions=author.program,
        device_serial_number=author.version,
        content_label=_LABEL,
        content_description=f"{author.name} by a model"[:64],
        graphic_layers=[_LAYER],
        graphic_annotations=[annotation],
        presentation_lut_transformation=hd.PresentationLUTTransformation(
            presentation_lut_shape="INVERSE" if is_inverted else "IDENTITY"
        ),
    )


def encode_state(state: pr.GrayscaleSoftcopyPresentationState) -> bytes:
    """Encode a presentation state as the bytes of a DICOM file."""
    file = io.BytesIO()
    state.save_as(file)
    return file.getvalue()


def answer_lines(record: Record) -> Iterator[str]:
    """The text over the film: what must be known before believing it, then a line per answer."""
    yield "By a model, for research. Not a medical device."
    if record.reason:
        yield f"OUT OF SCOPE: {record.reason.replace('_', ' ')}; a guess"
    yield from (f"WARNING: {warning.partition(' on ')[0]}" for warning in record.warnings)  # DICOM allows 1,024 letters
    for finding in record.findings:
        reached = [point.replace("_", " ") for point, is_reached in finding.reached.items() if is_reached]
        below = "" if finding.found else ", below all operating points"
        yield f"{finding.label}: {finding.score:.2f}" + (f", reaches {', '.join(reached)}" if reached else below)
    for number in record.numbers:
        yield f"{number.label}: {number.value:.4g} {number.unit}".rstrip()
    for answer in record.classes:
        yield f"{answer.label}: {answer.predicted} ({answer.probabilities[answer.predicted]:.2f})"


def _add_functional_groups(film: Dataset) -> None:
    """Put the display where highdicom looks for it in a class with frames, unless the film has it there itself."""
    if "SharedFunctionalGroupsSequence" not in film:
        shared = Dataset()
        if "RescaleSlope" in film:
            shared.PixelValueTransformationSequence = [_part(film, "RescaleSlope", "RescaleIntercept", "RescaleType")]
        if "WindowCenter" in film:
            shared.FrameVOILUTSequence = [_part(film, "WindowCenter", "WindowWidth", "VOILUTFunction")]
        film.SharedFunctionalGroupsSequence = [shared]
    if "PerFrameFunctionalGroupsSequence" not in film:
        film.PerFrameFunctionalGroupsSequence = []


def _part(film: Dataset, *keywords: str) -> Dataset:
    part = Dataset()
    for keyword in keywords:
        if keyword in film:
            part[keyword] = film[keyword]
    return part


def _answers(record: Record) -> pr.TextObject:
    text = "\r\n".join(answer_lines(record))
    if len(text) > _MAX_TEXT:
        text = text[: _MAX_TEXT - 1] + "…"
    return pr.TextObject(text, units="DISPLAY", bounding_box=_TEXT_AREA, text_justification="LEFT")


def _outline(box: FoundBox, film: Dataset) -> pr.GraphicObject:
    left, top, right, bottom = _edges(box, film)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return pr.GraphicObject("POLYLINE", np.array(corners, dtype=np.float64), units="PIXEL")


def _caption(box: FoundBox, film: Dataset) -> pr.TextObject:
    left, top, _, _ = _edges(box, film)
    return pr.TextObject(f"{box.label} {box.score:.2f}", units="PIXEL", anchor_point=(left, top))


def _edges(box: FoundBox, film: Dataset) -> tuple[float, float, float, float]:
    """Left, top, right and bottom within the film; PIXEL units begin at the corner of the first pixel (C.10.5)."""
    columns, rows = float(film.Columns), float(film.Rows)
    left, right = (min(max(edge, 0.0), columns) for edge in (box.x_min, box.x_max))
    top, bottom = (min(max(edge, 0.0), rows) for edge in (box.y_min, box.y_max))
    return left, top, right, bottom
