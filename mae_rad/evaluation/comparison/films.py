"""Index and labels of the films of a comparison."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.folder_url import PublicFolder
from data_prep.object_storage.published_files import local_file
from data_prep.shard_format.label_schema import LABELS_SCHEMA
from data_prep.shard_format.label_tables import LABELS_FILE, read_labels
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import EvaluationError, SettingsError

Strings = NDArray[np.object_]

_SCORED_ON_VAL = {"train": "train", "val": "test", "test": "not used"}
"""Split of a film → its part in a comparison that scores validation films."""


class Films:
    """Index and labels of the films of some shard folders.

    Args:
        shards: public folders.
        score_on: split whose films are scored. With val they take the place of the test films, which are left out, and
            no film is a validation film.
        distinct_patients: whether folders of different secrets hold no patient twice.

    Raises:
        ShardFormatError: a folder is missing or unfinished, or two folders share films.
        EvaluationError: a patient is in two splits.
    """

    def __init__(
        self,
        shards: Sequence[PublicFolder],
        score_on: Literal["test", "val"] = "test",
        *,
        distinct_patients: bool = False,
    ) -> None:
        self.index = ShardIndex(shards, split=None, distinct_patients=distinct_patients)
        self.dataset_sha256, self.joined = self.index.dataset_sha256, self.index.joined
        self.table = self.index.table
        self.keys: list[str] = self.table.column("key").to_pylist()
        self.patients = (
            self.table.column("patient").combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
        )
        self.split = _strings(self.table.column("split"))
        tables = [read_labels(folder) for folder in shards if local_file(folder, LABELS_FILE).exists()]
        self.labels = pa.concat_tables(tables) if tables else LABELS_SCHEMA.empty_table()
        pairs = np.unique(np.stack([self.patients, np.unique(self.split, return_inverse=True)[1]]), axis=1)
        shared = pairs.shape[1] - len(np.unique(self.patients))
        if shared:
            raise EvaluationError(
                f"{shared} patients of these shard folders are in more than one split."
                " Shard the archives together, or with the same secret and split settings."
            )
        if score_on == "val":
            self.split = np.array([_SCORED_ON_VAL[split] for split in self.split], dtype=object)

    def strings(self, column: str) -> Strings:
        """Return an index column as strings [films], empty where it has no value.

        Raises:
            SettingsError: the index has no such column.
        """
        if column not in self.table.column_names:
            raise SettingsError(
                f"tasks: the index has no column {column!r}. Name one of {', '.join(self.table.column_names)}."
            )
        return _strings(pc.cast(self.table.column(column), pa.string()))

    def numbers(self, column: str) -> NDArray[np.float64] | None:
        """Return an index column as numbers [films], NaN where it has no value; None if it is not of numbers.

        Raises:
            SettingsError: the index has no such column.
        """
        kind = self.table.schema.field(column).type if column in self.table.column_names else None
        if kind is not None and not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            return None
        return np.array([float(text or "nan") for text in self.strings(column)])

    def label_names(self, kind: Literal["value", "number"] = "value") -> list[str]:
        """Return the labels that have values, or those that have numbers, sorted."""
        labelled = self.labels.filter(pc.is_valid(self.labels.column(kind)))
        return sorted(pc.unique(labelled.column("label")).to_pylist())


def _strings(column: pa.ChunkedArray) -> Strings:
    return np.array(pc.fill_null(column, "").to_pylist(), dtype=object)
