"""What the embeddings are asked: films with a class each, split by patient.

Whatever is left out is counted and named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_prep.label_policy import REASONS, LabelPolicy, resolve
from data_prep.shard_format import LABELS_SCHEMA
from mae_rad.data.shards import ShardIndex, matching
from mae_rad.errors import EvaluationError, SettingsError
from mae_rad.evaluation.settings import TaskSettings

Words = NDArray[np.object_]


@dataclass(frozen=True)
class Task:
    """Films with a class each.

    Attributes:
        name: shown in tables and figures.
        classes: C names; a binary task is (absent, present) or two values of a column.
        keys: [N] film keys.
        patients: [N] number of the patient.
        split: [N] train, val or test.
        y: [N] class.
        left_out: reason → films.
    """

    name: str
    classes: tuple[str, ...]
    keys: list[str]
    patients: NDArray[np.int64]
    split: Words
    y: NDArray[np.int64]
    left_out: dict[str, int]


@dataclass(frozen=True)
class Skipped:
    """A task that cannot be asked, and why."""

    name: str
    reason: str


class Films:
    """Index and labels of the films of ``shards``.

    Raises:
        ShardFormatError: a folder is missing or unfinished, or two folders share films.
        EvaluationError: a patient stands in two splits.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        index = ShardIndex(shards, split=None)
        self.dataset_sha256 = index.dataset_sha256
        self.table = index.table
        self.keys: list[str] = self.table.column("key").to_pylist()
        self.patients = (
            self.table.column("patient").combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
        )
        self.split = _words(self.table.column("split"))
        tables = [_labels(folder) for folder in shards if (folder / "labels.parquet").exists()]
        self.labels = pa.concat_tables(tables) if tables else LABELS_SCHEMA.empty_table()
        pairs = np.unique(np.stack([self.patients, np.unique(self.split, return_inverse=True)[1]]), axis=1)
        shared = pairs.shape[1] - len(np.unique(self.patients))
        if shared:
            raise EvaluationError(
                f"{shared} patients of these shard folders stand in more than one split, so a test would be no test;"
                " shard the archives together, or with the same secret and split settings"
            )

    def words(self, column: str) -> Words:
        """[films] an index column as text, empty where it has no value.

        Raises:
            SettingsError: the index has no such column.
        """
        if column not in self.table.column_names:
            raise SettingsError(
                f"tasks: the index has no column {column!r}; it has {', '.join(self.table.column_names)}"
            )
        return _words(pc.cast(self.table.column(column), pa.string()))

    def label_names(self) -> list[str]:
        """Labels with a value per film, sorted."""
        valued = self.labels.filter(pc.is_valid(self.labels.column("value")))
        return sorted(pc.unique(valued.column("label")).to_pylist())


def build_tasks(
    films: Films, settings: Sequence[TaskSettings], *, all_labels: bool, min_patients: int
) -> tuple[list[Task], list[Skipped]]:
    """Build every task that the films can answer.

    Args:
        films: the films of all splits.
        settings: the tasks asked for.
        all_labels: ask for every other label of labels.parquet too.
        min_patients: a class needs that many patients in train and in test.

    Returns:
        The tasks, and those that cannot be asked with the reason.
    """
    asked = list(settings)
    if all_labels:
        named = {task.label for task in asked} | {task.title for task in asked}
        asked += [TaskSettings(label=label) for label in films.label_names() if label not in named]
    built = [_build(films, task, min_patients) for task in asked]
    return [task for task in built if isinstance(task, Task)], [task for task in built if isinstance(task, Skipped)]


def _build(films: Films, settings: TaskSettings, min_patients: int) -> Task | Skipped:
    keep = matching(films.table, settings.where)
    values, left_out = (
        _column_values(films, settings.column) if settings.column else _label_values(films, str(settings.label))
    )
    unknown = (values != "") & ~_flags(films.table.column("patient_known")) & (films.split != "train")
    values = np.where(unknown, "", values)
    left_out["patient unknown, outside train"] = unknown
    counted = {reason: int((mask & keep).sum()) for reason, mask in left_out.items()}
    keep &= values != ""
    if not keep.any():
        return Skipped(settings.title, _nothing(films, settings, counted))
    classes, too_few = _classes(films, values, keep, min_patients)
    for name, reason in too_few.items():
        counted[reason] = counted.get(reason, 0) + int((keep & (values == name)).sum())
    if len(classes) < 2:
        return Skipped(settings.title, "; ".join(dict.fromkeys(too_few.values())) or f"every film is {classes[0]}")
    rows = np.flatnonzero(keep & np.isin(values, classes))
    return Task(
        name=settings.title,
        classes=tuple(classes),
        keys=[films.keys[row] for row in rows],
        patients=films.patients[rows],
        split=films.split[rows],
        y=np.searchsorted(classes, values[rows].astype(str)),
        left_out={reason: count for reason, count in counted.items() if count},
    )


def _column_values(films: Films, column: str) -> tuple[Words, dict[str, NDArray[np.bool_]]]:
    values = films.words(column)
    return values, {f"no {column}": values == ""}


def _label_values(films: Films, label: str) -> tuple[Words, dict[str, NDArray[np.bool_]]]:
    """Per film: present, absent, or empty with the reason."""
    resolved = resolve(films.labels, LabelPolicy(), keys=films.keys, names=[label])
    value, reason = resolved.values[:, 0], resolved.reasons[:, 0]
    words = np.where(value == 1, "present", np.where(value == 0, "absent", "")).astype(object)
    return words, {name: reason == code for code, name in enumerate(REASONS) if name}


def _classes(
    films: Films, values: Words, keep: NDArray[np.bool_], min_patients: int
) -> tuple[list[str], dict[str, str]]:
    """Classes with enough patients in train and in test, and the reason against each of the others."""
    enough, too_few = [], {}
    for name in sorted(set(values[keep])):
        here = keep & (values == name)
        patients = {split: len(np.unique(films.patients[here & (films.split == split)])) for split in ("train", "test")}
        if min(patients.values()) >= min_patients:
            enough.append(name)
        else:
            too_few[name] = (
                f"{name}: {patients['train']} training and {patients['test']} test patients, fewer than {min_patients}"
            )
    return enough, too_few


def _nothing(films: Films, settings: TaskSettings, counted: Mapping[str, int]) -> str:
    if settings.label and films.labels.num_rows == 0:
        return "the shard folders hold no labels.parquet; make it with: python -m data_prep label"
    if settings.label and settings.label not in films.label_names():
        return f"labels.parquet has no label {settings.label!r}; it has {', '.join(films.label_names())}"
    reasons = ", ".join(f"{count} {reason}" for reason, count in counted.items() if count)
    return f"no film left ({reasons or 'none matches where'})"


def _labels(folder: Path) -> pa.Table:
    try:
        return pq.read_table(folder / "labels.parquet", schema=LABELS_SCHEMA)
    except (OSError, pa.ArrowInvalid, pa.ArrowTypeError):
        raise EvaluationError(
            f"labels.parquet of {folder} is damaged; write it again with: python -m data_prep label"
        ) from None


def _flags(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(pc.fill_null(column, False).to_numpy(), dtype=np.bool_)


def _words(column: pa.ChunkedArray) -> Words:
    return np.array(pc.fill_null(column, "").to_pylist(), dtype=object)
