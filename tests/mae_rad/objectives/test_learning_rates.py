"""The range of tried peaks is carried to another batch by both published rules."""

import math

import pytest

from mae_rad.objectives import OBJECTIVES
from mae_rad.objectives.learning_rates import RateRule, TriedRates, rate_factor, tried_range

TRIED = (TriedRates(128, 1e-4, 4e-4, "here"), TriedRates(4096, 2e-3, 3e-3, "there"))


@pytest.mark.parametrize(
    ("rule", "factors"), [("linear", (0.25, 1, 4)), ("square_root", (0.5, 1, 2)), ("none", (1, 1, 1))]
)
def test_all_rules_meet_at_a_batch_of_256(rule: RateRule, factors: tuple[float, float, float]) -> None:
    assert tuple(rate_factor(batch, rule) for batch in (64, 256, 1024)) == factors


def test_the_range_of_a_trial_is_taken_as_it_is_at_its_batch() -> None:
    found = tried_range(TRIED, 128)
    assert found is not None and found[:2] == (1e-4, 4e-4) and found.trial is TRIED[0]


@pytest.mark.parametrize(
    ("batch", "lowest", "highest", "where"),
    [
        (512, 1e-4 * 2, 4e-4 * 4, "here"),  # square root raises the lowest least, linear the highest most
        (32, 1e-4 / 4, 4e-4 / 2, "here"),
        (2048, 2e-3 / 2, 3e-3 / math.sqrt(2), "there"),
    ],
)
def test_between_batches_both_rules_count(batch: int, lowest: float, highest: float, where: str) -> None:
    found = tried_range(TRIED, batch)
    assert found is not None and found.trial.where == where
    assert found[:2] == pytest.approx((lowest, highest))


def test_an_objective_without_trials_has_no_range() -> None:
    assert tried_range((), 128) is None


def test_the_trials_of_the_objectives_are_in_order() -> None:
    for settings in OBJECTIVES.values():
        for trial in settings.tried_rates:
            assert 0 < trial.lowest <= trial.highest < (trial.failed or math.inf)
            assert bool(trial.failed) == bool(trial.failure) and trial.where
