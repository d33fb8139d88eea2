"""Does a heat map point at what is there? The pointing game (Zhang et al. 2018): its highest patch is asked.

A patch counts as right where it touches a box of the label; ``margin`` patches around it are let pass, as the game's
tolerance. By chance a map would be right as often as content touches boxes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.data.box_frames import Boxes


class Pointed(NamedTuple):
    """One film and one label.

    Attributes:
        hit: the highest patch touches a box.
        chance: share of the content patches that do.
    """

    hit: bool
    chance: float


def play(values: NDArray[np.float32], content: NDArray[np.bool_], boxes: Boxes, patch: int, margin: int = 0) -> Pointed:
    """Play one film.

    Args:
        values: [rows, columns] of the patch grid.
        content: [rows, columns] which patches show anatomy; where none does, all count.
        boxes: [K, 4] in pixels of the grid.
        patch: side of a patch in pixels.
        margin: patches around a box that count, too.
    """
    right = touched(values.shape, boxes, patch, margin)
    shown = content if content.any() else np.ones_like(content)
    return Pointed(bool(right.flat[int(values.argmax())]), float(right[shown].mean()))


def touched(grid: tuple[int, ...], boxes: Boxes, patch: int, margin: int = 0) -> NDArray[np.bool_]:
    """[rows, columns] which patches of a grid share area with a box, or lie within ``margin`` of one that does."""
    right = np.zeros(grid, dtype=np.bool_)
    for x_min, y_min, x_max, y_max in boxes / patch:
        top, left = (max(int(np.floor(edge)) - margin, 0) for edge in (y_min, x_min))
        bottom, end = (int(np.ceil(edge)) + margin for edge in (y_max, x_max))
        right[top:bottom, left:end] = True
    return right
