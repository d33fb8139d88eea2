"""Anatomy against background: air, collimation, shutter and padding around it, on a coarse grid of display values."""

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.shard_format import mask_shape

CONTENT_MASK_VERSION = 1
"""Raised with every change of the algorithm, since masks change training."""

_SAMPLES = 4
"""Samples along each side of a cell, for its flatness."""
_WHITE = 65535
_AIR_MARGIN = 0.08
"""How far above the darkest air a cell may lie and still be air; this and what follows as parts of the film's range."""
_DARKEST_AIR = 0.35
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
_MIN_PART = 0.01
"""Parts of the content smaller than this (of all cells) are markers and scratches."""

_Cells = NDArray[np.bool_]


def content_mask(image: NDArray[np.uint16]) -> _Cells:
    """[mask_shape] True where a film [rows, columns] of display values shows anatomy.

    Background is what is flat, as dark as air, and connected with the border, so that dark lungs stay content; also
    white bands along a border. A film without background, or with nothing else, is content all over.
    """
    down, across = mask_shape(*image.shape)
    fine = cv2.resize(image, (across * _SAMPLES, down * _SAMPLES), interpolation=cv2.INTER_AREA).astype(np.float32)
    fine /= max(float(np.percentile(fine, 99)), 0.01 * _WHITE)
    cells = fine.reshape(down, _SAMPLES, across, _SAMPLES)
    level, flat = cells.mean(axis=(1, 3)), cells.std(axis=(1, 3)) < _FLAT
    background = np.zeros((down, across), dtype=np.bool_)
    for percentile in (1, 5):  # black beyond the collimator, then the greyer air within
        background |= _from_border(background | flat & _air(level, ~background, percentile))
        background |= _white_bands(level, background | flat & (level > _BRIGHT))
    content = _large_parts(~background)
    return content if content.any() else np.ones_like(content)


def _air(level: NDArray[np.float32], among: _Cells, percentile: float) -> _Cells:
    """Cells about as dark as the darkest ``percentile`` of those ``among`` which air is to be found."""
    darkest = float(np.percentile(level[among], percentile)) if among.any() else 1.0
    return level < (darkest + _AIR_MARGIN if darkest < _DARKEST_AIR else 0.0)


def _white_bands(level: NDArray[np.float32], background: _Cells) -> _Cells:
    """Whole rows and columns of ``background`` along the borders up to a steep edge, the cells on the edge included."""
    bands = np.zeros_like(background)
    for turns in range(4):  # each border in turn as the upper one
        rows, turned = np.rot90(background, turns), np.rot90(level, turns)
        filled = rows.mean(axis=1) >= _BAND
        depth = int(np.argmin(filled)) if not filled.all() else 0
        within = depth + 2  # an edge may be three cells wide
        if depth > 0 and within < len(rows):
            ends = (turned[depth - 1] > _BRIGHT) & (turned[within] <= _BRIGHT)
            drop = (turned[depth - 1] - turned[within])[ends]
            np.rot90(bands, turns)[: depth + 1] = drop.size > _WHITE_PART * ends.size and np.median(drop) > _EDGE
    return bands


def _from_border(cells: _Cells) -> _Cells:
    """The connected parts of ``cells`` at the border, or one cell from it, since scans often have a thin frame."""
    _, labels = cv2.connectedComponents(cells.astype(np.uint8), connectivity=4)
    border = np.concatenate([np.rot90(labels, turns)[:2].ravel() for turns in range(4)])
    return np.isin(labels, border[border > 0])


def _large_parts(cells: _Cells) -> _Cells:
    """The connected parts of ``cells`` that are neither tiny nor thin lines, as the edges of collimators are."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(cells.astype(np.uint8), connectivity=4)
    thick = cv2.erode(cells.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    large = [part for part in range(1, count) if stats[part, cv2.CC_STAT_AREA] >= _MIN_PART * cells.size]
    return np.isin(labels, np.intersect1d(large, labels[thick.astype(np.bool_)]))
