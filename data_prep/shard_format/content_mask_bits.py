"""How a content mask is packed into a sidecar."""

import base64

import numpy as np
from numpy.typing import NDArray

MASK_SIDE = 64
"""Cells along the longer side of a content mask."""


def mask_shape(rows: int, columns: int) -> tuple[int, int]:
    """Cells (down, across) of the content mask of a film: the longer side has MASK_SIDE cells."""
    longer = max(rows, columns)
    return max(1, round(rows * MASK_SIDE / longer)), max(1, round(columns * MASK_SIDE / longer))


def pack_mask(mask: NDArray[np.bool_]) -> str:
    """Content mask of :func:`mask_shape` → base64 of its bits, row by row; a full mask is the empty string."""
    if mask.all():
        return ""
    return base64.b64encode(np.packbits(mask).tobytes()).decode()


def unpack_mask(packed: str, rows: int, columns: int) -> NDArray[np.bool_]:
    """The content mask of a film of ``rows`` × ``columns`` pixels, shape :func:`mask_shape`."""
    shape = mask_shape(rows, columns)
    if not packed:
        return np.ones(shape, dtype=np.bool_)
    bits = np.unpackbits(np.frombuffer(base64.b64decode(packed), np.uint8), count=shape[0] * shape[1])
    return bits.reshape(shape).astype(np.bool_)


CONTENT_MASK_VERSION = 3
"""Raised with every change of the algorithm, since masks change training."""
