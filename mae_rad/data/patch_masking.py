"""Masking: draw the visible and predicted patches of a view."""

import cv2
import numpy as np
from numpy.typing import NDArray


def draw_budget(content: NDArray[np.bool_], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw patches in random order: content first, then the background patches nearest to content.

    If all or no patches are content, this is the published masking (He et al. 2022, appendix A): the patches of
    smallest noise, in its order.

    Args:
        content: [rows, columns] bool, True for patches of the grid with content.
        count: number of patches to draw, at most all.
        generator: random generator of the view.

    Returns:
        [count] int64 indices, row by row.
    """
    flat = content.reshape(-1)
    noise = generator.random(flat.size)
    if flat.all() or not flat.any():
        return np.asarray(np.argsort(noise)[:count], dtype=np.int64)
    distance = cv2.distanceTransform((~content).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).reshape(-1)
    chosen = np.lexsort((noise, np.rint(distance)))[:count]
    return np.asarray(generator.permutation(chosen), dtype=np.int64)


def masked_share(content: NDArray[np.bool_], visible: NDArray[np.int64]) -> float:
    """Compute the share of content patches that is not visible; of all patches if none is content.

    Args:
        content: [rows, columns] bool.
        visible: [V] int64 indices, row by row.

    Returns:
        Share in [0, 1].
    """
    flat = content.reshape(-1)
    if not flat.any():
        flat = np.ones_like(flat)
    return float(1 - flat[visible].sum() / flat.sum())
