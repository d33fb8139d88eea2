"""Metrics of classes that exclude each other: of the logits of a head, or of the probabilities of a probe.

Legend: N films, C classes, R weightings of the films (a bootstrap resample is one).
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from mae_rad.evaluation.statistics.calibration import calibration_error
from mae_rad.evaluation.statistics.metrics import Estimate, Floats, balanced_accuracy, macro_auroc

OVER_FILMS = ("accuracy", "calibration_error", "log_loss")
"""Metrics that are means over films; the others are means over classes, which depend on the class with the fewest
patients."""
LEAST_PROBABILITY = float(np.finfo(np.float64).eps)
"""Replaces a lower probability of a probe, such as that of a class without a vote, in its log-loss, as scikit-learn
does."""


def class_estimates(y: NDArray[np.int64], logits: Floats) -> dict[str, Estimate]:
    """Return the metrics of films of several classes by name, as functions of the weights of the films.

    Args:
        y: [N] class of each film.
        logits: [N, C] logits.

    Returns:
        Balanced accuracy and macro AUROC over the classes that these films have (AUROC of each against all others, NaN
        for films of one class), and those of :func:`probability_estimates`.
    """
    present = np.unique(y)
    number = np.searchsorted(present, y)
    of_present = np.where(logits.argmax(axis=1) == y, number, -1)  # a wrong class may be one without films
    return {
        "balanced_accuracy": partial(balanced_accuracy, number, of_present, len(present)),
        "macro_auroc": partial(macro_auroc, number, softmax(logits, axis=1)[:, present]),
        **probability_estimates(y, logits),
    }


def probability_estimates(y: NDArray[np.int64], logits: Floats) -> dict[str, Estimate]:
    """Return the metrics ``OVER_FILMS``: of the most probable class and its probability.

    Args:
        y: [N] class of each film.
        logits: [N, C] logits, or logarithms of probabilities (:func:`log_probabilities`).

    Returns:
        Accuracy; calibration error of the most probable class over bins of its probability (Guo et al. 2017); log-loss
        in nats.
    """
    correct = logits.argmax(axis=1) == y
    costs = -np.take_along_axis(log_softmax(logits, axis=1), y[:, None], axis=1)[:, 0]
    return {
        "accuracy": partial(_mean, correct.astype(np.float64)),
        "calibration_error": partial(calibration_error, softmax(logits, axis=1).max(axis=1), correct),
        "log_loss": partial(_mean, costs),
    }


def log_probabilities(probability: Floats) -> Floats:
    """Return the finite logarithms ([N, C]) of the probabilities ([N, C]) of a probe."""
    return np.asarray(np.log(np.maximum(probability, LEAST_PROBABILITY)), dtype=np.float64)


def classes_without_films(y: NDArray[np.int64], classes: Sequence[str]) -> list[str]:
    """Return the names among ``classes`` of which no film ([N] ``y``) is: no mean contains them."""
    return [name for name, count in zip(classes, np.bincount(y, minlength=len(classes)), strict=True) if not count]


def _mean(values: Floats, weights: Floats) -> Floats:
    return np.asarray((weights @ values) / weights.sum(axis=1))
