"""How a film of any shape is laid out in patches. Size is content: T tokens cover the content box, not the film."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

REFERENCE_TOKENS = 196
"""Coordinates are in units of the grid that lays this many patches over the content box (14 x 14 on a square)."""

MAX_ENLARGEMENT = 2.0

MIN_CONTENT_SHARE = 0.25
"""A content box counts as at least this share of its film, so that no film has more than about 4 T patches."""


class Region(NamedTuple):
    """A rectangle of a film in its pixels, upper left corner and extent."""

    top: float
    left: float
    rows: float
    columns: float


class Layout(NamedTuple):
    """A region laid out in patches.

    Attributes:
        region: the part of the film.
        grid: patches (down, across).
        unit: patches per unit of the reference grid.
    """

    region: Region
    grid: tuple[int, int]
    unit: float

    def coordinates(self) -> NDArray[np.float32]:
        """[rows * columns, 2] float32 (row, column) of the patch centres; at unit 1 these are the patch indices."""
        rows, columns = np.indices(self.grid, dtype=np.float32).reshape(2, -1)
        return (np.stack((rows, columns), axis=1) + np.float32(0.5)) / np.float32(self.unit) - np.float32(0.5)

    def size(self) -> NDArray[np.float32]:
        """[2] float32 extent of the region in units of the reference grid."""
        return np.array(self.grid, dtype=np.float32) / np.float32(self.unit)


def content_box(mask: NDArray[np.bool_], rows: int, columns: int) -> Region:
    """Bounding box of the content mask in pixels of a film of ``rows`` × ``columns``; an empty mask is all of it."""
    down, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if down.size == 0:
        return Region(0, 0, rows, columns)
    high, wide = rows / mask.shape[0], columns / mask.shape[1]
    top, left = down[0] * high, across[0] * wide
    return Region(top, left, (down[-1] + 1) * high - top, (across[-1] + 1) * wide - left)


def film_layout(rows: int, columns: int, box: Region, tokens: int, patch: int) -> Layout:
    """The whole film at the scale where its content box holds about ``tokens`` patches, at most enlarged twofold.

    Both sides become whole patches; the stretch that this takes stays under half a patch, and the grid never has
    fewer than ``tokens`` patches unless the film is too small for them.
    """
    content = max(box.rows * box.columns, MIN_CONTENT_SHARE * rows * columns)
    wanted = math.sqrt(tokens * patch * patch / content)
    scale = min(wanted, MAX_ENLARGEMENT)
    exact = (rows * scale / patch, columns * scale / patch)
    down, across = max(1, round(exact[0])), max(1, round(exact[1]))
    while scale == wanted and down * across < tokens:
        if (down + 1) / exact[0] <= (across + 1) / exact[1]:
            down += 1
        else:
            across += 1
    in_content = down * across * content / (rows * columns)
    return Layout(Region(0, 0, rows, columns), (down, across), math.sqrt(in_content / REFERENCE_TOKENS))


def square_layout(rows: int, columns: int, tokens: int, patch: int) -> Layout:
    """The whole film at the scale where its longer side is that of a square of ``tokens`` patches.

    At most enlarged twofold; both sides become whole patches. The rest of the square is the caller's to pad.
    """
    across = math.isqrt(tokens)
    scale = min(across * patch / max(rows, columns), MAX_ENLARGEMENT)
    down, wide = (min(across, max(1, round(side * scale / patch))) for side in (rows, columns))
    return Layout(Region(0, 0, rows, columns), (down, wide), across / math.isqrt(REFERENCE_TOKENS))


def crop_layout(rows: int, columns: int, box: Region, area: float, place: tuple[float, float], tokens: int) -> Layout:
    """A square crop of ``area`` (fraction of the content box) at ``place`` (in [0, 1]), √tokens × √tokens patches.

    The crop lies in the film, and in the content box where it fits. It is a picture of its own: its coordinates are
    those of a whole square film.
    """
    side = min(math.sqrt(area * box.rows * box.columns), rows, columns)
    top = _place(box.top, box.rows, side, place[0], rows)
    left = _place(box.left, box.columns, side, place[1], columns)
    across = math.isqrt(tokens)
    return Layout(Region(top, left, side, side), (across, across), across / math.isqrt(REFERENCE_TOKENS))


def _place(start: float, extent: float, side: float, place: float, limit: float) -> float:
    offset = start + place * (extent - side)  # where the crop is longer than the box this centres around the box
    return min(max(offset, 0.0), limit - side)


def grid_of(patches: int, size: NDArray[np.float32]) -> tuple[int, int]:
    """Grid (down, across) of a whole film of so many ``patches``, whose extent is ``size`` [2]."""
    down = round(math.sqrt(patches * float(size[0]) / float(size[1])))
    return down, patches // down
