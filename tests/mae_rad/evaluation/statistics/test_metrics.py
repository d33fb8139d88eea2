import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, balanced_accuracy_score, r2_score, roc_auc_score
from sklearn.metrics import mean_absolute_error as sklearn_mean_absolute_error
from torchmetrics.functional.classification import binary_auroc

from mae_rad.evaluation.statistics.metrics import (
    auroc,
    average_precision,
    balanced_accuracy,
    estimates,
    macro_auroc,
    mean_absolute_error,
    number_estimates,
    r_squared,
)


@pytest.fixture(params=[0, 1, 2], ids=["distinct", "ties", "nearly constant"])
def drawn(request):
    """(y of three classes, probabilities [N, 3], integer weights [R, N])"""
    random = np.random.default_rng(request.param)
    scores = random.dirichlet([1, 1, 1], size=120)
    if request.param:
        scores = np.round(scores, 2 - request.param)
    return random.integers(0, 3, size=120), scores, random.integers(0, 4, size=(5, 120)).astype(float)


def ones(n):
    return np.ones((1, n))


def test_metrics_equal_scikit_learn(drawn):
    y, scores, _ = drawn
    w = ones(len(y))
    assert auroc(y == 1, scores[:, 1], w)[0] == pytest.approx(roc_auc_score(y == 1, scores[:, 1]), abs=1e-12)
    assert average_precision(y == 1, scores[:, 1], w)[0] == pytest.approx(
        average_precision_score(y == 1, scores[:, 1]), abs=1e-12
    )
    one_vs_rest = np.mean([roc_auc_score(y == c, scores[:, c]) for c in range(3)])
    assert macro_auroc(y, scores, w)[0] == pytest.approx(one_vs_rest, abs=1e-12)
    predicted = scores.argmax(axis=1)
    assert balanced_accuracy(y, predicted, 3, w)[0] == pytest.approx(balanced_accuracy_score(y, predicted), abs=1e-12)


def test_auroc_equals_torchmetrics(drawn):
    y, scores, _ = drawn
    expected = binary_auroc(torch.tensor(scores[:, 1]), torch.tensor(y == 1))
    assert auroc(y == 1, scores[:, 1], ones(len(y)))[0] == pytest.approx(float(expected), abs=1e-6)


def test_a_weight_is_as_many_copies_of_the_film(drawn):
    y, scores, weights = drawn
    score = scores[:, 1]
    for row, w in enumerate(weights):
        copies = np.repeat(np.arange(len(y)), w.astype(int))
        assert auroc(y == 1, score, weights)[row] == pytest.approx(
            roc_auc_score(y[copies] == 1, score[copies]), abs=1e-12
        )
        assert average_precision(y == 1, score, weights)[row] == pytest.approx(
            average_precision_score(y[copies] == 1, score[copies]), abs=1e-12
        )
        predicted = scores.argmax(axis=1)
        assert balanced_accuracy(y, predicted, 3, weights)[row] == pytest.approx(
            balanced_accuracy_score(y[copies], predicted[copies]), abs=1e-12
        )


def test_a_class_without_weight_leaves_a_metric_undefined():
    y, scores = np.array([0, 0, 1, 2]), np.eye(3)[[0, 0, 1, 2]]
    weights = np.array([[1.0, 1, 1, 1], [1, 1, 1, 0]])
    for values in (macro_auroc(y, scores, weights), balanced_accuracy(y, y, 3, weights)):
        assert values[0] == 1
        assert np.isnan(values[1])


def test_a_rare_finding_is_not_called_absent_everywhere():
    y = np.r_[np.zeros(90, int), np.ones(10, int)]
    p = np.where(y == 1, 0.3, 0.05)  # well told apart, yet never above one half
    measured = estimates(y, np.stack([1 - p, p], axis=1), np.array([0.9, 0.1]))
    assert measured["balanced_accuracy"](ones(100))[0] == 1


def test_the_first_metric_is_the_area_under_the_curve(drawn):
    y, scores, _ = drawn
    assert next(iter(estimates(y, scores, np.full(3, 1 / 3)))) == "macro_auroc"
    assert next(iter(estimates(y % 2, scores[:, :2], np.full(2, 0.5)))) == "auroc"


def test_metrics_of_numbers_equal_scikit_learn_on_every_weighting():
    random = np.random.default_rng(0)
    y = 1e4 + random.normal(size=90)  # months since long ago: the variance is small beside the mean
    predicted = y + 0.7 * random.normal(size=90)
    weights = random.integers(0, 4, size=(6, 90)).astype(float)
    weights[0] = 1
    for values, oracle in (
        (r_squared(y, predicted, weights), r2_score),
        (mean_absolute_error(y, predicted, weights), sklearn_mean_absolute_error),
    ):
        expected = [oracle(y, predicted, sample_weight=w) for w in weights]
        np.testing.assert_allclose(values, expected, rtol=1e-9)
        copies = np.repeat(np.arange(90), weights[1].astype(int))
        assert values[1] == pytest.approx(oracle(y[copies], predicted[copies]), rel=1e-9)


def test_r_squared_of_the_mean_is_zero_and_of_equal_numbers_undefined():
    y, weights = np.array([1.0, 2, 6]), np.array([[1.0, 1, 1], [0, 0, 2]])
    np.testing.assert_allclose(r_squared(y, np.full(3, 3.0), weights), [0, np.nan], atol=1e-12)
    assert r_squared(y, y, weights)[0] == 1
    assert r_squared(y, y[::-1].copy(), weights)[0] < 0


def test_the_first_metric_of_a_number_is_one_of_which_higher_is_better():
    assert list(number_estimates(np.arange(3.0), np.arange(3.0))) == ["r2", "mean_absolute_error"]


def test_priors_per_film_equal_a_division_into_the_films_of_each_prior():
    random = np.random.default_rng(1)
    y, scores = random.integers(0, 3, 40), random.dirichlet([1, 1, 1], size=40)
    first, second = random.dirichlet([5, 5, 5], size=2)
    priors = np.where(np.arange(40)[:, None] < 25, first, second)
    predicted = np.r_[(scores[:25] / first).argmax(axis=1), (scores[25:] / second).argmax(axis=1)]
    measured = estimates(y, scores, priors)["balanced_accuracy"](ones(40))[0]
    assert measured == pytest.approx(balanced_accuracy_score(y, predicted))
