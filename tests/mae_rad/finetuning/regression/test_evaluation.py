"""Metrics of numbers against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from mae_rad.finetuning.regression.evaluation import NumberPredictions, number_results
from mae_rad.finetuning.results.metrics_table import Subgroup

SUBGROUP = Subgroup("bone_age", "test", repetitions=400)


def _films(films: int = 200, noise: float = 20.0) -> NumberPredictions:
    random = np.random.default_rng(0)
    true = random.normal(120, 40, films)
    return NumberPredictions(np.arange(films), true + random.normal(5, noise, films), true, np.arange(films) // 2)


def test_metrics_are_those_of_scikit_learn_and_lie_in_their_intervals() -> None:
    films = _films()
    results = {result.metric: result for result in number_results(films, SUBGROUP)}
    assert results["r2"].value == pytest.approx(r2_score(films.true, films.predicted))
    assert results["mean_absolute_error"].value == pytest.approx(mean_absolute_error(films.true, films.predicted))
    assert results["mean_error"].value == pytest.approx((films.predicted - films.true).mean())
    assert all(result.low < result.value < result.high for result in results.values())
    assert {(r.n_films, r.n_patients, r.n_present) for r in results.values()} == {(200, 100, None)}


def test_predictions_worse_than_the_mean_have_a_negative_r_squared() -> None:
    (r2, *_) = number_results(_films(noise=200.0), SUBGROUP)
    assert r2.low < r2.value < -1  # its interval is not cut off at zero


def test_equal_numbers_have_an_error_but_no_r_squared() -> None:
    films = _films()
    results = number_results(films._replace(true=np.full(200, 7.0)), SUBGROUP)
    assert np.isnan(results[0].value)
    assert results[1].value == pytest.approx(np.abs(films.predicted - 7).mean())
    assert number_results(films.select(np.zeros(200, bool)), SUBGROUP) == []
