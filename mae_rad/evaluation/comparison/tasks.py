"""What the embeddings are asked: films with a class each, split by patient.

Whatever is left out is counted and named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_prep.shard_format.label_policy import REASONS, LabelPolicy, resolve
from data_prep.shard_format.label_schema import LABELS_SCHEMA
from mae_rad.data.shard_reader import ShardIndex, matching
from mae_rad.errors import EvaluationError, SettingsError
from mae_rad.evaluation.comparison.settings import TaskSettings

Words = NDArray[np.object_]


@dataclass(frozen=True)
class ProbeTask:
    """Films with a class each.

    Attributes:
        name: shown in tables and figures.
        classes: C names; a binary task is (absent, present) or two values of a column.
        rows: [N] films, as rows of the index.
        patients: [N] number of the patient.
        pseudonyms: [N] pseudonym of the patient, the same in every index.
        split: [N] train, val or test.
        y: [N] class.
        left_out: reason → films.
        label: of labels.parquet, where it is one.
    """

    name: str
    classes: tuple[str, ...]
    rows: NDArray[np.int64]
    patients: NDArray[np.int64]
    pseudonyms: Words
    split: Words
    y: NDArray[np.int64]
    left_out: dict[str, int]
    label: str | None = None

    def places(self, split: str) -> NDArray[np.int64]:
        """Places of the films of ``split`` among the N."""
        return np.flatnonzero(self.split == split)


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
        self.index = ShardIndex(shards, split=None)
        self.dataset_sha256 = self.index.dataset_sha256
        self.table = self.index.table
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
    films: Films,
    settings: Sequence[TaskSettings],
    *,
    all_labels: bool,
    min_patients: int,
    lacking: Mapping[str, NDArray[np.bool_]] | None = None,
    policy: LabelPolicy | None = None,
) -> tuple[list[ProbeTask], list[Skipped]]:
    """Build every task that the films can answer.

    Args:
        films: the films of all splits.
        settings: the tasks asked for.
        all_labels: ask for every other label of labels.parquet too.
        min_patients: a class needs that many patients in train and in test.
        lacking: reason → [films] films that cannot be asked about, whatever the task.
        policy: which word counts where several sources and readers speak of a film.

    Returns:
        The tasks, and those that cannot be asked with the reason.
    """
    asked = list(settings)
    if all_labels:
        named = {task.label for task in asked} | {task.title for task in asked}
        asked += [TaskSettings(label=label) for label in films.label_names() if label not in named]
    built = [_build(films, task, min_patients, lacking or {}, policy or LabelPolicy()) for task in asked]
    return [task for task in built if isinstance(task, ProbeTask)], [
        task for task in built if isinstance(task, Skipped)
    ]


def _build(
    films: Films,
    settings: TaskSettings,
    min_patients: int,
    lacking: Mapping[str, NDArray[np.bool_]],
    policy: LabelPolicy,
) -> ProbeTask | Skipped:
    values, left_out = (
        _column_values(films, settings) if settings.column else _label_values(films, str(settings.label), policy)
    )
    keep = matching(films.table, settings.where)
    if settings.label and films.labels.num_rows == 0:
        return Skipped(
            settings.title, "the shard folders hold no labels.parquet; make it with: python -m data_prep label"
        )
    if settings.label and settings.label not in films.label_names():
        known = ", ".join(films.label_names())
        return Skipped(settings.title, f"labels.parquet has no label {settings.label!r}; it has {known}")
    built = task_of(films, settings.title, values, min_patients, keep=keep, left_out=left_out | dict(lacking))
    return replace(built, label=settings.label) if isinstance(built, ProbeTask) else built


def task_of(
    films: Films,
    name: str,
    values: Words,
    min_patients: int,
    *,
    keep: NDArray[np.bool_] | None = None,
    left_out: Mapping[str, NDArray[np.bool_]],
) -> ProbeTask | Skipped:
    """A task whose classes are ``values`` [films], empty where a film has none.

    Args:
        films: of all splits.
        name: of the task.
        values: of every film.
        min_patients: a class needs that many patients in train and in test.
        keep: [films] which are asked about at all.
        left_out: reason → [films] left out for it; the others without a value need no reason.
    """
    keep = np.ones(len(values), dtype=np.bool_) if keep is None else keep.copy()
    for mask in left_out.values():
        values = np.where(mask, "", values)
    unknown = (values != "") & ~_flags(films.table.column("patient_known")) & (films.split != "train")
    values = np.where(unknown, "", values)
    reasons = {**left_out, "patient unknown, outside train": unknown}
    counted = {reason: int((mask & keep).sum()) for reason, mask in reasons.items()}
    keep &= values != ""
    if not keep.any():
        told = ", ".join(f"{count} {reason}" for reason, count in counted.items() if count)
        return Skipped(name, f"no film left ({told or 'none matches where'})")
    classes, too_few = _classes(films, values, keep, min_patients)
    for value, reason in too_few.items():
        counted[reason] = counted.get(reason, 0) + int((keep & (values == value)).sum())
    if len(classes) < 2:
        return Skipped(name, "; ".join(dict.fromkeys(too_few.values())) or f"every film is {classes[0]}")
    rows = np.flatnonzero(keep & np.isin(values, classes))
    return ProbeTask(
        name=name,
        classes=tuple(classes),
        rows=rows,
        patients=films.patients[rows],
        pseudonyms=films.words("patient")[rows],
        split=films.split[rows],
        y=np.searchsorted(classes, values[rows].astype(str)),
        left_out={reason: count for reason, count in counted.items() if count},
    )


def _column_values(films: Films, settings: TaskSettings) -> tuple[Words, dict[str, NDArray[np.bool_]]]:
    column = str(settings.column)
    values = films.words(column)
    if settings.edges:
        values = _binned(films, column, settings.edges)
    return values, {f"no {column}": values == ""}


def _binned(films: Films, column: str, edges: Sequence[float]) -> Words:
    """[films] range of a column of numbers, as words that sort like numbers where they have as many digits."""
    kind = films.table.schema.field(column).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise SettingsError(f"tasks: edges need a column of numbers, and {column} is none")
    numbers = films.table.column(column).to_numpy().astype(np.float64)
    names = [
        f"under {edges[0]:g}",
        *(f"{low:g} to under {high:g}" for low, high in pairwise(edges)),
        f"{edges[-1]:g} and more",
    ]
    words = np.array([*names, ""], dtype=object)
    return words[np.where(np.isnan(numbers), len(names), np.searchsorted(edges, numbers, side="right"))]


def _label_values(films: Films, label: str, policy: LabelPolicy) -> tuple[Words, dict[str, NDArray[np.bool_]]]:
    """Per film: present, absent, or empty with the reason."""
    resolved = resolve(films.labels, policy, keys=films.keys, names=[label])
    value, reason = resolved.values[:, 0], resolved.reasons[:, 0]
    words = np.where(value == 1, "present", np.where(value == 0, "absent", "")).astype(object)
    left_out = {name: reason == code for code, name in enumerate(REASONS) if name}
    return words, left_out | {"neither present nor absent": (value > 0) & (value < 1)}


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
