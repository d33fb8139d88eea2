"""Principal components of the raw pixels, a baseline without an encoder."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from data_prep.runtime.progress import Progress
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.views import square_film
from mae_rad.data.worker_start import initialise_worker, processes
from mae_rad.embedding.vector_store import FeatureStore, Pools
from mae_rad.errors import ShardFormatError
from mae_rad.evaluation.comparison.principal_components import project_on_components

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
    identity = {"pixels": f"{SIDE} x {SIDE}", "dataset_sha256": index.dataset_sha256}
    return project_on_components(
        pixels.vectors("none"), training_rows, components, identity=identity, cache=cache, name="raw pixels"
    )
