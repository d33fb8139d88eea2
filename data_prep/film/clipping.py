"""Measure how much of a film is clipped to black or white, by a narrow window or a saturated detector."""

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.shard_format.apply_display import MAX_DISPLAY_VALUE, apply_display
from data_prep.shard_format.sidecar import Display

END_FRACTION = 0.002
"""Fraction of the display range that counts as black or as white: a sigmoid window does not reach the limits."""
_MIN_SAMPLES = 256
"""Least number of pixels that are sampled along the longer side; a larger film is sampled at every n-th pixel."""


def measure_clipping(values: NDArray[np.uint16], content: NDArray[np.bool_], display: Display) -> tuple[float, float]:
    """Measure the fractions of the content at the black and at the white end of the display range.

    Args:
        values: [rows, columns] shard values of the film.
        content: [mask rows, mask columns] content mask, a reduced raster of the whole film.
        display: transform from shard values to display values.

    Returns:
        Fractions at the black and at the white end, 0 to 1.
    """
    # pixels are sampled and not averaged: means of noise at the limit lie within the range
    step = max(1, max(values.shape) // _MIN_SAMPLES)
    displayed = apply_display(values[::step, ::step], display)
    in_content = cv2.resize(content.astype(np.uint8), displayed.shape[::-1], interpolation=cv2.INTER_NEAREST).astype(
        np.bool_
    )
    content_values = displayed[in_content]
    if not content_values.size:  # a narrow film: no sampled pixel is in the content, so all are measured
        content_values = displayed.reshape(-1)
    pixels_at_ends = (
        np.count_nonzero(content_values <= int(END_FRACTION * MAX_DISPLAY_VALUE)),
        np.count_nonzero(content_values >= MAX_DISPLAY_VALUE - int(END_FRACTION * MAX_DISPLAY_VALUE)),
    )
    return pixels_at_ends[0] / content_values.size, pixels_at_ends[1] / content_values.size
