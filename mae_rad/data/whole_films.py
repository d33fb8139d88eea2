"""Load whole films, every film once, in batches of equal patch grid."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, get_worker_info

from mae_rad.data.batch import Patches
from mae_rad.data.loader import return_item
from mae_rad.data.patch_layout import grid_of
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.views import FilmPatches, stack, whole_film
from mae_rad.data.worker_start import MAX_WAITING_BATCHES, initialise_worker, processes
from mae_rad.errors import ShardFormatError, StorageError, UserError

_AHEAD = 32
"""Films that each loader process reads ahead from object storage."""


class WholeFilms(Dataset[tuple[int, FilmPatches | UserError]]):
    """Maps a position in ``rows`` to all patches of that film, or to an error.

    Args:
        index: films.
        rows: [n] int64 rows of the index.
        tokens: T, number of content patches.
        patch: patch side in pixels.
    """

    def __init__(self, index: ShardIndex, rows: NDArray[np.int64], *, tokens: int, patch: int) -> None:
        self._index, self._rows, self._tokens, self._patch = index, rows, tokens, patch
        self._read: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> tuple[int, FilmPatches | UserError]:
        row = int(self._rows[place])
        try:
            self._read_ahead(place)
            return row, whole_film(self._index.film(row), self._tokens, self._patch)
        except StorageError as error:
            return row, error
        except Exception as error:  # decoders raise errors of any type; one raised in a worker is shown as a traceback
            return row, ShardFormatError(
                f"film {self._index.key(row)} cannot be embedded ({type(error).__name__})."
                " Check the shards with `mae-rad verify`."
            )

    def _read_ahead(self, place: int) -> None:
        """Read the next films of this process, which takes every n-th of n processes."""
        if place not in self._read:
            worker = get_worker_info()
            places = range(place, len(self), worker.num_workers if worker else 1)[:_AHEAD]
            self._read = frozenset(places)
            self._index.read_ahead([int(row) for row in self._rows[places.start : places.stop : places.step]])


def whole_film_batches(
    index: ShardIndex, *, tokens: int, patch: int, batch: int, workers: int, rows: NDArray[np.int64] | None = None
) -> Iterator[tuple[list[int], Patches]]:
    """Load every film once, in batches of films of equal grid, so that none is padded.

    Batches are full except at the end, or if too many films of other grids are held in memory.

    Args:
        index: films.
        tokens: T, number of content patches.
        patch: patch side in pixels.
        batch: films per batch.
        workers: loader processes; 0 loads in this process.
        rows: [n] rows of the index (default: all).

    Yields:
        The rows of a batch, and their patches.

    Raises:
        ShardFormatError: a film cannot be read.
        StorageError: object storage cannot be reached, or refuses a request.
    """
    loader = DataLoader(
        WholeFilms(index, np.arange(len(index)) if rows is None else rows, tokens=tokens, patch=patch),
        batch_size=None,
        collate_fn=return_item,
        num_workers=workers,
        prefetch_factor=2 * batch if workers else None,
        multiprocessing_context=processes(workers),
        worker_init_fn=initialise_worker,
    )
    waiting: dict[tuple[int, int], list[tuple[int, FilmPatches]]] = {}
    for row, patches in loader:
        if isinstance(patches, UserError):
            raise patches
        grid = grid_of(len(patches.coords), patches.size)
        group = waiting.setdefault(grid, [])
        group.append((row, patches))
        if len(group) == batch:
            yield _rows_and_patches(waiting.pop(grid))
        elif sum(map(len, waiting.values())) >= MAX_WAITING_BATCHES * batch:
            yield _rows_and_patches(waiting.pop(max(waiting, key=lambda grid: len(waiting[grid]))))
    for group in waiting.values():
        yield _rows_and_patches(group)


def _rows_and_patches(group: Sequence[tuple[int, FilmPatches]]) -> tuple[list[int], Patches]:
    return [row for row, _ in group], stack([patches for _, patches in group])
