"""Read films of public folders by row of the index."""

import copy
import hashlib
import logging
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import ValidationError

from data_prep.folder_url import FolderUrl, PublicFolder
from data_prep.object_storage.range_reader import RangeReader
from data_prep.object_storage.storage import ByteRange
from data_prep.shard_format.appended_folders import generation_folders
from data_prep.shard_format.dataset_card import read_dataset_card
from data_prep.shard_format.index import equal_pixels, read_one_index, same_pixels_across
from data_prep.shard_format.sidecar import Sidecar
from mae_rad.data.film import Film
from mae_rad.data.patch_layout import CONTENT_SCALE, FilmScale
from mae_rad.errors import SettingsError, ShardFormatError

Condition = str | int | float | bool | None | list[str] | list[int]
"""Value, or list of values, of an index column; None matches missing values."""

_log = logging.getLogger(__name__)

DISTINCT_PATIENTS = "said by the user, not checked"
"""Entry of a provenance: folders of different secrets were joined."""

_MAX_OPEN_FILES = 128
_MAX_SAMPLE_BYTES = 2**31


class FilmUnreadableError(Exception):
    """The bytes of a film do not match the index; the message names only shard and key."""


class ShardIndex:
    """The films of public folders that meet conditions.

    Args:
        folders: complete public folders, on this machine or in object storage; appended generations are included.
        where: index column → value, or list of values, that a film must have.
        split: shorthand for a condition on ``split``; None takes all.
        generations: number of generations of each folder to read, from the first; None reads all.
        distinct_patients: whether folders of different secrets hold no patient twice, which cannot be checked.
        with_copies: whether to keep films of train with the pixels of a film of val or test in any of the folders.
            Otherwise they are left out, whatever ``where`` says, and counted in the log.

    Attributes:
        dataset_sha256: checksum of all folders.
        joined: for the provenance of what is made from several folders or generations: their checksums, and that the
            user said that those of different secrets share no patient.

    Raises:
        ShardFormatError: a folder is missing, unfinished or of another version, or two folders share a film.
        SettingsError: a column is unknown, or no film meets the conditions.
        StorageError: object storage cannot be reached, or refuses a request.
    """

    def __init__(
        self,
        folders: Sequence[PublicFolder],
        *,
        where: Mapping[str, Condition] | None = None,
        split: str | None = "train",
        generations: int | None = None,
        distinct_patients: bool = False,
        with_copies: bool = False,
    ) -> None:
        if not folders:
            raise SettingsError("data.shards is empty. Give a public folder written by `mae-rad shard`.")
        is_said = _check_same_secret(folders, distinct_patients)
        # Sorted by content, so that the order in which folders are listed has no effect.
        cards = sorted(
            (read_dataset_card(folder).dataset_sha256, str(folder), folder, generation)
            for public in folders
            for generation, folder in enumerate(generation_folders(public)[:generations])
        )
        folders = [folder for _, _, folder, _ in cards]
        datasets = [sha256 for sha256, *_ in cards]
        self.dataset_sha256 = combined(datasets)
        self.joined = ({"datasets": " ".join(datasets)} if len(datasets) > 1 else {}) | (
            {"distinct_patients": DISTINCT_PATIENTS} if is_said else {}
        )
        conditions = dict(where or {}) | ({} if split is None else {"split": split})
        indexes = same_pixels_across([_read_index(folder, generation) for _, _, folder, generation in cards])
        indexes = indexes if with_copies else _without_pixels_of_held_out(indexes)
        tables = [table.filter(matching(table, conditions)) if conditions else table for table in indexes]
        self.table = pa.concat_tables(tables)
        if self.table.num_rows == 0:
            raise SettingsError(f"no film of the shards has {_as_text(conditions)}. Change data.where.")
        keys = self.table.column("key")
        if pc.count_distinct(keys).as_py() != len(keys):
            raise ShardFormatError("the shard folders share films. Give each folder once, and shard an archive once.")
        self._folder_of = np.repeat(np.arange(len(folders)), [table.num_rows for table in tables])
        self._reader = _Reader(folders)
        self.scale = CONTENT_SCALE
        self._cache_locations()

    def __len__(self) -> int:
        return len(self._keys)

    def subset(self, rows: NDArray[np.int64]) -> "ShardIndex":
        """Return an index of some rows.

        Args:
            rows: [n] int64 rows, in the order of the new index.
        """
        part = copy.copy(self)
        part.table = self.table.take(rows)
        part._folder_of = self._folder_of[rows]
        part._cache_locations()
        return part

    def at_scale(self, scale: FilmScale) -> "ShardIndex":
        """Return the index with films that are cut into patches at another scale."""
        other = object.__new__(type(self))  # copy would leave out what workers do not need
        other.__dict__ = self.__dict__ | {"scale": scale}
        return other

    def key(self, row: int) -> str:
        """Return the key of the film in ``row``."""
        return str(self._keys[row], "ascii")

    def rows_by_key(self) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
        """Sort the films by key: keys [n] bytes of 32 hex digits, and their rows [n]."""
        rows = np.argsort(self._keys)
        return self._keys[rows], rows

    def study(self, row: int) -> int:
        """Return the number of the study of the film in ``row``."""
        return int(self._studies[row])

    def patient(self, row: int) -> int:
        """Return the number of the patient of the film in ``row``."""
        return int(self._patients[row])

    def film(self, row: int) -> Film:
        """Read the film in ``row``.

        Raises:
            FilmUnreadableError: the bytes are missing or are not those of the film.
            StorageError: object storage cannot be reached, or refuses a request.
        """
        part = self._part(row)
        try:
            if not 0 <= part.length <= _MAX_SAMPLE_BYTES:
                raise ValueError("members apart")
            data = self._reader.read(int(self._folder_of[row]), part)
            if len(data) != part.length:
                raise ValueError("short read")
            sidecar = Sidecar.model_validate_json(data[int(self._sidecar_offset[row]) - part.start :])
            if sidecar.key != self.key(row):
                raise ValueError("another film")
        except (OSError, ValueError, ValidationError) as error:
            raise FilmUnreadableError(
                f"film {self.key(row)} of shard {part.name} cannot be read ({type(error).__name__})"
            ) from None
        return Film(data[: int(self._film_size[row])], sidecar, self.scale)

    def read_ahead(self, rows: Sequence[int]) -> None:
        """Read the films that are read next, in one batch of requests; does nothing for folders on this machine.

        Raises:
            StorageError: object storage cannot be reached, or refuses a request.
        """
        if self._reader.is_remote:
            self._reader.read_ahead([(int(self._folder_of[row]), self._part(row)) for row in rows])

    def weights(self, weights: Mapping[str, Mapping[str, float]]) -> NDArray[np.float64] | None:
        """Compute the sampling weight of every film.

        Args:
            weights: column → value → weight; values that are not listed have weight 1.

        Returns:
            [films] product over the columns; None without weights.

        Raises:
            SettingsError: a column is unknown, no film has a value, or weights are negative, infinite or all zero.
        """
        if not weights:
            return None
        product = np.ones(len(self))
        for column, table in weights.items():
            if column not in self.table.column_names:
                raise SettingsError(
                    f"data.weights: the index has no column {column!r}."
                    f" Choose one of {', '.join(self.table.column_names)}."
                )
            values = self.table.column(column).to_pylist()
            known = sorted({str(value) for value in values})
            if unknown := [value for value in table if value not in known]:
                raise SettingsError(
                    f"data.weights: no film has {column} = {', '.join(unknown)}. Films have {', '.join(known[:20])}."
                )
            product *= np.array([table.get(str(value), 1.0) for value in values])
        if not (product >= 0).all() or not 0 < product.sum() < np.inf:
            raise SettingsError(
                "data.weights are negative, infinite or all zero. Give finite ones, and at least one film a positive"
                " weight."
            )
        return product

    def __getstate__(self) -> dict[str, object]:
        # Workers read films by row and do not need the table.
        return {name: value for name, value in self.__dict__.items() if name != "table"}

    def _part(self, row: int) -> ByteRange:
        """Bytes of film and sidecar."""
        start, sidecar = int(self._film_offset[row]), int(self._sidecar_offset[row])
        return ByteRange(self._shard_names[self._shards[row]], start, sidecar + int(self._sidecar_size[row]) - start)

    def _cache_locations(self) -> None:
        # Compact arrays, not Python objects per row: there may be millions of films.
        columns = ("film_offset", "film_size", "sidecar_offset", "sidecar_size")
        self._film_offset, self._film_size, self._sidecar_offset, self._sidecar_size = (
            self.table.column(name).to_numpy() for name in columns
        )
        self._keys = np.array(self.table.column("key").to_pylist(), dtype="S32")
        encoded = self.table.column("shard").combine_chunks().dictionary_encode()
        self._shard_names: list[str] = encoded.dictionary.to_pylist()
        self._shards = encoded.indices.to_numpy()
        self._studies, self._patients = (numbered(self.table.column(name)) for name in ("study", "patient"))


