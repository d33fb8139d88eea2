"""Metrics of exclusive classes against scikit-learn and torchmetrics, also where a class has no film."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss, recall_score, roc_auc_score
from torch import from_numpy
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_calibration_error,
)

from mae_rad.evaluation.multiclass.class_metrics import class_estimates, log_probabilities, probability_estimates
from mae_rad.evaluation.statistics.calibration import BINS
from mae_rad.finetuning.multiclass.evaluation import ClassScores


def _scores(classes: int = 4, films: int = 300, seed: int = 0) -> ClassScores:
    random = np.random.default_rng(seed)
    y = random.integers(0, classes, films)
    logits = random.normal(size=(films, classes)) + np.eye(classes)[y]
    return ClassScores(np.arange(films), logits, y, np.arange(films) // 2)


def _values(scores: ClassScores) -> dict[str, float]:
    ones = np.ones((1, len(scores.y)))
    return {name: float(of(ones)[0]) for name, of in class_estimates(scores.y, scores.logits).items()}


def test_metrics_are_those_of_scikit_learn() -> None:
    scores = _scores()
    probability = softmax(scores.logits, axis=1)
    values = _values(scores)
    assert values["accuracy"] == pytest.approx(accuracy_score(scores.y, probability.argmax(axis=1)))
    assert values["log_loss"] == pytest.approx(log_loss(scores.y, probability))
    assert values["macro_auroc"] == pytest.approx(roc_auc_score(scores.y, probability, multi_class="ovr"))
    recalls = recall_score(scores.y, probability.argmax(axis=1), average=None)
    assert values["balanced_accuracy"] == pytest.approx(recalls.mean())


@pytest.mark.parametrize("classes", [4, 14])
def test_metrics_are_those_of_torchmetrics(classes: int) -> None:
    scores = _scores(classes, films=700)
    probability, y = from_numpy(softmax(scores.logits, axis=1)), from_numpy(scores.y)
    values = _values(scores)
    expected = {
        "balanced_accuracy": multiclass_accuracy(probability, y, classes, average="macro"),
        "macro_auroc": multiclass_auroc(probability, y, classes, average="macro"),
        "accuracy": multiclass_accuracy(probability, y, classes, average="micro"),
        "calibration_error": multiclass_calibration_error(probability, y, classes, n_bins=BINS, norm="l1"),
    }
    assert {name: values[name] for name in expected} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, abs=1e-5
    )


def test_a_class_without_a_film_is_in_no_mean_but_may_be_predicted() -> None:
    scores = _scores()
    scores = scores.select(scores.y != 2)
    predicted = scores.logits.argmax(axis=1)
    assert (predicted == 2).any()
    recalls = [(predicted[scores.y == name] == name).mean() for name in (0, 1, 3)]
    areas = [roc_auc_score(scores.y == name, softmax(scores.logits, axis=1)[:, name]) for name in (0, 1, 3)]
    values = _values(scores)
    assert values["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert values["macro_auroc"] == pytest.approx(np.mean(areas))


def test_weights_are_repetitions_of_films() -> None:
    scores = _scores()
    counts = np.random.default_rng(1).integers(0, 4, len(scores.y))
    repeated = _values(ClassScores(*(np.repeat(part, counts, axis=0) for part in scores)))
    weighted = class_estimates(scores.y, scores.logits)
    assert {name: float(of(counts[None].astype(float))[0]) for name, of in weighted.items()} == pytest.approx(repeated)


def test_the_log_loss_of_a_probe_that_gives_a_class_no_vote_is_that_of_scikit_learn() -> None:
    probability = np.array([[1.0, 0, 0], [0.2, 0.8, 0], [0, 0.5, 0.5], [0.6, 0.4, 0]])
    y = np.array([0, 1, 2, 2])
    measured = probability_estimates(y, log_probabilities(probability))["log_loss"](np.ones((1, 4)))
    assert measured[0] == pytest.approx(log_loss(y, probability), rel=1e-12)
