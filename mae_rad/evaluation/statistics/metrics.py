"""Metrics for many weightings of the same films: a bootstrap resample is a weight per film.

Legend: N films, C classes, R weightings. Every function returns [R] float64, NaN where the metric is undefined (a class
without weight, or numbers that are all equal). With weights of one the values equal scikit-learn's.
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


def r_squared(y: Floats, predicted: Floats, weights: Floats) -> Floats:
    """Compute the fraction of the variance of the numbers that is predicted: 1 - squared error / variance.

    The mean of the variance is that of each weighting, so that a resample is a test set of its own.

    Args:
        y: [N] numbers.
        predicted: [N] predicted numbers.
        weights: [R, N] weights of the films.

    Returns:
        [R] at most 1; below 0 if the mean of the test films would be the better prediction.
    """
    centred = y - y.mean() if len(y) else y  # the variance of large numbers keeps its digits
    total, linear = weights.sum(axis=1), weights @ centred
    variance = weights @ centred**2 - _ratio(linear**2, total)
    rounding = 1e-12 * (weights @ centred**2)
    return np.asarray(1 - _ratio(weights @ (y - predicted) ** 2, np.where(variance > rounding, variance, 0)))


def mean_absolute_error(y: Floats, predicted: Floats, weights: Floats) -> Floats:
    """Compute the mean distance of the predicted from the true numbers, in their unit; lower is better.

    Args:
        y: [N] numbers.
        predicted: [N] predicted numbers.
        weights: [R, N] weights of the films.

    Returns:
        [R], 0 or more.
    """
    return np.asarray(_ratio(weights @ np.abs(y - predicted), weights.sum(axis=1)))


def number_estimates(y: Floats, predicted: Floats) -> dict[str, Estimate]:
    """Return the metrics of predicted numbers by name; the first one is the metric of the figures.

    Args:
        y: [N] number of each test film.
        predicted: [N] predicted number.
    """
    return {
        "r2": lambda weights: r_squared(y, predicted, weights),
        "mean_absolute_error": lambda weights: mean_absolute_error(y, predicted, weights),
    }


def estimates(y: NDArray[np.int64], scores: Floats, priors: Floats) -> dict[str, Estimate]:
    """Return the metrics of a probe's test scores by name; the first one is the metric of the figures.

    Args:
        y: [N] class of each test film.
        scores: [N, C] class probabilities.
        priors: [C] class frequencies of the training films, or [N, C] if films were scored by several probes; see
            :func:`predicted_classes`.
    """
    classes, predicted = scores.shape[1], predicted_classes(scores, priors)

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


def predicted_classes(scores: Floats, priors: Floats) -> NDArray[np.int64]:
    """Return the classes [N] by which balanced accuracy is measured: those of the largest ratio of probability to
    frequency, the best rule for that metric; with an argmax of probabilities every film of a rare finding would be
    negative.

    Args:
        scores: [N, C] class probabilities.
        priors: [C] or [N, C] class frequencies of the training films.
    """
    return np.asarray(np.argmax(scores / priors, axis=1))


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
