"""HTJ2K decoding with OpenJPH; errors within a stream, which its binding only prints, are raised."""

import sys
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray


def decode_htj2k(stream: bytes, **options: Any) -> NDArray[Any]:
    """Decode a whole stream.

    Args:
        stream: HTJ2K codestream.
        **options: of ``imagecodecs.htj2k_decode``.

    Returns:
        [rows, columns] pixels.

    Raises:
        ValueError: the stream is damaged, so that pixels after the damage would be wrong.
        Exception: whatever the codec raises on a damaged header.
    """
    errors: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, errors.append
    try:
        image = np.asarray(imagecodecs.htj2k_decode(stream, **options))
    finally:
        sys.unraisablehook = hook
    if errors:
        raise ValueError("damaged HTJ2K stream")
    return image
