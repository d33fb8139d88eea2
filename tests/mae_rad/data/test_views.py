"""Views have fixed numbers of patches from films of any shape, content first."""

import cv2
import numpy as np
import pytest
import torch

from data_prep.shard_format.content_mask_bits import mask_shape
from data_prep.shard_format.film_codec import decode_film
from data_prep.shard_format.sidecar import Sidecar
from mae_rad.data.augmentation import Augmentation
from mae_rad.data.batch import ViewSpec
from mae_rad.data.film import Film
from mae_rad.data.patch_layout import Region, film_layout
from mae_rad.data.patch_masking import draw_budget
from mae_rad.data.views import draw_view, whole_film
from tests.builders.shard_builder import film, noise
from tests.references.published_masking import random_masking

MAE_VIEW = ViewSpec(tokens=196, visible=0.25, predicted=0.5)


def _film(rows: int, columns: int, mask: np.ndarray | None = None) -> Film:
    stream, sidecar = film("one", noise(rows, columns), mask=mask)
    return Film(stream, Sidecar.model_validate(sidecar))


def _generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("shape", [(224, 224), (300, 2500), (2500, 300), (900, 700)])
def test_films_of_any_shape_give_the_same_budgets(shape: tuple[int, int]) -> None:
    view = draw_view(_film(*shape), MAE_VIEW, 16, _generator())
    assert view is not None
    assert view.predicted is not None
    assert view.visible.values.shape == (49, 256)
    assert view.predicted.values.shape == (98, 256)
    assert view.visible.values.dtype == np.uint16
    together = np.concatenate((view.visible.coords, view.predicted.coords))
    assert len(np.unique(together, axis=0)) == 147


def test_a_film_with_too_few_patches_is_skipped() -> None:
    assert draw_view(_film(40, 40), MAE_VIEW, 16, _generator()) is None


def test_patches_are_the_pixels_at_their_coordinates() -> None:
    values = noise(224, 224)
    stream, sidecar = film("one", values)
    patches = whole_film(Film(stream, Sidecar.model_validate(sidecar)), 196, 16)
    expected = np.rint(values.astype(np.float64) * 65535 / 4095)
    for place in (0, 17, 195):
        row, column = np.rint(patches.coords[place]).astype(int)
        part = expected[16 * row : 16 * row + 16, 16 * column : 16 * column + 16].reshape(-1)
        assert np.abs(patches.values[place].astype(float) - part).max() <= 1


def test_shrinking_below_one_reduction_is_an_area_mean() -> None:
    values = noise(336, 336)
    stream, sidecar = film("one", values)
    shrunk = Film(stream, Sidecar.model_validate(sidecar)).values(
        film_layout(336, 336, Region(0, 0, 336, 336), 196, 16), 16
    )
    assert np.array_equal(shrunk, cv2.resize(values, (224, 224), interpolation=cv2.INTER_AREA))


def test_beyond_it_the_reduced_film_is_averaged() -> None:
    values = noise(700, 700)
    stream, sidecar = film("one", values)
    shrunk = Film(stream, Sidecar.model_validate(sidecar)).values(
        film_layout(700, 700, Region(0, 0, 700, 700), 196, 16), 16
    )
    half = decode_film(stream, bits=12, reduction=1)
    assert half.shape == (350, 350)
    assert np.array_equal(shrunk, cv2.resize(half, (224, 224), interpolation=cv2.INTER_AREA))


def test_content_comes_first_then_what_is_nearest_to_it() -> None:
    content = np.zeros((20, 20), dtype=np.bool_)
    content[5:15, 5:15] = True
    chosen = draw_budget(content, 60, _generator())
    assert content.reshape(-1)[chosen].all()
    chosen = draw_budget(content, 144, _generator())  # the content and a ring of one patch around it
    ring = cv2.dilate(content.astype(np.uint8), np.ones((3, 3))).astype(bool)
    assert ring.reshape(-1)[chosen].all()
    assert len(set(chosen.tolist())) == 144


@pytest.mark.parametrize("content", [np.zeros((14, 14), bool), np.ones((14, 14), bool)])
def test_an_empty_and_a_full_mask_draw_from_everywhere(content: np.ndarray) -> None:
    seen = {int(index) for seed in range(30) for index in draw_budget(content, 49, _generator(seed))}
    assert len(seen) == 196