def numbered(values: pa.ChunkedArray) -> NDArray[np.int64]:
    """Number the values of a column in the order in which they first occur: [n] int64, -1 for null."""
    indices = values.combine_chunks().dictionary_encode().indices
    return np.asarray(pc.fill_null(indices, -1).to_numpy(zero_copy_only=False), dtype=np.int64)


def matching(table: pa.Table, conditions: Mapping[str, Condition]) -> NDArray[np.bool_]:
    """Select the rows of an index that meet all conditions.

    Args:
        table: index.
        conditions: column → value, or list of values.

    Returns:
        [rows] bool.

    Raises:
        SettingsError: a column is unknown, or a value has another type.
    """
    keep = np.ones(table.num_rows, dtype=np.bool_)
    for column, wanted in conditions.items():
        if column not in table.column_names:
            raise SettingsError(
                f"where: the index has no column {column!r}. Choose one of {', '.join(table.column_names)}."
            )
        values = wanted if isinstance(wanted, list) else [wanted]
        try:
            accepted = pa.array(values, type=table.schema.field(column).type)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            raise SettingsError(
                f"where: {wanted!r} has not the type of column {column!r} ({table.schema.field(column).type})."
            ) from None
        keep &= pc.is_in(table.column(column), value_set=accepted).to_numpy()
    return keep


