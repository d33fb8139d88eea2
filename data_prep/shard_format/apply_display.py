"""Conversion of shard values to display values: rescale or LUT, window, polarity (PS3.3 C.11.1, C.11.2)."""

import base64
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.shard_format.sidecar import Display

MAX_DISPLAY_VALUE = 65535

"""Display value of white; 0 is black."""

Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
"""VOI LUT Function (PS3.3 C.11.2.1)."""

Brightness = NDArray[np.float64]
"""Display brightness, 0 dark to 1 bright."""


@dataclass(frozen=True)
class ValueRange:
    """Relation of shard values and stored values: ``shard = (stored + offset) >> shift``, in ``[0, 2**bits)``.

    Attributes:
        bits: bits of a shard value, at most 15.
        offset: added to stored values, so that none is negative.
        shift: number of low bits that are dropped.
    """

    bits: int
    offset: int = 0
    shift: int = 0

    def stored(self) -> NDArray[np.float64]:
        """The stored value of every shard value, [2**bits]."""
        return np.asarray(np.arange(2**self.bits) * 2**self.shift - self.offset, dtype=np.float64)


def display_table(display: Display) -> NDArray[np.uint16]:
    """Compute the display value of every shard value.

    Returns:
        [2**bits] display values, 0 black to 65535 white; cached and read-only.
    """
    if display.table is not None:
        return _unpack_cached(display.table, display.bits)
    values = ValueRange(display.bits, display.value_offset, display.value_shift)
    return _formula_table(
        values, display.slope, display.intercept, display.center, display.width, display.function, display.invert
    )


def table_through_window(display: Display, center: float, width: float) -> NDArray[np.uint16]:
    """Compute the display value of every shard value through another window, with the function of the film.

    Args:
        display: of the film.
        center: window center, in rescaled values.
        width: window width, in rescaled values.

    Returns:
        [2**bits] display values, 0 black to 65535 white; not cached.

    Raises:
        ValueError: the function does not allow the width.
    """
    values = ValueRange(display.bits, display.value_offset, display.value_shift)
    inputs = values.stored() * display.slope + display.intercept
    return as_table(windowed(inputs, center, width, display.function), display.invert)


def apply_display(values: NDArray[np.uint16], display: Display) -> NDArray[np.uint16]:
    """Convert shard values to display values.

    Args:
        values: shard values of any shape, each below 2**bits.
        display: of the film.

    Returns:
        Display values of the same shape, 0 black to 65535 white.

    Raises:
        IndexError: a value is 2**bits or more.
    """
    return np.take(display_table(display), values)


def pack_table(table: NDArray[np.uint16]) -> str:
    """Pack a display table [2**bits] as base64 of its compressed differences."""
    differences = np.diff(table, prepend=np.uint16(0)).astype("<u2")
    return base64.b64encode(zlib.compress(differences.tobytes(), 9)).decode()


def unpack_table(packed: str, bits: int) -> NDArray[np.uint16]:
    """Unpack a display table.

    Args:
        packed: text from :func:`pack_table`.
        bits: bits of a shard value.

    Returns:
        [2**bits] display values.

    Raises:
        ValueError: the text is damaged or holds another number of entries.
    """
    size = 2 * 2**bits
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(base64.b64decode(packed, validate=True), size + 1)
    except zlib.error:
        raise ValueError("a display table is damaged") from None
    if len(data) != size or not stream.eof:
        raise ValueError(f"a display table of {bits} bits does not have {2**bits} entries")
    return np.cumsum(np.frombuffer(data, "<u2"), dtype=np.uint16)


@lru_cache(maxsize=128)
def _formula_table(
    values: ValueRange,
    slope: float,
    intercept: float,
    center: float | None,
    width: float | None,
    function: Function,
    invert: bool,
) -> NDArray[np.uint16]:
    if center is None or width is None:
        brightness = np.linspace(0, 1, 2**values.bits)
    else:
        brightness = windowed(values.stored() * slope + intercept, center, width, function)
    return as_table(brightness, invert)


@lru_cache(maxsize=32)
def _unpack_cached(packed: str, bits: int) -> NDArray[np.uint16]:
    table = unpack_table(packed, bits)
    table.flags.writeable = False
    return table


def as_table(brightness: Brightness, invert: bool) -> NDArray[np.uint16]:
    """Convert brightness to a table of display values.

    Args:
        brightness: [2**bits] brightness of every shard value, 0 to 1.
        invert: exchange black and white.

    Returns:
        [2**bits] display values, read-only.
    """
    table: NDArray[np.uint16] = np.rint((1 - brightness if invert else brightness) * MAX_DISPLAY_VALUE).astype(
        np.uint16
    )
    table.flags.writeable = False
    return table


def windowed(inputs: NDArray[np.float64], center: float, width: float, function: Function) -> Brightness:
    """Apply a window (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Args:
        inputs: rescaled values of any shape.
        center: window center, in rescaled values.
        width: window width, in rescaled values.
        function: VOI LUT Function.

    Returns:
        Brightness of the same shape, 0 to 1.

    Raises:
        ValueError: the function does not allow the width.
    """
    if not is_allowed_width(width, function):
        raise ValueError(f"a window of width {width} is not allowed")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (inputs - center) / width, -500, 500)))
    if function == "LINEAR_EXACT":
        return np.clip((inputs - center) / width + 0.5, 0, 1)
    if width == 1:  # the ramp is a step
        return np.where(inputs > center - 0.5, 1.0, 0.0)
    return np.clip((inputs - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def is_allowed_width(width: float, function: Function) -> bool:
    """Whether the standard allows this window width (DICOM PS3.3 C.11.2.1.2)."""
    return width >= 1 if function == "LINEAR" else width > 0
