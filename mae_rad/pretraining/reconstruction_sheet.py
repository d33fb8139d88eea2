"""Draw a sheet of reconstructions: film, visible patches, reconstruction and error of each film."""

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
    draw_side_by_side,
    scale_film,
    to_grey_pixels,
    to_heat_pixels,
)

WHITE = 65535
MAX_ERROR = 0.25
"""Absolute error, as a fraction of the display range, at the end of the colour scale."""

PANELS = ("film", "visible patches", "reconstruction", "error")

_HIDDEN_COLOUR = np.array((24, 40, 72), np.uint8)
"""RGB; blue, so that a hidden patch is not mistaken for a grey one."""

_MAX_DOUBLED_SIDE, _MAX_SIDE = 256, 768
"""Sides in pixels of a square film: up to the first it is drawn twice as large, above the second it is reduced."""


class Reconstruction(NamedTuple):
    """A film and its reconstruction. Legend: R rows and S columns of patches, p patch side in pixels.

    Attributes:
        caption: body part and view.
        film: [R * p, S * p] uint16 display values.
        guess: [R * p, S * p] float32 display values, the film with the predicted patches inserted.
        seen: [R, S] bool, True for patches visible to the encoder.
        predicted: [R, S] bool, True for predicted patches.
        shape: (rows, columns) proportions of the film, before stretching to whole patches.
    """

    caption: str
    film: NDArray[np.uint16]
    guess: NDArray[np.float32]
    seen: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    shape: tuple[float, float]


def sheet(films: Sequence[Reconstruction], *, tokens: int, patch: int, contrast_given: bool) -> Image.Image:
    """Draw films on a sheet with a legend; the panels of a film have equal scale and its proportions.

    Args:
        films: films in the order of the sheet.
        tokens: T, number of content patches.
        patch: patch side in pixels.
        contrast_given: brightness and contrast of the predicted patches are those of the film, not predicted.
    """
    largest = max((film.film.size**0.5 for film in films), default=0.0)
    zoom = _zoom(max(tokens**0.5 * patch, largest / 2))  # more than twice as long as T says only at a fixed scale
    return contact_sheet([Shelves([_block(film, zoom) for film in films])], f"T = {tokens}", _legend(contrast_given))


def panels(film: Reconstruction, zoom: float = 1.0) -> list[Pixels]:
    """Draw the PANELS of a film in its proportions.

    Args:
        film: film and reconstruction.
        zoom: factor on its size.

    Returns:
        [rows, columns, 3] uint8 of each panel.
    """
    patch = film.film.shape[0] // film.seen.shape[0]
    is_seen, is_predicted = (
        np.repeat(np.repeat(mask, patch, axis=0), patch, axis=1) for mask in (film.seen, film.predicted)
    )
    grey = _rgb(film.film)
    visible = np.where(is_seen[..., None], grey, _HIDDEN_COLOUR)
    reconstruction = np.where((is_seen | is_predicted)[..., None], _rgb(film.guess), _HIDDEN_COLOUR)
    error = np.abs(film.guess - film.film) / (MAX_ERROR * WHITE)
    heat = np.where(
        (is_seen | is_predicted)[..., None], to_heat_pixels(np.where(is_predicted, error, 0)), _HIDDEN_COLOUR
    )
    return [_resize(panel, film.shape, zoom) for panel in (grey, visible, reconstruction, heat)]


def _zoom(side: float) -> float:
    return 2.0 if side <= _MAX_DOUBLED_SIDE else min(1.0, _MAX_SIDE / side)


def _resize(panel: Pixels, shape: tuple[float, float], zoom: float) -> Pixels:
    scale = zoom * (panel.shape[0] * panel.shape[1] / (shape[0] * shape[1])) ** 0.5
    size = max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
    if max(abs(size[0] - panel.shape[0]), abs(size[1] - panel.shape[1])) <= 1:
        return panel
    return scale_film(panel, size)


def _rgb(values: NDArray[Any]) -> Pixels:
    return np.repeat(to_grey_pixels(values)[..., None], 3, axis=-1)


def _block(film: Reconstruction, zoom: float) -> SheetBlock:
    """Arrange the panels of a film below its caption."""
    caption = f"{film.caption}: {film.seen.sum()} of {film.seen.size} patches visible, {film.predicted.sum()} predicted"
    blocks = [SheetBlock(panel, Caption(name)) for name, panel in zip(PANELS, panels(film, zoom), strict=True)]
    return SheetBlock(np.asarray(draw_side_by_side(blocks)), Caption(caption, ACCENT))


def _legend(contrast_given: bool) -> list[LegendEntry]:
    hidden = np.broadcast_to(_HIDDEN_COLOUR, (11, 11, 3))
    bar = to_heat_pixels(np.tile(np.linspace(0, 1, 120, dtype=np.float32), (11, 1)))
    entries = [
        LegendEntry("not given to the encoder; in the reconstruction, not predicted either", mark=hidden),
        LegendEntry(f"error from 0 to {MAX_ERROR:.0%} of the display range or more; none where visible", mark=bar),
    ]
    if contrast_given:
        entries.append(
            LegendEntry("Brightness and contrast of each predicted patch are those of the film, not predicted.")
        )
    return entries
