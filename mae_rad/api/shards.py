"""``mae_rad.open_shards``: a public folder as a PyTorch dataset."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_prep.shard_format.sidecar import Sidecar
from mae_rad.data.shard_reader import Condition, ShardIndex


class ShardFilm(NamedTuple):
    """A film of a shard.

    Attributes:
        key: pseudonym of the film.
        image: [rows, columns] float32 display values in [0, 1], dark to bright.
        sidecar: metadata of the film.
    """

    key: str
    image: Tensor
    sidecar: Sidecar


class ShardDataset(Dataset[ShardFilm]):
    """Films of public folders by row; sizes differ, so a ``DataLoader`` needs ``batch_size=None`` or a ``collate_fn``.

    Attributes:
        index: index of the films; ``index.table`` holds the rows of ``index.parquet``.
    """

    def __init__(self, index: ShardIndex) -> None:
        self.index = index

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[ShardFilm]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> ShardFilm:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} films")
        row %= len(self)
        film = self.index.film(row)
        image = torch.from_numpy(film.displayed().astype(np.float32) / np.float32(65535))
        return ShardFilm(self.index.key(row), image, film.sidecar)


def open_shards(
    folder: str | Path, *, split: str | None = None, where: Mapping[str, Condition] | None = None
) -> ShardDataset:
    """Open a public folder with all generations that were appended to it.

    Args:
        folder: public folder written by ``mae-rad shard``.
        split: train, val or test (default: all films).
        where: index column → value, or list of values, that a film must have.

    Raises:
        ShardFormatError: the folder is missing, unfinished or of another version.
        SettingsError: a column is unknown, or no film has these values.
    """
    return ShardDataset(ShardIndex([Path(folder)], where=where, split=split))
