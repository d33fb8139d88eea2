"""Training targets of a detection: boxes at their objects, on whole films and on crops."""

import numpy as np
import pytest

from data_prep.shard_format.sidecar import Sidecar
from mae_rad.data.augmentation import Augmentation, Variation
from mae_rad.data.film import Film
from mae_rad.data.film_order import Draw
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.views import FilmPatches, whole_film
from mae_rad.finetuning.detection.box_targets import BoxPlacement, FilmBoxes, SquareCrop, stack_boxes
from mae_rad.finetuning.task.labelled_films import DrawnFilm, TakeLabelled
from tests.builders.shard_builder import film, write_public

PATCH, TOKENS, SIDE = 16, 100, 4
BOXES = np.array([[40.0, 60, 64, 80], [120, 100, 136, 130]])


@pytest.fixture
def one():
    values = np.zeros((160, 200), dtype=np.uint16)
    for left, top, right, low in BOXES.astype(int):
        values[top:low, left:right] = 4000
    stream, sidecar = film("one", values)
    return Film(stream, Sidecar.model_validate(sidecar))


def placed(one, tokens=TOKENS, **variation):
    place = BoxPlacement([BOXES], [np.array([0, 1])], np.ones((1, 2), np.float32), PATCH)
    seen = DrawnFilm(one, Variation(**variation), tokens)
    return whole_film(one, tokens, PATCH, seen.variation), place(0, seen)


def image(patches: FilmPatches, grid):
    return patches.values.reshape(*grid, PATCH, PATCH).transpose(0, 2, 1, 3).reshape(grid[0] * PATCH, grid[1] * PATCH)


def assert_bright_where_boxes_are(pixels, target: FilmBoxes):
    seen = np.zeros(pixels.shape, dtype=bool)
    for left, top, right, low in np.rint(target.corners).astype(int):
        assert pixels[top + 1 : low - 1, left + 1 : right - 1].min(initial=2**16 - 1) > 30000
        seen[max(0, top - 1) : low + 1, max(0, left - 1) : right + 1] = True
    assert pixels[~seen].max(initial=0) < 20000


@pytest.mark.parametrize("tokens", [TOKENS, 70, 140])
@pytest.mark.parametrize("mirrored", [False, True])
def test_boxes_are_where_the_objects_are(one, mirrored, tokens):
    patches, target = placed(one, tokens, mirrored=mirrored)
    assert_bright_where_boxes_are(image(patches, target.content.shape), target)
    assert target.labels.tolist() == [0, 1]


@pytest.mark.parametrize("mirrored", [False, True])
def test_crops_contain_their_boxes(one, mirrored):
    patches, target = placed(one, mirrored=mirrored)
    cut, crops_with_box = SquareCrop(SIDE, PATCH), 0
    for seed in range(60):
        ((part, inside),) = cut(patches, target, np.random.default_rng(seed))
        assert inside.content.shape == (SIDE, SIDE)
        assert_bright_where_boxes_are(image(part, (SIDE, SIDE)), inside)
        (batch,) = stack_boxes([inside]).films
        assert len(batch.corners) == len(batch.labels)
        crops_with_box += bool((batch.labels >= 0).any())
    assert crops_with_box > 30  # most squares are cut where a box is


def test_several_crops_of_a_film_differ_and_are_parts_of_it(one):
    patches, target = placed(one)
    parts = SquareCrop(SIDE, PATCH, 5)(patches, target, np.random.default_rng(0))
    assert len({part.coords.tobytes() for part, _ in parts}) > 3
    for part, inside in parts:
        assert_bright_where_boxes_are(image(part, (SIDE, SIDE)), inside)


