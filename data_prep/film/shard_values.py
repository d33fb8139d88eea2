"""Converts stored values to shard values: unsigned, at most 15 bits, at most ``max_side`` pixels per side."""

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.dicom.header_values import numbers
from data_prep.film.decode import StoredFilm
from data_prep.film.header_display_settings import has_grey_transforms
from data_prep.shard_format.apply_display import ValueRange
from data_prep.shard_format.film_codec import MAX_BITS

_COUNTED_ROW_STEP = 16
"""Step between the rows of a large film that are counted: half a million pixels suffice for percentiles."""
_LARGE_FILM_PIXELS = 2**22
"""Films with more pixels are counted in some rows only."""
_MAX_PIXELS_PER_COUNT = 2**24
"""Largest number of pixels per call: OpenCV counts in float32, which is exact up to this number."""
_FULLY_VISIBLE = 65535
"""Weight of a visible pixel."""
T = TypeVar("T", np.uint16, np.float32)

_MAX_ROUNDING = 0.005
"""Relative difference of row and column spacing that is due to rounding; 15 rows of a film of 3000."""
_MAX_ASPECT = 4.0
"""Largest aspect ratio of a pixel; a larger one is an error of the header."""


def value_range(film: StoredFilm) -> ValueRange:
    """Choose the mapping between stored values and shard values of a film.

    Bits beyond MAX_BITS are shifted out, unless the header declares more bits than the values need. Films without a
    window, such as PNG and JPEG, always keep the declared range.
    """
    bits = film.bits
    if has_grey_transforms(film.header) and bits > MAX_BITS and _fits(film.values, film.signed):
        bits = MAX_BITS
    return ValueRange(min(bits, MAX_BITS), 2 ** (bits - 1) if film.signed else 0, max(bits - MAX_BITS, 0))


def to_shard_values(film: StoredFilm, values: ValueRange) -> NDArray[np.uint16]:
    """Convert the stored values of a film to shard values, ``(stored + offset) >> shift``.

    Args:
        film: the decoded film.
        values: the mapping, see :func:`value_range`.

    Returns:
        [rows, columns] shard values.
    """
    shifted: NDArray[np.uint16] = film.values.view(np.uint16)
    if values.offset:
        shifted = shifted + np.uint16(values.offset)  # wraps around: negative values are in the upper half of uint16
    return np.asarray(shifted >> values.shift, dtype=np.uint16) if values.shift else shifted


