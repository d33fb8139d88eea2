"""Build the classification tasks of a comparison from index columns and labels.

Films that are left out are counted with the reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_prep.shard_format.label_policy import REASONS, LabelPolicy, resolve_labels
from data_prep.shard_format.label_schema import LABELS_SCHEMA
from mae_rad.data.shard_reader import ShardIndex, matching
from mae_rad.errors import EvaluationError, SettingsError
from mae_rad.evaluation.comparison.settings import TaskSettings

Strings = NDArray[np.object_]

_SCORED_ON_VAL = {"train": "train", "val": "test", "test": "not used"}
"""Split of a film → its part in a comparison that scores validation films."""


@dataclass(frozen=True)
class ProbeTask:
    """Films with a class each.

    Attributes:
        name: displayed name.
        classes: C names; a binary task is (absent, present) or two values of a column.
        rows: [N] films, as rows of the index.
        patients: [N] number of the patient.
        pseudonyms: [N] pseudonym of the patient, the same in every index.
        split: [N] train, val or test.
        y: [N] class.
        left_out: reason → number of films.
        label: label of labels.parquet; None for a task of an index column.
    """

    name: str
    classes: tuple[str, ...]
    rows: NDArray[np.int64]
    patients: NDArray[np.int64]
    pseudonyms: Strings
    split: Strings
    y: NDArray[np.int64]
    left_out: dict[str, int]
    label: str | None = None

    def positions(self, split: str) -> NDArray[np.int64]:
        """Return the positions of the films of ``split`` among the N films."""
        return np.flatnonzero(self.split == split)


@dataclass(frozen=True)
class SkippedTask:
    """A task that cannot be evaluated, and the reason."""

    name: str
    reason: str


class Films:
    """Index and labels of the films of some shard folders.

    Args:
        shards: public folders.
        score_on: split whose films are scored. With val they take the place of the test films, which are left out, and
            no film is a validation film.

    Raises:
        ShardFormatError: a folder is missing or unfinished, or two folders share films.
        EvaluationError: a patient is in two splits.
    """

    def __init__(self, shards: Sequence[Path], score_on: Literal["test", "val"] = "test") -> None:
        self.index = ShardIndex(shards, split=None)
        self.dataset_sha256 = self.index.dataset_sha256
        self.table = self.index.table
        self.keys: list[str] = self.table.column("key").to_pylist()
        self.patients = (
            self.table.column("patient").combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
        )
        self.split = _strings(self.table.column("split"))
        tables = [_labels(folder) for folder in shards if (folder / "labels.parquet").exists()]
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

    def label_names(self) -> list[str]:
        """Return the labels that have a value per film, sorted."""
        valued = self.labels.filter(pc.is_valid(self.labels.column("value")))
        return sorted(pc.unique(valued.column("label")).to_pylist())


def build_tasks(
    films: Films,
    settings: Sequence[TaskSettings],
    *,
    all_labels: bool,
    min_patients: int,
    films_without_vector: Mapping[str, NDArray[np.bool_]] | None = None,
    policy: LabelPolicy | None = None,
) -> tuple[list[ProbeTask], list[SkippedTask]]:
    """Build every task that can be evaluated on the films.

    Args:
        films: films of all splits.
        settings: requested tasks.
        all_labels: add a task for every other label of labels.parquet.
        min_patients: lowest number of train and of test patients of a class.
        films_without_vector: reason → [films] bool, the film is left out of every task.
        policy: rule for films with label entries from several sources and readers.

    Returns:
        The tasks, and those that cannot be evaluated with the reason.
    """
    task_settings = list(settings)
    if all_labels:
        named_labels = {task.label for task in task_settings} | {task.title for task in task_settings}
        task_settings += [TaskSettings(label=label) for label in films.label_names() if label not in named_labels]
    built_tasks = [
        _build_from_settings(films, task, min_patients, films_without_vector or {}, policy or LabelPolicy())
        for task in task_settings
    ]
    return [task for task in built_tasks if isinstance(task, ProbeTask)], [
        task for task in built_tasks if isinstance(task, SkippedTask)
    ]


def _build_from_settings(
    films: Films,
    settings: TaskSettings,
    min_patients: int,
    films_without_vector: Mapping[str, NDArray[np.bool_]],
    policy: LabelPolicy,
) -> ProbeTask | SkippedTask:
    values, left_out = (
        _column_values(films, settings) if settings.column else _label_values(films, str(settings.label), policy)
    )
    keep = matching(films.table, settings.where)
    if settings.label and films.labels.num_rows == 0:
        return SkippedTask(settings.title, "the shard folders have no labels.parquet. Write it with: mae-rad label")
    if settings.label and settings.label not in films.label_names():
        label_names = ", ".join(films.label_names())
        return SkippedTask(settings.title, f"labels.parquet has no label {settings.label!r}; it has {label_names}")
    built_tasks = build_task(
        films, settings.title, values, min_patients, keep=keep, left_out=left_out | dict(films_without_vector)
    )
    return replace(built_tasks, label=settings.label) if isinstance(built_tasks, ProbeTask) else built_tasks


def build_task(
    films: Films,
    name: str,
    values: Strings,
    min_patients: int,
    *,
    keep: NDArray[np.bool_] | None = None,
    left_out: Mapping[str, NDArray[np.bool_]],
) -> ProbeTask | SkippedTask:
    """Build a task whose classes are the values of the films.

    Args:
        films: films of all splits.
        name: name of the task.
        values: [films] class of every film, empty where it has none.
        min_patients: lowest number of train and of test patients of a class.
        keep: [films] bool, the film may be in the task; None for all.
        left_out: reason → [films] bool, left out for this reason; other films without a value are not counted.

    Returns:
        The task, or the reason why it cannot be evaluated.
    """
    keep = np.ones(len(values), dtype=np.bool_) if keep is None else keep.copy()
    for mask in left_out.values():
        values = np.where(mask, "", values)
    unknown = (values != "") & ~_flags(films.table.column("patient_known")) & (films.split != "train")
    values = np.where(unknown, "", values)
    reasons = {**left_out, "patient unknown, outside train": unknown}
    left_out_counts = {reason: int((mask & keep).sum()) for reason, mask in reasons.items()}
    keep &= values != ""
    if not keep.any():
        counts_text = ", ".join(f"{count} {reason}" for reason, count in left_out_counts.items() if count)
        return SkippedTask(name, f"no film left ({counts_text or 'none matches where'})")
    classes, rare_classes = _classes(films, values, keep, min_patients)
    for value, reason in rare_classes.items():
        left_out_counts[reason] = left_out_counts.get(reason, 0) + int((keep & (values == value)).sum())
    if len(classes) < 2:
        return SkippedTask(name, "; ".join(dict.fromkeys(rare_classes.values())) or f"every film is {classes[0]}")
    rows = np.flatnonzero(keep & np.isin(values, classes))
    return ProbeTask(
        name=name,
        classes=tuple(classes),
        rows=rows,
        patients=films.patients[rows],
        pseudonyms=films.strings("patient")[rows],
        split=films.split[rows],
        y=np.searchsorted(classes, values[rows].astype(str)),
        left_out={reason: count for reason, count in left_out_counts.items() if count},
    )


def _column_values(films: Films, settings: TaskSettings) -> tuple[Strings, dict[str, NDArray[np.bool_]]]:
    column = str(settings.column)
    values = films.strings(column)
    if settings.edges:
        values = _binned(films, column, settings.edges)
    return values, {f"no {column}": values == ""}


def _binned(films: Films, column: str, edges: Sequence[float]) -> Strings:
    """Return the range [films] of a column of numbers, as strings."""
    kind = films.table.schema.field(column).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise SettingsError(
            f"tasks: edges need a column of numbers, not {column}. Remove edges, or name another column."
        )
    numbers = films.table.column(column).to_numpy().astype(np.float64)
    names = [
        f"under {edges[0]:g}",
        *(f"{low:g} to under {high:g}" for low, high in pairwise(edges)),
        f"{edges[-1]:g} and more",
    ]
    names_array = np.array([*names, ""], dtype=object)
    return names_array[np.where(np.isnan(numbers), len(names), np.searchsorted(edges, numbers, side="right"))]


def _label_values(films: Films, label: str, policy: LabelPolicy) -> tuple[Strings, dict[str, NDArray[np.bool_]]]:
    """Return present, absent or empty [films], and reason → films without a value."""
    resolved = resolve_labels(films.labels, policy, keys=films.keys, names=[label])
    value, reason = resolved.values[:, 0], resolved.reasons[:, 0]
    names_array = np.where(value == 1, "present", np.where(value == 0, "absent", "")).astype(object)
    left_out = {name: reason == code for code, name in enumerate(REASONS) if name}
    return names_array, left_out | {"neither present nor absent": (value > 0) & (value < 1)}


def _classes(
    films: Films, values: Strings, keep: NDArray[np.bool_], min_patients: int
) -> tuple[list[str], dict[str, str]]:
    """Return the classes with enough patients in train and in test, and rejected class → reason."""
    kept_classes, rare_classes = [], {}
    for name in sorted(set(values[keep])):
        in_class = keep & (values == name)
        patients = {
            split: len(np.unique(films.patients[in_class & (films.split == split)])) for split in ("train", "test")
        }
        if min(patients.values()) >= min_patients:
            kept_classes.append(name)
        else:
            rare_classes[name] = (
                f"{name}: {patients['train']} training and {patients['test']} test patients, fewer than {min_patients}"
            )
    return kept_classes, rare_classes


def _labels(folder: Path) -> pa.Table:
    try:
        return pq.read_table(folder / "labels.parquet", schema=LABELS_SCHEMA)
    except (OSError, pa.ArrowInvalid, pa.ArrowTypeError):
        raise EvaluationError(f"labels.parquet is damaged: {folder}. Write it again with: mae-rad label") from None


def _flags(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(pc.fill_null(column, False).to_numpy(), dtype=np.bool_)


def _strings(column: pa.ChunkedArray) -> Strings:
    return np.array(pc.fill_null(column, "").to_pylist(), dtype=object)
