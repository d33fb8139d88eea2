"""The interval of a share equals published values, and solves the equation that defines it."""

import math

import pytest

from data_prep.statistics.share_interval import share_interval


@pytest.mark.parametrize(("count", "of", "low", "high"), [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)])
def test_it_equals_published_values(count: int, of: int, low: float, high: float) -> None:
    """Newcombe 1998, table I, method 3."""
    assert share_interval(count, of) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("count", "of"), [(0, 5), (5, 5), (3, 7), (499, 500)])
def test_each_bound_is_a_share_from_which_the_observed_one_is_1_96_deviations_away(count: int, of: int) -> None:
    for bound in share_interval(count, of):
        if 0 < bound < 1:
            assert abs(count / of - bound) == pytest.approx(1.959964 * math.sqrt(bound * (1 - bound) / of))


def test_there_is_none_without_cases() -> None:
    assert all(math.isnan(bound) for bound in share_interval(0, 0))