def _check_same_secret(folders: Sequence[PublicFolder], distinct_patients: bool) -> bool:
    """Refuse to join folders of different secrets: a patient in both would be two, perhaps in two splits.

    Returns:
        Whether they are joined on the user's word.
    """
    fingerprints = {read_dataset_card(folder).key_fingerprint for folder in folders}
    if len(fingerprints) > 1 and not distinct_patients:
        raise SettingsError(
            "the shard folders were made with different secrets, so that a patient in two of them cannot be told. Shard"
            " them with one secret, or, if no patient is in two of them, say distinct_patients=true (of a training:"
            " data.distinct_patients=true)."
        )
    return len(fingerprints) > 1


def _without_pixels_of_held_out(indexes: Sequence[pa.Table]) -> list[pa.Table]:
    """Leave out films of train with the pixels of a film of val or test: training would learn what is scored."""
    held_out = [table.filter(pc.not_equal(table["split"], "train"))["pixels"] for table in indexes]
    pixels = pa.chunked_array([chunk for column in held_out for chunk in column.chunks], pa.string())
    leaking = [
        pc.fill_null(pc.and_(pc.equal(table["split"], "train"), pc.is_in(table["pixels"], pixels)), False)
        for table in indexes
    ]
    if count := sum(pc.sum(rows).as_py() or 0 for rows in leaking):
        _log.info("%d films of train are left out, since val or test holds the same pixels", count)
    return [table.filter(pc.invert(rows)) for table, rows in zip(indexes, leaking, strict=True)]


def _read_index(folder: PublicFolder, generation: int) -> pa.Table:
    table = read_one_index(folder)
    table = table.append_column("pixels", equal_pixels(table))
    numbers = pa.array(np.full(table.num_rows, generation, dtype=np.int16))
    return table.append_column("generation", numbers)


def combined(hashes: Sequence[str]) -> str:
    """Combine the checksums of several data sets, in their order, into one."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _as_text(conditions: Mapping[str, Condition]) -> str:
    return " and ".join(f"{column} = {value}" for column, value in conditions.items()) or "any value"


class _Reader:
    """Reads parts of shards; each process keeps its most recently used files open."""

    def __init__(self, folders: Sequence[PublicFolder]) -> None:
        self._folders = [RangeReader(folder) if isinstance(folder, FolderUrl) else folder for folder in folders]
        self._files: OrderedDict[Path, int] = OrderedDict()
        self._process = os.getpid()

    @property
    def is_remote(self) -> bool:
        """Whether a folder lies in object storage."""
        return any(isinstance(folder, RangeReader) for folder in self._folders)

    def read(self, folder: int, part: ByteRange) -> bytes:
        place = self._folders[folder]
        return place.read(part) if isinstance(place, RangeReader) else self._read_file(place / part.name, part)

    def read_ahead(self, parts: Sequence[tuple[int, ByteRange]]) -> None:
        for folder, group in groupby(sorted(parts), key=lambda part: part[0]):
            if isinstance(place := self._folders[folder], RangeReader):
                place.read_ahead([part for _, part in group])

    def _read_file(self, path: Path, part: ByteRange) -> bytes:
        if self._process != os.getpid():  # after a fork, file descriptors of the parent are not used
            self._files, self._process = OrderedDict(), os.getpid()
        descriptor = self._files.pop(path, None)
        if descriptor is None:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._files[path] = descriptor
        if len(self._files) > _MAX_OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        return os.pread(descriptor, part.length, part.start)

    def __getstate__(self) -> dict[str, object]:
        return {"_folders": self._folders, "_files": OrderedDict(), "_process": os.getpid()}
