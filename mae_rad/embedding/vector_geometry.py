"""Geometry of film vectors: effective rank, alignment and uniformity on the sphere, similarity of two encoders.

Legend: N films, D channels, P pairs.
"""

import numpy as np
from numpy.typing import NDArray

from mae_rad.evaluation.statistics.metrics import Floats

EPSILON = 1e-7
"""Added to every normalised singular value, as in Garrido et al. 2023."""


def rank_me(x: NDArray[np.floating]) -> float:
    """Compute the effective rank of vectors [N, D]: exp of the entropy of the singular values (Garrido et al. 2023)."""
    singular = np.linalg.svd(np.asarray(x, dtype=np.float64), compute_uv=False)
    share = singular / singular.sum() + EPSILON
    return float(np.exp(-(share * np.log(share)).sum()))


def alignment(x: Floats, other: Floats) -> float:
    """Compute the mean squared distance of paired unit vectors (Wang & Isola 2020, alpha = 2).

    Args:
        x: [P, D] vectors of the first film of each pair.
        other: [P, D] vectors of the second film.

    Returns:
        Distance in [0, 4].
    """
    return float(np.square(unit(x) - unit(other)).sum(axis=1).mean())


def uniformity(x: Floats) -> float:
    """Compute log mean exp(-2 squared distance) over all pairs of unit vectors [N, D] (Wang & Isola 2020, t = 2)."""
    x = unit(x)
    squared = np.maximum(2 - 2 * x @ x.T, 0)
    pairs = squared[np.triu_indices(len(x), 1)]
    return float(np.log(np.exp(-2 * pairs).mean()))


def linear_cka(x: Floats, other: Floats) -> float:
    """Compute the linear centred kernel alignment of two encoders (Kornblith et al. 2019).

    Args:
        x: [N, D] vectors of the films.
        other: [N, E] other vectors of the same films.

    Returns:
        Similarity in [0, 1].
    """
    x, other = x - x.mean(axis=0), other - other.mean(axis=0)
    shared = np.square(other.T @ x).sum()
    return float(shared / (np.linalg.norm(x.T @ x) * np.linalg.norm(other.T @ other)))


def unit(x: Floats) -> Floats:
    """Divide each vector [N, D] by its length."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), dtype=np.float64)
