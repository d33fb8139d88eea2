"""Perceptual hash (pHash): 64 bits that hardly change when a film is rescaled, recompressed or shown a little brighter.

Algorithm: area means of the displayed film at 32 x 32, whatever its shape; two-dimensional DCT-II; of the 8 x 8 lowest
frequencies, row by row, the first being the highest bit: 1 where the coefficient is above the median of the 64
(C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010). Films whose hashes differ in few
bits are candidates for near duplicates, to be looked at: chests of two people can be as close. A hash tells nothing
that the film in the shard does not.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE, _KEPT = 32, 8
_WAVES = np.cos(np.pi / (2 * _SIDE) * np.outer(np.arange(_KEPT), 2 * np.arange(_SIDE) + 1))
"""[frequency, place] DCT-II without normalisation."""


def perceptual_hash(image: NDArray[np.uint16]) -> int:
    """The hash, in ``[0, 2**64)``, of a film [rows, columns] of display values."""
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
    waves = np.rint(_WAVES @ small @ _WAVES.T)  # whole numbers: the last bits of a sum differ between processors
    above = np.packbits((waves > np.median(waves)).reshape(-1))
    return int.from_bytes(above.tobytes(), "big")
