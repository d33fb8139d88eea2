"""Classes of films that exclude each other, as targets.

Legend: F films, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.folder_url import PublicFolder
from data_prep.shard_format.label_policy import LabelPolicy, resolve_labels
from data_prep.shard_format.rare_values import MIN_PATIENTS
from mae_rad.data.shard_reader import ShardIndex, matching
from mae_rad.errors import EvaluationError
from mae_rad.finetuning.task.known_targets import Reasons, index_column, read_label_entries
from mae_rad.heads.multiclass import TargetClassesSettings

MAX_CLASS_WEIGHT = 20.0
"""Largest weight of a class relative to the lowest, under ``balance: class_weight``."""
_SHOWN = 10
"""Most values of a column that a message shows; a column such as patient has one for each."""


@dataclass(frozen=True)
class KnownClasses:
    """Classes of films.

    Attributes:
        names: C names.
        y: [F] int64 class, -1 unknown.
        weights: [F] float32 confidence, 0 where unknown.
        reasons: [F] str, why a class is unknown; empty if it is known or does not apply to the film.
        others: values of the column that are no class, sorted; none for labels.
    """

    names: tuple[str, ...]
    y: NDArray[np.int64]
    weights: NDArray[np.float32]
    reasons: Reasons
    others: tuple[str, ...] = ()


def known_classes(
    index: ShardIndex, folders: Sequence[PublicFolder], target: TargetClassesSettings, policy: LabelPolicy
) -> KnownClasses:
    """Read the classes of the films of an index.

    Args:
        index: of the F films.
        folders: public folders.
        target: column or labels that give the classes.
        policy: how label entries of several sources become one value.

    Returns:
        Classes, weights and reasons.

    Raises:
        EvaluationError: the folders have no labels, or not all that the task names, or fewer than two classes.
        SettingsError: the index has no such column.
        ShardFormatError: a table is damaged.
    """
    known = _label_classes(index, folders, target, policy) if target.labels else _column_classes(index, target)
    applies = matching(index.table, target.where)
    is_known = applies & (known.y >= 0) & (known.weights > 0)
    return KnownClasses(
        known.names,
        np.where(is_known, known.y, -1),
        np.where(is_known, known.weights, 0).astype(np.float32),
        np.where(applies, known.reasons, "").astype(object),
        known.others,
    )


def others_line(title: str, others: Sequence[str]) -> list[str]:
    """Name the values that are no class, since too few training patients have them or the task does not name them.

    Args:
        title: of the target.
        others: values.

    Returns:
        One line, or none.
    """
    if not others:
        return []
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    return [f"{title}: no class, and left out: {', '.join(others[:_SHOWN])}{more}."]


def class_weights(y: NDArray[np.int64], weights: NDArray[np.float32], classes: int) -> NDArray[np.float32]:
    """Weights in the loss with which all classes have the same total weight.

    Args:
        y: [F] class of the training films.
        weights: [F] confidences.
        classes: C.

    Returns:
        [F] float32; the weight of a class is at most ``MAX_CLASS_WEIGHT`` times that of the most frequent one.
    """
    totals = np.bincount(y, weights, classes)
    factors = np.clip(totals.max() / np.maximum(totals, 1e-6), 1, MAX_CLASS_WEIGHT)
    return np.asarray(weights * factors[y], dtype=np.float32)


def drawing_weights(y: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Sampling weights ([F] float64) with which the films of all classes ([F] ``y``) are drawn equally often."""
    return np.asarray(1 / np.maximum(np.bincount(y, minlength=classes), 1)[y], dtype=np.float64)


def _column_classes(index: ShardIndex, target: TargetClassesSettings) -> KnownClasses:
    column = str(target.column)
    values = pc.fill_null(pc.cast(index_column(index, column, setting="task.target"), pa.string()), "")
    of_film = np.array(values.to_pylist(), dtype=object)
    names = target.classes or _frequent_values(index, of_film, target)
    positions = {name: position for position, name in enumerate(names)}
    y = np.array([positions.get(value, -1) for value in of_film.tolist()], dtype=np.int64)
    reasons = np.where(y >= 0, "", np.where(of_film == "", f"no {column}", f"of another {column}")).astype(object)
    others = tuple(sorted(set(of_film[(y < 0) & matching(index.table, target.where)].tolist()) - {""}))
    return KnownClasses(names, y, np.ones(len(y), np.float32), reasons, others)


def _frequent_values(index: ShardIndex, values: NDArray[np.object_], target: TargetClassesSettings) -> tuple[str, ...]:
    """Values that at least MIN_PATIENTS training patients have, sorted."""
    patients = np.array(index.table.column("patient").to_pylist(), dtype=object)
    trains = np.array(index.table.column("split").to_pylist(), dtype=object) == "train"
    trains &= matching(index.table, target.where) & (values != "")
    counts = {value: len(set(patients[trains & (values == value)])) for value in sorted(set(values[trains]))}
    names = tuple(value for value, count in counts.items() if count >= MIN_PATIENTS)
    if len(names) < 2:
        most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        found = ", ".join(f"{value} ({count})" for value, count in most[:_SHOWN]) or "none"
        found += f" and {len(most) - _SHOWN} more" if len(most) > _SHOWN else ""
        raise EvaluationError(
            f"task.target: fewer than two values of {target.column} have {MIN_PATIENTS} training patients (values with"
            f" their patients: {found}). Widen data.where, or name the values in task.target.classes"
        )
    return names


def _label_classes(
    index: ShardIndex, folders: Sequence[PublicFolder], target: TargetClassesSettings, policy: LabelPolicy
) -> KnownClasses:
    """A film is of the class whose label is present while no other is present or uncertain."""
    table = read_label_entries(folders, target.labels, setting="task.target.labels")
    resolved = resolve_labels(table, policy, keys=index.table.column("key").to_pylist(), names=target.labels)
    present = resolved.values == 1
    doubtful = resolved.uncertain | ((resolved.values > 0) & (resolved.values < 1))
    count = present.sum(axis=1)
    problems = {
        "with several classes present": count > 1,
        "uncertain": (count <= 1) & doubtful.any(axis=1),
        "without a class that is present": (count == 0) & ~doubtful.any(axis=1),
    }
    reasons = np.full(len(present), "", dtype=object)
    for reason, films in problems.items():
        reasons[films] = reason
    y = np.where(reasons == "", present.argmax(axis=1), -1).astype(np.int64)
    weights = np.where(present, resolved.weights, 0).sum(axis=1)
    return KnownClasses(target.labels, y, np.where(y >= 0, weights, 0).astype(np.float32), reasons)
