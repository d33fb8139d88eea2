import numpy as np
import pytest
from sklearn.decomposition import PCA

from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import ShardFormatError
from mae_rad.evaluation.comparison.pixel_components import SIDE, pixel_store, principal_components, shrunken
from tests.builders.shard_builder import film, noise, write_public

RAMP = np.add.outer(4 * np.arange(256), 11 * np.arange(256) + 100).astype(np.uint16)
"""A smooth film: the reduced decode of others is no area mean."""
SHAPES = [(256, 256), (128, 256), (300, 120)]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    films = [film(f"{number}", noise(*SHAPES[number % 3], seed=number)) for number in range(1, 12)]
    films.insert(0, film("0", RAMP))
    return ShardIndex([write_public(tmp_path_factory.mktemp("pixels") / "public", films)], split=None)


def test_a_film_is_shrunk_by_area_and_padded_with_black(index):
    square = shrunken(index, 0).reshape(SIDE, SIDE)
    expected = (RAMP / 4095).reshape(SIDE, 8, SIDE, 8).mean(axis=(1, 3))
    np.testing.assert_allclose(square, expected, atol=0.02)  # the decoder shifts it by half a pixel of the reduction
    wide, tall = (shrunken(index, row).reshape(SIDE, SIDE) for row in (1, 2))
    assert (wide[16:] == 0).all()
    assert (wide[:16] > 0).any()
    assert (tall[:, 16:] == 0).all()


def test_components_equal_scikit_learn_up_to_their_sign(index, tmp_path):
    pixels = pixel_store(index, tmp_path, workers=0)
    fitted = np.arange(0, 12, 2)
    store = principal_components(pixels, fitted, 3, index, tmp_path)
    x = np.asarray(pixels.vectors("none"))
    expected = PCA(3, svd_solver="full").fit(x[fitted]).transform(x)
    ours = np.asarray(store.vectors("none"))
    np.testing.assert_allclose(np.abs(ours), np.abs(expected), atol=1e-3)
    again = principal_components(pixel_store(index, tmp_path, 0), fitted, 3, index, tmp_path)
    np.testing.assert_array_equal(again.vectors("none"), ours)


def test_an_unreadable_film_is_named_by_its_key(tmp_path):
    films = [film("a", noise(64, 64)), film("b", noise(64, 64))]
    public = write_public(tmp_path / "public", [films[0], (films[1][0][:40], films[1][1])])
    with pytest.raises(ShardFormatError, match=f"film {films[1][1]['key']} cannot be read"):
        pixel_store(ShardIndex([public], split=None), tmp_path / "cache", workers=0)
