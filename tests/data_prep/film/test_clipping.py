"""Fractions of the content at the ends of the display range."""

import numpy as np
import pytest

from data_prep.film.clipping import measure_clipping
from data_prep.film.header_display_settings import derive_display
from data_prep.shard_format.apply_display import ValueRange
from data_prep.shard_format.content_mask_bits import mask_shape
from data_prep.shard_format.sidecar import Display
from tests.data_prep.film.test_header_display_settings import header


def display(center: float, width: float, function: str = "LINEAR_EXACT", photometric: str = "MONOCHROME2") -> Display:
    given = header(
        PhotometricInterpretation=photometric, WindowCenter=center, WindowWidth=width, VOILUTFunction=function
    )
    return derive_display(given, ValueRange(12), np.ones(4096, dtype=np.int64))


RAMP = np.tile(np.arange(1000, dtype=np.uint16), (500, 1))
ALL = np.ones(mask_shape(500, 1000), dtype=np.bool_)


def test_values_outside_the_window_are_counted() -> None:
    low, high = measure_clipping(RAMP, ALL, display(500, 400))
    assert low == pytest.approx(0.3, abs=0.01) and high == pytest.approx(0.3, abs=0.01)
    assert measure_clipping(RAMP, ALL, display(500, 2000)) == (0, 0)


def test_ends_are_those_of_the_display_and_not_of_the_values() -> None:
    low, high = measure_clipping(RAMP, ALL, display(300, 600, photometric="MONOCHROME1"))
    assert low == pytest.approx(0.4, abs=0.01) and high < 0.01


def test_sigmoid_near_its_limits_counts_as_clipped() -> None:
    low, high = measure_clipping(RAMP, ALL, display(500, 100, function="SIGMOID"))
    assert low > 0.3 and high > 0.3


def test_background_does_not_count() -> None:
    content = ALL.copy()
    content[:, :20] = False
    low, high = measure_clipping(RAMP, content, display(500, 400))
    assert low == 0 and high == pytest.approx(0.3 / (1 - 20 / 64), abs=0.02)


@pytest.mark.parametrize("shape", [(1, 1), (16, 3000), (3000, 1)])
def test_film_of_any_shape_has_fractions(shape: tuple[int, int]) -> None:
    full = np.ones(mask_shape(*shape), dtype=np.bool_)
    assert measure_clipping(np.full(shape, 4095, dtype=np.uint16), full, display(500, 400)) == (0, 1)


def test_noise_is_clipped_pixel_by_pixel() -> None:
    noise = np.random.default_rng(0).integers(0, 1000, (2000, 1500)).astype(np.uint16)
    low, high = measure_clipping(noise, np.ones(mask_shape(2000, 1500), dtype=np.bool_), display(500, 500))
    assert low == pytest.approx(0.25, abs=0.01) and high == pytest.approx(0.25, abs=0.01)
