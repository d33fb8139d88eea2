"""Reconstructions on one sheet: each film, its visible patches, what was predicted, and the error."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_prep.pages.contact_sheet import (
    ACCENT,
    Caption,
    LegendEntry,
    Pixels,
    SheetBlock,
    Shelves,
    contact_sheet,
    grey_pixels,
    heat_pixels,
    scale_film,
    side_by_side,
)

WHITE = 65535
LARGEST_ERROR = 0.25
"""Absolute error, as a fraction of the display range, that the error map shows brightest."""

PANELS = ("film", "visible patches", "reconstruction", "error")

_HIDDEN = np.array((24, 40, 72), np.uint8)
"""Blue, so that a hidden patch is not taken for a grey one."""

_SMALL, _LARGE = 256, 768
"""Sides in pixels of a square film: up to the first it is shown twice as large, beyond the second smaller."""


class Reconstruction(NamedTuple):
    """One film, legend: R rows and S columns of patches, p patch side.

    Attributes:
        caption: what is on the film.
        film: [R * p, S * p] uint16 display values.
        guess: [R * p, S * p] float32, the film with the predicted patches in their places.
        seen: [R, S] which patches are visible to the encoder.
        predicted: [R, S] which patches are predicted.
        shape: (rows, columns) that the film has in truth; its patches are whole, so the image is stretched a little.
    """

    caption: str
    film: NDArray[np.uint16]
    guess: NDArray[np.float32]
    seen: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    shape: tuple[float, float]


def sheet(films: Sequence[Reconstruction], *, tokens: int, patch: int, contrast_given: bool) -> Image.Image:
    """All films on one sheet, under a legend; the panels of a film have equal scale and its true proportions.

    Args:
        films: in the order of the sheet.
        tokens: T.
        patch: side in pixels.
        contrast_given: brightness and contrast of the predicted patches are those of the film, not predicted.
    """
    zoom = _zoom(tokens**0.5 * patch)
    return contact_sheet([Shelves([_block(film, zoom) for film in films])], f"T = {tokens}", _legend(contrast_given))


def panels(film: Reconstruction, zoom: float = 1.0) -> list[Pixels]:
    """The images of PANELS, [rows, columns, 3] uint8, in the proportions of the film."""
    film_side = film.film.shape[0] // film.seen.shape[0]
    seen, predicted = (
        np.repeat(np.repeat(part, film_side, axis=0), film_side, axis=1) for part in (film.seen, film.predicted)
    )
    grey = _rgb(film.film)
    visible = np.where(seen[..., None], grey, _HIDDEN)
    guessed = np.where((seen | predicted)[..., None], _rgb(film.guess), _HIDDEN)
    off = np.abs(film.guess - film.film) / (LARGEST_ERROR * WHITE)
    heat = np.where((seen | predicted)[..., None], heat_pixels(np.where(predicted, off, 0)), _HIDDEN)
    return [_resized(panel, film.shape, zoom) for panel in (grey, visible, guessed, heat)]


def _zoom(side: float) -> float:
    return 2.0 if side <= _SMALL else min(1.0, _LARGE / side)


def _resized(panel: Pixels, shape: tuple[float, float], zoom: float) -> Pixels:
    scale = zoom * (panel.shape[0] * panel.shape[1] / (shape[0] * shape[1])) ** 0.5
    size = max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
    if max(abs(size[0] - panel.shape[0]), abs(size[1] - panel.shape[1])) <= 1:
        return panel
    return scale_film(panel, size)


def _rgb(values: NDArray[Any]) -> Pixels:
    return np.repeat(grey_pixels(values)[..., None], 3, axis=-1)


def _block(film: Reconstruction, zoom: float) -> SheetBlock:
    """The panels of one film below its caption."""
    caption = f"{film.caption}: {film.seen.sum()} of {film.seen.size} patches visible, {film.predicted.sum()} predicted"
    named = [SheetBlock(panel, Caption(name)) for name, panel in zip(PANELS, panels(film, zoom), strict=True)]
    return SheetBlock(np.asarray(side_by_side(named)), Caption(caption, ACCENT))


def _legend(contrast_given: bool) -> list[LegendEntry]:
    hidden = np.broadcast_to(_HIDDEN, (11, 11, 3))
    bar = heat_pixels(np.tile(np.linspace(0, 1, 120, dtype=np.float32), (11, 1)))
    entries = [
        LegendEntry("not given to the encoder; in the reconstruction, not predicted either", mark=hidden),
        LegendEntry(f"error from 0 to {LARGEST_ERROR:.0%} of the display range or more; none where visible", mark=bar),
    ]
    if contrast_given:
        entries.append(
            LegendEntry("Brightness and contrast of each predicted patch are those of the film, not predicted.")
        )
    return entries
