"""Sample films and the films that an encoder finds most similar: what an embedding takes for alike, for the eye."""

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
    fitted_size,
    grey_pixels,
    outline_mark,
    scale_film,
)
from data_prep.runtime.atomic_write import atomic_file

QUERIES, NEIGHBOURS = 6, 5
_SIDE = 168
"""Pixels of the longer side of a film on the sheet."""
_DIFFER, _AGREE = PALETTE[:2]
_LEGEND = (
    LegendEntry("same body part and view as the sample", mark=outline_mark(_AGREE)),
    LegendEntry("another", mark=outline_mark(_DIFFER)),
    LegendEntry("cosine 1 is nearest"),
)

Shown = Callable[[int], NDArray[np.uint16]]
"""Row of a film → its display values."""


class FilmNeighbours(NamedTuple):
    """A sample film and its neighbours, nearest first: rows of the index and cosines."""

    query: int
    neighbours: Sequence[int]
    cosine: Sequence[float]


def neighbour_sheet(
    encoder: str, found: Sequence[FilmNeighbours], shown: Shown, captions: Sequence[str], path: Path, *, films: int
) -> Path:
    """Draw a line per sample film: itself, then its neighbours.

    Args:
        encoder: whose neighbours they are.
        found: lines of the sheet.
        shown: pictures of films.
        captions: [index rows] what a film shows, in words.
        path: PNG.
        films: among how many the neighbours were looked for.
    """
    parts = []
    for line in found:
        blocks = [_block(shown(line.query), captions[line.query], "sample", INK)]
        for row, cosine in zip(line.neighbours, line.cosine, strict=True):
            colour = _AGREE if captions[row] == captions[line.query] else _DIFFER
            blocks.append(_block(shown(row), captions[row], f"cosine {cosine:.2f}", colour))
        parts.append(Shelves(blocks))
    title = f"{encoder}: sample films, and the nearest of {films:,} films of other patients"
    page = contact_sheet(parts, title, _LEGEND, per_shelf=1 + max(len(line.neighbours) for line in found), cell=_SIDE)
    with atomic_file(path) as file:
        page.save(file, format="PNG")
    return path


def sample_rows(captions: Sequence[str], rows: NDArray[np.int64], count: int = QUERIES) -> list[int]:
    """``count`` of ``rows``, drawn with a fixed seed so that what they show is as mixed as can be."""
    order = np.random.default_rng(0).permutation(rows).tolist()
    turn: dict[int, int] = {}
    seen: dict[str, int] = {}
    for row in order:
        turn[row] = seen[captions[row]] = seen.get(captions[row], -1) + 1
    return sorted(order, key=lambda row: turn[row])[:count]


def _block(values: NDArray[np.uint16], caption: str, note: str, colour: Colour) -> SheetBlock:
    picture = grey_pixels(scale_film(values, fitted_size(values.shape, (_SIDE, _SIDE))))
    return SheetBlock(picture, captions=[Caption(caption, colour), Caption(note)], border=colour)
