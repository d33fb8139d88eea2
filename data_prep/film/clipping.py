"""Measures the fraction of the content at the ends of the display range, by a narrow window or a saturated detector."""

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.shard_format.apply_display import MAX_DISPLAY_VALUE, apply_display
from data_prep.shard_format.sidecar import Display

END_FRACTION = 0.002
"""Fraction of the display range that counts as its end, since a sigmoid does not reach the limits."""
_MIN_SIDE_PIXELS = 256
"""Least number of pixels that are sampled along the longer side; larger films are subsampled by a whole step."""


def clipped(values: NDArray[np.uint16], content: NDArray[np.bool_], display: Display) -> tuple[float, float]:
    """Measure the fractions of the content at the dark and at the bright end of the display range.

    Args:
        values: [rows, columns] shard values; pixels are sampled and not averaged, since means hide clipped noise.
        content: content mask of the film.
        display: transform from shard values to display values.

    Returns:
        Fractions at the dark and at the bright end, 0 to 1.
    """
    step = max(1, max(values.shape) // _MIN_SIDE_PIXELS)
    displayed = apply_display(values[::step, ::step], display)
    in_content = cv2.resize(content.astype(np.uint8), displayed.shape[::-1], interpolation=cv2.INTER_NEAREST).astype(
        np.bool_
    )
    content_values = displayed[in_content]
    if not content_values.size:  # no sampled pixel is in the content: few pixels along one side
        content_values = displayed.reshape(-1)
    pixels_at_ends = (
        np.count_nonzero(content_values <= int(END_FRACTION * MAX_DISPLAY_VALUE)),
        np.count_nonzero(content_values >= MAX_DISPLAY_VALUE - int(END_FRACTION * MAX_DISPLAY_VALUE)),
    )
    return pixels_at_ends[0] / content_values.size, pixels_at_ends[1] / content_values.size
