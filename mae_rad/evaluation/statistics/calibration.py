"""Calibrate scores to probabilities: a line in the logit, fitted on held-out films (Platt 2000; Guo et al. 2017).

Legend: N films, R weightings.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from mae_rad.evaluation.statistics.metrics import Floats
from mae_rad.heads.interface import Calibration

Flags = NDArray[np.bool_]

MIN_SLOPE = 1e-3
"""Lowest slope: the scores of a head below chance are not inverted; its probabilities become nearly equal."""
MAX_TEMPERATURE = 100.0
"""Bound of the temperature and of its inverse, which is infinite for separable classes."""
BINS = 15
"""Bins of the calibration error."""
_MAX_STEPS, _GRADIENT_TOLERANCE = 100, 1e-12


def fit_line(logits: Floats, present: Flags, *, with_offset: bool = True) -> Calibration:
    """Fit the slope and offset of lowest log loss; without an offset this is temperature scaling, 1 / temperature.

    The targets are Platt's, (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2), so that the slope stays finite if the classes are
    separable.

    Args:
        logits: [N] logits of films of both classes.
        present: [N] bool, the finding is present.
        with_offset: fit the offset too.

    Returns:
        Slope and offset.
    """
    positive, negative = int(present.sum()), int((~present).sum())
    target = np.where(present, (positive + 1) / (positive + 2), 1 / (negative + 2))
    inputs = np.stack([logits, np.ones_like(logits)], axis=1).astype(np.float64)
    fitted = [0, 1] if with_offset else [0]
    line = _minimise_log_loss(inputs, target, np.array([1.0, 0.0]), fitted)
    if line[0] < MIN_SLOPE:
        line = _minimise_log_loss(inputs, target, np.array([MIN_SLOPE, 0.0]), fitted[1:])
    return Calibration(float(line[0]), float(line[1]))


def fit_temperature(logits: Floats, y: NDArray[np.int64]) -> Calibration:
    """Fit the temperature of a softmax of lowest log loss (Guo et al. 2017).

    Args:
        logits: [N, C] logits.
        y: [N] class.

    Returns:
        Slope 1 / temperature, from 1 / ``MAX_TEMPERATURE`` to ``MAX_TEMPERATURE``; the offset is 0.
    """

    def loss(log_slope: float) -> float:
        return -float(np.take_along_axis(log_softmax(np.exp(log_slope) * logits, axis=1), y[:, None], axis=1).mean())

    limit = np.log(MAX_TEMPERATURE)
    return Calibration(float(np.exp(minimize_scalar(loss, bounds=(-limit, limit), method="bounded").x)), 0.0)


def probabilities(logits: Floats, line: Calibration) -> Floats:
    """Return calibrated probabilities.

    Args:
        logits: [N] logits.
        line: slope and offset.

    Returns:
        [N] in [0, 1].
    """
    return np.asarray(1 / (1 + np.exp(-(line.slope * logits + line.offset))), dtype=np.float64)


def calibration_error(probability: Floats, present: Flags, weights: Floats) -> Floats:
    """Compute the expected calibration error over BINS equal bins, weighted by their films.

    The error of a bin is ``abs(mean probability − fraction of present)``.

    Args:
        probability: [N] probabilities in [0, 1].
        present: [N] bool, the finding is present.
        weights: [R, N] weights of the films.

    Returns:
        [R] error in [0, 1].
    """
    bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    member = (bins[:, None] == np.arange(BINS)).astype(np.float64)
    gap = weights @ (member * (probability - present)[:, None])
    return np.asarray(np.abs(gap).sum(axis=1) / weights.sum(axis=1))


def log_loss(logits: Floats, present: Flags, weights: Floats) -> Floats:
    """Compute the mean log loss.

    Args:
        logits: [N] logits.
        present: [N] bool, the finding is present.
        weights: [R, N] weights of the films.

    Returns:
        [R] loss in nats.
    """
    costs = np.logaddexp(0, np.where(present, -logits, logits))
    return np.asarray((weights @ costs) / weights.sum(axis=1))


def _minimise_log_loss(inputs: Floats, target: Floats, start: Floats, fitted: list[int]) -> Floats:
    """Minimise the log loss by Newton's method with step halving; the loss is convex."""
    line = start.copy()

    def loss(values: Floats) -> float:
        z = inputs @ values
        return float((np.logaddexp(0, z) - target * z).mean())

    for _ in range(_MAX_STEPS if fitted else 0):
        p = 1 / (1 + np.exp(-np.clip(inputs @ line, -500, 500)))
        x = inputs[:, fitted]
        gradient = x.T @ (p - target) / len(x)
        curvature = (x * (p * (1 - p))[:, None]).T @ x / len(x) + 1e-12 * np.eye(len(fitted))
        step = np.zeros(2)
        step[fitted] = np.linalg.solve(curvature, gradient)
        scale = 1.0
        while loss(line - scale * step) > loss(line) and scale > 1e-6:
            scale /= 2
        line = line - scale * step
        if float(np.abs(gradient).max()) < _GRADIENT_TOLERANCE:
            break
    return line
