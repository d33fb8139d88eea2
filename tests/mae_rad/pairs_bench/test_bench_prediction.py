"""A statistic that ranks the gains is found, one that does not is not, and few strategies answer nothing."""

import numpy as np
import pytest

from mae_rad.pairs_bench.bench_prediction import Point, RankPrediction, draw_prediction, rank_correlation


def points(before: list[float], gain: list[float]) -> list[Point]:
    return [Point(f"s{place}", *pair) for place, pair in enumerate(zip(before, gain, strict=True))]


def test_an_order_is_found() -> None:
    found = rank_correlation(points([0.0, 0.1, 0.2, 0.4, 0.8, 0.9], [-1.0, 0.0, 0.1, 0.2, 5.0, 6.0]))
    assert found is not None and found.value == pytest.approx(1.0) and found.low > 0.5
    turned = rank_correlation(points([0.0, 0.1, 0.2, 0.4, 0.8, 0.9], [6.0, 5.0, 0.2, 0.1, 0.0, -1.0]))
    assert RankPrediction("purity above chance", 1, [], turned).answer == "it ranks them, the wrong way round"
    assert RankPrediction("false negatives", -1, [], turned).answer == "it ranks them"


def test_no_order_is_not_found() -> None:
    draws = np.random.default_rng(3).random((2, 12)).tolist()
    found = rank_correlation(points(*draws))
    assert found is not None and found.low < 0 < found.high
    assert "does not rank" in RankPrediction("coverage", 1, [], found).answer


def test_few_or_equal_strategies_answer_nothing() -> None:
    assert rank_correlation(points([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])) is None
    assert rank_correlation(points([1.0] * 6, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])) is None


def test_every_strategy_is_drawn() -> None:
    drawn = draw_prediction(RankPrediction("coverage", 1, points([0.1, 0.2], [0.3, 0.4]), None))
    assert {text.get_text() for text in drawn.axes[0].texts} == {"s0", "s1"}
