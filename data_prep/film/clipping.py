"""How much of a film's content is lost at the ends of its display: too narrow a window, a saturated detector."""

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.shard_format.apply_display import WHITE, apply
from data_prep.shard_format.sidecar import Display

END = 0.002
"""Part of the display's range that counts as its end: a sigmoid never reaches it."""
_SIDE = 256
"""Pixels that are looked at along the longer side, at least: of a larger film every second, third, …"""


def clipped(values: NDArray[np.uint16], content: NDArray[np.bool_], display: Display) -> tuple[float, float]:
    """Fractions of the content at the dark and at the bright end of the display.

    Args:
        values: [rows, columns] shard values; single ones are looked at, since means hide noise that is clipped.
        content: the film's content mask.
        display: what turns the values into display values.
    """
    step = max(1, max(values.shape) // _SIDE)
    shown = apply(values[::step, ::step], display)
    within = cv2.resize(content.astype(np.uint8), shown.shape[::-1], interpolation=cv2.INTER_NEAREST).astype(np.bool_)
    seen = shown[within]
    if not seen.size:  # a film of few pixels along one side
        seen = shown.reshape(-1)
    ends = np.count_nonzero(seen <= int(END * WHITE)), np.count_nonzero(seen >= WHITE - int(END * WHITE))
    return ends[0] / seen.size, ends[1] / seen.size
