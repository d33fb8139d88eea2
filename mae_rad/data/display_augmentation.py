"""Applying a drawn window, gamma and noise. Window and gamma are pointwise: they cost a table, not the film."""

import numpy as np
from numpy.typing import NDArray

from data_prep.shard_format.apply_display import display_table, table_through_window
from data_prep.shard_format.sidecar import Display
from mae_rad.data.augmentation import Variation, windows

WHITE = 65535


def varied_table(display: Display, variation: Variation) -> NDArray[np.uint16]:
    """[2**bits] display value of every shard value.

    The window moves on the values of the film, before anything is clipped; a film whose display is a table is moved
    along it. Gamma is applied to the brightness that comes out.
    """
    table = _moved_window(display, variation)
    if variation.gamma == 1:
        return table
    brightness = (table.astype(np.float32) / WHITE) ** np.float32(variation.gamma)
    return np.asarray(np.rint(brightness * WHITE), dtype=np.uint16)


def add_noise(values: NDArray[np.uint16], variation: Variation) -> NDArray[np.uint16]:
    """Display values with the noise of ``variation``; what leaves the display range is clipped."""
    if variation.noise == 0:
        return values
    generator = np.random.Generator(np.random.Philox(key=variation.noise_seed))
    noisy = generator.standard_normal(values.shape, dtype=np.float32)
    noisy *= np.float32(variation.noise * WHITE)
    noisy += values
    np.rint(np.clip(noisy, 0, WHITE, out=noisy), out=noisy)  # in place: no further arrays
    return noisy.astype(np.uint16)


def _moved_window(display: Display, variation: Variation) -> NDArray[np.uint16]:
    still = variation.shift == 0 and variation.widen == 1
    if still and variation.window == 0:
        return display_table(display)
    choices = windows(display)
    if choices:
        center, width = choices[variation.window]
        least = 1.0 if display.function == "LINEAR" else 0.0  # narrower ones are not allowed
        return table_through_window(display, center + variation.shift * width, max(least, width * variation.widen))
    return _moved_table(display_table(display), variation)


def _moved_table(table: NDArray[np.uint16], variation: Variation) -> NDArray[np.uint16]:
    """A display without a formula, as if its window moved; the window is where the table rises or falls.

    A table ends with the range of the film: beyond it its last entries go on (DICOM PS3.3 C.11.2.1.1).
    """
    inner = np.flatnonzero((table > 0.01 * WHITE) & (table < 0.99 * WHITE))
    low, high = (0, len(table) - 1) if inner.size == 0 else (int(inner[0]), int(inner[-1]))
    center, width = (low + high) / 2, max(1, high - low)
    places = np.arange(len(table))
    sources = (places - center - variation.shift * width) / variation.widen + center
    return np.asarray(np.rint(np.interp(sources, places, table.astype(np.float64))), dtype=np.uint16)
