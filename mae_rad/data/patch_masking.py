"""Masking: which patches of a view are visible, and which are predicted."""

import cv2
import numpy as np
from numpy.typing import NDArray


def draw_budget(content: NDArray[np.bool_], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """``count`` patch indices in random order: content first, then the background patches nearest to content.

    Where all or nothing is content this is the published masking (He et al. 2022, appendix A): the patches of smallest
    noise, in its order.

    Args:
        content: [rows, columns] bool, which patches of the grid show content.
        count: number of patches to draw, at most all.
        generator: of the view.

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
    """Share of the content patches that is not among ``visible``; of all patches where none is content.

    Args:
        content: [rows, columns] bool.
        visible: [V] int64 indices, row by row.

    Returns:
        A share in [0, 1].
    """
    flat = content.reshape(-1)
    if not flat.any():
        flat = np.ones_like(flat)
    return float(1 - flat[visible].sum() / flat.sum())
