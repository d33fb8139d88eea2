"""Boxes between source raster pixels (those of the DICOM film) and the pixels that a model sees.

A film is stored smaller than its source, a layout cuts a region of it and scales it to whole patches, and a mirrored
view exchanges left and right. Each of these is one factor and one offset per axis, so that boxes go both ways exactly.

Legend: boxes [K, 4] are x_min, y_min, x_max, y_max; the right and lower ends are exclusive.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.shard_format.sidecar import Sidecar
from mae_rad.data.film import Film
from mae_rad.data.patch_layout import Layout, film_layout

Boxes = NDArray[np.float64]
"""[K, 4] corners."""


class BoxFrame(NamedTuple):
    """The pixels of one view of one film, against those of its source raster.

    Attributes:
        offset: (x, y) of the view's upper left corner in source pixels.
        scale: (x, y) view pixels per source pixel.
        size: (width, height) of the view in its own pixels.
        mirrored: left and right of the view are exchanged.
        source: (width, height) of the source raster.
    """

    offset: tuple[float, float]
    scale: tuple[float, float]
    size: tuple[int, int]
    mirrored: bool
    source: tuple[int, int]

    def from_source(self, boxes: Boxes) -> Boxes:
        """Boxes in source pixels → view pixels; what lies outside of the view is not cut off."""
        seen = (boxes - np.tile(self.offset, 2)) * np.tile(self.scale, 2)
        return self._turned(seen)

    def to_source(self, boxes: Boxes) -> Boxes:
        """Boxes in view pixels → source pixels, cut off at the edges of the raster."""
        inside = self._turned(boxes) / np.tile(self.scale, 2) + np.tile(self.offset, 2)
        return np.asarray(np.clip(inside, 0, np.tile(self.source, 2)))

    @property
    def magnification(self) -> float:
        """View pixels per source pixel, as the geometric mean of both axes: what the side of a box grows by."""
        return float(np.sqrt(self.scale[0] * self.scale[1]))

    def _turned(self, boxes: Boxes) -> Boxes:
        if not self.mirrored:
            return boxes
        turned = boxes.copy()
        turned[:, [0, 2]] = self.size[0] - boxes[:, [2, 0]]
        return turned


def box_frame(sidecar: Sidecar, layout: Layout, patch: int, *, mirrored: bool = False) -> BoxFrame:
    """The frame of the view that ``layout`` makes of a film: ``patch`` pixels per patch."""
    return frame_of_sizes(
        (sidecar.rows, sidecar.columns), (sidecar.source_rows, sidecar.source_columns), layout, patch, mirrored=mirrored
    )


def frame_of_sizes(
    film: tuple[int, int], source: tuple[int, int], layout: Layout, patch: int, *, mirrored: bool = False
) -> BoxFrame:
    """The same from (rows, columns) of the film as it is stored and of its source."""
    region, (down, across) = layout.region, layout.grid
    # Source pixels per film pixel: both axes on their own, for pixels that were not square.
    high, wide = source[0] / film[0], source[1] / film[1]
    return BoxFrame(
        offset=(region.left * wide, region.top * high),
        scale=(across * patch / (region.columns * wide), down * patch / (region.rows * high)),
        size=(across * patch, down * patch),
        mirrored=mirrored,
        source=(source[1], source[0]),
    )


def whole_film_frame(film: Film, tokens: int, patch: int) -> BoxFrame:
    """The frame of the whole film at ``tokens`` content patches, the view of evaluation and prediction."""
    sidecar = film.sidecar
    layout = film_layout(sidecar.rows, sidecar.columns, film.box, tokens, patch)
    return box_frame(sidecar, layout, patch)


def cut_off(boxes: Boxes, size: tuple[int, int]) -> tuple[Boxes, NDArray[np.float64]]:
    """Boxes cut off at a view of ``size`` (width, height), and [K] which share of each box's area is left."""
    left = np.clip(boxes, 0, np.tile(size, 2))
    return left, areas(left) / np.maximum(areas(boxes), np.finfo(np.float64).tiny)


def areas(boxes: Boxes) -> NDArray[np.float64]:
    """[K] areas."""
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
