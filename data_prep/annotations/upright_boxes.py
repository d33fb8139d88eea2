"""Boxes of public sets → pixels of the film as it is sharded: upright, right and lower end exclusive."""

from collections.abc import Sequence
from typing import Literal

from data_prep.annotations.film_lookup import ListedFilm
from data_prep.shard_format.boxes import Box

Frame = Literal["upright", "stored"]


def frame_of(film: ListedFilm, size: tuple[int, int] | None, frame: Frame) -> Frame | None:
    """The frame that boxes beside a width and height belong to.

    Args:
        film: with its raster and orientation.
        size: (width, height) that the annotation gives for the picture; None where it gives none.
        frame: what is meant where the size fits both.

    Returns:
        None where the size fits neither: the boxes were drawn on another picture, such as a shrunk one.
    """
    if size is None:
        return frame
    fits: list[Frame] = []
    if size == film.upright_size:
        fits.append("upright")
    if size == film.stored_size:
        fits.append("stored")
    return frame if frame in fits else next(iter(fits), None)


def upright_box(box: Box, film: ListedFilm) -> Box:
    """A box of the stored raster in the upright one (EXIF 2.32, tag 0x0112; ``data_prep.film.decode.upright``)."""
    x_min, y_min, x_max, y_max = box
    width, height = film.upright_size
    if film.orientation >= 5:
        x_min, y_min, x_max, y_max = y_min, x_min, y_max, x_max
    if film.orientation in (3, 4, 7, 8):
        y_min, y_max = height - y_max, height - y_min
    if film.orientation in (2, 3, 6, 7):
        x_min, x_max = width - x_max, width - x_min
    return Box(x_min, y_min, x_max, y_max)


def inside(box: Box, size: tuple[int, int]) -> Box | None:
    """What of a box lies in a raster of ``size`` (width, height); None where nothing does."""
    cut = Box(max(box.x_min, 0.0), max(box.y_min, 0.0), min(box.x_max, size[0]), min(box.y_max, size[1]))
    return cut if cut.x_min < cut.x_max and cut.y_min < cut.y_max else None


def too_short(points: Sequence[object]) -> bool:
    """Whether x0, y0, x1, y1, … are fewer than three points, or a point lacks its y."""
    return len(points) < 6 or len(points) % 2 == 1


def around(points: Sequence[float]) -> Box:
    """The smallest box around x0, y0, x1, y1, …"""
    return Box(min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2]))
