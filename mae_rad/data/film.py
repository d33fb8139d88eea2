"""A film of a shard: bytes and sidecar → values of any region at any size."""

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.shard_format.apply_display import display_table
from data_prep.shard_format.content_mask_bits import unpack_mask
from data_prep.shard_format.film_codec import decode_film, reduction_for, stream_shape
from data_prep.shard_format.sidecar import Sidecar
from mae_rad.data.patch_layout import CONTENT_SCALE, FilmScale, Layout, Region, content_box, film_layout, fixed_layout

_ROUNDING = 1e-12


class Film:
    """A film of a shard, decoded on first use, once per reduction level.

    Args:
        stream: codestream of the film.
        sidecar: its metadata.
        scale: how large it is when it is cut into patches.
    """

    def __init__(self, stream: bytes, sidecar: Sidecar, scale: FilmScale = CONTENT_SCALE) -> None:
        self.sidecar, self.scale = sidecar, scale
        self.stream = stream
        self._decoded: dict[int, NDArray[np.uint16]] = {}

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Content mask, bool, at most 64 cells along the longer side."""
        return unpack_mask(self.sidecar.content_mask, self.sidecar.rows, self.sidecar.columns)

    @cached_property
    def box(self) -> Region:
        """Bounding box of the content in film pixels."""
        return content_box(self.mask, self.sidecar.rows, self.sidecar.columns)

    def is_left_out(self, patch: int) -> bool:
        """Whether pretraining skips the film, since its pixel spacing does not tell its scale."""
        return self.scale.skips and self.scale.magnification(patch, self.sidecar.pixel_spacing_mm) is None

    def layout(self, tokens: int, patch: int) -> Layout:
        """Lay out the whole film at its scale.

        Args:
            tokens: T, number of content patches where the scale does not decide.
            patch: patch side in pixels.
        """
        rows, columns = self.sidecar.rows, self.sidecar.columns
        if (magnification := self.scale.magnification(patch, self.sidecar.pixel_spacing_mm)) is not None:
            return fixed_layout(rows, columns, patch, magnification)
        return film_layout(rows, columns, self.box, tokens, patch)

    def values(self, layout: Layout, patch: int) -> NDArray[np.uint16]:
        """Decode the region of a layout at its size.

        The reduction level depends on stored and target size only; the remaining scaling is area averaging. What lies
        below and to the right of the film is dark.

        Args:
            layout: region and patch grid.
            patch: patch side in pixels.

        Returns:
            [grid rows * patch, grid columns * patch] uint16 shard values.
        """
        rows, columns = layout.grid[0] * patch, layout.grid[1] * patch
        stored = (self.sidecar.rows, self.sidecar.columns)
        region = layout.region
        reduction = reduction_for(
            *stored, round(stored[0] * rows / region.rows), round(stored[1] * columns / region.columns)
        )
        decoded = self._decode(reduction)
        down, across = decoded.shape[0] / stored[0], decoded.shape[1] / stored[1]
        top, left = round(region.top * down), round(region.left * across)
        bottom = max(round((region.top + region.rows) * down), top + 1)
        right = max(round((region.left + region.columns) * across), left + 1)
        part = decoded[top:bottom, left:right]
        seen = (
            min(rows, max(1, round((stored[0] - region.top) * rows / region.rows))),
            min(columns, max(1, round((stored[1] - region.left) * columns / region.columns))),
        )
        if part.shape != seen:
            is_enlarged = part.shape[0] <= seen[0] and part.shape[1] <= seen[1]
            method = cv2.INTER_LINEAR if is_enlarged else cv2.INTER_AREA
            part = np.asarray(cv2.resize(part, seen[::-1], interpolation=method), dtype=np.uint16)
        if seen == (rows, columns):
            return part
        padded = np.full((rows, columns), self._darkest(), dtype=np.uint16)
        padded[: seen[0], : seen[1]] = part
        return padded

    def _darkest(self) -> int:
        """Shard value that is displayed darkest."""
        display = self.sidecar.display
        return int(np.argmin(display_table(display)[: 2**display.bits]))

    def displayed(self) -> NDArray[np.uint16]:
        """Decode the whole film: [rows, columns] uint16 display values, dark to bright."""
        return np.asarray(display_table(self.sidecar.display)[self._decode(0)])

    def content(self, layout: Layout) -> NDArray[np.bool_]:
        """[grid rows, grid columns] bool, True for patches with content on at least half of their area."""
        high, wide = self.mask.shape[0] / self.sidecar.rows, self.mask.shape[1] / self.sidecar.columns
        region = layout.region
        down = _overlaps(region.top * high, region.rows * high, layout.grid[0], self.mask.shape[0])
        across = _overlaps(region.left * wide, region.columns * wide, layout.grid[1], self.mask.shape[1])
        return np.asarray(down @ self.mask @ across.T >= 0.5 - _ROUNDING)

    def _decode(self, reduction: int) -> NDArray[np.uint16]:
        if reduction not in self._decoded:
            if stream_shape(self.stream) != (self.sidecar.rows, self.sidecar.columns):
                raise ValueError("the size of the film is not that of its sidecar")
            self._decoded[reduction] = decode_film(self.stream, bits=self.sidecar.display.bits, reduction=reduction)
        return self._decoded[reduction]


def _overlaps(start: float, extent: float, parts: int, cells: int) -> NDArray[np.float64]:
    """[parts, cells] share of each of ``parts`` equal parts of an interval, in units of cells, that lies in each cell.

    Shares refer to the part that lies within the cells.
    """
    edges = np.clip(start + extent / parts * np.arange(parts + 1), 0, cells)[:, None]
    cell = np.arange(cells)
    inside = np.minimum(edges[1:], cell + 1) - np.maximum(edges[:-1], cell)
    return np.asarray(np.maximum(inside, 0) / np.maximum(edges[1:] - edges[:-1], _ROUNDING))
