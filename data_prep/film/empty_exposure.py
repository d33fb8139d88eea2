"""Films that show nothing but air, found by their pixels."""

import cv2
import numpy as np
from numpy.typing import NDArray

_GRAIN = 4
"""Pixels over which noise may be correlated, by the detector's blur."""

_CELLS = 64
"""Cells along the longer side for :func:`empty_exposure`."""

_STEP_NOISE = 5.0
"""A step between cells is structure from this many standard deviations of a cell's mean."""

_STEP_RANGE = 0.004
"""… and from this part of the film's range."""

_LINE = 0.6
"""Part of a line of cells that steps together at the edge of a collimator."""

_MAX_LINES = 8
"""Such lines in one direction: two blades, each with a soft edge."""

_CLEAR_NOISE = 10.0

_CLEAR_STRUCTURE = 0.2
"""Where more pixels than this differ by so much noise from others a cell away, the film is not empty."""

_NOISE_ROWS = 24
"""Rows that are enough to measure noise."""

_MAX_STRUCTURE = 0.008
"""Steps that an empty exposure may still have: a side marker, a scratch."""


def empty_exposure(values: NDArray[np.uint16], hidden: NDArray[np.bool_]) -> bool:
    """Whether a film shows nothing but air, even if a collimator's blades frame it.

    Between the means of neighbouring cells there is no step beyond noise, but for straight lines across the film. The
    slow fall of intensity along the tube's axis (heel effect) makes no step. In doubt, a film is not empty.

    Args:
        values: [rows, columns] stored or shard values; any window, any polarity.
        hidden: [rows, columns] padding and shutter, which do not count.
    """
    scale = _CELLS / max(values.shape)
    if scale > 1 / _GRAIN or min(values.shape) < 4 * _GRAIN:  # too small to tell noise from structure
        return False
    fine, lowest = _noise(values, ~hidden), _STEP_RANGE * float(values.max())
    points = values[:: round(1 / scale), :: round(1 / scale)].astype(np.float32)
    if (np.abs(np.diff(points)) > max(_CLEAR_NOISE * fine, lowest)).mean() > _CLEAR_STRUCTURE:
        return False  # nearly every film, at no cost
    size = tuple(max(2, round(side * scale)) for side in values.shape)
    cells = cv2.resize(values.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    seen = cv2.resize((~hidden).astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) > 0.999
    if seen.mean() < 0.1:
        return False
    coarse, shown = (
        cv2.resize(one, None, fx=1 / _GRAIN, fy=1 / _GRAIN, interpolation=cv2.INTER_AREA)
        for one in (values, (~hidden).astype(np.float32))
    )
    noise = max(fine, _GRAIN * _noise(coarse, shown > 0.999)) * scale  # of the mean of 1 / scale² pixels
    limit = max(_STEP_NOISE * noise, lowest)
    structure, pairs = 0, 0
    for axis in (0, 1):
        steps = np.abs(np.diff(cells, axis=axis)) > limit
        valid = np.delete(seen, 0, axis) & np.delete(seen, -1, axis)
        steps &= valid
        line = steps.mean(axis=1 - axis, keepdims=True) > _LINE
        if line.sum() > _MAX_LINES:
            return False
        structure += int((steps & ~_grown(line, axis)).sum())
        pairs += int(valid.sum())
    return structure < _MAX_STRUCTURE * pairs


def _grown(line: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """The lines and their neighbours: a blade's edge is soft."""
    grown = line.copy()
    for shift in (-1, 1):
        grown |= np.roll(line, shift, axis)
    return grown


def _noise(values: NDArray[np.uint16], seen: NDArray[np.bool_]) -> float:
    """Standard deviation of the pixels' noise, by the median of second differences, which slow changes do not reach."""
    every = slice(None, None, max(1, values.shape[0] // _NOISE_ROWS))
    rows, known = values[every].astype(np.float32), seen[every]
    second = np.abs(rows[:, 2:] - 2 * rows[:, 1:-1] + rows[:, :-2])[known[:, 2:] & known[:, 1:-1] & known[:, :-2]]
    return float(np.median(second)) / 0.6745 / 6**0.5 if second.size else 0.0
