"""Project vectors on their principal components: of raw pixels as a baseline, of wide vectors for an equal width."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh

from mae_rad.embedding.standardised_rows import Matrix, Vectors, fit_scale
from mae_rad.embedding.vector_store import FeatureStore, Pools

_MAX_FULL = 2048
"""Width up to which all axes are computed; above it only the first ones are, which takes a fraction of the time."""


def project_on_components(
    matrix: Matrix,
    training_rows: NDArray[np.int64],
    components: int,
    *,
    identity: Mapping[str, str | int],
    cache: Path,
    name: str,
) -> FeatureStore:
    """Project all films on the first principal components of the training films, without whitening.

    Args:
        matrix: [films, W] vectors.
        training_rows: rows from which the components are computed.
        components: number of components.
        identity: everything that ``matrix`` depends on.
        cache: folder of the stores.
        name: name of the vectors, for error messages.

    Returns:
        Store of [films, components]; it is read if it exists.
    """
    digest = hashlib.sha256(np.ascontiguousarray(training_rows).tobytes()).hexdigest()
    films = len(matrix)
    store = FeatureStore(cache, {**identity, "fitted": digest}, films, Pools(components, double=False))
    if not len(store.missing()):
        return store
    mean = fit_scale(Vectors(matrix, training_rows)).mean.astype(np.float32)
    products = np.zeros((matrix.shape[1], matrix.shape[1]))
    for _, block in Vectors(matrix, training_rows).blocks():
        products += (block - mean).T @ (block - mean)
    axes = _first_axes(products, components).astype(np.float32)
    axes[:, max(1, len(training_rows) - 1) :] = 0  # N films have N - 1 components; the others would be rounding errors
    for positions, block in Vectors(matrix, np.arange(films)).blocks():
        rows = np.arange(positions.start, positions.stop)
        store.write(rows, np.asarray((block - mean) @ axes, np.float32), name)
    store.flush()
    return store


def _first_axes(products: NDArray[np.float64], components: int) -> NDArray[np.float64]:
    """Compute the eigenvectors [W, components] of the largest eigenvalues of ``products`` [W, W], in falling order."""
    if len(products) <= max(_MAX_FULL, 4 * components):
        return np.asarray(np.linalg.eigh(products)[1][:, : -components - 1 : -1])
    return np.asarray(eigsh(products, components, which="LA", v0=np.ones(len(products)))[1][:, ::-1])
