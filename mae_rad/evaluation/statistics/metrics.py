"""Metrics for many weightings of the same films at once: a bootstrap resample is a weight per film.

Legend: N films, C classes, R weightings. Every function returns [R] float64, NaN where a weighting leaves the metric
undefined (a class without weight). With weights of one they equal scikit-learn's.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Estimate = Callable[[Floats], Floats]
"""Weights [R, N] → values [R] of a metric of films that are already fixed."""


def auroc(positive: NDArray[np.bool_], score: Floats, weights: Floats) -> Floats:
    """Area under the ROC curve: probability that a positive film scores above a negative one, ties count half."""
    w_positive, w_negative = _by_score(positive, score, weights)
    below = np.cumsum(w_negative, axis=0) - 0.5 * w_negative
    return _ratio((w_positive * below).sum(axis=0), w_positive.sum(axis=0) * w_negative.sum(axis=0))


def average_precision(positive: NDArray[np.bool_], score: Floats, weights: Floats) -> Floats:
    """Precision averaged over the recall steps of falling thresholds, without interpolation."""
    w_positive, w_negative = _by_score(positive, -score, weights)
    true, false = np.cumsum(w_positive, axis=0), np.cumsum(w_negative, axis=0)
    precision = _ratio(true, true + false, otherwise=0.0)
    return _ratio((w_positive * precision).sum(axis=0), w_positive.sum(axis=0))


def macro_auroc(y: NDArray[np.int64], scores: Floats, weights: Floats) -> Floats:
    """Mean over the classes of the AUROC of class against rest; ``scores`` [N, C]."""
    per_class = [auroc(y == c, scores[:, c], weights) for c in range(scores.shape[1])]
    return np.asarray(np.mean(per_class, axis=0), dtype=np.float64)


def balanced_accuracy(y: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, weights: Floats) -> Floats:
    """Mean over the classes of the fraction of their films that is recognised."""
    member = (y[:, None] == np.arange(classes)).astype(np.float64)
    right = member * (predicted == y)[:, None]
    return np.asarray(_ratio(weights @ right, weights @ member).mean(axis=1), dtype=np.float64)


def estimates(y: NDArray[np.int64], scores: Floats, priors: Floats) -> dict[str, Estimate]:
    """The metrics of one probe's test scores, by name; the first one is the metric that figures show.

    Args:
        y: [N] class of each test film.
        scores: [N, C] class probabilities.
        priors: [C] class frequencies of the training films. The decision behind balanced accuracy is the class
            whose probability exceeds its frequency most, the best rule for that metric; a plain argmax would call
            every film of a rare finding negative.
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
    """Weights of the positive and of the negative films, [groups of equal score, R], the lowest score first.

    Four times as fast where the weights of a film lie side by side, as those of resamples do.
    """
    order = np.argsort(score, kind="stable")
    ordered, total = score[order], weights.T[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    w_positive = total * positive[order][:, None]
    if len(starts) < len(order):
        w_positive, total = (np.add.reduceat(w, starts, axis=0) for w in (w_positive, total))
    return w_positive, total - w_positive


def _ratio(numerator: Floats, denominator: Floats, otherwise: float = np.nan) -> Floats:
    filled = np.full(np.broadcast(numerator, denominator).shape, otherwise)
    np.divide(numerator, denominator, out=filled, where=denominator > 0)
    return filled
