"""Boxes of ``boxes.parquet``: their edges, how far two overlap, and which boxes of two sets are one object."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Box(NamedTuple):
    """Edges in pixels from the upper left corner of the raster; a pixel reaches from its number to the next one."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float


EDGES = Box._fields
"""Columns of BOXES_SCHEMA, in the order in which arrays of boxes hold them."""


class BoxMatch(NamedTuple):
    """Two boxes of one object: their rows in the first and the second array, and their intersection over union."""

    first: int
    second: int
    iou: float


def box_iou(first: Floats, second: Floats) -> Floats:
    """Intersection over union of every two boxes; 0 where both are empty.

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
    """Pairs of boxes that are one object: the largest overlap first, each box in one pair at most.

    Args:
        first: [A, 4] EDGES.
        second: [B, 4] EDGES, in the same pixels.
        min_iou: intersection over union of a pair, above 0.
    """
    iou = box_iou(first, second)
    matches: list[BoxMatch] = []
    while iou.size and iou.max() >= min_iou:
        one, other = (int(place) for place in np.unravel_index(iou.argmax(), iou.shape))
        matches.append(BoxMatch(one, other, float(iou[one, other])))
        iou[one], iou[:, other] = -1, -1
    return matches
