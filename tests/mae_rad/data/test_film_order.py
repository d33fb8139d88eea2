"""The order of films does not depend on ranks, workers or interruptions."""

import numpy as np
import pytest

from mae_rad.data.film_order import Order, StepRange
from mae_rad.data.seeded_random import generator_for


def _global(order: Order, step: int, world: int, accumulation: int) -> list[int]:
    micro = order.global_batch // (world * accumulation)
    parts = [list(order.micro_batches(StepRange(step, step + 1, rank, world, micro))) for rank in range(world)]
    return [draw.row for forward in zip(*parts, strict=True) for part in forward for draw in part]


@pytest.mark.parametrize(("world", "accumulation"), [(1, 1), (2, 1), (4, 1), (2, 2), (1, 4)])
def test_every_world_size_draws_the_same_global_batches(world: int, accumulation: int) -> None:
    order = Order(50, seed=3, global_batch=8)
    for step in (0, 5, 6, 13):  # within an epoch, and over its edge
        assert _global(order, step, world, accumulation) == [draw.row for draw in order.step(step)]


def test_every_film_comes_at_most_once_an_epoch() -> None:
    order = Order(50, seed=3, global_batch=8)
    for epoch in range(3):
        rows = [draw.row for step in range(6) for draw in order.step(6 * epoch + step)]
        assert len(rows) == len(set(rows)) == 48


def test_epochs_and_seeds_differ_and_repeat() -> None:
    first, again, other = Order(100, 1, 10), Order(100, 1, 10), Order(100, 2, 10)
    assert np.array_equal(first.rows(0), again.rows(0))
    assert not np.array_equal(first.rows(0), first.rows(1))
    assert not np.array_equal(first.rows(0), other.rows(0))


def test_starting_in_the_middle_gives_what_an_uninterrupted_run_gives() -> None:
    order = Order(50, 3, 8)
    whole = list(order.micro_batches(StepRange(0, 20, rank=1, world=2, micro=4)))
    assert list(order.micro_batches(StepRange(11, 20, rank=1, world=2, micro=4))) == whole[11:]


def test_weights_are_relative_frequencies() -> None:
    weights = np.array([1.0] * 80 + [4.0] * 20)
    rows = np.concatenate([Order(100, 0, 10, weights).rows(epoch) for epoch in range(50)])
    assert np.mean(rows >= 80) == pytest.approx(0.5, abs=0.01)
    assert set(Order(100, 0, 10, np.array([0.0] * 50 + [1.0] * 50)).rows(0)) == set(range(50, 100))


def test_fewer_films_than_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fill"):
        Order(7, 0, 8)


def test_counted_randomness_separates_its_parts() -> None:
    assert generator_for("a", 11).random() != generator_for("a1", 1).random()
    assert generator_for("view", 0, 1, "k", "a").random() == generator_for("view", 0, 1, "k", "a").random()
