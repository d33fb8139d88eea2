"""Batches of labelled films: without padding, with their targets, equal for any number of ranks."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from mae_rad.data.augmentation import Augmentation
from mae_rad.data.batch import Patches
from mae_rad.data.film import Film
from mae_rad.data.film_order import Order, StepRange
from mae_rad.data.patch_layout import film_layout, grid_of
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.views import whole_film
from mae_rad.data.whole_films import whole_film_batches
from mae_rad.encoders.vit import EncoderSettings, Features, build_encoder
from mae_rad.finetuning.classification.task import LabelLookup, stack_rows
from mae_rad.finetuning.task.cached_features import cached_batches, to_cache
from mae_rad.finetuning.task.labelled_films import LabelledBatch, TakeLabelled, labelled_batches
from tests.builders.shard_builder import film, noise, write_public

SHAPES = [(200, 160), (160, 200), (128, 128), (300, 100)]
FILMS, STEPS = 22, 5


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    films = [film(f"film {i}", noise(*SHAPES[i % 4], seed=i)) for i in range(FILMS)]
    return ShardIndex([write_public(tmp_path_factory.mktemp("shards") / "public", films)])


def _target() -> LabelLookup:
    """The value of a film is its row."""
    rows = np.arange(FILMS, dtype=np.float32)
    return LabelLookup(rows[:, None], np.ones((FILMS, 1), np.float32))


def _batches(
    index: ShardIndex,
    *,
    augmentation: Augmentation | None = None,
    scale: float = 0.0,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
) -> list[LabelledBatch]:
    take = TakeLabelled(index, _target(), None, augmentation or Augmentation(), 36, 16, 7, scale)
    order = Order(len(index), 7, 8)
    steps = StepRange(0, STEPS, rank, world, micro=8 // world)
    return [batch for batch, _ in labelled_batches(take, stack_rows, order, steps, workers=workers)]


def _by_film(batches: list[LabelledBatch]) -> Iterator[tuple[str, float, torch.Tensor]]:
    for batch in batches:
        films = [film for group in batch.groups for film in (group.values if isinstance(group, Patches) else group.cls)]
        yield from zip(batch.keys, batch.targets.values[:, 0].tolist(), films, strict=True)  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_batched_film_equals_the_film_alone_and_has_its_target(index: ShardIndex, workers: int) -> None:
    places = {index.key(row): row for row in range(FILMS)}
    for key, value, values in _by_film(_batches(index, workers=workers)):
        assert places[key] == value
        alone = whole_film(index.film(places[key]), 36, 16).values
        assert np.array_equal(values.numpy(), alone)


def test_films_of_a_group_have_equal_grids(index: ShardIndex) -> None:
    for batch in _batches(index):
        grids = [grid_of(group[0].shape[1], group[2][0].numpy()) for group in batch.groups]
        assert len(set(grids)) == len(grids) > 1
        for group in batch.groups:
            assert isinstance(group, Patches)
            assert len({tuple(size) for size in group.size.tolist()}) == 1


def test_two_ranks_share_the_films_of_one(index: ShardIndex) -> None:
    ranks = [_batches(index, rank=rank, world=2) for rank in range(2)]
    for whole, *parts in zip(_batches(index), *ranks, strict=True):
        assert sorted(whole.keys) == sorted(key for part in parts for key in part.keys)


def test_random_scaling_stays_within_the_scale(index: ShardIndex) -> None:
    drawn_films = [_batches(index, scale=0.5) for _ in range(2)]
    sizes = [[group[2].tolist() for batch in batches for group in batch.groups] for batches in drawn_films]
    assert sizes[0] == sizes[1]  # drawn alike in every run
    patches = [group[0].shape[1] for batch in drawn_films[0] for group in batch.groups]
    usual = [group[0].shape[1] for batch in _batches(index) for group in batch.groups]
    assert max(patches) > 1.3 * max(usual) and min(patches) < min(usual) / 1.3
    assert max(patches) < 1.5**2 * 1.3 * max(usual) and min(patches) > min(usual) / 1.5**2 / 1.3  # 1.3: whole patches


def test_augmentation_differs_between_epochs_and_is_equal_between_runs(index: ShardIndex) -> None:
    augmentation = Augmentation(window=1.0, gamma=1.0)
    drawn_films: dict[str, list[torch.Tensor]] = {}
    for key, _, values in _by_film(_batches(index, augmentation=augmentation)):
        drawn_films.setdefault(key, []).append(values)
    again = [values for _, _, values in _by_film(_batches(index, augmentation=augmentation))]
    assert all(
        torch.equal(first.int(), second.int())
        for (_, _, first), second in zip(_by_film(_batches(index, augmentation=augmentation)), again, strict=True)
    )
    twice = [values for values in drawn_films.values() if len(values) > 1]
    assert twice
    assert all(not torch.equal(values[0].int(), values[1].int()) for values in twice)


def test_cached_features_are_those_of_the_films_and_targets_of_the_same_steps(index: ShardIndex) -> None:
    encoder = build_encoder(EncoderSettings(dim=16, depth=1, heads=2)).eval()
    cache: dict[int, Features] = {}
    with torch.no_grad():
        for rows, patches in whole_film_batches(index, tokens=36, patch=16, batch=4, workers=0):
            cache |= to_cache(rows, encoder(patches), summary=False)
        batches = cached_batches(
            cache, index, np.arange(FILMS), _target(), stack_rows, Order(FILMS, 7, 8),
            StepRange(0, STEPS, rank=0, world=1, micro=8),
        )  # fmt: skip
        for (batch, _), drawn_films in zip(batches, _batches(index), strict=True):
            expected = {key: (value, values) for key, value, values in _by_film([drawn_films])}
            assert sorted(batch.keys) == sorted(expected)
            for key, value, cls in _by_film([batch]):
                assert value == expected[key][0]
                alone = encoder(_alone(index.film(int(value))))
                assert torch.allclose(cls, alone.cls[0], atol=1e-5)


def _alone(one: Film) -> Patches:
    return Patches(*(torch.from_numpy(part)[None] for part in whole_film(one, 36, 16)))


@pytest.mark.parametrize("shape", [*SHAPES, (2500, 300), (40, 900)])
@pytest.mark.parametrize("tokens", [36, 196, 1024])
def test_the_grid_follows_from_the_number_of_patches_and_the_extent(shape: tuple[int, int], tokens: int) -> None:
    stream, sidecar = film("one", noise(*shape))
    from data_prep.shard_format.sidecar import Sidecar

    one = Film(stream, Sidecar.model_validate(sidecar))
    layout = film_layout(*shape, one.box, tokens, 16)
    assert grid_of(layout.grid[0] * layout.grid[1], layout.size()) == layout.grid
