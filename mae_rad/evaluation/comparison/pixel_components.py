"""Principal components of the raw pixels, a baseline without an encoder."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from data_prep.runtime.progress import Progress
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.views import square_film
from mae_rad.data.worker_start import initialise_worker, processes
from mae_rad.embedding.standardised_rows import Vectors, fit_scale
from mae_rad.embedding.vector_store import FeatureStore, Pools
from mae_rad.errors import ShardFormatError

SIDE = 32
"""Pixels of the longer side of a downscaled film; the rest of the square is black."""
_CELL = 8
_BATCH = 256


class _Shrunken(Dataset[tuple[int, NDArray[np.float32] | ShardFormatError]]):
    """Downscaled display values of the films ``rows``, [SIDE * SIDE] in [0, 1]."""

    def __init__(self, index: ShardIndex, rows: NDArray[np.int64]) -> None:
        self._index, self._rows = index, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> tuple[int, NDArray[np.float32] | ShardFormatError]:
        row = int(self._rows[place])
        try:
            return row, shrunken(self._index, row)
        except Exception as error:  # a decoder may raise any error; one raised in a worker would show a traceback
            return row, ShardFormatError(
                f"film {self._index.key(row)} cannot be read ({type(error).__name__})."
                " Check the shards with `mae-rad verify`."
            )


def shrunken(index: ShardIndex, row: int) -> NDArray[np.float32]:
    """Read a whole film and downscale its display values.

    Args:
        index: films of all splits.
        row: row of the film in the index.

    Returns:
        [SIDE * SIDE] float32 in [0, 1].
    """
    square = square_film(index.film(row), SIDE, _CELL)
    return np.asarray(square.reshape(-1) / 65535, dtype=np.float32)


def pixel_store(index: ShardIndex, cache: Path, workers: int) -> FeatureStore:
    """Downscale the films of ``index``; films in the cache are not read again.

    Args:
        index: films of all splits.
        cache: folder of the stores.
        workers: loader processes.

    Raises:
        ShardFormatError: a film cannot be read.
    """
    identity = {"pixels": f"{SIDE} x {SIDE}", "dataset_sha256": index.dataset_sha256}
    store = FeatureStore(cache, identity, len(index), Pools(SIDE * SIDE, double=False))
    missing = store.missing()
    progress = Progress("downscale", "films", len(index), done=len(index) - len(missing))
    films = DataLoader(
        _Shrunken(index, missing),
        batch_size=_BATCH,
        collate_fn=list,
        num_workers=workers,
        multiprocessing_context=processes(workers),
        worker_init_fn=initialise_worker,
    )
    try:
        for batch in films if len(missing) else ():
            rows, values = [row for row, _ in batch], []
            for _, value in batch:
                if isinstance(value, ShardFormatError):
                    raise value
                values.append(value)
            store.write(np.array(rows), np.stack(values), "raw pixels")
            progress.add(len(rows))
    finally:
        store.flush()
    if len(missing):
        progress.close()
    return store


def principal_components(
    pixels: FeatureStore, training_rows: NDArray[np.int64], components: int, index: ShardIndex, cache: Path
) -> FeatureStore:
    """Project all films on the first principal components of the training films, without whitening.

    Args:
        pixels: downscaled films.
        training_rows: rows from which the components are computed.
        components: number of components.
        index: films of all splits.
        cache: folder of the stores.
    """
    digest = hashlib.sha256(np.ascontiguousarray(training_rows).tobytes()).hexdigest()
    identity = {"pixels": f"{SIDE} x {SIDE}", "fitted": digest, "dataset_sha256": index.dataset_sha256}
    store = FeatureStore(cache, identity, len(index), Pools(components, double=False))
    if not len(store.missing()):
        return store
    matrix = pixels.vectors("none")
    scale = fit_scale(Vectors(matrix, training_rows))
    mean, products = scale.mean.astype(np.float32), np.zeros((SIDE * SIDE, SIDE * SIDE))
    for _, block in Vectors(matrix, training_rows).blocks():
        products += (block - mean).T @ (block - mean)
    axes = np.linalg.eigh(products)[1][:, : -components - 1 : -1].astype(np.float32)
    for positions, block in Vectors(matrix, np.arange(len(index))).blocks():
        store.write(
            np.arange(positions.start, positions.stop), np.asarray((block - mean) @ axes, np.float32), "raw pixels"
        )
    store.flush()
    return store
