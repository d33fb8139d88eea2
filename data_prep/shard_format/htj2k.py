"""HTJ2K through OpenJPH, whose binding prints an error in the middle of a stream and goes on: here it is raised."""

import sys
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray


def decode_htj2k(stream: bytes, **options: Any) -> NDArray[Any]:
    """Decode a whole stream.

    Raises:
        ValueError: it is damaged; the pixels behind the damage would be missing.
        Exception: whatever the codec raises on a damaged beginning.
    """
    swallowed: list[Any] = []
    before, sys.unraisablehook = sys.unraisablehook, swallowed.append
    try:
        image = np.asarray(imagecodecs.htj2k_decode(stream, **options))
    finally:
        sys.unraisablehook = before
    if swallowed:
        raise ValueError("damaged HTJ2K stream")
    return image