def histogram(values: NDArray[np.uint16], hidden: NDArray[np.bool_] | None, bits: int) -> NDArray[np.int64]:
    """Count the visible pixels with each shard value; large films are counted in some of their rows.

    Args:
        values: [rows, columns] shard values.
        hidden: [rows, columns] padding and shutter; None if all pixels are visible.
        bits: number of bits of the shard values.

    Returns:
        [2**bits] number of pixels.
    """
    step = _COUNTED_ROW_STEP if values.size > _LARGE_FILM_PIXELS else 1
    counted = values[::step]
    if hidden is not None:
        counted = np.where(hidden[::step], np.uint16(2**MAX_BITS), counted)
    counts = np.zeros(2**bits, dtype=np.int64)
    rows = max(_MAX_PIXELS_PER_COUNT // counted.shape[1], 1)
    for top in range(0, len(counted), rows):  # a value outside the range is not counted
        part_counts = cv2.calcHist([counted[top : top + rows]], [0], None, [len(counts)], [0, len(counts)])
        counts += part_counts.reshape(-1).astype(np.int64)
    return counts


def shrunk_size(
    rows: int,
    columns: int,
    max_side: int | Literal["native"],
    aspect: float = 1.0,
    min_short_side: int | None = None,
) -> tuple[int, int]:
    """Compute the size of the film in the shard, with square pixels and never enlarged.

    Args:
        rows: rows of the source.
        columns: columns of the source.
        max_side: largest side, pixels, or ``native``.
        aspect: height of a source pixel divided by its width.
        min_short_side: least shorter side of a film that is reduced, pixels, before ``max_side``; None for no limit.

    Returns:
        Rows and columns.
    """
    rows, columns = (rows, max(1, round(columns / aspect))) if aspect > 1 else (max(1, round(rows * aspect)), columns)
    side, target = max(rows, columns), max_side
    if target != "native" and min_short_side is not None and min(rows, columns) * target < min_short_side * side:
        side, target = min(rows, columns), min_short_side
    if target == "native" or side <= target:
        return rows, columns
    return max(1, round(rows * target / side)), max(1, round(columns * target / side))


def pixel_aspect(spacing: Sequence[float] | None, header: Any) -> float:
    """Compute the height of a source pixel divided by its width.

    Pixel Aspect Ratio (vertical, horizontal; PS3.3 C.7.6.3.1.7) is used if the spacing is unknown. Ratios that differ
    from 1 by rounding only, and implausible ones, give 1.

    Args:
        spacing: (row, column) spacing, mm; None if unknown.
        header: data set of the film; None for PNG and JPEG.
    """
    spacings = list(spacing or ()) or (numbers(header, "PixelAspectRatio") if header is not None else [])
    if len(spacings) != 2 or min(spacings) <= 0:
        return 1.0
    aspect = spacings[0] / spacings[1]
    return aspect if _MAX_ROUNDING < abs(math.log(aspect)) < math.log(_MAX_ASPECT) else 1.0


def shrink(
    values: NDArray[np.uint16], hidden: NDArray[np.bool_] | None, dark_value: int, size: tuple[int, int]
) -> NDArray[np.uint16]:
    """Shrink a film by area means of the visible pixels; hidden pixels become ``dark_value``.

    Args:
        values: [rows, columns] shard values.
        hidden: [rows, columns] padding and shutter; None if all pixels are visible.
        dark_value: shard value of hidden pixels.
        size: rows and columns of the result, not larger than the film.

    Returns:
        [size] shard values.
    """
    if hidden is None:
        return values if size == values.shape else area_means(values, size)
    if size == values.shape:
        return np.where(hidden, np.uint16(dark_value), values)
    visible_weight = hidden.astype(np.uint16) - np.uint16(1)  # _FULLY_VISIBLE for visible pixels, 0 for hidden ones
    visible_means = area_means(visible_weight, size)
    weighted_means = area_means(values & visible_weight, size)  # integers need half the time and memory of floats
    means = np.rint(weighted_means * (np.float32(_FULLY_VISIBLE) / np.maximum(visible_means, 1).astype(np.float32)))
    means = np.minimum(means, np.float32(values.max())).astype(np.uint16)
    return np.where(visible_means < _FULLY_VISIBLE // 2, np.uint16(dark_value), means)


def halved(values: NDArray[np.uint16], min_side: int) -> NDArray[np.uint16]:
    """Halve a film repeatedly by area means, while the longer side is at least ``min_side``.

    Halving is ten times as fast as other factors. An odd last row or column is dropped.

    Args:
        values: [rows, columns] shard values or display values.
        min_side: least longer side of the result, pixels.
    """
    while max(values.shape) >= 2 * min_side and min(values.shape) >= 8:
        rows, columns = values.shape[0] // 2, values.shape[1] // 2
        values = np.asarray(
            cv2.resize(values[: 2 * rows, : 2 * columns], (columns, rows), interpolation=cv2.INTER_AREA)
        )
    return values


def _fits(values: NDArray[Any], signed: bool) -> bool:
    low, high = (-(2 ** (MAX_BITS - 1)), 2 ** (MAX_BITS - 1)) if signed else (0, 2**MAX_BITS)
    return int(values.min()) >= low and int(values.max()) < high


def area_means(values: NDArray[T], size: tuple[int, int]) -> NDArray[T]:
    """Shrink a film by area means, with every source pixel weighted by its overlap.

    Integers are summed in float32 and rounded once, to even. For half the size, OpenCV rounds integers up; therefore
    they are converted to float32 first.

    Args:
        values: [rows, columns] values.
        size: rows and columns of the result.
    """
    if values.dtype == np.uint16 and values.shape == (2 * size[0], 2 * size[1]):
        return np.rint(area_means(values.astype(np.float32), size)).astype(values.dtype)
    return np.asarray(cv2.resize(values, size[::-1], interpolation=cv2.INTER_AREA))
