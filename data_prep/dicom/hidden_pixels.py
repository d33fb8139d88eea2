"""Finds pixels that are padding (PS3.3 C.7.5.1.1.2) or hidden by a shutter (C.7.6.11, C.7.6.15)."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.dicom.header_values import code_strings, integer, numbers
from data_prep.shard_format.sidecar import Provenance

MIN_VISIBLE = 0.01
"""Fraction of the film; a shutter that leaves less visible is taken as wrongly described and ignored."""


def hidden_pixels(
    values: NDArray[np.int16] | NDArray[np.uint16], header: Any
) -> tuple[NDArray[np.bool_] | None, list[Provenance]]:
    """Find padding and pixels behind a shutter.

    Args:
        values: [rows, columns] stored values.
        header: data set of the film.

    Returns:
        [rows, columns] bool, True for hidden pixels, None if no pixel is hidden; and provenance codes.
    """
    notes: list[Provenance] = []
    hidden = _padding(values, header)
    if hidden is not None:
        notes.append("padding_hidden")
    if not code_strings(header, "ShutterShape"):
        return hidden, notes
    visible, ignored = _visible(values.shape[0], values.shape[1], header)
    if not visible.all():
        notes.append("shutter_hidden")
        hidden = ~visible if hidden is None else hidden | ~visible
    return hidden, [*notes, "shutter_ignored"] if ignored else notes


def _padding(values: NDArray[np.int16] | NDArray[np.uint16], header: Any) -> NDArray[np.bool_] | None:
    """Pixels from Pixel Padding Value to Pixel Padding Range Limit inclusive, compared with the sign of the pixels."""
    first = numbers(header, "PixelPaddingValue")
    if not first:
        return None
    last = numbers(header, "PixelPaddingRangeLimit") or first
    limits = (np.array([first[0], last[0]]).astype(np.int64) % 2**16).astype(np.uint16).view(values.dtype)
    padding = np.asarray((values >= limits.min()) & (values <= limits.max()))
    return padding if padding.any() else None


def _visible(rows: int, columns: int, header: Any) -> tuple[NDArray[np.bool_], bool]:
    """Pixels inside all shapes of the shutter, and whether a shape was ignored.

    Coordinates in the header count from 1, from the upper left corner.
    """
    visible = np.ones((rows, columns), dtype=np.bool_)
    ignored = False
    for shape in code_strings(header, "ShutterShape"):
        opening = np.zeros((rows, columns), dtype=np.uint8)
        if shape == "RECTANGULAR":
            left = max(integer(header, "ShutterLeftVerticalEdge", 1) - 1, 0)
            right = max(integer(header, "ShutterRightVerticalEdge", columns), 0)
            top = max(integer(header, "ShutterUpperHorizontalEdge", 1) - 1, 0)
            bottom = max(integer(header, "ShutterLowerHorizontalEdge", rows), 0)
            opening[top:bottom, left:right] = 1
        elif shape == "CIRCULAR":
            center, radius = numbers(header, "CenterOfCircularShutter"), integer(header, "RadiusOfCircularShutter", 0)
            if len(center) == 2 and radius > 0:
                down, across = np.ogrid[:rows, :columns]
                opening[(down + 1 - center[0]) ** 2 + (across + 1 - center[1]) ** 2 <= radius**2] = 1
        elif shape == "POLYGONAL":
            vertices = np.array(numbers(header, "VerticesOfThePolygonalShutter"))
            if len(vertices) >= 6 and len(vertices) % 2 == 0:
                corners = np.clip(np.rint(vertices).astype(np.int64), -(2**15), 2**15).astype(np.int32)
                cv2.fillPoly(opening, [np.ascontiguousarray(corners.reshape(-1, 2)[:, ::-1] - 1)], 1)
        elif shape == "BITMAP":
            opening = _bitmap_opening(rows, columns, header)
        if opening.mean() >= MIN_VISIBLE:
            visible &= opening.astype(np.bool_)
        else:
            ignored = True
    if visible.mean() >= MIN_VISIBLE:
        return visible, ignored
    return np.ones((rows, columns), dtype=np.bool_), True


def _bitmap_opening(rows: int, columns: int, header: Any) -> NDArray[np.uint8]:
    """Opening of a bitmap shutter: the zeros of its overlay plane, the first pixel in the lowest bit (PS3.3 C.9.2).

    All zeros if the plane is absent or of another size; such a shutter is ignored.
    """
    group = integer(header, "ShutterOverlayGroup", 0x6000)
    size = [int(_element(header, group, number) or 0) for number in (0x0010, 0x0011)]
    plane = _element(header, group, 0x3000)
    opening = np.zeros((rows, columns), dtype=np.uint8)
    if size == [rows, columns] and isinstance(plane, bytes) and 8 * len(plane) >= rows * columns:
        bits = np.unpackbits(np.frombuffer(plane, np.uint8), count=rows * columns, bitorder="little")
        opening = 1 - bits.reshape(rows, columns)
    return opening


def _element(header: Any, group: int, number: int) -> Any:
    try:
        return header[group, number].value
    except Exception:  # pydicom converts at the first access and raises exceptions of any type on invalid values
        return None
