"""Rank films by how much a prediction contradicts what is stated, and estimate how many statements are wrong.

Classes: the films that are confidently of another class than the stated one, by the probability of the stated class
(self-confidence), the lowest first; the expected number is the off-diagonal of the confident joint. All of Northcutt,
Jiang & Chuang 2021, Confident Learning: Estimating Uncertainty in Dataset Labels. Numbers: the residual in robust
standard deviations, 1.4826 times the median absolute deviation (Rousseeuw & Croux 1993).

Legend: N films, C classes, R weightings.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from mae_rad.evaluation.statistics.intervals import Interval, bootstrap, interval
from mae_rad.evaluation.statistics.metrics import Floats

MAD_OF_NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
FAR = 3.0
"""Robust standard deviations from which a number counts as far off."""


def confident_class(probability: Floats, y: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find the class that a film confidently has.

    A film may have a class of which its probability reaches the mean probability of the films that are stated to be of
    it, so that a rare class is not less confident than a frequent one; of several it has the most probable.

    Args:
        probability: [N, C] out-of-fold probabilities.
        y: [N] stated class.

    Returns:
        [N] class, -1 for a film that has none.
    """
    stated = (probability[y == c, c] for c in range(probability.shape[1]))
    thresholds = np.array([part.mean() if len(part) else np.inf for part in stated])
    reached = np.where(probability >= thresholds, probability, -np.inf)
    return np.where(np.isfinite(reached).any(axis=1), reached.argmax(axis=1), -1)


def expected_wrong(
    probability: Floats, y: NDArray[np.int64], groups: NDArray[np.int64], *, repetitions: int, seed: int
) -> Interval:
    """Estimate how many films are stated to be of another class than they are.

    Of every stated class, the share of confident films that are confidently of another class, times its films. The
    interval is over groups of films, with the predictions as they are.

    Args:
        probability: [N, C] out-of-fold probabilities.
        y: [N] stated class.
        groups: [N] number of the group, films that are drawn together.
        repetitions: bootstrap samples.
        seed: of the samples.
    """
    classes, total = probability.shape[1], len(y)
    confident = confident_class(probability, y)
    stated = (y[:, None] == np.arange(classes)).astype(np.float64)
    counted = stated * (confident >= 0)[:, None]
    wrong = counted * (confident != y)[:, None]

    def estimate(weights: Floats) -> Floats:
        films, sure = weights @ stated, weights @ counted
        shares = np.divide(weights @ wrong, sure, out=np.zeros_like(sure), where=sure > 0)
        return np.asarray(total * (films * shares).sum(axis=1) / films.sum(axis=1))

    sampled = bootstrap(groups, {"wrong": [estimate]}, repetitions=repetitions, seed=seed)
    found = interval(sampled["wrong"])
    return found if math.isnan(found.low) else found._replace(low=max(0.0, found.low), high=min(total, found.high))


def robust_residual(stated: Floats, predicted: Floats) -> Floats:
    """Compute how far numbers are from their predictions, in robust standard deviations.

    Args:
        stated: [N] numbers.
        predicted: [N] out-of-fold predictions.

    Returns:
        [N] signed; 0 for all films if most residuals are equal.
    """
    residual = stated - predicted
    centred = residual - np.median(residual)
    spread = MAD_OF_NORMAL * float(np.median(np.abs(centred)))
    return np.asarray(centred / spread) if spread > 0 else np.zeros(len(stated))


def expected_far(films: int) -> float:
    """Return how many of ``films`` normal residuals would be more than FAR standard deviations off."""
    return float(films * 2 * norm.sf(FAR))
