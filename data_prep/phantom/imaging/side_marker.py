"""The side marker: a lead letter in a corner of the field, where least of the body is."""

import cv2
import numpy as np

from data_prep.phantom.imaging.projection import Map

_LEAD = 3.0
"""Attenuation of the letter."""


def add_marker(
    attenuation: Map, skin: Map, inside: Map, letter: str, marker: tuple[int, float, float], *, beside: bool
) -> None:
    """Draw ``letter`` into ``attenuation`` in place.

    Args:
        attenuation, skin, inside: [rows, columns] film, attenuation of the body's surface, and the field (0 … 1).
        letter: L or R, the side of the body.
        marker: preferred corner (0 … 3), height of the letter as a fraction of the film's longer side, turn in radians.
        beside: the letter stands on its side of the body, seen from the front.
    """
    corner, height, turn = marker
    glyph = _glyph(letter, max(8, round(height * max(attenuation.shape))), turn)
    spots = [_corner(inside, glyph.shape, (corner + k) % 4) for k in range(4)]
    covered = [float(skin[y : y + glyph.shape[0], x : x + glyph.shape[1]].mean()) for y, x in spots]
    wrong = np.array([beside and (k + corner) % 2 != (letter == "L") for k in range(4)])
    y, x = spots[int(np.argmin(np.array(covered) + 0.02 * np.arange(4) + 99.0 * wrong))]
    attenuation[y : y + glyph.shape[0], x : x + glyph.shape[1]] += np.float32(_LEAD) * glyph


def _corner(inside: Map, shape: tuple[int, ...], corner: int) -> tuple[int, int]:
    rows, columns = (np.flatnonzero(inside.max(axis=1 - axis) > 0.5) for axis in (0, 1))
    gap = shape[0] // 2
    top, low = int(rows[0]) + gap, int(rows[-1]) - gap - shape[0]
    left, right = int(columns[0]) + gap, int(columns[-1]) - gap - shape[1]
    y, x = (top, top, low, low)[corner], (left, right, left, right)[corner]
    return min(max(y, 0), inside.shape[0] - shape[0]), min(max(x, 0), inside.shape[1] - shape[1])


def _glyph(letter: str, height: int, turn: float) -> Map:
    """[height', width'] the letter's thickness, 0 to 1."""
    side = height * 4
    canvas = np.zeros((side * 2, side * 2), dtype=np.uint8)
    thick = max(2, side // 6)
    font = cv2.FONT_HERSHEY_DUPLEX
    (wide, high), _ = cv2.getTextSize(letter, font, side / 22.0, thick)
    cv2.putText(canvas, letter, (side - wide // 2, side + high // 2), font, side / 22.0, 255, thick, cv2.LINE_AA)
    spun = cv2.warpAffine(canvas, cv2.getRotationMatrix2D((side, side), float(np.degrees(turn)), 1.0), canvas.shape)
    small = cv2.resize(spun, (side // 2, side // 2), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    rows, columns = np.flatnonzero(small.max(axis=1)), np.flatnonzero(small.max(axis=0))
    return np.asarray(small[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
