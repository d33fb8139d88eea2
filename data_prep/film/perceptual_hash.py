"""Computes a perceptual hash (pHash) of 64 bits, robust to rescaling, recompression and small changes of brightness.

Algorithm: the displayed film is resized to 32 x 32 by area means, without keeping its aspect ratio; two-dimensional
DCT-II; each of the 8 x 8 lowest frequencies gives a bit, row by row, the first one the most significant: 1 if the
coefficient is above the median of the 64 (C. Zauner, Implementation and Benchmarking of Perceptual Image Hash
Functions, 2010). Films whose hashes differ in few bits are candidates for near duplicates and need visual confirmation:
chests of two people can be as close. A hash contains no information beyond the film in the shard.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE_PIXELS, _FREQUENCIES = 32, 8
_COSINES = np.cos(np.pi / (2 * _SIDE_PIXELS) * np.outer(np.arange(_FREQUENCIES), 2 * np.arange(_SIDE_PIXELS) + 1))
"""[frequency, position] basis of the DCT-II without normalisation."""


def perceptual_hash(image: NDArray[np.uint16]) -> int:
    """Compute the perceptual hash of a film.

    Args:
        image: [rows, columns] display values.

    Returns:
        The hash, in [0, 2**64).
    """
    thumbnail = cv2.resize(image, (_SIDE_PIXELS, _SIDE_PIXELS), interpolation=cv2.INTER_AREA).astype(np.float64)
    coefficients = np.rint(
        _COSINES @ thumbnail @ _COSINES.T
    )  # integers, since the last bits of a sum differ between processors
    bits = np.packbits((coefficients > np.median(coefficients)).reshape(-1))
    return int.from_bytes(bits.tobytes(), "big")
