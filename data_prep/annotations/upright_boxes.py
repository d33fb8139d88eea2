"""Convert boxes to pixels of the upright film (EXIF orientation applied); x_max and y_max are exclusive."""

import math
from collections.abc import Sequence
from typing import Literal

from data_prep.annotations.film_lookup import ListedFilm
from data_prep.shard_format.boxes import Box

MAX_OVERHANG = 1.5
"""Pixels by which a box may extend beyond its film without being listed."""
_MAX_FRACTION = 1.001
"""Boxes whose edges are all below this are fractions of width and height, not pixels."""

Frame = Literal["upright", "stored"]
"""Raster that box coordinates refer to: as displayed (EXIF orientation applied), or as stored in the file."""


def box_on_film(box: Box, film: ListedFilm, size: tuple[int, int] | None, default: Frame) -> tuple[Box | None, str]:
    """Place a box on the upright film, clipped and rounded to thousandths.

    Args:
        box: in pixels of the annotated picture.
        film, size, default: as for :func:`find_frame`.

    Returns:
        (box, code of its problem): no box where it cannot be used; no code where it is within MAX_OVERHANG of the film.
    """
    frame = find_frame(film, size, default)
    if frame is None:
        return None, "box_of_another_size"
    if not all(map(math.isfinite, box)):
        return None, "box_empty" if is_empty_box(box) else "box_outside"
    if is_in_fractions(box) and not is_empty_box(box):
        return None, "box_in_fractions"
    upright = to_upright_box(box, film) if frame == "stored" else box
    clipped = clip_box(upright, film.upright_size)
    if clipped is None:
        return None, "box_empty" if is_empty_box(box) else "box_outside"
    is_cut = max(abs(edge - unclipped) for edge, unclipped in zip(clipped, upright, strict=True)) > MAX_OVERHANG
    return Box(*(round(edge, 3) for edge in clipped)), "box_cut" if is_cut else ""


def is_in_fractions(box: Box) -> bool:
    """Whether a box is not in pixels, but in parts of width and height: it lies in the first pixel of the film."""
    return box.x_max <= _MAX_FRACTION and box.y_max <= _MAX_FRACTION and min(box.x_min, box.y_min) > -1


def find_frame(film: ListedFilm, size: tuple[int, int] | None, default: Frame) -> Frame | None:
    """Determine which raster boxes refer to, from the size of the annotated picture.

    Args:
        film: annotated film.
        size: (width, height) of the annotated picture in pixels; None if the annotation does not state it.
        default: raster if the size fits both, or is not stated.

    Returns:
        upright or stored; None if the size fits neither: another picture was annotated, such as a reduced copy.
    """
    if size is None:
        return default
    matching: list[Frame] = []
    if size == film.upright_size:
        matching.append("upright")
    if size == film.stored_size:
        matching.append("stored")
    return default if default in matching else next(iter(matching), None)


def to_upright_box(box: Box, film: ListedFilm) -> Box:
    """Convert a box of the stored raster to the upright raster (EXIF 2.32, tag 0x0112).

    Args:
        box: in pixels of the stored raster.
        film: film of the box; its size and orientation are used.

    Returns:
        The box in pixels of the upright raster (:func:`data_prep.film.decode.apply_orientation`).
    """
    x_min, y_min, x_max, y_max = box
    width, height = film.upright_size
    if film.orientation >= 5:  # transposed
        x_min, y_min, x_max, y_max = y_min, x_min, y_max, x_max
    if film.orientation in (3, 4, 7, 8):  # then flipped vertically
        y_min, y_max = height - y_max, height - y_min
    if film.orientation in (2, 3, 6, 7):  # then flipped horizontally
        x_min, x_max = width - x_max, width - x_min
    return Box(x_min, y_min, x_max, y_max)


def clip_box(box: Box, size: tuple[int, int]) -> Box | None:
    """Clip a box to a raster.

    Args:
        box: box in pixels of the raster.
        size: (width, height) of the raster in pixels.

    Returns:
        The part of the box inside the raster; None if there is none.
    """
    clipped = Box(max(box.x_min, 0.0), max(box.y_min, 0.0), min(box.x_max, size[0]), min(box.y_max, size[1]))
    return clipped if clipped.x_min < clipped.x_max and clipped.y_min < clipped.y_max else None


def is_incomplete_polygon(points: Sequence[object]) -> bool:
    """Whether the coordinates x0, y0, x1, y1, … of a polygon are fewer than three points, or a y is missing."""
    return len(points) < 6 or len(points) % 2 == 1


def bounding_box(points: Sequence[float]) -> Box:
    """Return the bounding box of points x0, y0, x1, y1, …"""
    return Box(min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2]))


def is_empty_box(box: Box) -> bool:
    """Whether a box has no area, or coordinates that are NaN."""
    return not (box.x_min < box.x_max and box.y_min < box.y_max)
