"""Anatomy against background: air, collimation, shutter and padding around it, on a coarse grid of display values."""

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.film.shard_values import halved
from data_prep.shard_format.content_mask_bits import mask_shape

_SAMPLES = 4
"""Samples along each side of a cell, for its flatness."""

_WHITE = 65535

_DARKEST = ((1, 0.0), (5, 0.0), (15, 0.08))
"""Where air is sought, one after the other: black beyond the collimator, air, the greyer air within the field. As
percentile of what is not background yet, and the least part of it that has to be found: less is no air but skin."""

_AIR_MARGIN = 0.05
"""How far above the darkest air a cell may lie and still be air; this and what follows as parts of the film's range."""

_DARKEST_AIR = 0.45
"""Where nothing is darker than this, the film shows no air."""

_BRIGHT = 0.94
"""Unexposed film behind a collimator, where the device has not made it black, is at least this bright."""

_EDGE = 0.15
"""A collimator's edge is at least this steep; an overexposed belly fades."""

_BAND = 0.9
"""Part of a row or column that has to be background for a white band along a border."""

_WHITE_PART = 0.3
"""Part of it that has to be white at its inner end: an overexposed wrist between air is not collimation."""

_FLAT = 0.015
"""Standard deviation within a background cell."""

_REACH = 2
"""Cells across which background is still connected: soft edges of collimators, thin frames of scans."""

_MIN_PART = 0.01
"""Parts of the content smaller than this (of all cells) are markers and scratches."""

_MIN_SHARE = 0.15
"""… and those smaller than this share of the largest part."""

_STROKE = np.ones((7, 7), dtype=np.uint8)
"""Samples: the strokes of side markers are narrower, limbs are not."""

_TISSUE = 0.6
"""Part of the range without markers from which a cell is tissue rather than air …"""

_MAX_LOST = 0.1
"""… and the part of these cells that may be taken for background before the range is in doubt."""

_SQUARE = np.ones((3, 3), dtype=np.uint8)

_REACHED = np.ones((2 * _REACH + 1, 2 * _REACH + 1), dtype=np.uint8)

_Cells = NDArray[np.bool_]


def content_mask(image: NDArray[np.uint16], film: tuple[int, int] | None = None) -> _Cells:
    """[mask_shape] True where a film [rows, columns] of display values shows anatomy.

    ``film`` is the size of the film that ``image`` shows smaller; its own by default.

    Background is what is flat, as dark as air, and connected with the border, so that dark lungs stay content; also
    white bands along a border. Rims of at most two cells and parts as small as a side marker are no content. A film
    without background, or with nothing else, is content all over.

    Where bright tissue would be background, markers and metal have stretched the range and the film is judged again
    without them: air that is kept costs some patches, fingers that are cut off are never learned from.
    """
    down, across = mask_shape(*(film or image.shape[:2]))
    size = across * _SAMPLES, down * _SAMPLES
    fine = cv2.resize(halved(image, max(size)), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    content = _content(*_levels(fine, _top(fine)))
    unmarked = cv2.morphologyEx(fine, cv2.MORPH_OPEN, _STROKE)
    top = _top(unmarked)
    tissue = cv2.resize(unmarked, (across, down), interpolation=cv2.INTER_AREA) > _TISSUE * top
    if np.count_nonzero(tissue & ~content) <= _MAX_LOST * np.count_nonzero(tissue):
        return content
    return _content(*_levels(fine, top))


def _content(level: NDArray[np.float32], flat: _Cells) -> _Cells:
    """What is not background; all, where nothing would be left."""
    background = np.zeros(level.shape, dtype=np.bool_)
    for percentile, least in _DARKEST:
        found = _from_border(flat & _air(level, ~background, percentile), background)
        if np.count_nonzero(found & ~background) >= least * np.count_nonzero(~background):
            background = found
        background |= _white_bands(level, background | flat & (level > _BRIGHT))
    content = _large_parts(_without_rims(~background))
    return content if content.any() else np.ones_like(content)


def _top(fine: NDArray[np.float32]) -> float:
    """The upper end of a film's range."""
    return max(float(np.percentile(fine[::4, ::4], 99)), 0.01 * _WHITE)


def _levels(fine: NDArray[np.float32], top: float) -> tuple[NDArray[np.float32], _Cells]:
    """Mean brightness of every cell of _SAMPLES x _SAMPLES, as part of ``top``, and whether the cell is flat."""
    fine = fine / np.float32(top)
    size = fine.shape[1] // _SAMPLES, fine.shape[0] // _SAMPLES
    level, square = (cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (fine, fine * fine))
    return level, square - level * level < _FLAT**2


def _air(level: NDArray[np.float32], among: _Cells, percentile: int) -> _Cells:
    """Cells about as dark as the darkest ``percentile`` of those ``among`` which air is to be found."""
    darkest = float(np.percentile(level[among], percentile)) if among.any() else 1.0
    return level < (darkest + _AIR_MARGIN if darkest < _DARKEST_AIR else 0.0)


def _from_border(cells: _Cells, background: _Cells) -> _Cells:
    """``background`` and the connected parts of ``cells`` that come near to it or to the border."""
    outside = np.pad(background.astype(np.uint8), 1, constant_values=1)
    near = cv2.dilate(outside, _REACHED)[1:-1, 1:-1].astype(np.bool_)
    count, labels = cv2.connectedComponents((cells | background).astype(np.uint8), connectivity=4)
    reached = np.zeros(count, dtype=np.bool_)
    reached[labels[near]] = True
    reached[0] = False
    return np.asarray(reached[labels])


def _white_bands(level: NDArray[np.float32], background: _Cells) -> _Cells:
    """Whole rows and columns of ``background`` along the borders up to a steep edge, the cells on the edge included."""
    bands = np.zeros_like(background)
    borders = background[0], background[:, -1], background[-1], background[:, 0]
    for turns in range(4):  # each border in turn as the upper one
        if borders[turns].mean() < _BAND:
            continue
        rows, turned = np.rot90(background, turns), np.rot90(level, turns)
        filled = rows.mean(axis=1) >= _BAND
        depth = int(np.argmin(filled)) if not filled.all() else 0
        within = depth + 2  # an edge may be three cells wide
        if depth > 0 and within < len(rows):
            ends = (turned[depth - 1] > _BRIGHT) & (turned[within] <= _BRIGHT)
            drop = (turned[depth - 1] - turned[within])[ends]
            np.rot90(bands, turns)[: depth + 1] = drop.size > _WHITE_PART * ends.size and np.median(drop) > _EDGE
    return bands


def _without_rims(cells: _Cells) -> NDArray[np.uint8]:
    """Opened by three cells: edges of collimators and frames go, also where they hang on the anatomy."""
    opened = cv2.morphologyEx(
        cells.astype(np.uint8), cv2.MORPH_OPEN, _SQUARE, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return np.asarray(opened, dtype=np.uint8)


def _large_parts(cells: NDArray[np.uint8]) -> _Cells:
    """The connected parts of ``cells`` that are not as small as markers."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(cells, connectivity=4)
    area = stats[:, cv2.CC_STAT_AREA].copy()
    area[0] = 0
    large = area >= max(_MIN_PART * cells.size, _MIN_SHARE * area.max(), 1)
    return np.asarray(large[labels])