def test_patches_of_a_crop_keep_their_coordinates_on_the_film(one):
    patches, target = placed(one)
    ((part, _),) = SquareCrop(SIDE, PATCH)(patches, target, np.random.default_rng(3))
    where = {tuple(place): values for place, values in zip(patches.coords.tolist(), patches.values, strict=True)}
    for place, values in zip(part.coords.tolist(), part.values, strict=True):
        np.testing.assert_array_equal(where[tuple(place)], values)
    np.testing.assert_allclose(part.size / patches.size, np.array([SIDE, SIDE]) / target.content.shape, rtol=1e-6)


def test_boxes_follow_random_scaling(tmp_path):
    values = np.zeros((160, 200), dtype=np.uint16)
    for left, top, right, low in BOXES.astype(int):
        values[top:low, left:right] = 4000
    index = ShardIndex([write_public(tmp_path / "public", [film("one", values)])])
    place = BoxPlacement([BOXES], [np.array([0, 1])], np.ones((1, 2), np.float32), PATCH)
    take = TakeLabelled(index, place, None, Augmentation(), TOKENS, PATCH, 0, 0.5)
    grids = set()
    for epoch in range(12):
        (shown,) = take(0, Draw(0, epoch, 0, 0))
        grids.add(shown.target.content.shape)
        assert_bright_where_boxes_are(image(shown.patches, shown.target.content.shape), shown.target)
    assert len(grids) > 4


def test_a_box_with_less_than_half_in_the_crop_is_ignored(one):
    patches, target = placed(one)
    kept = [SquareCrop(SIDE, PATCH)(patches, target, np.random.default_rng(seed))[0][1] for seed in range(80)]
    whole = (target.corners[:, 2:] - target.corners[:, :2]).prod(axis=1)
    for inside in kept:
        area = (inside.corners[:, 2:] - inside.corners[:, :2]).prod(axis=1)
        for label, size in zip(inside.labels, area, strict=True):
            assert label == -1 or size >= 0.5 * whole[label] - 1e-6
    assert any((inside.labels == -1).any() for inside in kept)


def test_a_film_smaller_than_the_crop_is_used_whole(one):
    patches, target = placed(one)
    ((part, inside),) = SquareCrop(50, PATCH)(patches, target, np.random.default_rng(0))
    np.testing.assert_array_equal(part.values, patches.values)
    np.testing.assert_array_equal(inside.corners, target.corners)


def lettered(boxes: int, noise: float = 0) -> tuple[FilmPatches, FilmBoxes]:
    """20 x 20 patches, content in the upper left quarter, a bright letter in the lower right corner patch."""
    content = np.zeros((20, 20), dtype=bool)
    content[:10, :10] = True
    pixels = np.random.default_rng(0).normal(10_000, noise, (20, 20, PATCH**2))
    values = pixels.clip(0, 60_000).astype(np.uint16)
    values[19, 19, :40] = 65000
    patches = FilmPatches(values.reshape(400, -1), np.zeros((400, 2), np.float32), np.full(2, 14, np.float32))
    corners = np.array([[40.0, 60, 64, 80]])[:boxes]
    return patches, FilmBoxes(corners, np.zeros(boxes, np.int64), np.ones(1, np.float32), content)


@pytest.mark.parametrize("noise", [0, 1500])
@pytest.mark.parametrize(("boxes", "share"), [(0, 0.25), (1, 0.25 * 0.25)])
def test_crops_outside_the_content_are_at_lead_letters_not_at_plain_background(boxes, share, noise):
    patches, target = lettered(boxes, noise)
    cut, met = SquareCrop(SIDE, PATCH), 0
    for seed in range(3000):
        ((part, inside),) = cut(patches, target, np.random.default_rng(seed))
        letter = part.values.max() > 60000
        met += letter
        assert letter or inside.content.any()
    assert met / 3000 == pytest.approx(share, abs=0.02)


def test_without_structures_outside_crops_stay_in_the_content():
    patches, target = lettered(0)
    patches.values[:] = 300
    for seed in range(60):
        ((_, inside),) = SquareCrop(SIDE, PATCH)(patches, target, np.random.default_rng(seed))
        assert inside.content.any()
