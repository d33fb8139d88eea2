"""A short form of ``tests/benchmarks/evaluation/coverage.py``: 120 of its 1,000 repetitions, so wider bounds."""

import pytest

from tests.benchmarks.evaluation.coverage import rate


@pytest.mark.parametrize("part", ["equal", *(pytest.param(part, marks=pytest.mark.slow) for part in ("one", "runs"))])
def test_intervals_contain_the_planted_value_and_equal_encoders_are_not_significantly_different(part):
    assert 0.89 <= rate(part, 120) <= 0.995
