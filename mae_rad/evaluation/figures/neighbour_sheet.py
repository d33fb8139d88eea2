"""Draw sample films with their nearest films in the embedding of an encoder."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.pages.contact_sheet import (
    INK,
    PALETTE,
    Caption,
    Colour,
    LegendEntry,
    SheetBlock,
    Shelves,
    contact_sheet,
    draw_outline_mark,
    fit_size,
    scale_film,
    to_grey_pixels,
)
from data_prep.runtime.atomic_write import atomic_file

QUERIES, NEIGHBOURS = 6, 5
"""Sample films of a sheet, and neighbours of each."""
_SIDE = 168
"""Pixels of the longer side of a film on the sheet."""
_DIFFER, _AGREE = PALETTE[:2]
_LEGEND = (
    LegendEntry("same body part and view as the sample", mark=draw_outline_mark(_AGREE)),
    LegendEntry("different", mark=draw_outline_mark(_DIFFER)),
    LegendEntry("cosine 1 is nearest"),
)

DisplayValues = Callable[[int], NDArray[np.uint16]]
"""Row of a film → its display values."""


class FilmNeighbours(NamedTuple):
    """A sample film and its neighbours, nearest first: rows of the index and cosines."""

    query: int
    neighbours: Sequence[int]
    cosine: Sequence[float]


def neighbour_sheet(
    encoder: str,
    film_neighbours: Sequence[FilmNeighbours],
    display_values: DisplayValues,
    captions: Sequence[str],
    path: Path,
    *,
    films: int,
) -> Path:
    """Draw one line per sample film: the film, then its neighbours.

    Args:
        encoder: displayed name of the encoder.
        film_neighbours: lines of the sheet.
        display_values: row of a film → its display values.
        captions: body part and view of every film.
        path: PNG file to write.
        films: number of films among which the neighbours were searched.

    Returns:
        The file.
    """
    parts = []
    for line in film_neighbours:
        blocks = [_block(display_values(line.query), captions[line.query], "sample", INK)]
        for row, cosine in zip(line.neighbours, line.cosine, strict=True):
            colour = _AGREE if captions[row] == captions[line.query] else _DIFFER
            blocks.append(_block(display_values(row), captions[row], f"cosine {cosine:.2f}", colour))
        parts.append(Shelves(blocks))
    title = f"{encoder}: sample films, and the nearest of {films:,} films of other patients"
    page = contact_sheet(
        parts, title, _LEGEND, per_shelf=1 + max(len(line.neighbours) for line in film_neighbours), cell=_SIDE
    )
    with atomic_file(path) as file:
        page.save(file, format="PNG")
    return path


def sample_rows(captions: Sequence[str], rows: NDArray[np.int64], count: int = QUERIES) -> list[int]:
    """Draw sample films with a fixed seed and as many different captions as possible.

    Args:
        captions: body part and view of every film.
        rows: [N] films to draw from.
        count: number of sample films.
    """
    order = np.random.default_rng(0).permutation(rows).tolist()
    occurrence: dict[int, int] = {}
    count_of_caption: dict[str, int] = {}
    for row in order:
        occurrence[row] = count_of_caption[captions[row]] = count_of_caption.get(captions[row], -1) + 1
    return sorted(order, key=lambda row: occurrence[row])[:count]


def _block(values: NDArray[np.uint16], caption: str, note: str, colour: Colour) -> SheetBlock:
    picture = to_grey_pixels(scale_film(values, fit_size(values.shape, (_SIDE, _SIDE))))
    return SheetBlock(picture, captions=[Caption(caption, colour), Caption(note)], border=colour)
