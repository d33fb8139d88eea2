"""Packing of the content mask (anatomy against background) into a sidecar."""

import base64

import numpy as np
from numpy.typing import NDArray

MASK_SIDE = 64
"""Cells along the longer side of a content mask."""


def mask_shape(rows: int, columns: int) -> tuple[int, int]:
    """Number of cells (down, across) of the content mask of a film.

    Args:
        rows: of the film in pixels.
        columns: of the film in pixels.

    Returns:
        Cells along each side; the longer side has MASK_SIDE cells.
    """
    longer = max(rows, columns)
    return max(1, round(rows * MASK_SIDE / longer)), max(1, round(columns * MASK_SIDE / longer))


def pack_mask(mask: NDArray[np.bool_]) -> str:
    """Pack a content mask of the shape :func:`mask_shape` as base64 of its bits, row by row; "" for a full mask."""
    if mask.all():
        return ""
    return base64.b64encode(np.packbits(mask).tobytes()).decode()


def unpack_mask(packed: str, rows: int, columns: int) -> NDArray[np.bool_]:
    """Unpack the content mask of a film.

    Args:
        packed: text from :func:`pack_mask`.
        rows: of the film in pixels.
        columns: of the film in pixels.

    Returns:
        Boolean mask of the shape :func:`mask_shape`, True where anatomy is.

    Raises:
        ValueError: the text is damaged or too short.
    """
    shape = mask_shape(rows, columns)
    if not packed:
        return np.ones(shape, dtype=np.bool_)
    data = np.frombuffer(base64.b64decode(packed), np.uint8)
    if 8 * data.size < shape[0] * shape[1]:
        raise ValueError("a content mask is too short")
    bits = np.unpackbits(data, count=shape[0] * shape[1])
    return bits.reshape(shape).astype(np.bool_)


CONTENT_MASK_VERSION = 3
"""Version of the mask algorithm; it is increased with every change, since masks change training."""
