"""Lossless HTJ2K (JPEG 2000 part 15) films, with reduced decoding. Imported by ``mae_rad``.

The stream is reversible with RPCL progression and tile-part lengths, as transfer syntax 1.2.840.10008.1.2.4.202 asks.
Never lossy: the irreversible path wraps round at the top of the range.
"""

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from data_prep.htj2k import decode_htj2k

MAX_BITS = 15
"""Reduced decoding leaves the range by a little in both directions; one spare bit tells above from below."""

_LEVELS = 5
_WRAPPED = 3 << 14
"""Reduced values from here up are undershoots of zero that have wrapped round; overshoots of 15 bits stay below."""


def encode_film(values: NDArray[np.uint16]) -> bytes:
    """Encode shard values [rows, columns] of at most 15 significant bits.

    Raises:
        ValueError: not a two-dimensional uint16 array, or a value of 2**15 or more.
    """
    if values.ndim != 2 or values.dtype != np.uint16 or values.size == 0:
        raise ValueError(f"a film is a two-dimensional uint16 array, not {values.dtype} of shape {values.shape}")
    if int(values.max()) >> MAX_BITS:
        raise ValueError(f"a film has at most {MAX_BITS} significant bits")
    return bytes(imagecodecs.htj2k_encode(np.ascontiguousarray(values), reversible=True, tlm=True, resolutions=_LEVELS))


def decode_film(stream: bytes, *, bits: int, reduction: int = 0) -> NDArray[np.uint16]:
    """Decode to [ceil(rows / 2**reduction), ceil(columns / 2**reduction)] uint16 in ``[0, 2**bits)``.

    The reduced image is the low-pass band of the wavelet transform, not an area mean. At sharp edges it leaves the
    range, measured by up to a fifth: what lies above is clipped to white, and what lies below, where the decoder wraps
    round, to black.
    """
    decoded = np.asarray(decode_htj2k(stream, skipres=reduction or None), dtype=np.uint16)
    if reduction == 0:
        return decoded
    return np.where(decoded >= _WRAPPED, np.uint16(0), np.minimum(decoded, np.uint16(2**bits - 1)))


def reduction_for(rows: int, columns: int, target_rows: int, target_columns: int) -> int:
    """The largest reduction whose image is still at least as large as the target in both directions.

    A pure function of stored and target size, the same in training, embedding and prediction: it changes results.
    """
    reduction = 0
    while (
        reduction < _LEVELS
        and -(-rows // 2 ** (reduction + 1)) >= target_rows
        and -(-columns // 2 ** (reduction + 1)) >= target_columns
    ):
        reduction += 1
    return reduction
