"""Stored values → shard values: an offset for the sign, at most 15 bits, at most ``max_side`` pixels a side."""

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

_COUNTED_ROWS = 16
"""Every so many rows of a large film are counted: half a million pixels tell its percentiles."""
_LARGE = 2**22
"""Pixels of a large film."""
_MOST_COUNTED = 2**24
"""Pixels counted at once: OpenCV counts in float32, which is exact up to here."""
_WHOLE = 65535
"""Stands for a pixel that is visible all over."""
T = TypeVar("T", np.uint16, np.float32)

_ROUNDING = 0.005
"""Spacings that differ by less are meant to be equal: a film of 3000 rows would change by 15."""
_MAX_ASPECT = 4.0
"""No detector has longer pixels."""


def value_range(film: StoredFilm) -> ValueRange:
    """How shard values stand for the stored values of ``film``.

    Bits beyond MAX_BITS are shifted out, unless the header declares more than the values need; the range of films
    without a window, such as PNG and JPEG, is always the declared one.
    """
    bits = film.bits
    if has_grey_transforms(film.header) and bits > MAX_BITS and _fits(film.values, film.signed):
        bits = MAX_BITS
    return ValueRange(min(bits, MAX_BITS), 2 ** (bits - 1) if film.signed else 0, max(bits - MAX_BITS, 0))


def to_shard_values(film: StoredFilm, values: ValueRange) -> NDArray[np.uint16]:
    """[rows, columns] of the film, ``(stored + offset) >> shift``."""
    lifted: NDArray[np.uint16] = film.values.view(np.uint16)
    if values.offset:
        lifted = lifted + np.uint16(values.offset)  # wraps round: negative values stand in the upper half
    return np.asarray(lifted >> values.shift, dtype=np.uint16) if values.shift else lifted


def histogram(values: NDArray[np.uint16], hidden: NDArray[np.bool_] | None, bits: int) -> NDArray[np.int64]:
    """[2**bits] how often each shard value occurs where nothing is ``hidden``, of large films in some of their rows."""
    step = _COUNTED_ROWS if values.size > _LARGE else 1
    seen = values[::step]
    if hidden is not None:
        seen = np.where(hidden[::step], np.uint16(2**MAX_BITS), seen)
    counts = np.zeros(2**bits, dtype=np.int64)
    rows = max(_MOST_COUNTED // seen.shape[1], 1)
    for top in range(0, len(seen), rows):  # a value outside the range is not counted
        part = cv2.calcHist([seen[top : top + rows]], [0], None, [len(counts)], [0, len(counts)])
        counts += part.reshape(-1).astype(np.int64)
    return counts


def shrunk_size(rows: int, columns: int, max_side: int | Literal["native"], aspect: float = 1.0) -> tuple[int, int]:
    """Rows and columns of the film in the shard: longest side at most ``max_side``, pixels square, never enlarged.

    ``aspect`` is the height of a source pixel in its widths.
    """
    rows, columns = (rows, max(1, round(columns / aspect))) if aspect > 1 else (max(1, round(rows * aspect)), columns)
    longest = max(rows, columns)
    if max_side == "native" or longest <= max_side:
        return rows, columns
    return max(1, round(rows * max_side / longest)), max(1, round(columns * max_side / longest))


def pixel_aspect(spacing: Sequence[float] | None, header: Any) -> float:
    """Height of a source pixel in its widths: by its spacing (rows, columns), else by Pixel Aspect Ratio (vertical,
    horizontal; PS3.3 C.7.6.3.1.7). Ratios within what rounding makes, and absurd ones, count as 1.
    """
    sides = list(spacing or ()) or (numbers(header, "PixelAspectRatio") if header is not None else [])
    if len(sides) != 2 or min(sides) <= 0:
        return 1.0
    aspect = sides[0] / sides[1]
    return aspect if _ROUNDING < abs(math.log(aspect)) < math.log(_MAX_ASPECT) else 1.0


def shrink(
    values: NDArray[np.uint16], hidden: NDArray[np.bool_] | None, dark: int, size: tuple[int, int]
) -> NDArray[np.uint16]:
    """Area averages of what is visible; hidden pixels do not smear into it and are ``dark``.

    Args:
        values: [rows, columns] shard values.
        hidden: [rows, columns] padding and shutter; None where all is visible.
        dark: the shard value of hidden pixels.
        size: rows and columns of the result, not larger than the film.
    """
    if hidden is None:
        return values if size == values.shape else area_means(values, size)
    if size == values.shape:
        return np.where(hidden, np.uint16(dark), values)
    whole = hidden.astype(np.uint16) - np.uint16(1)  # _WHOLE where it is visible, 0 elsewhere
    visible = area_means(whole, size)
    shown = area_means(values & whole, size)  # integers: half the time and memory of floats
    means = np.rint(shown * (np.float32(_WHOLE) / np.maximum(visible, 1).astype(np.float32)))
    means = np.minimum(means, np.float32(values.max())).astype(np.uint16)
    return np.where(visible < _WHOLE // 2, np.uint16(dark), means)


def halved(values: NDArray[np.uint16], least: int) -> NDArray[np.uint16]:
    """Halved, which is ten times as fast as any other area average, while the longer side stays at least ``least``.

    An odd last row or column is left out.
    """
    while max(values.shape) >= 2 * least and min(values.shape) >= 8:
        rows, columns = values.shape[0] // 2, values.shape[1] // 2
        values = np.asarray(
            cv2.resize(values[: 2 * rows, : 2 * columns], (columns, rows), interpolation=cv2.INTER_AREA)
        )
    return values


def _fits(values: NDArray[Any], signed: bool) -> bool:
    low, high = (-(2 ** (MAX_BITS - 1)), 2 ** (MAX_BITS - 1)) if signed else (0, 2**MAX_BITS)
    return int(values.min()) >= low and int(values.max()) < high


def area_means(values: NDArray[T], size: tuple[int, int]) -> NDArray[T]:
    """The one correct way to shrink a film: every source pixel weighs by its overlap.

    Integers are added up in float32 and rounded once, to even, as if they had been converted before, only faster. For
    half the size, OpenCV has another way, which rounds up.
    """
    if values.dtype == np.uint16 and values.shape == (2 * size[0], 2 * size[1]):
        return np.rint(area_means(values.astype(np.float32), size)).astype(values.dtype)
    return np.asarray(cv2.resize(values, size[::-1], interpolation=cv2.INTER_AREA))
