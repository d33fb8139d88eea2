"""Boxes of ``boxes.parquet``: edges, intersection over union, and matching of two sets of boxes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Box(NamedTuple):
    """Edges in pixels from the upper left corner of the raster; pixel n extends from n to n + 1."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float


EDGES = Box._fields
"""Columns of BOXES_SCHEMA, in the order in which arrays of boxes hold them."""


class BoxMatch(NamedTuple):
    """A pair of matched boxes.

    Attributes:
        first: row of the box in the first array.
        second: row of the box in the second array.
        iou: intersection over union, 0 to 1.
    """

    first: int
    second: int
    iou: float


def box_iou(first: Floats, second: Floats) -> Floats:
    """Compute the intersection over union of every pair of boxes; 0 where both are empty.

    Args:
        first: [A, 4] EDGES.
        second: [B, 4] EDGES, in the same pixels.

    Returns:
        [A, B], from 0 to 1.
    """
    corner = np.maximum(first[:, None, :2], second[None, :, :2])
    extent = np.minimum(first[:, None, 2:], second[None, :, 2:]) - corner
    shared = np.clip(extent, 0, None).prod(axis=2)
    total = (first[:, 2:] - first[:, :2]).prod(axis=1)[:, None] + (second[:, 2:] - second[:, :2]).prod(axis=1)[None]
    return np.asarray(shared / np.maximum(total - shared, np.finfo(np.float64).tiny))


def match_boxes(first: Floats, second: Floats, min_iou: float) -> list[BoxMatch]:
    """Match two sets of boxes greedily by overlap: each box is in one pair at most.

    Args:
        first: [A, 4] EDGES.
        second: [B, 4] EDGES, in the same pixels.
        min_iou: smallest intersection over union of a pair, above 0.

    Returns:
        Pairs, the largest overlap first.
    """
    iou = box_iou(first, second)
    matches: list[BoxMatch] = []
    while iou.size and iou.max() >= min_iou:
        row, column = (int(index) for index in np.unravel_index(iou.argmax(), iou.shape))
        matches.append(BoxMatch(row, column, float(iou[row, column])))
        iou[row], iou[:, column] = -1, -1
    return matches
