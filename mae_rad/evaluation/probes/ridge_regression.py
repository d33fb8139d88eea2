"""Ridge regression in closed form for many penalties at once, for vectors that may exceed the memory.

The objective per film is scikit-learn's ``Ridge`` with alpha = penalty × N: squared error plus alpha times the squared
weights, the intercept without penalty. The penalty per film keeps its meaning when films are added. One decomposition
of the D × D products of the channels, or with fewer films than channels of the N × N products of the films, gives the
weights of every penalty (Hastie, Tibshirani & Friedman 2009, section 3.4.1).

Legend: N films, D channels, A penalties.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mae_rad.embedding.standardised_rows import Standardised

Floats = NDArray[np.float64]


class Ridge(NamedTuple):
    """Fitted models.

    Attributes:
        weights: [D, A].
        intercepts: [A].
    """

    weights: Floats
    intercepts: Floats


def fit_ridge(x: Standardised, y: Floats, penalties: Sequence[float]) -> Ridge:
    """Fit one model for each penalty.

    Args:
        x: [N, D] standardised vectors.
        y: [N] numbers, in any unit.
        penalties: penalties per film, above 0.
    """
    alphas = len(x) * np.asarray(penalties, dtype=np.float64)
    mean = _mean(x)
    centred = y - y.mean()
    if len(x) <= x.dim:
        matrix = x.array().astype(np.float64) - mean
        values, axes = np.linalg.eigh(matrix @ matrix.T)
        dual = axes @ ((axes.T @ centred)[:, None] / (np.maximum(values, 0)[:, None] + alphas))
        weights = matrix.T @ dual
    else:
        products, with_y = np.zeros((x.dim, x.dim)), np.zeros(x.dim)
        for positions, block in x.blocks():
            matrix = block.astype(np.float64) - mean
            products += matrix.T @ matrix
            with_y += matrix.T @ centred[positions]
        values, axes = np.linalg.eigh(products)
        weights = axes @ ((axes.T @ with_y)[:, None] / (np.maximum(values, 0)[:, None] + alphas))
    return Ridge(weights, y.mean() - mean @ weights)


def predict_numbers(model: Ridge, x: Standardised) -> Floats:
    """Predict the numbers [N, A] of vectors ``x`` [N, D] with every model."""
    out = np.empty((len(x), len(model.intercepts)))
    for positions, block in x.blocks():
        out[positions] = block.astype(np.float64) @ model.weights + model.intercepts
    return out


def _mean(x: Standardised) -> Floats:
    """Mean [D] of the vectors; standardised in float32, it is close to zero, not zero."""
    mean = np.zeros(x.dim)
    for _, block in x.blocks():
        mean += block.sum(axis=0, dtype=np.float64) / len(x)
    return mean
