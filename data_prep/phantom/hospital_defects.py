"""Files of the hospital layout that are no films, beside the films: copies, pages of lines, colour, no pixels."""

from enum import IntEnum

import cv2
import numpy as np
from pydicom.dataset import Dataset

from data_prep.errors import Reason
from data_prep.phantom.dicom_film import file_bytes, make_uid, set_pixels
from data_prep.phantom.imaging.scanners import EXPLICIT_LE
from data_prep.phantom.random_draws import FilmDraw, PatientDraw, StudyDraw

UID_ROOT = "1.2.840.113654.2.70.1"
"""Root of the identifiers of this layout."""
DEFECT_SHARE = 0.02
"""Number of defects of each kind per film; each archive has at least one of each kind."""
_PAGE_SIZE = (920, 650)
"""Rows and columns of a page of lines."""
_WORKING_FOLDER = "__in_Arbeit"


class Defect(IntEnum):
    """Kind of a file that is no film."""

    COPY = 0
    SECOND_COPY = 1
    WORKING_COPY = 2
    NO_PIXELS = 3
    DRAWING = 4
    COLOUR = 5
    BLACK = 6


REASONS = {
    Defect.COPY: Reason.DUPLICATE.value,
    Defect.SECOND_COPY: Reason.DUPLICATE.value,
    Defect.WORKING_COPY: Reason.DUPLICATE.value,
    Defect.NO_PIXELS: Reason.NO_PIXELS.value,
    Defect.DRAWING: "no_exposure",
    Defect.COLOUR: Reason.COLOUR.value,
    Defect.BLACK: Reason.CONSTANT.value,
}
"""Kind of file → reject reason that scan and sharding are expected to report."""


def draw_defects(patient: PatientDraw, study: StudyDraw, draw: FilmDraw, patients: int) -> tuple[Defect, ...]:
    """Draw the defects beside a film; kind k is also beside the first film of patient 3k + 1 (modulo ``patients``).

    Args:
        patient: draws of the patient.
        study: draws of the study.
        draw: draws of the film.
        patients: number of patients of the archive.
    """
    chances = np.random.default_rng((patient.archive, patient.index, 204, study.index, draw.index)).random(len(Defect))
    is_first = study.index == draw.index == 0
    drawn = {
        kind
        for kind in Defect
        if chances[kind] < DEFECT_SHARE or (is_first and (3 * kind + 1) % patients == patient.index)
    }
    if Defect.SECOND_COPY in drawn:
        drawn.add(Defect.COPY)
    return tuple(sorted(drawn))


def hospital_uid(patient: PatientDraw, *path: object) -> str:
    """Make a UID below UID_ROOT that is unique to the object ``path`` of a patient of an archive."""
    return f"{UID_ROOT}.{make_uid(patient, *path).rpartition('.')[2]}"


def make_defect(
    kind: Defect, patient: PatientDraw, study: StudyDraw, draw: FilmDraw, film_file: tuple[str, Dataset, bytes]
) -> tuple[str, bytes, Dataset | None]:
    """Make one file.

    Args:
        kind: of the defect.
        patient: draws of the patient.
        study: draws of the study.
        draw: draws of the film.
        film_file: path of the film relative to the archive, its data set with pixels, and its bytes.

    Returns:
        Path relative to the archive, bytes, and the data set; None for copies.
    """
    path, dataset, content = film_file
    if kind in (Defect.COPY, Defect.SECOND_COPY):
        return f"{path}[{kind + 1}]", content, None
    if kind == Defect.WORKING_COPY:
        return f"{_WORKING_FOLDER}/{path.rpartition('/')[2]}", content, None
    copy = Dataset()
    copy.update({element.tag: element for element in dataset})
    copy.SOPInstanceUID = hospital_uid(patient, study.index, draw.index, kind.name)
    if kind == Defect.NO_PIXELS:
        del copy[0x7FE00010]
    elif kind == Defect.BLACK:
        set_pixels(copy, np.zeros((dataset.Rows, dataset.Columns), np.uint16), study.scanner.bits, EXPLICIT_LE)
    elif kind == Defect.DRAWING:
        copy.ImageType = ["DERIVED", "SECONDARY", "DRAWING"]
        set_pixels(copy, _page(draw.seed, study.scanner.bits), study.scanner.bits, EXPLICIT_LE)
    else:
        _set_colour(copy)
    return f"{path.rpartition('/')[0]}/{copy.SOPInstanceUID}", file_bytes(copy, EXPLICIT_LE), copy


def _page(seed: int, bits: int) -> np.ndarray:
    """A page with a frame, lines of writing and a sketch."""
    draw = np.random.default_rng((seed, 205))
    page = np.full(_PAGE_SIZE, 255, np.uint8)
    cv2.rectangle(page, (30, 30), (620, 890), 0, 2)
    for y in range(80, 520, 34):
        cv2.line(page, (60, y), (int(draw.integers(200, 590)), y), 40, 3)
    corners = draw.integers((80, 560), (570, 860), (7, 2)).astype(np.int32)
    cv2.polylines(page, [corners], isClosed=True, color=0, thickness=3)
    return np.asarray(page.astype(np.uint16) * ((2**bits - 1) // 255), dtype=np.uint16)


def _set_colour(dataset: Dataset) -> None:
    """Replace the pixels by a colour picture."""
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[..., 0], picture[40:200, 60:260, 1] = 90, 180
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 240, 320, 3
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    for keyword in ("WindowCenter", "WindowWidth", "PresentationLUTShape"):
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.add_new(0x7FE00010, "OB", picture.tobytes())