def test_background_costs_no_patches() -> None:
    mask = np.zeros(mask_shape(800, 800), dtype=np.bool_)
    mask[16:48, 16:48] = True
    view = draw_view(_film(800, 800, mask), MAE_VIEW, 16, _generator())
    assert view is not None
    assert view.predicted_content is not None
    assert view.predicted_content.all()


def test_content_of_a_layout_follows_the_mask() -> None:
    mask = np.zeros(mask_shape(640, 320), dtype=np.bool_)
    mask[:32] = True
    whole = _film(640, 320, mask)
    layout = film_layout(640, 320, Region(0, 0, 640, 320), 196, 16)
    content = whole.content(layout)
    assert content.shape == layout.grid
    assert abs(content.mean() - 0.5) < 1 / layout.grid[0]
    assert content[0].all()
    assert not content[-1].any()


def test_crops_are_square_grids_and_differ_between_draws() -> None:
    spec = ViewSpec(196, Augmentation(crop=(0.3, 0.6), window=0.5))
    first, second = (draw_view(_film(900, 700), spec, 16, _generator(seed)) for seed in (1, 2))
    assert first is not None
    assert second is not None
    assert first.predicted is None
    assert first.visible.values.shape == (196, 256)
    assert not np.array_equal(first.visible.values, second.visible.values)
    again = draw_view(_film(900, 700), spec, 16, _generator(1))
    assert again is not None
    assert np.array_equal(first.visible.values, again.visible.values)


def test_the_share_of_hidden_content_is_reported() -> None:
    mask = np.zeros(mask_shape(800, 800), dtype=np.bool_)
    mask[:, :32] = True  # the left half: its box holds T patches, all of them content
    view = draw_view(_film(800, 800, mask), MAE_VIEW, 16, _generator())
    assert view is not None
    assert view.masked_content == pytest.approx(0.75, abs=0.03)
    sparse = ViewSpec(tokens=196, visible=0.25, predicted=0.25)
    half = draw_view(_film(800, 800, np.tri(64, dtype=np.bool_)), sparse, 16, _generator())
    assert half is not None
    assert half.masked_content == pytest.approx(0.5, abs=0.05)  # T counts the box, of which half is content
    nothing = draw_view(_film(800, 800, np.zeros((64, 64), np.bool_)), MAE_VIEW, 16, _generator())
    assert nothing is not None
    assert nothing.masked_content == pytest.approx(0.75)


def test_without_known_content_the_draw_is_the_published_masking_of_its_noise() -> None:
    drawn = draw_budget(np.ones((14, 14), bool), 196, _generator(3))
    published = random_masking(torch.from_numpy(_generator(3).random((1, 196))), 49)
    assert drawn[:49].tolist() == published.visible[0].tolist()
    assert drawn[49:].tolist() == published.removed[0].tolist()


@pytest.mark.parametrize(("shape", "grid"), [((300, 240), (14, 11)), ((2500, 300), (14, 2)), ((224, 224), (14, 14))])
def test_a_padded_film_is_a_square_all_of_which_is_drawn_from(shape: tuple[int, int], grid: tuple[int, int]) -> None:
    mask = np.zeros(mask_shape(*shape), bool)
    mask[: len(mask) // 2] = True
    reference = ViewSpec(tokens=196, visible=0.25, predicted=None, padded=True)
    view = draw_view(_film(*shape, mask=mask), reference, 16, _generator())
    assert view is not None
    assert view.predicted is not None
    assert view.predicted_content is not None
    coords = np.concatenate((view.visible.coords, view.predicted.coords))
    values = np.concatenate((view.visible.values, view.predicted.values))
    assert sorted(map(tuple, coords.tolist())) == [(row, column) for row in range(14) for column in range(14)]
    outside = (coords[:, 0] >= grid[0]) | (coords[:, 1] >= grid[1])
    assert not values[outside].any()
    assert (values[~outside].max(axis=1) > 0).all()
    low = view.predicted.coords[:, 0] >= 7
    assert view.predicted_content.tolist() == (~low & ~outside[49:]).tolist()
    assert view.visible.size.tolist() == [14, 14]


def test_a_film_too_small_for_the_square_is_enlarged_twofold_at_most() -> None:
    view = draw_view(_film(40, 48), ViewSpec(tokens=196, visible=0.25, predicted=None, padded=True), 16, _generator())
    assert view is not None
    assert view.predicted is not None
    bright = np.concatenate((view.visible.values, view.predicted.values)).any(axis=1)
    assert bright.sum() == 5 * 6
