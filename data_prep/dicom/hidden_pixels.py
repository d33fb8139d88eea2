"""Find pixels that are padding (PS3.3 C.7.5.1.1.2) or hidden by a display shutter (C.7.6.11, C.7.6.15)."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.dicom.header_values import code_strings, integer, numbers
from data_prep.shard_format.sidecar import Provenance

MIN_VISIBLE_FRACTION = 0.01
"""Least visible fraction of the film; a shutter that leaves less is taken for an error of the header and ignored."""


def find_hidden_pixels(
    values: NDArray[np.int16] | NDArray[np.uint16], header: Any
) -> tuple[NDArray[np.bool_] | None, list[Provenance]]:
    """Find padding and pixels behind a display shutter.

    Args:
        values: [rows, columns] stored values.
        header: pydicom data set of the film.

    Returns:
        Mask [rows, columns], True for hidden pixels, or None if no pixel is hidden; and provenance codes.
    """
    provenance: list[Provenance] = []
    hidden = _find_padding(values, header)
    if hidden is not None:
        provenance.append("padding_hidden")
    if not code_strings(header, "ShutterShape"):
        return hidden, provenance
    visible, is_ignored = _find_visible(values.shape[0], values.shape[1], header)
    if not visible.all():
        provenance.append("shutter_hidden")
        hidden = ~visible if hidden is None else hidden | ~visible
    return hidden, [*provenance, "shutter_ignored"] if is_ignored else provenance


def _find_padding(values: NDArray[np.int16] | NDArray[np.uint16], header: Any) -> NDArray[np.bool_] | None:
    """Mask of the pixels from Pixel Padding Value to Pixel Padding Range Limit, both inclusive."""
    first = numbers(header, "PixelPaddingValue")
    if not first:
        return None
    last = numbers(header, "PixelPaddingRangeLimit") or first
    # a header can give unsigned limits for signed pixels, or vice versa: the 16 bits are read as pixels are
    limits = (np.array([first[0], last[0]]).astype(np.int64) % 2**16).astype(np.uint16).view(values.dtype)
    padding = np.asarray((values >= limits.min()) & (values <= limits.max()))
    return padding if padding.any() else None


def _find_visible(rows: int, columns: int, header: Any) -> tuple[NDArray[np.bool_], bool]:
    """Mask of the pixels inside all shapes of the shutter, and whether a shape was ignored.

    Coordinates in the header are (row, column), counted from 1 at the upper left pixel.
    """
    visible = np.ones((rows, columns), dtype=np.bool_)
    is_ignored = False
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
                row, column = np.ogrid[:rows, :columns]
                opening[(row + 1 - center[0]) ** 2 + (column + 1 - center[1]) ** 2 <= radius**2] = 1
        elif shape == "POLYGONAL":
            vertices = np.array(numbers(header, "VerticesOfThePolygonalShutter"))
            if len(vertices) >= 6 and len(vertices) % 2 == 0:
                # fillPoly takes (x, y), counted from 0, of limited size
                corners = np.clip(np.rint(vertices).astype(np.int64), -(2**15), 2**15).astype(np.int32)
                cv2.fillPoly(opening, [np.ascontiguousarray(corners.reshape(-1, 2)[:, ::-1] - 1)], 1)
        elif shape == "BITMAP":
            opening = _bitmap_opening(rows, columns, header)
        if opening.mean() >= MIN_VISIBLE_FRACTION:
            visible &= opening.astype(np.bool_)
        else:
            is_ignored = True
    if visible.mean() >= MIN_VISIBLE_FRACTION:
        return visible, is_ignored
    return np.ones((rows, columns), dtype=np.bool_), True


def _bitmap_opening(rows: int, columns: int, header: Any) -> NDArray[np.uint8]:
    """Opening of a bitmap shutter: the zeros of its overlay plane, the first pixel in the lowest bit (PS3.3 C.9.2).

    All zeros if the plane is absent or of another size; such a shutter is ignored.
    """
    group = integer(header, "ShutterOverlayGroup", 0x6000)
    size = [int(_read_element(header, group, number) or 0) for number in (0x0010, 0x0011)]  # Overlay Rows, Columns
    plane = _read_element(header, group, 0x3000)  # Overlay Data
    opening = np.zeros((rows, columns), dtype=np.uint8)
    if size == [rows, columns] and isinstance(plane, bytes) and 8 * len(plane) >= rows * columns:
        bits = np.unpackbits(np.frombuffer(plane, np.uint8), count=rows * columns, bitorder="little")
        opening = 1 - bits.reshape(rows, columns)
    return opening


def _read_element(header: Any, group: int, number: int) -> Any:
    """Value of the element (group, number); None if it is absent or invalid."""
    try:
        return header[group, number].value
    except Exception:  # pydicom converts at the first access and raises exceptions of any type on invalid values
        return None
