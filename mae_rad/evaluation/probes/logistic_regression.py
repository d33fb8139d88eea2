"""Logistic regression with an L2 penalty by L-BFGS, over vectors that need not fit in memory.

What is minimised is scikit-learn's objective: C times the sum of the log losses, plus half the squared weights without
intercepts; two classes share one vector of weights, more are multinomial. Every evaluation is one pass over the
vectors, a matrix product in float32 per block; sums, weights and the descent are float64.

Legend: N films, D channels, C classes, K columns of weights (C, or 1 for two classes).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

from mae_rad.embedding.standardised_rows import Standardised
from mae_rad.evaluation.statistics.metrics import Floats

ITERATIONS = 1000
TOLERANCE = 1e-4
"""Largest component of the gradient of the mean loss at which the descent ends."""


class Fit(NamedTuple):
    """Weights [K, D + 1], the intercepts last, and whether the descent came to its end."""

    weights: Floats
    converged: bool


def fit(x: Standardised, y: NDArray[np.int64], classes: int, strengths: Sequence[float]) -> list[Fit]:
    """One model for each C of ``strengths``, ascending; each starts from the one before.

    Args:
        x: [N, D] standardised vectors.
        y: [N] class in [0, classes); classes without films get no probability to speak of.
        classes: C.
        strengths: inverse of the penalty, as scikit-learn's ``C``.
    """
    columns = 1 if classes == 2 else classes
    weights = np.zeros((columns, x.dim + 1))
    fits = []
    for strength in strengths:
        found = minimize(
            _mean_loss,
            weights.ravel(),
            args=(x, y, columns, 1.0 / (strength * len(y))),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": ITERATIONS, "gtol": TOLERANCE, "ftol": 64 * np.finfo(float).eps},
        )
        weights = found.x.reshape(columns, -1)
        fits.append(Fit(weights, found.nit < ITERATIONS))
    return fits


def probabilities(model: Fit, x: Standardised) -> Floats:
    """[N, C] of every class."""
    out = np.empty((len(x), max(2, len(model.weights))))
    for here, block in x.blocks():
        logits = _logits(model.weights, block)
        if len(model.weights) == 1:
            out[here, 1] = expit(logits[:, 0])
            out[here, 0] = 1 - out[here, 1]
        else:
            out[here] = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    return out


def _mean_loss(
    flat: Floats, x: Standardised, y: NDArray[np.int64], columns: int, penalty: float
) -> tuple[float, Floats]:
    """Mean log loss with its penalty, and the gradient."""
    weights = flat.reshape(columns, -1)
    loss, gradient = 0.0, np.zeros_like(weights)
    for here, block in x.blocks():
        logits, said = _logits(weights, block), y[here]
        if columns == 1:
            signed = np.where(said == 1, logits[:, 0], -logits[:, 0])
            loss += float(np.logaddexp(0, -signed).sum())
            error = (expit(logits[:, 0]) - said)[:, None]
        else:
            total = logsumexp(logits, axis=1)
            loss += float((total - logits[np.arange(len(said)), said]).sum())
            error = np.exp(logits - total[:, None])
            error[np.arange(len(said)), said] -= 1
        gradient[:, :-1] += error.astype(np.float32).T @ block
        gradient[:, -1] += error.sum(axis=0)
    free = weights[:, :-1]
    gradient /= len(y)
    gradient[:, :-1] += penalty * free
    return loss / len(y) + 0.5 * penalty * float((free**2).sum()), gradient.ravel()


def _logits(weights: Floats, block: NDArray[np.float32]) -> Floats:
    return np.asarray(block @ weights[:, :-1].T.astype(np.float32), dtype=np.float64) + weights[:, -1]
