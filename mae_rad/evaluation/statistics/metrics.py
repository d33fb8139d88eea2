"""Metrics for many weightings of the same films: a bootstrap resample is a weight per film.

Legend: N films, C classes, R weightings. Every function returns [R] float64, NaN where the metric is undefined (a class
without weight). With weights of one the values equal scikit-learn's.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Estimate = Callable[[Floats], Floats]
"""Weights [R, N] of fixed films → values [R] of a metric."""


def auroc(positive: NDArray[np.bool_], score: Floats, weights: Floats) -> Floats:
    """Compute the area under the ROC curve; ties count half.

    Args:
        positive: [N] bool.
        score: [N] scores.
        weights: [R, N] weights of the films.

    Returns:
        [R] in [0, 1].
    """
    w_positive, w_negative = _by_score(positive, score, weights)
    below = np.cumsum(w_negative, axis=0) - 0.5 * w_negative
    return _ratio((w_positive * below).sum(axis=0), w_positive.sum(axis=0) * w_negative.sum(axis=0))


def average_precision(positive: NDArray[np.bool_], score: Floats, weights: Floats) -> Floats:
    """Compute the precision averaged over the recall steps of falling thresholds, without interpolation.

    Args:
        positive: [N] bool.
        score: [N] scores.
        weights: [R, N] weights of the films.

    Returns:
        [R] in [0, 1].
    """
    w_positive, w_negative = _by_score(positive, -score, weights)
    true, false = np.cumsum(w_positive, axis=0), np.cumsum(w_negative, axis=0)
    precision = _ratio(true, true + false, otherwise=0.0)
    return _ratio((w_positive * precision).sum(axis=0), w_positive.sum(axis=0))


def macro_auroc(y: NDArray[np.int64], scores: Floats, weights: Floats) -> Floats:
    """Compute the mean over the classes of the one-versus-rest AUROC.

    Args:
        y: [N] class of each film.
        scores: [N, C] class scores.
        weights: [R, N] weights of the films.

    Returns:
        [R] in [0, 1].
    """
    per_class = [auroc(y == c, scores[:, c], weights) for c in range(scores.shape[1])]
    return np.asarray(np.mean(per_class, axis=0), dtype=np.float64)


def balanced_accuracy(y: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, weights: Floats) -> Floats:
    """Compute the mean over the classes of their recall.

    Args:
        y: [N] class of each film.
        predicted: [N] predicted class of each film.
        classes: C.
        weights: [R, N] weights of the films.

    Returns:
        [R] in [0, 1].
    """
    member = (y[:, None] == np.arange(classes)).astype(np.float64)
    correct = member * (predicted == y)[:, None]
    return np.asarray(_ratio(weights @ correct, weights @ member).mean(axis=1), dtype=np.float64)


def estimates(y: NDArray[np.int64], scores: Floats, priors: Floats) -> dict[str, Estimate]:
    """Return the metrics of a probe's test scores by name; the first one is the metric of the figures.

    Args:
        y: [N] class of each test film.
        scores: [N, C] class probabilities.
        priors: [C] class frequencies of the training films. For balanced accuracy the predicted class is
            the one with the largest ratio of probability to frequency, the best rule for that metric; with an argmax
            of probabilities every film of a rare finding would be negative.
    """
    classes = scores.shape[1]
    predicted = np.argmax(scores / priors, axis=1)

    def balanced(weights: Floats) -> Floats:
        return balanced_accuracy(y, predicted, classes, weights)

    if classes > 2:
        return {"macro_auroc": lambda weights: macro_auroc(y, scores, weights), "balanced_accuracy": balanced}
    positive, score = y == 1, scores[:, 1]
    return {
        "auroc": lambda weights: auroc(positive, score, weights),
        "average_precision": lambda weights: average_precision(positive, score, weights),
        "balanced_accuracy": balanced,
    }


def _by_score(positive: NDArray[np.bool_], score: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Sum the weights of the positive and of the negative films per distinct score [scores, R], in ascending order.

    Four times faster if the weights of a film are contiguous in memory, as those of resamples are.
    """
    order = np.argsort(score, kind="stable")
    sorted_scores, ordered_weights = score[order], weights.T[order]
    starts = np.flatnonzero(np.r_[True, sorted_scores[1:] != sorted_scores[:-1]])
    w_positive = ordered_weights * positive[order][:, None]
    if len(starts) < len(order):
        w_positive, ordered_weights = (np.add.reduceat(w, starts, axis=0) for w in (w_positive, ordered_weights))
    return w_positive, ordered_weights - w_positive


def _ratio(numerator: Floats, denominator: Floats, otherwise: float = np.nan) -> Floats:
    filled = np.full(np.broadcast(numerator, denominator).shape, otherwise)
    np.divide(numerator, denominator, out=filled, where=denominator > 0)
    return filled
