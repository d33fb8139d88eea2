"""Perceptual hashes: their definition, and near duplicates."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.film.perceptual_hash import perceptual_hash
from mae_rad.bench.sharding.bordered_films import BorderedFilm, bordered_films


@pytest.fixture(scope="module")
def films() -> list[BorderedFilm]:
    return list(bordered_films(1, 256, seed=5))


def bits_between(one: int, other: int) -> int:
    return (one ^ other).bit_count()


def test_hash_is_that_of_the_published_algorithm() -> None:
    """OpenCV's DCT is orthonormal: its first row and column are smaller by the root of a half."""
    image = np.random.default_rng(0).integers(0, 65536, (32, 32)).astype(np.uint16)
    waves = cv2.dct(image.astype(np.float64))
    waves[0] *= 2**0.5
    waves[:, 0] *= 2**0.5
    low = waves[:8, :8].reshape(-1)
    expected = "".join("01"[int(wave > np.median(low))] for wave in low)
    assert f"{perceptual_hash(image):064b}" == expected


def _recompressed(displayed: NDArray[np.uint16]) -> NDArray[np.uint16]:
    _, stream = cv2.imencode(".jpg", (displayed >> 8).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 60])
    decoded = cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE)
    assert decoded is not None
    return np.asarray(decoded.astype(np.uint16) << 8)


def test_hash_of_the_same_film_hardly_changes(films: list[BorderedFilm]) -> None:
    for film in films:
        rows, columns = film.shown.shape
        small = cv2.resize(film.shown, (columns * 2 // 3, rows * 2 // 3), interpolation=cv2.INTER_AREA)
        dim = (film.shown // 2 + 5000).astype(np.uint16)
        for other in (small, dim, _recompressed(film.shown)):
            assert bits_between(perceptual_hash(film.shown), perceptual_hash(np.asarray(other))) <= 4


def test_other_films_have_other_hashes(films: list[BorderedFilm]) -> None:
    hashes = [perceptual_hash(film.shown) for film in films]
    between = [bits_between(one, other) for place, one in enumerate(hashes) for other in hashes[:place]]
    assert len(set(hashes)) == len(hashes)
    assert np.median(between) > 16


@pytest.mark.parametrize("shape", [(1, 1), (16, 900), (400, 300)])
def test_film_of_one_grey_has_a_hash(shape: tuple[int, int]) -> None:
    assert 0 <= perceptual_hash(np.full(shape, 20_000, dtype=np.uint16)) < 2**64
    assert perceptual_hash(np.zeros(shape, dtype=np.uint16)) == 0
