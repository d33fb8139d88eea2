"""Composed batches: strata that stay together, every film at most once an epoch, the same for any number of ranks."""

import logging

import numpy as np
import pytest

from mae_rad.data.film_order import Order, StepRange
from mae_rad.pairing.composition import compositions, merge_small, number_strata
from mae_rad.pairing.settings import BatchSettings

PART = np.array([0] * 40 + [1] * 25 + [2] * 3 + [-1] * 12)


def _order(batches: dict[str, object], batch: int = 8, films_per_pass: int = 8, steps: int = 20) -> Order:
    composed = compositions(
        BatchSettings.model_validate(batches), {"body_part": PART}, films=films_per_pass, steps=steps
    )
    return Order(len(PART), 3, batch, compositions=composed)


def _parts(order: Order, step: int) -> set[int]:
    return {int(PART[draw.row]) for draw in order.step(step)}


def test_a_batch_is_of_one_stratum() -> None:
    order = _order({"together": ["body_part"]})
    assert order.steps_per_epoch == 5 + 3 + 1  # 3 films of part 2 are merged with 12 of unknown part
    strata = [_parts(order, step) for step in range(9)]
    assert sorted(map(len, strata)) in ([1] * 9, [1] * 8 + [2])
    rows = [draw.row for step in range(9) for draw in order.step(step)]
    assert len(rows) == len(set(rows)) == 72


def test_groups_share_a_batch() -> None:
    order = _order({"together": ["body_part"], "groups": 2})
    for step in range(5):
        parts = [min(int(PART[draw.row]) % 3, 2) for draw in order.step(step)]  # 2 and unknown are merged
        assert len(set(parts[:4])) == len(set(parts[4:])) == 1


def test_every_forward_pass_of_all_ranks_is_composed() -> None:
    order = _order({"together": ["body_part"]}, batch=16, films_per_pass=8)
    for step in range(3):
        by_rank = [list(order.micro_batches(StepRange(step, step + 1, rank, world=2, micro=4))) for rank in range(2)]
        for passed in zip(*by_rank, strict=True):
            assert len({int(PART[draw.row]) for part in passed for draw in part} - {2, -1}) <= 1


def test_a_curriculum_goes_from_across_to_within() -> None:
    order = _order({"together": ["body_part"], "schedule": [{"until": 0.5}]})
    across = [len(_parts(order, step)) for step in range(10)]
    within = [len(_parts(order, step) - {2}) for step in range(10, 20)]
    assert np.mean(across) > 2 and set(within) == {1}
    epochs = [order.step(step)[0].epoch for step in range(20)]
    assert epochs == [0] * 10 + [1] * 9 + [2]  # a stage begins an epoch, and no draw has the seed of another


def test_epochs_differ_and_a_later_start_goes_on() -> None:
    order, again = (_order({"together": ["body_part"]}) for _ in range(2))
    assert [draw.row for draw in order.step(0)] != [draw.row for draw in order.step(9)]
    assert again.step(13) == order.step(13)


def test_small_strata_are_merged_smallest_first(caplog: pytest.LogCaptureFixture) -> None:
    sizes = [2, 30, 1, 5, 9]
    strata = np.repeat(np.arange(5), sizes)
    with caplog.at_level(logging.INFO):
        merged = merge_small(strata, 8)
    assert "4 of 5 strata have fewer than the 8 films" not in caplog.text
    assert "3 of 5 strata have fewer than the 8 films of their share; merged into 3 strata" in caplog.text
    by_stratum = [int(merged[strata == number][0]) for number in range(5)]
    assert by_stratum == [0, 2, 0, 0, 1]
    assert merge_small(np.zeros(20, dtype=np.int64), 8).max() == 0


def test_unknown_is_a_stratum_of_its_own() -> None:
    assert number_strata([np.array([-1, 0, -1, 1])]).tolist() == [0, 1, 0, 2]
    assert number_strata([np.array([np.nan, 2.0, np.nan])]).tolist() == [1, 0, 1]


def test_groups_must_divide_a_forward_pass() -> None:
    with pytest.raises(ValueError, match="8 films of a forward pass are not divisible by 3"):
        BatchSettings(together=["view"], groups=3).check(8)
    with pytest.raises(ValueError, match="must ascend"):
        BatchSettings.model_validate({"together": ["view"], "schedule": [{"until": 0.5}, {"until": 0.2}]})
