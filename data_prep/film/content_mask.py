"""Separates anatomy from background (air, collimation, shutter, padding) on a coarse grid of cells."""

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.film.shard_values import halved
from data_prep.shard_format.content_mask_bits import mask_shape

_CELL_SAMPLES = 4
"""Samples along each side of a cell, from which its flatness is measured."""

_WHITE = 65535

_AIR_STEPS = ((1, 0.0), (5, 0.0), (15, 0.08))
"""(percentile, least fraction) of the successive searches for air: black outside the collimator, air, brighter air in
the field. The percentile is taken over the cells that are not background yet; a smaller fraction of them is skin."""

_AIR_MARGIN = 0.05
"""Largest difference of air from the darkest air; this and the next values are fractions of the film's range."""

_MAX_AIR = 0.45
"""A film without darker cells shows no air."""

_MIN_UNEXPOSED = 0.94
"""Least brightness of unexposed film behind a collimator that the device has not blackened."""

_MIN_EDGE_STEP = 0.15
"""Least step at the edge of a collimator; an overexposed abdomen fades gradually."""

_MIN_BAND_FRACTION = 0.9
"""Least fraction of background in a row or column of a white band along a border."""

_MIN_WHITE_FRACTION = 0.3
"""Least fraction of white at the inner edge of the band: an overexposed wrist between air is no collimation."""

_MAX_FLAT_DEVIATION = 0.015
"""Largest standard deviation within a background cell."""

_REACH_CELLS = 2
"""Cells across which background counts as connected: soft edges of collimators, thin frames of scans."""

_MIN_PART_FRACTION = 0.01
"""Fraction of all cells; smaller parts of the content are markers and scratches."""

_MIN_SHARE_OF_LARGEST = 0.15
"""Fraction of the largest part of the content; smaller parts are markers and scratches, too."""

_MARKER_KERNEL = np.ones((7, 7), dtype=np.uint8)
"""Samples; wider than the strokes of side markers, narrower than limbs."""

_MIN_TISSUE = 0.6
"""Fraction of the range without markers; brighter cells are tissue, not air."""

_MAX_LOST_TISSUE = 0.1
"""Largest fraction of these tissue cells in the background; a larger one means that markers extend the range."""

_RIM_KERNEL = np.ones((3, 3), dtype=np.uint8)

_REACH_KERNEL = np.ones((2 * _REACH_CELLS + 1, 2 * _REACH_CELLS + 1), dtype=np.uint8)

_Cells = NDArray[np.bool_]


