"""Lay out films of any shape in patches.

T counts the patches of the content box, not of the film; at a fixed scale the film has as many patches as its size
gives.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

REFERENCE_TOKENS = 196
"""T of the reference grid, the unit of coordinates: 14 x 14 on a square film that is all content."""

MAX_ENLARGEMENT = 2.0
"""Largest factor by which a film is enlarged."""

SPACING_ROUNDING = 1e-6
"""Difference of an enlargement by pixel spacing that is due to float32, in which the index holds spacings."""

MIN_CONTENT_SHARE = 0.25
"""Smallest share of a film that a content box counts as, so that no film has more than about 4 T patches."""


class FilmScale(NamedTuple):
    """How large films are when they are cut into patches.

    Attributes:
        native: as stored in the shard.
        mm_per_patch: millimetres that a patch covers; None: as ``native`` says. If neither is set, the content box of a
            film holds about T patches.
        skips: whether pretraining skips films without a usable pixel spacing, with ``mm_per_patch``; all else takes
            them at T.
    """

    native: bool = False
    mm_per_patch: float | None = None
    skips: bool = False

    @property
    def is_fixed(self) -> bool:
        """Whether the number of patches of a film is that of its size, and T only sets how many are drawn."""
        return self.native or self.mm_per_patch is not None

    def magnification(self, patch: int, spacing: Sequence[float] | None) -> float | None:
        """Pixels of the view per pixel of a film; None where T decides.

        Args:
            patch: patch side in pixels.
            spacing: (row, column) spacing of the film, mm; None if unknown. One with which the film would be enlarged
                more than MAX_ENLARGEMENT is an error of the header, and counts as unknown.
        """
        if self.mm_per_patch is None:
            return 1.0 if self.native else None
        if not spacing or min(spacing) <= 0:
            return None
        factor = math.sqrt(spacing[0] * spacing[1]) * patch / self.mm_per_patch
        return factor if factor <= MAX_ENLARGEMENT + SPACING_ROUNDING else None


CONTENT_SCALE = FilmScale()
"""The content box of a film holds about T patches."""


class Region(NamedTuple):
    """A rectangle of a film in film pixels: upper left corner and extent."""

    top: float
    left: float
    rows: float
    columns: float


class Layout(NamedTuple):
    """A region laid out in patches.

    Attributes:
        region: part of the film.
        grid: number of patches (down, across).
        unit: patches per unit of the reference grid.
    """

    region: Region
    grid: tuple[int, int]
    unit: float

    def coordinates(self) -> NDArray[np.float32]:
        """[rows * columns, 2] float32 (row, column) of patch centres in reference units; at unit 1 the indices."""
        rows, columns = np.indices(self.grid, dtype=np.float32).reshape(2, -1)
        return (np.stack((rows, columns), axis=1) + np.float32(0.5)) / np.float32(self.unit) - np.float32(0.5)

    def size(self) -> NDArray[np.float32]:
        """[2] float32 extent of the region in units of the reference grid."""
        return np.array(self.grid, dtype=np.float32) / np.float32(self.unit)

    def box(self, part: Region) -> NDArray[np.float32]:
        """Convert a rectangle of the film to the units of the coordinates.

        Args:
            part: rectangle in film pixels.

        Returns:
            [4] float32 (top, left, rows, columns) in units of the reference grid.
        """
        rows, columns = (side / extent for side, extent in zip(self.size(), self.region[2:], strict=True))
        corner = ((part.top - self.region.top) * rows - 0.5, (part.left - self.region.left) * columns - 0.5)
        return np.array([*corner, part.rows * rows, part.columns * columns], dtype=np.float32)


def content_box(mask: NDArray[np.bool_], rows: int, columns: int) -> Region:
    """Compute the bounding box of the content.

    Args:
        mask: bool content mask of any resolution; an empty one stands for the whole film.
        rows: rows of the film in pixels.
        columns: columns of the film in pixels.

    Returns:
        The box in film pixels.
    """
    down, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if down.size == 0:
        return Region(0, 0, rows, columns)
    high, wide = rows / mask.shape[0], columns / mask.shape[1]
    top, left = down[0] * high, across[0] * wide
    return Region(top, left, (down[-1] + 1) * high - top, (across[-1] + 1) * wide - left)


def film_layout(rows: int, columns: int, box: Region, tokens: int, patch: int) -> Layout:
    """Lay out the whole film at the scale where its content box holds about ``tokens`` patches.

    The film is enlarged at most twofold. Both sides are stretched to whole patches, by less than half a patch each, and
    the grid has at least ``tokens`` patches unless the film is too small.

    Args:
        rows: rows of the film in pixels.
        columns: columns of the film in pixels.
        box: content box.
        tokens: T.
        patch: patch side in pixels.
    """
    content = max(box.rows * box.columns, MIN_CONTENT_SHARE * rows * columns)
    ideal_scale = math.sqrt(tokens * patch * patch / content)
    scale = min(ideal_scale, MAX_ENLARGEMENT)
    exact = (rows * scale / patch, columns * scale / patch)
    down, across = max(1, round(exact[0])), max(1, round(exact[1]))
    while scale == ideal_scale and down * across < tokens:
        if (down + 1) / exact[0] <= (across + 1) / exact[1]:
            down += 1
        else:
            across += 1
    in_content = down * across * content / (rows * columns)
    return Layout(Region(0, 0, rows, columns), (down, across), math.sqrt(in_content / REFERENCE_TOKENS))


def fixed_layout(rows: int, columns: int, patch: int, magnification: float) -> Layout:
    """Lay out the whole film at a fixed scale, from its upper left corner.

    The film is scaled to whole pixels, not stretched to whole patches: the last row and column of patches may extend
    beyond it, where the view is dark. Coordinates are the indices of the patches.

    Args:
        rows: rows of the film in pixels.
        columns: columns of the film in pixels.
        patch: patch side in pixels.
        magnification: pixels of the view per pixel of the film; 1 is the film as it is stored.
    """
    down, across = (max(1, math.ceil(max(1, round(side * magnification)) / patch)) for side in (rows, columns))
    region = Region(0, 0, down * patch / magnification, across * patch / magnification)
    return Layout(region, (down, across), 1.0)


def square_layout(rows: int, columns: int, tokens: int, patch: int) -> Layout:
    """Lay out the whole film at the scale where its longer side is that of a square of ``tokens`` patches.

    The film is enlarged at most twofold, and both sides are stretched to whole patches. The caller pads the square.

    Args:
        rows: rows of the film in pixels.
        columns: columns of the film in pixels.
        tokens: T, a square number.
        patch: patch side in pixels.
    """
    across = math.isqrt(tokens)
    scale = min(across * patch / max(rows, columns), MAX_ENLARGEMENT)
    down, wide = (min(across, max(1, round(side * scale / patch))) for side in (rows, columns))
    return Layout(Region(0, 0, rows, columns), (down, wide), across / math.isqrt(REFERENCE_TOKENS))


def crop_layout(rows: int, columns: int, box: Region, area: float, place: tuple[float, float], tokens: int) -> Layout:
    """Lay out a square crop of √tokens × √tokens patches.

    The crop lies within the film, and within the content box if it fits. Its coordinates are those of a whole square
    film.

    Args:
        rows: rows of the film in pixels.
        columns: columns of the film in pixels.
        box: content box.
        area: area of the crop, as a fraction of the content box.
        place: (down, across) position in [0, 1].
        tokens: T, a square number.
    """
    side = min(math.sqrt(area * box.rows * box.columns), rows, columns)
    top = _place(box.top, box.rows, side, place[0], rows)
    left = _place(box.left, box.columns, side, place[1], columns)
    across = math.isqrt(tokens)
    return Layout(Region(top, left, side, side), (across, across), across / math.isqrt(REFERENCE_TOKENS))


def _place(start: float, extent: float, side: float, place: float, limit: float) -> float:
    offset = start + place * (
        extent - side
    )  # negative range if the crop is longer than the box: it then extends beyond both ends
    return min(max(offset, 0.0), limit - side)


def grid_of(patches: int, size: NDArray[np.float32]) -> tuple[int, int]:
    """Compute the grid (down, across) of a whole film.

    Args:
        patches: number of patches.
        size: [2] float32 (rows, columns), extent of the film in reference units.
    """
    down = round(math.sqrt(patches * float(size[0]) / float(size[1])))
    return down, patches // down
