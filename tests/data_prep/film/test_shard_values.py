"""Histogram, shrinking and halving compared with NumPy."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.film.decode import StoredFilm
from data_prep.film.shard_values import halved, histogram, shrink, shrunk_size, to_shard_values
from data_prep.shard_format.apply_display import ValueRange


def noise(rows: int, columns: int, top: int = 4095) -> NDArray[np.uint16]:
    return np.random.default_rng(0).integers(0, top + 1, (rows, columns)).astype(np.uint16)


@pytest.mark.parametrize(
    ("film", "size"),
    [((300, 250), (154, 128)), ((300, 250), (150, 125)), ((300, 240), (100, 80)), ((200, 199), (7, 6))],
)
def test_shrinking_integers_is_shrinking_in_float_and_rounding(film: tuple[int, int], size: tuple[int, int]) -> None:
    values = noise(*film, top=32767)
    means = cv2.resize(values.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    for hidden in (None, np.zeros(film, np.bool_)):  # a mean at a half may be rounded to either side
        assert np.abs(shrink(values, hidden, 0, size) - means).max() <= 0.51


def test_means_next_to_hidden_pixels_use_visible_pixels_only() -> None:
    values = noise(300, 250, top=32767)
    hidden = np.random.default_rng(1).random(values.shape) < 0.3
    hidden[:, :40] = True
    weights, size = (~hidden).astype(np.float64), (140, 117)
    visible = cv2.resize(weights, size[::-1], interpolation=cv2.INTER_AREA)
    means = cv2.resize(weights * values, size[::-1], interpolation=cv2.INTER_AREA) / np.maximum(visible, 1e-9)
    shrunk = shrink(values, hidden, 7, size)
    clear = np.abs(visible - 0.5) > 0.001
    assert (shrunk[(visible < 0.5) & clear] == 7).all()
    assert np.abs(shrunk - means)[(visible > 0.5) & clear].max() <= 2


def test_mean_next_to_hidden_pixels_stays_in_the_range() -> None:
    hidden = np.indices((90, 90)).sum(axis=0) % 2 == 0
    assert shrink(np.full((90, 90), 32767, dtype=np.uint16), hidden, 0, (30, 30)).max() == 32767


def test_values_in_the_bytes_of_the_file_are_not_modified() -> None:
    """Uncompressed pixels share memory with the bytes of the file."""
    values = np.frombuffer(noise(300, 250).tobytes(), "<u2").reshape(300, 250)
    film = StoredFilm(values, 12, np.zeros(values.shape, np.bool_), None)
    full = to_shard_values(film, ValueRange(12))
    assert np.shares_memory(full, values)
    assert shrink(full, film.hidden, 0, (154, 128)).flags.writeable
    assert histogram(full, film.hidden, 12).sum() == values.size


@pytest.mark.parametrize(("bits", "dtype"), [(12, np.uint16), (15, np.uint16)])
def test_histogram_counts_what_is_visible(bits: int, dtype: type) -> None:
    values = noise(120, 100, top=2**bits - 1).astype(dtype)
    hidden = np.zeros(values.shape, dtype=np.bool_)
    assert np.array_equal(histogram(values, hidden, bits), np.bincount(values.ravel(), minlength=2**bits))
    hidden[:40] = True
    assert np.array_equal(histogram(values, hidden, bits), np.bincount(values[40:].ravel(), minlength=2**bits))
    hidden[:] = True
    assert histogram(values, hidden, bits).sum() == 0


def test_percentiles_of_a_large_film_are_those_of_all_its_pixels() -> None:
    rows, columns = 2400, 2000
    down, across = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    anatomy = 3000 * np.exp(-3 * (down**2 + across**2)) + 300 + noise(rows, columns, top=200)
    values = anatomy.astype(np.uint16)
    counts = histogram(values, np.zeros(values.shape, np.bool_), 12)
    assert 100_000 < counts.sum() < values.size
    reached = np.cumsum(counts) / counts.sum()
    for percentile in (0.5, 50, 99.5):
        found = int(np.searchsorted(reached, percentile / 100))
        assert abs(found - np.percentile(values, percentile)) <= 5


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((1536, 1281), (384, 320)), ((300, 511), (300, 511)), ((512, 512), (256, 256)), ((4000, 16), (1000, 4))],
)
def test_halving_stops_before_the_film_is_too_small(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    assert halved(np.zeros(shape, np.uint16), 256).shape == expected


def test_halves_are_means_of_four() -> None:
    values = noise(1024, 700)
    means = values.reshape(512, 2, 350, 2).mean(axis=(1, 3)).reshape(256, 2, 175, 2).mean(axis=(1, 3))
    assert np.abs(halved(values, 256) - means).max() <= 1


@pytest.mark.parametrize(("offset", "low", "high"), [(2048, -2048, 2047), (32768, -32768, 32767), (16384, -1000, 3000)])
def test_offset_lifts_negative_values(offset: int, low: int, high: int) -> None:
    values = np.linspace(low, high, 400).reshape(20, 20).astype(np.int16)
    shift = 1 if offset == 32768 else 0
    film = StoredFilm(values, 16, np.zeros(values.shape, np.bool_), None)
    lifted = to_shard_values(film, ValueRange(15, offset, shift))
    assert np.array_equal(lifted, (values.astype(np.int64) + offset) >> shift)


@pytest.mark.parametrize(
    ("source", "max_side", "min_short_side", "size"),
    [
        ((10250, 771), 512, None, (512, 39)),
        ((10250, 771), 512, 256, (3403, 256)),
        ((771, 10250), 512, 256, (256, 3403)),
        ((10250, 771), 512, 1024, (10250, 771)),  # never enlarged
        ((2000, 1800), 512, 256, (512, 461)),  # max_side leaves more than that
        ((400, 100), 512, 256, (400, 100)),
        ((10250, 771), "native", 256, (10250, 771)),
    ],
)
def test_a_stitched_film_keeps_its_shorter_side(
    source: tuple[int, int], max_side: int, min_short_side: int | None, size: tuple[int, int]
) -> None:
    assert shrunk_size(*source, max_side, min_short_side=min_short_side) == size
