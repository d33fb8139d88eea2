"""Render synthetic films of every body part, scanner and kind of border, with the true content."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from data_prep.film.header_display_settings import derive_display
from data_prep.phantom.imaging.scanners import SCANNERS, Look
from data_prep.phantom.random_draws import VIEWS, FilmDraw, PatientDraw, StudyDraw, draw_patient
from data_prep.phantom.render_film import RenderedFilm, render
from data_prep.shard_format.apply_display import ValueRange, apply_display
from data_prep.shard_format.content_mask_bits import mask_shape

Border = Literal["open", "black", "white", "narrow", "grey"]
"""Not collimated; blackened by a shutter; unexposed and displayed white; the same, less than two mask cells wide; black
around air that the window displays grey."""
BORDERS: tuple[Border, ...] = get_args(Border)


@dataclass(frozen=True)
class BorderedFilm:
    """A rendered film.

    Attributes:
        part: body part.
        scanner: number of the scanner.
        border: kind of border.
        shown: [rows, columns] uint16 display values.
        body: [rows, columns] bool, True for the body within the exposed field.
    """

    part: str
    scanner: int
    border: Border
    shown: NDArray[np.uint16]
    body: NDArray[np.bool_]

    def agreement(self, mask: NDArray[np.bool_]) -> float:
        """Compute the intersection over union of a content mask, bool, with the truth."""
        cells = cv2.resize(self.body.astype(np.float32), mask.shape[::-1], interpolation=cv2.INTER_AREA) >= 0.5
        assert mask.shape == mask_shape(*self.shown.shape)
        return float((mask & cells).sum() / (mask | cells).sum())


def bordered_films(each: int, long_side: int, seed: int = 11) -> Iterator[BorderedFilm]:
    """Render films.

    Args:
        each: number of films per body part, scanner and border.
        long_side: longer side in pixels.
        seed: seed of all draws.

    Yields:
        The films.
    """
    generator = np.random.default_rng(seed)
    for part in VIEWS:
        for number, scanner in enumerate(SCANNERS):
            for border in BORDERS:
                settings = replace(scanner, shutter=border in ("black", "grey"))
                for _ in range(each):
                    patient, study, draw = _draw(part, generator)
                    draw = replace(draw, margins=_margins(border, generator))
                    film = render(patient.anatomy, study, draw, long_side=long_side, look=settings)
                    yield BorderedFilm(part, number, border, _display(film, settings, draw, border), film.body)


def _draw(part: str, generator: np.random.Generator) -> tuple[PatientDraw, StudyDraw, FilmDraw]:
    while True:
        patient = draw_patient(0, int(generator.integers(2**31)), 2**31)
        drawn = [(study, film) for study in patient.studies if study.body_part == part for film in study.films]
        if drawn:
            return patient, *drawn[int(generator.integers(len(drawn)))]


def _margins(border: Border, generator: np.random.Generator) -> tuple[float, float, float, float] | None:
    if border == "open":
        return None
    low, high = (0.0, 0.02) if border == "narrow" else (0.004, 0.11)
    left, top, right, bottom = generator.uniform(low, high, 4).tolist()
    return left, top, right, bottom


def _display(film: RenderedFilm, settings: Look, draw: FilmDraw, border: Border) -> NDArray[np.uint16]:
    header = Dataset()
    header.PhotometricInterpretation = "MONOCHROME1" if draw.inverted else "MONOCHROME2"
    header.RescaleSlope, header.RescaleIntercept, header.VOILUTFunction = (
        settings.slope,
        settings.intercept,
        settings.function,
    )
    center, width = film.window
    if border == "grey":
        center, width = center + (0.2 if draw.inverted else -0.2) * width, 1.4 * width
    header.WindowCenter, header.WindowWidth = round(center, 2), round(width, 2)
    counts = np.bincount(film.stored.ravel(), minlength=2**settings.bits)
    return apply_display(film.stored, derive_display(header, ValueRange(settings.bits), counts))
