"""T patches cover the content box of a film of any shape."""

import numpy as np
import pytest

from mae_rad.data.patch_layout import Region, content_box, crop_layout, film_layout


def test_a_square_film_at_196_tokens_is_the_reference_grid() -> None:
    layout = film_layout(224, 224, Region(0, 0, 224, 224), 196, 16)
    assert layout.grid == (14, 14)
    expected = np.stack(np.meshgrid(range(14), range(14), indexing="ij"), axis=-1).reshape(-1, 2)
    np.testing.assert_allclose(layout.coordinates(), expected, atol=1e-5)


@pytest.mark.parametrize("tokens", [196, 400, 1024, 4096])
@pytest.mark.parametrize("shape", [(2000, 1600), (300, 2500), (2500, 300), (1024, 1024), (777, 1301)])
def test_a_film_full_of_content_has_about_t_patches_and_never_fewer(tokens: int, shape: tuple[int, int]) -> None:
    layout = film_layout(*shape, Region(0, 0, *shape), tokens, 16)
    down, across = layout.grid
    if 4 * shape[0] * shape[1] >= tokens * 256:  # else it would have to be enlarged more than twofold
        assert tokens <= down * across < 1.35 * tokens
    stretch = (down / shape[0]) / (across / shape[1])
    assert abs(np.log(stretch)) < np.log((min(down, across) + 1) / min(down, across))


def test_one_anatomy_keeps_its_coordinates_at_every_size() -> None:
    box = Region(0, 0, 1600, 1600)
    small, large = (film_layout(1600, 1600, box, tokens, 16) for tokens in (196, 4 * 196))
    np.testing.assert_allclose(small.size(), large.size())
    corners = large.coordinates().reshape(28, 28, 2)
    means = corners.reshape(14, 2, 14, 2, 2).mean(axis=(1, 3)).reshape(-1, 2)  # four small patches make one large
    np.testing.assert_allclose(means, small.coordinates(), atol=1e-5)


def test_background_does_not_shrink_the_content() -> None:
    full = film_layout(1000, 1000, Region(0, 0, 1000, 1000), 196, 16)
    bordered = film_layout(1500, 1500, Region(250, 250, 1000, 1000), 196, 16)
    assert bordered.grid[0] == round(full.grid[0] * 1.5)


def test_a_speck_of_content_does_not_make_a_huge_film() -> None:
    down, across = film_layout(1536, 1536, Region(700, 700, 24, 24), 196, 16).grid
    assert down * across <= 4 * 196


@pytest.mark.parametrize("shape", [(300, 2500), (2500, 300), (512, 400)])
def test_crops_lie_in_the_film_and_are_square(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    box = Region(0.1 * shape[0], 0.1 * shape[1], 0.6 * shape[0], 0.7 * shape[1])
    for _ in range(200):
        place = (float(generator.random()), float(generator.random()))
        layout = crop_layout(*shape, box, float(generator.uniform(0.1, 1)), place, 196)
        region = layout.region
        assert region.rows == region.columns
        assert layout.grid == (14, 14)
        assert region.top >= 0
        assert region.left >= 0
        assert region.top + region.rows <= shape[0] + 1e-6
        assert region.left + region.columns <= shape[1] + 1e-6


def test_the_content_box_bounds_the_mask() -> None:
    mask = np.zeros((64, 32), dtype=np.bool_)
    mask[16:32, 8:12] = True
    assert content_box(mask, 640, 320) == Region(160, 80, 160, 40)
    assert content_box(np.zeros((64, 32), dtype=np.bool_), 640, 320) == Region(0, 0, 640, 320)
