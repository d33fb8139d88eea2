import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score
from torchmetrics.functional.classification import binary_auroc

from mae_rad.evaluation.statistics.metrics import auroc, average_precision, balanced_accuracy, estimates, macro_auroc


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
