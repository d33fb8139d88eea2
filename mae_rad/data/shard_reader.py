"""Films of one or more public folders, read by index with positioned reads."""

import copy
import hashlib
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.index import same_pixels_across
from data_prep.shard_format.sidecar import Sidecar
from mae_rad.data.film import Film
from mae_rad.errors import SettingsError, ShardFormatError

Condition = str | int | float | bool | None | list[str] | list[int]
"""None is the condition that nothing is told."""

_OPEN_FILES = 128


class FilmUnreadableError(Exception):
    """A film's bytes are not what the index says. Names the shard and the key, nothing else."""


class ShardIndex:
    """The films of ``folders`` that pass ``where``.

    Args:
        folders: complete public folders; each brings the generations that were appended to it.
        where: index column → value, or list of values, that a film must have.
        split: shorthand for a condition on ``split``; None takes all.
        generations: how many generations of each folder are read, from the first; None reads all.

    Raises:
        ShardFormatError: a folder is missing, unfinished or of another version, or two folders share a film.
        SettingsError: an unknown column, or no film left.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        where: Mapping[str, Condition] | None = None,
        split: str | None = "train",
        generations: int | None = None,
    ) -> None:
        if not folders:
            raise SettingsError("data.shards names no folder; give the public folder that `data_prep shard` wrote")
        # In the order of their content: the same shards are the same data set however they are listed.
        cards = sorted(
            (read_dataset_card(folder).dataset_sha256, folder, generation)
            for public in folders
            for generation, folder in enumerate(generation_folders(public)[:generations])
        )
        folders = [folder for _, folder, _ in cards]
        self.dataset_sha256 = combined([sha256 for sha256, _, _ in cards])
        conditions = dict(where or {}) | ({} if split is None else {"split": split})
        indexes = same_pixels_across([_read_index(folder, generation) for _, folder, generation in cards])
        tables = [table.filter(matching(table, conditions)) if conditions else table for table in indexes]
        self.table = pa.concat_tables(tables)
        if self.table.num_rows == 0:
            raise SettingsError(f"no film of the shards has {_words(conditions)}; widen data.where")
        keys = self.table.column("key")
        if pc.count_distinct(keys).as_py() != len(keys):
            raise ShardFormatError("the shard folders share films; give each folder once, and shard an archive once")
        self._folder_of = np.repeat(np.arange(len(folders)), [table.num_rows for table in tables])
        self._reader = _Reader(folders)
        self._locate()

    def __len__(self) -> int:
        return len(self._keys)

    def subset(self, rows: NDArray[np.int64]) -> "ShardIndex":
        """The films in ``rows`` alone, in that order; of the same data set."""
        part = copy.copy(self)
        part.table = self.table.take(rows)
        part._folder_of = self._folder_of[rows]
        part._locate()
        return part

    def key(self, row: int) -> str:
        """Key of the film in ``row``."""
        return str(self._keys[row], "ascii")

    def study(self, row: int) -> int:
        """63-bit hash of the study of the film in ``row``."""
        return int(self._studies[row])

    def film_hash(self, row: int) -> int:
        """63-bit hash of the film in ``row``."""
        return int(hashed([self.key(row)])[0])

    def film(self, row: int) -> Film:
        """Read the film in ``row``.

        Raises:
            FilmUnreadableError: the bytes are not there or not a sample.
        """
        shard = self._shard_names[self._shards[row]]
        start, film_size = int(self._film_offset[row]), int(self._film_size[row])
        sidecar_start, sidecar_size = int(self._sidecar_offset[row]), int(self._sidecar_size[row])
        length = sidecar_start + sidecar_size - start
        try:
            data = self._reader.read(int(self._folder_of[row]), shard, start, length)
            if len(data) != length:
                raise ValueError("short read")
            sidecar = Sidecar.model_validate_json(data[sidecar_start - start :])
            if sidecar.key != self.key(row):
                raise ValueError("another film")
        except (OSError, ValueError, ValidationError) as error:
            raise FilmUnreadableError(
                f"film {self.key(row)} of shard {shard} cannot be read ({type(error).__name__})"
            ) from None
        return Film(data[:film_size], sidecar)

    def weights(self, weights: Mapping[str, Mapping[str, float]]) -> NDArray[np.float64] | None:
        """[films] product of the weights that ``weights`` (column → value → weight) gives; unnamed values weigh 1."""
        if not weights:
            return None
        product = np.ones(len(self))
        for column, table in weights.items():
            if column not in self.table.column_names:
                raise SettingsError(f"data.weights: the index has no column {column!r}")
            values = self.table.column(column).to_pylist()
            product *= np.array([table.get(str(value), 1.0) for value in values])
        if not (product >= 0).all() or product.sum() == 0:
            raise SettingsError("data.weights must not be negative, nor all zero")
        return product

    def __getstate__(self) -> dict[str, object]:
        # Workers read films by row; the table would only cost them memory.
        return {name: value for name, value in self.__dict__.items() if name != "table"}

    def _locate(self) -> None:
        # Compact arrays rather than a Python list per row: a million films, and shared with forked workers.
        columns = ("film_offset", "film_size", "sidecar_offset", "sidecar_size")
        self._film_offset, self._film_size, self._sidecar_offset, self._sidecar_size = (
            self.table.column(name).to_numpy() for name in columns
        )
        self._keys = np.array(self.table.column("key").to_pylist(), dtype="S32")
        encoded = self.table.column("shard").combine_chunks().dictionary_encode()
        self._shard_names: list[str] = encoded.dictionary.to_pylist()
        self._shards = encoded.indices.to_numpy()
        self._studies = hashed(self.table.column("study").to_pylist())


def hashed(names: Sequence[str]) -> NDArray[np.int64]:
    """[n] 63-bit hashes of pseudonyms (hex), equal for equal names."""
    return np.array([int(name[:16], 16) >> 1 for name in names], dtype=np.int64)


def matching(table: pa.Table, conditions: Mapping[str, Condition]) -> NDArray[np.bool_]:
    """[rows] which rows of an index have the wanted value, or one of the wanted values, in every column named.

    Raises:
        SettingsError: an unknown column, or a value of another type.
    """
    keep = np.ones(table.num_rows, dtype=np.bool_)
    for column, wanted in conditions.items():
        if column not in table.column_names:
            raise SettingsError(f"where: the index has no column {column!r}; it has {', '.join(table.column_names)}")
        values = wanted if isinstance(wanted, list) else [wanted]
        try:
            accepted = pa.array(values, type=table.schema.field(column).type)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            raise SettingsError(f"where: {wanted!r} is no value of the column {column!r}") from None
        keep &= pc.is_in(table.column(column), value_set=accepted).to_numpy()
    return keep


def _read_index(folder: Path, generation: int) -> pa.Table:
    table = pq.read_table(folder / "index.parquet", memory_map=True)
    numbers = pa.array(np.full(table.num_rows, generation, dtype=np.int16))
    return table.append_column("generation", numbers)


def combined(hashes: Sequence[str]) -> str:
    """The identity of shards together, by those of each in their order."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _words(conditions: Mapping[str, Condition]) -> str:
    return " and ".join(f"{column} = {value}" for column, value in conditions.items()) or "any value"


class _Reader:
    """Positioned reads; keeps the most recently used files open, anew in every process."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(folders)
        self._files: OrderedDict[tuple[int, str], int] = OrderedDict()
        self._process = os.getpid()

    def read(self, folder: int, shard: str, start: int, length: int) -> bytes:
        if self._process != os.getpid():  # descriptors are not shared with the parent
            self._files, self._process = OrderedDict(), os.getpid()
        descriptor = self._files.pop((folder, shard), None)
        if descriptor is None:
            descriptor = os.open(self._folders[folder] / shard, os.O_RDONLY)
        self._files[folder, shard] = descriptor
        if len(self._files) > _OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        return os.pread(descriptor, length, start)

    def __getstate__(self) -> dict[str, object]:
        return {"_folders": self._folders, "_files": OrderedDict(), "_process": os.getpid()}
