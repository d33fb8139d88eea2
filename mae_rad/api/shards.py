"""``mae_rad.open_shards``: a public folder as a PyTorch dataset."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from data_prep.folder_url import is_url, public_folder
from data_prep.shard_format.sidecar import Sidecar
from mae_rad.data.film import Film
from mae_rad.data.shard_reader import Condition, ShardIndex
from mae_rad.data.streaming import Open, shard_openers, stream_films, url_openers
from mae_rad.errors import SettingsError


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
        return _shard_film(self.index.key(row), self.index.film(row))


class ShardStream(IterableDataset[ShardFilm]):
    """Films of shards in their order, each once, read from beginning to end; sizes differ as in :class:`ShardDataset`.

    Ranks and loader processes share the films by whole shards.
    """

    def __init__(self, openers: Mapping[str, Open]) -> None:
        self._openers = openers

    def __iter__(self) -> Iterator[ShardFilm]:
        return (_shard_film(key, film) for key, film in stream_films(self._openers))


def _shard_film(key: str, film: Film) -> ShardFilm:
    return ShardFilm(key, torch.from_numpy(film.displayed().astype(np.float32) / np.float32(65535)), film.sidecar)


@overload
def open_shards(
    folder: str | Path,
    *,
    split: str | None = None,
    where: Mapping[str, Condition] | None = None,
    streaming: Literal[False] = False,
) -> ShardDataset: ...


@overload
def open_shards(folder: str | Path, *, split: str | None = None, streaming: Literal[True]) -> ShardStream: ...


def open_shards(
    folder: str | Path,
    *,
    split: str | None = None,
    where: Mapping[str, Condition] | None = None,
    streaming: bool = False,
) -> ShardDataset | ShardStream:
    """Open a public folder with all generations that were appended to it.

    Args:
        folder: public folder written by ``mae-rad shard``, or the URL where it was published; with ``streaming`` also
            the URL of shards that webdataset reads, such as ``https://host/train-{000000..000009}.tar``.
        split: train, val or test (default: all films). Of train, films with the pixels of a held-out film are left out.
        where: index column → value, or list of values, that a film must have; not with ``streaming``.
        streaming: read shards from beginning to end instead of films by row.

    Raises:
        ShardFormatError: the folder is missing, unfinished or of another version.
        SettingsError: a column is unknown, no film has these values, or an argument cannot be used with ``streaming``.
        StorageError: object storage cannot be reached, or refuses a request.
    """
    if not streaming:
        return ShardDataset(ShardIndex([public_folder(folder)], where=where, split=split, with_copies=split is None))
    if where is not None:
        raise SettingsError("open_shards: where needs the index. Leave streaming out.")
    if not _is_shard_url(str(folder)):
        return ShardStream(shard_openers([public_folder(folder)], split=split))
    if split is not None:
        raise SettingsError("open_shards: split needs a public folder. Give the URLs of the shards of that split.")
    return ShardStream(url_openers(str(folder)))


def _is_shard_url(folder: str) -> bool:
    """Whether it is the URL of shards, not of a folder: a tar, or a command."""
    return folder.startswith("pipe:") or (is_url(folder) and folder.partition("?")[0].endswith(".tar"))
