"""Adds the side marker, a lead letter in the corner of the field with the least of the body."""

import cv2
import numpy as np

from data_prep.phantom.imaging.projection import Map

_LETTER_ATTENUATION = 3.0
"""Attenuation of the letter."""


def add_marker(
    attenuation: Map, skin: Map, field: Map, letter: str, marker: tuple[int, float, float], *, on_own_side: bool
) -> None:
    """Add the letter to an attenuation map.

    Args:
        attenuation: [rows, columns] film, changed in place.
        skin: [rows, columns] attenuation of the surface tissues.
        field: [rows, columns] collimated field, 0 to 1.
        letter: L or R, the side of the body.
        marker: preferred corner (0 … 3), height of the letter as a fraction of the longer side, rotation in radians.
        on_own_side: whether the letter must be on its side of a body seen from the front.
    """
    corner, height, turn = marker
    glyph = _glyph(letter, max(8, round(height * max(attenuation.shape))), turn)
    corners = [_corner(field, glyph.shape, (corner + k) % 4) for k in range(4)]
    covered = [float(skin[y : y + glyph.shape[0], x : x + glyph.shape[1]].mean()) for y, x in corners]
    is_wrong_side = np.array([on_own_side and (k + corner) % 2 != (letter == "L") for k in range(4)])
    y, x = corners[int(np.argmin(np.array(covered) + 0.02 * np.arange(4) + 99.0 * is_wrong_side))]
    attenuation[y : y + glyph.shape[0], x : x + glyph.shape[1]] += np.float32(_LETTER_ATTENUATION) * glyph


def _corner(field: Map, shape: tuple[int, ...], corner: int) -> tuple[int, int]:
    rows, columns = (np.flatnonzero(field.max(axis=1 - axis) > 0.5) for axis in (0, 1))
    gap = shape[0] // 2
    top, bottom = int(rows[0]) + gap, int(rows[-1]) - gap - shape[0]
    left, right = int(columns[0]) + gap, int(columns[-1]) - gap - shape[1]
    y, x = (top, top, bottom, bottom)[corner], (left, right, left, right)[corner]
    return min(max(y, 0), field.shape[0] - shape[0]), min(max(x, 0), field.shape[1] - shape[1])


def _glyph(letter: str, height: int, turn: float) -> Map:
    """Relative thickness of the letter, 0 to 1, cropped to the letter."""
    side = height * 4
    canvas = np.zeros((side * 2, side * 2), dtype=np.uint8)
    thick = max(2, side // 6)
    font = cv2.FONT_HERSHEY_DUPLEX
    (text_width, text_height), _ = cv2.getTextSize(letter, font, side / 22.0, thick)
    cv2.putText(
        canvas, letter, (side - text_width // 2, side + text_height // 2), font, side / 22.0, 255, thick, cv2.LINE_AA
    )
    rotated = cv2.warpAffine(canvas, cv2.getRotationMatrix2D((side, side), float(np.degrees(turn)), 1.0), canvas.shape)
    reduced = cv2.resize(rotated, (side // 2, side // 2), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    rows, columns = np.flatnonzero(reduced.max(axis=1)), np.flatnonzero(reduced.max(axis=0))
    return np.asarray(reduced[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
