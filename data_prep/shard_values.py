"""Stored values → shard values: an offset for the sign, at most 15 bits, at most ``max_side`` pixels a side."""

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.decode import StoredFilm
from data_prep.display import ValueRange
from data_prep.film_codec import MAX_BITS


def value_range(film: StoredFilm) -> ValueRange:
    """How shard values stand for the stored values of ``film``.

    Bits beyond MAX_BITS are shifted out, unless the header declares more than the values need; the range of PNG and
    JPEG, which have no window, is always the declared one.
    """
    bits = film.bits
    if film.header is not None and bits > MAX_BITS and _fits(film.values, film.signed):
        bits = MAX_BITS
    return ValueRange(min(bits, MAX_BITS), 2 ** (bits - 1) if film.signed else 0, max(bits - MAX_BITS, 0))


def to_shard_values(film: StoredFilm, values: ValueRange) -> NDArray[np.uint16]:
    """[rows, columns] of the film, ``(stored + offset) >> shift``."""
    lifted = film.values.astype(np.int32) + values.offset if values.offset else film.values
    return np.asarray(lifted >> values.shift, dtype=np.uint16)


def shrunk_size(rows: int, columns: int, max_side: int | Literal["native"]) -> tuple[int, int]:
    """Rows and columns of the film in the shard: longest side at most ``max_side``, aspect kept, never enlarged."""
    longest = max(rows, columns)
    if max_side == "native" or longest <= max_side:
        return rows, columns
    return max(1, round(rows * max_side / longest)), max(1, round(columns * max_side / longest))


def shrink(
    values: NDArray[np.uint16], hidden: NDArray[np.bool_], dark: int, size: tuple[int, int]
) -> NDArray[np.uint16]:
    """Area averages of what is visible; hidden pixels do not smear into it and are ``dark``.

    Args:
        values: [rows, columns] shard values.
        hidden: [rows, columns] padding and shutter.
        dark: the shard value of hidden pixels.
        size: rows and columns of the result, not larger than the film.
    """
    if size == values.shape:
        return np.where(hidden, np.uint16(dark), values)
    if not hidden.any():
        return _rounded(_area_means(values, size))
    visible = _area_means(~hidden, size)
    means = _area_means(np.where(hidden, np.uint16(0), values), size) / np.maximum(visible, np.float32(1e-6))
    return np.where(visible < 0.5, np.uint16(dark), _rounded(means))


def _fits(values: NDArray[Any], signed: bool) -> bool:
    low, high = (-(2 ** (MAX_BITS - 1)), 2 ** (MAX_BITS - 1)) if signed else (0, 2**MAX_BITS)
    return int(values.min()) >= low and int(values.max()) < high


def _area_means(values: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """The one correct way to shrink a film: every source pixel weighs by its overlap."""
    shrunk = cv2.resize(values.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, dtype=np.float32)


def _rounded(means: NDArray[np.floating[Any]]) -> NDArray[np.uint16]:
    return np.asarray(np.rint(means), dtype=np.uint16)
