"""Convert boxes between source pixels (of the DICOM film) and pixels of a view.

A shard stores a film smaller than its source, a layout cuts out a region and scales it to whole patches, and a mirrored
view exchanges left and right. All of this is a factor and an offset per axis, so conversion is exact both ways.

Legend: boxes [K, 4] are x_min, y_min, x_max, y_max; the right and lower edges are exclusive.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_prep.shard_format.sidecar import Sidecar
from mae_rad.data.film import Film
from mae_rad.data.patch_layout import Layout

Boxes = NDArray[np.float64]
"""[K, 4] float64 corners."""


class BoxFrame(NamedTuple):
    """The transform between pixels of a view and pixels of the source raster of its film.

    Attributes:
        offset: (x, y) of the view's upper left corner in source pixels.
        scale: (x, y) view pixels per source pixel.
        size: (width, height) of the view in view pixels.
        mirrored: left and right of the view are exchanged.
        source: (width, height) of the source raster.
    """

    offset: tuple[float, float]
    scale: tuple[float, float]
    size: tuple[int, int]
    mirrored: bool
    source: tuple[int, int]

    def from_source(self, boxes: Boxes) -> Boxes:
        """Convert boxes [K, 4] in source pixels to view pixels [K, 4], without clipping to the view."""
        scaled = (boxes - np.tile(self.offset, 2)) * np.tile(self.scale, 2)
        return self._mirror(scaled)

    def to_source(self, boxes: Boxes) -> Boxes:
        """Convert boxes [K, 4] in view pixels to source pixels [K, 4], clipped to the source raster."""
        inside = self._mirror(boxes) / np.tile(self.scale, 2) + np.tile(self.offset, 2)
        return np.asarray(np.clip(inside, 0, np.tile(self.source, 2)))

    @property
    def magnification(self) -> float:
        """View pixels per source pixel, the geometric mean of both axes."""
        return float(np.sqrt(self.scale[0] * self.scale[1]))

    def _mirror(self, boxes: Boxes) -> Boxes:
        if not self.mirrored:
            return boxes
        mirrored = boxes.copy()
        mirrored[:, [0, 2]] = self.size[0] - boxes[:, [2, 0]]
        return mirrored


def box_frame(sidecar: Sidecar, layout: Layout, patch: int, *, mirrored: bool = False) -> BoxFrame:
    """Compute the box transform of a view.

    Args:
        sidecar: metadata of the film.
        layout: region and patch grid of the view.
        patch: patch side in pixels.
        mirrored: left and right of the view are exchanged.
    """
    return frame_of_sizes(
        (sidecar.rows, sidecar.columns), (sidecar.source_rows, sidecar.source_columns), layout, patch, mirrored=mirrored
    )


def frame_of_sizes(
    film: tuple[int, int], source: tuple[int, int], layout: Layout, patch: int, *, mirrored: bool = False
) -> BoxFrame:
    """Compute the box transform of a view from sizes.

    Args:
        film: (rows, columns) of the film in the shard.
        source: (rows, columns) of the source raster.
        layout: region and patch grid of the view.
        patch: patch side in pixels.
        mirrored: left and right of the view are exchanged.
    """
    region, (down, across) = layout.region, layout.grid
    # Source pixels per film pixel, separately per axis: source pixels need not be square.
    high, wide = source[0] / film[0], source[1] / film[1]
    return BoxFrame(
        offset=(region.left * wide, region.top * high),
        scale=(across * patch / (region.columns * wide), down * patch / (region.rows * high)),
        size=(across * patch, down * patch),
        mirrored=mirrored,
        source=(source[1], source[0]),
    )


def whole_film_frame(film: Film, tokens: int, patch: int) -> BoxFrame:
    """Compute the box transform of a whole film, the view of evaluation and prediction.

    Args:
        film: film of a shard.
        tokens: T, number of content patches.
        patch: patch side in pixels.
    """
    return box_frame(film.sidecar, film.layout(tokens, patch), patch)


def cut_off(boxes: Boxes, size: tuple[int, int]) -> tuple[Boxes, NDArray[np.float64]]:
    """Clip boxes to a view.

    Args:
        boxes: [K, 4] in view pixels.
        size: (width, height) of the view.

    Returns:
        [K, 4] clipped boxes, and [K] the share of each box's area that remains, in [0, 1].
    """
    clipped = np.clip(boxes, 0, np.tile(size, 2))
    return clipped, areas(clipped) / np.maximum(areas(boxes), np.finfo(np.float64).tiny)


def areas(boxes: Boxes) -> NDArray[np.float64]:
    """Compute the areas [K] of boxes [K, 4]."""
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