def content_mask(image: NDArray[np.uint16], film_shape: tuple[int, int] | None = None) -> _Cells:
    """Compute where a film shows anatomy.

    Background is flat, as dark as air and connected with the border, so that dark lungs are content; white bands along
    a border are background, too. Rims of at most two cells and parts as small as a side marker are not content. If no
    cell or every cell is background, the whole film is content.

    If bright tissue would be background, markers and metal have extended the range, and the mask is computed again with
    the range without them: some patches of air cost less than a lost finger.

    Args:
        image: [rows, columns] display values.
        film_shape: rows and columns of the film if ``image`` is a smaller copy of it; by default those of ``image``.

    Returns:
        [mask_shape(film_shape)] bool, True for anatomy.
    """
    mask_rows, mask_columns = mask_shape(*(film_shape or image.shape[:2]))
    size = mask_columns * _CELL_SAMPLES, mask_rows * _CELL_SAMPLES
    fine = cv2.resize(halved(image, max(size)), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    content = _content(*_levels(fine, _top(fine)))
    unmarked = cv2.morphologyEx(fine, cv2.MORPH_OPEN, _MARKER_KERNEL)
    top = _top(unmarked)
    tissue = cv2.resize(unmarked, (mask_columns, mask_rows), interpolation=cv2.INTER_AREA) > _MIN_TISSUE * top
    if np.count_nonzero(tissue & ~content) <= _MAX_LOST_TISSUE * np.count_nonzero(tissue):
        return content
    return _content(*_levels(fine, top))


def _content(level: NDArray[np.float32], flat: _Cells) -> _Cells:
    """Cells that are not background; all cells if every cell is background."""
    background = np.zeros(level.shape, dtype=np.bool_)
    for percentile, min_fraction in _AIR_STEPS:
        candidate = _from_border(flat & _air(level, ~background, percentile), background)
        if np.count_nonzero(candidate & ~background) >= min_fraction * np.count_nonzero(~background):
            background = candidate
        background |= _white_bands(level, background | flat & (level > _MIN_UNEXPOSED))
    content = _large_parts(_without_rims(~background))
    return content if content.any() else np.ones_like(content)


def _top(fine: NDArray[np.float32]) -> float:
    """Upper end of the range of a film: the 99th percentile."""
    return max(float(np.percentile(fine[::4, ::4], 99)), 0.01 * _WHITE)


def _levels(fine: NDArray[np.float32], top: float) -> tuple[NDArray[np.float32], _Cells]:
    """Mean brightness of every cell as a fraction of ``top``, and whether the cell is flat."""
    fine = fine / np.float32(top)
    size = fine.shape[1] // _CELL_SAMPLES, fine.shape[0] // _CELL_SAMPLES
    level, square = (cv2.resize(samples, size, interpolation=cv2.INTER_AREA) for samples in (fine, fine * fine))
    return level, square - level * level < _MAX_FLAT_DEVIATION**2


def _air(level: NDArray[np.float32], candidates: _Cells, percentile: int) -> _Cells:
    """Cells that are about as dark as the darkest ``percentile`` of the ``candidates``."""
    darkest = float(np.percentile(level[candidates], percentile)) if candidates.any() else 1.0
    return level < (darkest + _AIR_MARGIN if darkest < _MAX_AIR else 0.0)


def _from_border(cells: _Cells, background: _Cells) -> _Cells:
    """``background`` and the connected parts of ``cells`` within reach of it or of the border."""
    outside = np.pad(background.astype(np.uint8), 1, constant_values=1)
    near = cv2.dilate(outside, _REACH_KERNEL)[1:-1, 1:-1].astype(np.bool_)
    count, labels = cv2.connectedComponents((cells | background).astype(np.uint8), connectivity=4)
    reached = np.zeros(count, dtype=np.bool_)
    reached[labels[near]] = True
    reached[0] = False
    return np.asarray(reached[labels])


def _white_bands(level: NDArray[np.float32], background: _Cells) -> _Cells:
    """Rows and columns of ``background`` along the borders up to a steep edge, including the cells on the edge."""
    bands = np.zeros_like(background)
    borders = background[0], background[:, -1], background[-1], background[:, 0]
    for turns in range(4):  # each border is rotated to the top
        if borders[turns].mean() < _MIN_BAND_FRACTION:
            continue
        border_rows, border_levels = np.rot90(background, turns), np.rot90(level, turns)
        is_background = border_rows.mean(axis=1) >= _MIN_BAND_FRACTION
        depth = int(np.argmin(is_background)) if not is_background.all() else 0
        inner_row = depth + 2  # an edge can be three cells wide
        if depth > 0 and inner_row < len(border_rows):
            is_white_end = (border_levels[depth - 1] > _MIN_UNEXPOSED) & (border_levels[inner_row] <= _MIN_UNEXPOSED)
            steps = (border_levels[depth - 1] - border_levels[inner_row])[is_white_end]
            np.rot90(bands, turns)[: depth + 1] = (
                steps.size > _MIN_WHITE_FRACTION * is_white_end.size and np.median(steps) > _MIN_EDGE_STEP
            )
    return bands


def _without_rims(cells: _Cells) -> NDArray[np.uint8]:
    """Opening with three cells, which removes edges of collimators and frames, also those that touch the anatomy."""
    opened = cv2.morphologyEx(
        cells.astype(np.uint8), cv2.MORPH_OPEN, _RIM_KERNEL, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return np.asarray(opened, dtype=np.uint8)


def _large_parts(cells: NDArray[np.uint8]) -> _Cells:
    """The connected parts of ``cells`` that are larger than markers."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(cells, connectivity=4)
    area = stats[:, cv2.CC_STAT_AREA].copy()
    area[0] = 0
    large = area >= max(_MIN_PART_FRACTION * cells.size, _MIN_SHARE_OF_LARGEST * area.max(), 1)
    return np.asarray(large[labels])
