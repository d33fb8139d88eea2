"""Text near an edge of a film is distinguished from anatomy, side markers and noise."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.pages.border_sheets import _borders, _count_letters


def film(rows: int = 1500, columns: int = 1200) -> NDArray[np.uint8]:
    """Simulate a smooth body before dark air, with noise and the edge of a collimator."""
    down, across = np.mgrid[:rows, :columns].astype(np.float32)
    body = 140 * np.exp(-(((down - rows / 2) / 700) ** 2 + ((across - columns / 2) / 400) ** 2))
    body[:60] = 0
    noisy = body + np.random.default_rng(0).normal(20, 4, (rows, columns))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def letter_count(picture: NDArray[np.uint8]) -> int:
    return sum(_count_letters(border) for border in _borders(picture))


@pytest.mark.parametrize("corner", [(20, 40), (700, 1480), (20, 1480)])
@pytest.mark.parametrize("grey", [255, 110])
def test_a_name_in_a_corner_is_detected(corner: tuple[int, int], grey: int) -> None:
    picture = film()
    cv2.putText(picture, "MUSTER, ERIKA 1953", corner, cv2.FONT_HERSHEY_SIMPLEX, 0.8, grey, 2)
    assert letter_count(picture) >= 8


def test_anatomy_and_a_side_marker_are_not_text() -> None:
    picture = film()
    cv2.putText(picture, "R", (60, 140), cv2.FONT_HERSHEY_SIMPLEX, 3, 255, 12)
    assert letter_count(picture) == 0
