"""``mae_rad.open_shards``: a public folder as a PyTorch dataset."""

from collections.abc import Mapping
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
        sidecar: what the shard says of it.
    """

    key: str
    image: Tensor
    sidecar: Sidecar


class ShardDataset(Dataset[ShardFilm]):
    """The films of public folders by row; sizes differ, so a loader needs ``batch_size=None`` or its own collation.

    Attributes:
        index: the rows of ``index.parquet`` as ``index.table``.
    """

    def __init__(self, index: ShardIndex) -> None:
        self.index = index

    def __len__(self) -> int:
        return len(self.index)

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
    """Open a public folder with all that was appended to it.

    Args:
        folder: that ``mae-rad shard`` wrote.
        split: train, val or test (default: all films).
        where: column of the index → value, or list of values, that a film must have.

    Raises:
        ShardFormatError: the folder is missing, unfinished or of another version.
        SettingsError: an unknown column, or no film has these values.
    """
    return ShardDataset(ShardIndex([Path(folder)], where=where, split=split))
