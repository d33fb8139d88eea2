"""Logistic regression with an L2 penalty by L-BFGS, for vectors that may exceed the memory.

The objective is scikit-learn's: C times the sum of the log losses, plus half the squared weights without intercepts;
two classes share one weight vector, more are multinomial. Every evaluation is one pass over the vectors with a float32
matrix product per block; sums, weights and optimiser are float64.

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
"""Largest component of the gradient of the mean loss at which the optimiser stops."""


class Fit(NamedTuple):
    """A fitted model.

    Attributes:
        weights: [K, D + 1], the intercepts last.
        converged: whether the optimiser converged.
    """

    weights: Floats
    converged: bool


def fit(x: Standardised, y: NDArray[np.int64], classes: int, strengths: Sequence[float]) -> list[Fit]:
    """Fit one model for each C of ``strengths``, each from the solution of the one before.

    Args:
        x: [N, D] standardised vectors.
        y: [N] class in [0, C); classes without films get probabilities near zero.
        classes: number of classes C.
        strengths: inverses of the penalty, as scikit-learn's ``C``, ascending.
    """
    columns = 1 if classes == 2 else classes
    weights = np.zeros((columns, x.dim + 1))
    fits = []
    for strength in strengths:
        solution = minimize(
            _mean_loss,
            weights.ravel(),
            args=(x, y, columns, 1.0 / (strength * len(y))),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": ITERATIONS, "gtol": TOLERANCE, "ftol": 64 * np.finfo(float).eps},
        )
        weights = solution.x.reshape(columns, -1)
        fits.append(Fit(weights, solution.nit < ITERATIONS))
    return fits


def probabilities(model: Fit, x: Standardised) -> Floats:
    """Predict class probabilities.

    Args:
        model: fitted model.
        x: [N, D] standardised vectors.

    Returns:
        [N, C] in [0, 1].
    """
    out = np.empty((len(x), max(2, len(model.weights))))
    for positions, block in x.blocks():
        logits = _logits(model.weights, block)
        if len(model.weights) == 1:
            out[positions, 1] = expit(logits[:, 0])
            out[positions, 0] = 1 - out[positions, 1]
        else:
            out[positions] = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    return out


def _mean_loss(
    flat: Floats, x: Standardised, y: NDArray[np.int64], columns: int, penalty: float
) -> tuple[float, Floats]:
    """Return the mean log loss with its penalty, and the gradient."""
    weights = flat.reshape(columns, -1)
    loss, gradient = 0.0, np.zeros_like(weights)
    for positions, block in x.blocks():
        logits, classes_of_block = _logits(weights, block), y[positions]
        if columns == 1:
            signed = np.where(classes_of_block == 1, logits[:, 0], -logits[:, 0])
            loss += float(np.logaddexp(0, -signed).sum())
            error = (expit(logits[:, 0]) - classes_of_block)[:, None]
        else:
            total = logsumexp(logits, axis=1)
            loss += float((total - logits[np.arange(len(classes_of_block)), classes_of_block]).sum())
            error = np.exp(logits - total[:, None])
            error[np.arange(len(classes_of_block)), classes_of_block] -= 1
        gradient[:, :-1] += error.astype(np.float32).T @ block
        gradient[:, -1] += error.sum(axis=0)
    coefficients = weights[:, :-1]
    gradient /= len(y)
    gradient[:, :-1] += penalty * coefficients
    return loss / len(y) + 0.5 * penalty * float((coefficients**2).sum()), gradient.ravel()


def _logits(weights: Floats, block: NDArray[np.float32]) -> Floats:
    return np.asarray(block @ weights[:, :-1].T.astype(np.float32), dtype=np.float64) + weights[:, -1]
