"""Display settings of a film → table → display values: rescale or LUT, window, polarity."""

import base64
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.shard_format.sidecar import Display

WHITE = 65535

Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]

Brightness = NDArray[np.float64]
"""In [0, 1]."""


@dataclass(frozen=True)
class ValueRange:
    """How shard values stand for stored values: ``shard = (stored + offset) >> shift``, in ``[0, 2**bits)``."""

    bits: int
    offset: int = 0
    shift: int = 0

    def stored(self) -> NDArray[np.float64]:
        """[2**bits] the stored value of every shard value."""
        return np.asarray(np.arange(2**self.bits) * 2**self.shift - self.offset, dtype=np.float64)


def display_table(display: Display) -> NDArray[np.uint16]:
    """[2**bits] the display value of every shard value; shared and read-only."""
    if display.table is not None:
        return _unpacked(display.table, display.bits)
    values = ValueRange(display.bits, display.value_offset, display.value_shift)
    return _formula_table(
        values, display.slope, display.intercept, display.center, display.width, display.function, display.invert
    )


def table_through_window(display: Display, center: float, width: float) -> NDArray[np.uint16]:
    """[2**bits] the display value of every shard value through another window, by the film's own function; not shared.

    Raises:
        ValueError: a width that the function does not allow.
    """
    values = ValueRange(display.bits, display.value_offset, display.value_shift)
    inputs = values.stored() * display.slope + display.intercept
    return as_table(windowed(inputs, center, width, display.function), display.invert)


def apply(values: NDArray[np.uint16], display: Display) -> NDArray[np.uint16]:
    """Display values of shard values of any shape.

    Raises:
        IndexError: a value of 2**bits or more.
    """
    return np.take(display_table(display), values)


def pack_table(table: NDArray[np.uint16]) -> str:
    """A display table as base64 of its compressed differences."""
    differences = np.diff(table, prepend=np.uint16(0)).astype("<u2")
    return base64.b64encode(zlib.compress(differences.tobytes(), 9)).decode()


def unpack_table(packed: str, bits: int) -> NDArray[np.uint16]:
    """The display table [2**bits] that :func:`pack_table` packed.

    Raises:
        ValueError: the text is damaged or holds another number of entries.
    """
    try:
        data = zlib.decompress(base64.b64decode(packed, validate=True))
    except zlib.error:
        raise ValueError("a display table is damaged") from None
    if len(data) != 2 * 2**bits:
        raise ValueError(f"a display table of {bits} bits has {2**bits} entries, not {len(data) / 2:g}")
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
def _unpacked(packed: str, bits: int) -> NDArray[np.uint16]:
    table = unpack_table(packed, bits)
    table.flags.writeable = False
    return table


def as_table(brightness: Brightness, invert: bool) -> NDArray[np.uint16]:
    """Brightness in [0, 1] of every shard value → read-only table of display values."""
    table: NDArray[np.uint16] = np.rint((1 - brightness if invert else brightness) * WHITE).astype(np.uint16)
    table.flags.writeable = False
    return table


def windowed(inputs: NDArray[np.float64], center: float, width: float, function: Function) -> Brightness:
    """Apply a window (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Raises:
        ValueError: its width is not allowed.
    """
    if not is_allowed_width(width, function):
        raise ValueError(f"a window of width {width} is not allowed")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (inputs - center) / width, -500, 500)))
    if function == "LINEAR_EXACT":
        return np.clip((inputs - center) / width + 0.5, 0, 1)
    if width == 1:  # the two ends of the ramp meet
        return np.where(inputs > center - 0.5, 1.0, 0.0)
    return np.clip((inputs - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def is_allowed_width(width: float, function: Function) -> bool:
    """Whether the standard allows this window width (DICOM PS3.3 C.11.2.1.2)."""
    return width >= 1 if function == "LINEAR" else width > 0
