"""Detects films that show only air."""

import cv2
import numpy as np
from numpy.typing import NDArray

_NOISE_PIXELS = 4
"""Distance in pixels over which noise is correlated by the blur of the detector."""

_CELLS_OF_LONG_SIDE = 64
"""Cells along the longer side of the film."""

_STEP_DEVIATIONS = 5.0
"""Least step between cells that counts as structure, in standard deviations of the mean of a cell …"""

_MIN_STEP_FRACTION = 0.004
"""… and as a fraction of the largest value of the film; both limits apply."""

_MIN_LINE_FRACTION = 0.6
"""Least fraction of the cells of a row or column that step at the edge of a collimator."""

_MAX_LINES = 8
"""Rows or columns of cells at edges of a collimator: two blades, each with a soft edge."""

_CLEAR_STEP_DEVIATIONS = 10.0
"""Step between pixels a cell apart that is certainly structure, in standard deviations of the noise."""

_CLEAR_STRUCTURE_FRACTION = 0.2
"""Fraction of the sampled pixels; a film with more such steps is not empty."""

_NOISE_ROWS = 24
"""Rows from which the noise is measured."""

_MAX_STRUCTURE_FRACTION = 0.008
"""Fraction of the cells of an empty exposure that may have steps: a side marker, a scratch."""


def empty_exposure(values: NDArray[np.uint16], hidden: NDArray[np.bool_]) -> bool:
    """Detect whether a film shows only air, possibly inside a collimated field.

    In an empty exposure, the means of neighbouring cells differ by noise only, except along straight lines across the
    film. The gradual fall of intensity along the axis of the tube (heel effect) makes no step. In doubt, a film is not
    empty.

    Args:
        values: [rows, columns] stored or shard values; any window, any polarity.
        hidden: [rows, columns] padding and shutter, which are ignored.
    """
    scale = _CELLS_OF_LONG_SIDE / max(values.shape)
    if scale > 1 / _NOISE_PIXELS or min(values.shape) < 4 * _NOISE_PIXELS:  # too small to separate noise from structure
        return False
    pixel_noise, min_step = _noise(values, ~hidden), _MIN_STEP_FRACTION * float(values.max())
    samples = values[:: round(1 / scale), :: round(1 / scale)].astype(np.float32)
    is_clear_step = np.abs(np.diff(samples)) > max(_CLEAR_STEP_DEVIATIONS * pixel_noise, min_step)
    if is_clear_step.mean() > _CLEAR_STRUCTURE_FRACTION:
        return False  # nearly every film ends here
    size = tuple(max(2, round(side * scale)) for side in values.shape)
    cells = cv2.resize(values.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    is_visible = cv2.resize((~hidden).astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) > 0.999
    if is_visible.mean() < 0.1:
        return False
    coarse, coarse_visible = (
        cv2.resize(image, None, fx=1 / _NOISE_PIXELS, fy=1 / _NOISE_PIXELS, interpolation=cv2.INTER_AREA)
        for image in (values, (~hidden).astype(np.float32))
    )
    # standard deviation of the mean of 1 / scale² pixels
    noise = max(pixel_noise, _NOISE_PIXELS * _noise(coarse, coarse_visible > 0.999)) * scale
    limit = max(_STEP_DEVIATIONS * noise, min_step)
    structure, pairs = 0, 0
    for axis in (0, 1):
        steps = np.abs(np.diff(cells, axis=axis)) > limit
        valid = np.delete(is_visible, 0, axis) & np.delete(is_visible, -1, axis)
        steps &= valid
        is_line = steps.mean(axis=1 - axis, keepdims=True) > _MIN_LINE_FRACTION
        if is_line.sum() > _MAX_LINES:
            return False
        structure += int((steps & ~_with_neighbours(is_line, axis)).sum())
        pairs += int(valid.sum())
    return structure < _MAX_STRUCTURE_FRACTION * pairs


def _with_neighbours(is_line: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """The lines and their neighbours, since the edge of a blade is soft."""
    lines = is_line.copy()
    for shift in (-1, 1):
        lines |= np.roll(is_line, shift, axis)
    return lines


def _noise(values: NDArray[np.uint16], is_visible: NDArray[np.bool_]) -> float:
    """Standard deviation of the noise per pixel, by the median of second differences, which ignores slow changes."""
    row_step = slice(None, None, max(1, values.shape[0] // _NOISE_ROWS))
    sampled_rows, is_known = values[row_step].astype(np.float32), is_visible[row_step]
    second_differences = np.abs(sampled_rows[:, 2:] - 2 * sampled_rows[:, 1:-1] + sampled_rows[:, :-2])[
        is_known[:, 2:] & is_known[:, 1:-1] & is_known[:, :-2]
    ]
    return float(np.median(second_differences)) / 0.6745 / 6**0.5 if second_differences.size else 0.0
