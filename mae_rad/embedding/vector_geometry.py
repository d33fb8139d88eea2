"""The shape of a cloud of vectors: how many directions it uses, how it lies on the sphere, what two clouds share.

Legend: N films, D channels, P pairs.
"""

import numpy as np
from numpy.typing import NDArray

from mae_rad.evaluation.statistics.metrics import Floats

EPSILON = 1e-7
"""Of Garrido et al., added to every share."""


def rank_me(x: NDArray[np.floating]) -> float:
    """Effective rank of vectors [N, D]: exp of the entropy of their singular values (RankMe, Garrido et al. 2023)."""
    singular = np.linalg.svd(np.asarray(x, dtype=np.float64), compute_uv=False)
    share = singular / singular.sum() + EPSILON
    return float(np.exp(-(share * np.log(share)).sum()))


def alignment(x: Floats, other: Floats) -> float:
    """Mean squared distance of unit vectors [P, D] of the films of a pair (Wang & Isola 2020, alpha = 2)."""
    return float(np.square(unit(x) - unit(other)).sum(axis=1).mean())


def uniformity(x: Floats) -> float:
    """Log of the mean of exp(-2 squared distance) over all pairs of unit vectors [N, D] (Wang & Isola 2020, t = 2)."""
    x = unit(x)
    squared = np.maximum(2 - 2 * x @ x.T, 0)
    pairs = squared[np.triu_indices(len(x), 1)]
    return float(np.log(np.exp(-2 * pairs).mean()))


def linear_cka(x: Floats, other: Floats) -> float:
    """Linear centred kernel alignment of vectors [N, D] and [N, E] of the same films (Kornblith et al. 2019)."""
    x, other = x - x.mean(axis=0), other - other.mean(axis=0)
    shared = np.square(other.T @ x).sum()
    return float(shared / (np.linalg.norm(x.T @ x) * np.linalg.norm(other.T @ other)))


def unit(x: Floats) -> Floats:
    """Vectors of length one."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), dtype=np.float64)
