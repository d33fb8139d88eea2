"""Apply a drawn window, gamma and noise; window and gamma are applied to the display table, not to the pixels."""

import numpy as np
from numpy.typing import NDArray

from data_prep.shard_format.apply_display import display_table, table_through_window
from data_prep.shard_format.sidecar import Display
from mae_rad.data.augmentation import Variation, windows

WHITE = 65535


def varied_table(display: Display, variation: Variation) -> NDArray[np.uint16]:
    """Compute the display table of a film with a varied window and gamma.

    The window changes on the values of the film, before clipping; a display that is a table is shifted and stretched
    along its input. Gamma is applied to the resulting brightness.

    Args:
        display: display settings of the film.
        variation: drawn window and gamma.

    Returns:
        [2**bits] uint16 display value of every shard value.
    """
    table = _moved_window(display, variation)
    if variation.gamma == 1:
        return table
    brightness = (table.astype(np.float32) / WHITE) ** np.float32(variation.gamma)
    return np.asarray(np.rint(brightness * WHITE), dtype=np.uint16)


def add_noise(values: NDArray[np.uint16], variation: Variation) -> NDArray[np.uint16]:
    """Add noise to display values.

    Args:
        values: uint16 display values of any shape.
        variation: noise and its seed.

    Returns:
        uint16 of the same shape, clipped to the display range.
    """
    if variation.noise == 0:
        return values
    generator = np.random.Generator(np.random.Philox(key=variation.noise_seed))
    noisy = generator.standard_normal(values.shape, dtype=np.float32)
    noisy *= np.float32(variation.noise * WHITE)
    noisy += values
    np.rint(np.clip(noisy, 0, WHITE, out=noisy), out=noisy)  # in place, to save memory
    return noisy.astype(np.uint16)


def _moved_window(display: Display, variation: Variation) -> NDArray[np.uint16]:
    is_unchanged = variation.shift == 0 and variation.widen == 1
    if is_unchanged and variation.window == 0:
        return display_table(display)
    choices = windows(display)
    if choices:
        center, width = choices[variation.window]
        min_width = 1.0 if display.function == "LINEAR" else 0.0  # DICOM PS3.3 C.11.2.1.2
        return table_through_window(display, center + variation.shift * width, max(min_width, width * variation.widen))
    return _moved_table(display_table(display), variation)


def _moved_table(table: NDArray[np.uint16], variation: Variation) -> NDArray[np.uint16]:
    """Shift and stretch a display table as a window; the window is the range in which the table rises or falls.

    Beyond the range of the table its first or last entry applies (DICOM PS3.3 C.11.2.1.1).
    """
    inner = np.flatnonzero((table > 0.01 * WHITE) & (table < 0.99 * WHITE))
    low, high = (0, len(table) - 1) if inner.size == 0 else (int(inner[0]), int(inner[-1]))
    center, width = (low + high) / 2, max(1, high - low)
    places = np.arange(len(table))
    sources = (places - center - variation.shift * width) / variation.widen + center
    return np.asarray(np.rint(np.interp(sources, places, table.astype(np.float64))), dtype=np.uint16)
