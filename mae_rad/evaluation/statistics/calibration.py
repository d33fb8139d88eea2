"""Scores become probabilities: a line in the logit, fitted on films that trained nothing (Platt 2000; Guo et al. 2017).

Legend: N films, R weightings.
"""

import numpy as np
from numpy.typing import NDArray

from mae_rad.evaluation.statistics.metrics import Floats
from mae_rad.heads.interface import Line

Flags = NDArray[np.bool_]

LEAST_SLOPE = 1e-3
"""A head that is wrong more often than right is not turned round: its probabilities become nearly equal."""
BINS = 15
_STEPS, _ENOUGH = 100, 1e-12


def fit_line(logits: Floats, present: Flags, *, with_offset: bool = True) -> Line:
    """Slope and offset of least log-loss; without an offset this is temperature scaling, 1 / temperature.

    The targets are Platt's, (n₊ + 1) / (n₊ + 2) and 1 / (n₋ + 2), so that the slope stays finite where the classes
    are apart.

    Args:
        logits: [N] of films of both classes.
        present: [N].
        with_offset: fit the offset too.
    """
    positive, negative = int(present.sum()), int((~present).sum())
    target = np.where(present, (positive + 1) / (positive + 2), 1 / (negative + 2))
    inputs = np.stack([logits, np.ones_like(logits)], axis=1).astype(np.float64)
    free = [0, 1] if with_offset else [0]
    line = _least_loss(inputs, target, np.array([1.0, 0.0]), free)
    if line[0] < LEAST_SLOPE:
        line = _least_loss(inputs, target, np.array([LEAST_SLOPE, 0.0]), free[1:])
    return Line(float(line[0]), float(line[1]))


def probabilities(logits: Floats, line: Line) -> Floats:
    """[N] calibrated."""
    return np.asarray(1 / (1 + np.exp(-(line.slope * logits + line.offset))), dtype=np.float64)


def calibration_error(probability: Floats, present: Flags, weights: Floats) -> Floats:
    """[R] expected calibration error: mean over BINS equal bins of |mean probability − share present|, by their films.

    Args:
        probability: [N].
        present: [N].
        weights: [R, N] of the films.
    """
    bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    member = (bins[:, None] == np.arange(BINS)).astype(np.float64)
    gap = weights @ (member * (probability - present)[:, None])
    return np.asarray(np.abs(gap).sum(axis=1) / weights.sum(axis=1))


def log_loss(logits: Floats, present: Flags, weights: Floats) -> Floats:
    """[R] mean of −log of the probability that was given to what is true."""
    costs = np.logaddexp(0, np.where(present, -logits, logits))
    return np.asarray((weights @ costs) / weights.sum(axis=1))


def _least_loss(inputs: Floats, target: Floats, start: Floats, free: list[int]) -> Floats:
    """Newton's method with halved steps; convex, so it finds the least."""
    line = start.copy()

    def loss(at: Floats) -> float:
        z = inputs @ at
        return float((np.logaddexp(0, z) - target * z).mean())

    for _ in range(_STEPS if free else 0):
        p = 1 / (1 + np.exp(-np.clip(inputs @ line, -500, 500)))
        x = inputs[:, free]
        gradient = x.T @ (p - target) / len(x)
        curvature = (x * (p * (1 - p))[:, None]).T @ x / len(x) + 1e-12 * np.eye(len(free))
        step = np.zeros(2)
        step[free] = np.linalg.solve(curvature, gradient)
        scale = 1.0
        while loss(line - scale * step) > loss(line) and scale > 1e-6:
            scale /= 2
        line = line - scale * step
        if float(np.abs(gradient).max()) < _ENOUGH:
            break
    return line
