"""Build the tasks of a comparison, classes or numbers, from index columns and labels.

Films that are left out are counted with the reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.shard_format.label_policy import REASONS, LabelPolicy, resolve_labels
from data_prep.shard_format.number_labels import resolve_numbers
from mae_rad.data.shard_reader import matching
from mae_rad.errors import SettingsError
from mae_rad.evaluation.comparison.films import Films, Strings
from mae_rad.evaluation.comparison.settings import TaskSettings

_MAX_RARE_CLASSES = 20  # that are named one by one
NUMBER = "number"
"""The one class of a task that predicts numbers."""


@dataclass(frozen=True)
class ProbeTask:
    """Films with a class or a number each.

    Attributes:
        name: displayed name.
        classes: C names; a binary task is (absent, present) or two values of a column; a task of numbers has one class.
        rows: [N] films, as rows of the index.
        patients: [N] number of the patient.
        pseudonyms: [N] pseudonym of the patient, the same in every index.
        split: [N] train, val or test.
        y: [N] class.
        left_out: reason → number of films.
        label: label of labels.parquet; None for a task of an index column.
        numbers: [N] predicted numbers; None for classes.
        unit: unit of the numbers, empty if unknown.
        folds: [N] fold of each test film, -1 of other films; None if probes are fitted to the training films.
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
    numbers: NDArray[np.float64] | None = None
    unit: str = ""
    folds: NDArray[np.int64] | None = None

    @property
    def targets(self) -> NDArray[np.int64] | NDArray[np.float64]:
        """[N] what is predicted: numbers, or classes."""
        return self.y if self.numbers is None else self.numbers

    def positions(self, split: str) -> NDArray[np.int64]:
        """Return the positions of the films of ``split`` among the N films."""
        return np.flatnonzero(self.split == split)


@dataclass(frozen=True)
class SkippedTask:
    """A task that cannot be evaluated, and the reason."""

    name: str
    reason: str


def build_tasks(
    films: Films,
    settings: Sequence[TaskSettings],
    *,
    all_labels: bool,
    min_patients: int,
    films_without_vector: Mapping[str, NDArray[np.bool_]] | None = None,
    policy: LabelPolicy | None = None,
    folds: NDArray[np.int64] | None = None,
) -> tuple[list[ProbeTask], list[SkippedTask]]:
    """Build every task that can be evaluated on the films.

    Args:
        films: films of all splits.
        settings: requested tasks.
        all_labels: add a task for every other label of labels.parquet.
        min_patients: lowest number of train and of test patients of a class.
        films_without_vector: reason → [films] bool, the film is left out of every task.
        policy: rule for films with label entries from several sources and readers.
        folds: [films] fold of each test film, see :func:`.label_draws.patient_folds`.

    Returns:
        The tasks, and those that cannot be evaluated with the reason.
    """
    task_settings = list(settings)
    of_values, of_numbers = films.label_names(), films.label_names("number")
    if all_labels:
        named_labels = {task.label for task in task_settings} | {task.title for task in task_settings}
        task_settings += [
            TaskSettings(label=label) for label in sorted({*of_values, *of_numbers}) if label not in named_labels
        ]
    built_tasks = [
        _build_from_settings(films, task, min_patients, films_without_vector or {}, policy or LabelPolicy(), folds)
        for task in task_settings
    ]
    both = {task.label for task in task_settings if task.number is None} & set(of_values) & set(of_numbers)
    both -= {task.label for task in task_settings if task.number}
    return [task for task in built_tasks if isinstance(task, ProbeTask)], [
        *(task for task in built_tasks if isinstance(task, SkippedTask)),
        *(SkippedTask(f"{label}, numbers", _BOTH.format(label=label)) for label in sorted(filter(None, both))),
    ]


_BOTH = (
    "labels.parquet has values and numbers of this label, and its task is of the values."
    " Add a task {{label: {label}, number: true, name: …}} for the numbers"
)


def _build_from_settings(
    films: Films,
    settings: TaskSettings,
    min_patients: int,
    films_without_vector: Mapping[str, NDArray[np.bool_]],
    policy: LabelPolicy,
    folds: NDArray[np.int64] | None,
) -> ProbeTask | SkippedTask:
    if settings.label and films.labels.num_rows == 0:
        return SkippedTask(settings.title, "the shard folders have no labels.parquet. Write it with: mae-rad label")
    if missing := _missing_label(films, settings):
        return SkippedTask(settings.title, missing)
    numbers: NDArray[np.float64] | None = None
    if _is_number(films, settings):
        numbers, left_out = _numbers(films, settings, policy)
        values = np.where(np.isfinite(numbers), NUMBER, "").astype(object)
    elif settings.column:
        values, left_out = _column_values(films, settings)
    else:
        values, left_out = _label_values(films, str(settings.label), policy)
    built = build_task(
        films, settings.title, values, min_patients, keep=matching(films.table, settings.where),
        left_out=left_out | dict(films_without_vector), folds=folds, numbers=numbers,
    )  # fmt: skip
    return replace(built, label=settings.label, unit=settings.unit_name) if isinstance(built, ProbeTask) else built


def build_task(
    films: Films,
    name: str,
    values: Strings,
    min_patients: int,
    *,
    keep: NDArray[np.bool_] | None = None,
    left_out: Mapping[str, NDArray[np.bool_]],
    folds: NDArray[np.int64] | None = None,
    numbers: NDArray[np.float64] | None = None,
) -> ProbeTask | SkippedTask:
    """Build a task whose classes are the values of the films, or of their numbers.

    Args:
        films: films of all splits.
        name: name of the task.
        values: [films] class of every film, empty where it has none; NUMBER for films with a number.
        min_patients: lowest number of train and of test patients of a class; with folds, of the patients outside a fold
            and of all.
        keep: [films] bool, the film may be in the task; None for all.
        left_out: reason → [films] bool, left out for this reason; other films without a value are not counted.
        folds: [films] fold of each test film, see :func:`.label_draws.patient_folds`.
        numbers: [films] predicted numbers; None for classes.

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
    classes, rare_classes = _classes(films, values, keep, min_patients, folds)
    for value, reason in rare_classes.items():
        left_out_counts[reason] = left_out_counts.get(reason, 0) + int((keep & (values == value)).sum())
    if len(classes) < (2 if numbers is None else 1):
        return SkippedTask(name, "; ".join(dict.fromkeys(rare_classes.values())) or f"every film is {classes[0]}")
    rows = np.flatnonzero(keep & np.isin(values, classes))
    if numbers is not None and not np.ptp(numbers[rows][films.split[rows] == "test"]):
        return SkippedTask(name, "the number of every test film is the same")
    return ProbeTask(
        name=name,
        classes=tuple(classes),
        rows=rows,
        patients=films.patients[rows],
        pseudonyms=films.strings("patient")[rows],
        split=films.split[rows],
        y=np.searchsorted(classes, values[rows].astype(str)),
        left_out={reason: count for reason, count in left_out_counts.items() if count},
        numbers=None if numbers is None else numbers[rows],
        folds=None if folds is None else folds[rows],
    )


def _missing_label(films: Films, settings: TaskSettings) -> str:
    """Return why the label of a task has nothing to predict; empty if it has, or for a task of a column."""
    of_values, of_numbers = films.label_names(), films.label_names("number")
    label = settings.label
    if not label or label in {True: of_numbers, False: of_values, None: [*of_values, *of_numbers]}[settings.number]:
        return ""
    if label in of_values:
        return f"labels.parquet has values of {label!r}, not numbers. Remove `number`"
    if label in of_numbers:
        return f"labels.parquet has numbers of {label!r}, not values. Remove `number`"
    return f"labels.parquet has no label {label!r}; it has {', '.join(sorted({*of_values, *of_numbers}))}"


def _is_number(films: Films, settings: TaskSettings) -> bool:
    """Return whether a task predicts numbers."""
    if settings.column is None:
        return settings.number or (settings.number is None and settings.label not in films.label_names())
    if settings.edges or settings.number is False:
        return False
    is_number = films.numbers(settings.column) is not None
    if settings.number and not is_number:
        raise SettingsError(
            f"tasks: number is true, but {settings.column} is not a column of numbers. Remove number, or name another"
            " column."
        )
    return is_number


def _numbers(
    films: Films, settings: TaskSettings, policy: LabelPolicy
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.bool_]]]:
    """Return the numbers [films] of a task, NaN where unknown, and reason → films without a number."""
    if settings.column:
        numbers = films.numbers(settings.column)
        assert numbers is not None  # `_is_number` has checked it
        return np.where(np.isfinite(numbers), numbers, np.nan), {f"no {settings.column}": ~np.isfinite(numbers)}
    resolved = resolve_numbers(films.labels, policy, keys=films.keys, name=str(settings.label))
    return resolved.numbers, {name: resolved.reasons == code for code, name in enumerate(REASONS) if name}


def _column_values(films: Films, settings: TaskSettings) -> tuple[Strings, dict[str, NDArray[np.bool_]]]:
    column = str(settings.column)
    values = films.strings(column)
    if settings.edges:
        values = _binned(films, column, settings.edges)
    return values, {f"no {column}": values == ""}


def _binned(films: Films, column: str, edges: Sequence[float]) -> Strings:
    """Return the range [films] of a column of numbers, as strings."""
    numbers = films.numbers(column)
    if numbers is None:
        raise SettingsError(
            f"tasks: edges need a column of numbers, not {column}. Remove edges, or name another column."
        )
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
    if label in films.label_names("number"):
        only_number = np.isfinite(resolve_numbers(films.labels, policy, keys=films.keys, name=label).numbers)
        without_value = left_out["not labelled"]
        left_out |= {"not labelled": without_value & ~only_number, "a number, no value": without_value & only_number}
    return names_array, left_out | {"neither present nor absent": (value > 0) & (value < 1)}


def _classes(
    films: Films, values: Strings, keep: NDArray[np.bool_], min_patients: int, folds: NDArray[np.int64] | None
) -> tuple[list[str], dict[str, str]]:
    """Return the classes with enough patients in train and in test, and rejected class → reason."""
    kept_classes, rare_classes = [], {}
    for name in sorted(set(values[keep])):
        train, test = _fitted_and_tested(films, keep & (values == name), folds)
        if min(train, test) >= min_patients:
            kept_classes.append(name)
        else:
            rare_classes[name] = f"{name}: {train} training and {test} test patients, fewer than {min_patients}"
    if len(rare_classes) > _MAX_RARE_CLASSES:  # a column such as patient has one for every patient
        all_rare = f"{len(rare_classes)} values of fewer than {min_patients} training or test patients each"
        rare_classes = dict.fromkeys(rare_classes, all_rare)
    return kept_classes, rare_classes


def _fitted_and_tested(films: Films, in_class: NDArray[np.bool_], folds: NDArray[np.int64] | None) -> tuple[int, int]:
    """Count the patients to whom a probe is fitted, with folds the fewest outside a fold, and the test patients."""

    def patients(chosen: NDArray[np.bool_]) -> int:
        return len(np.unique(films.patients[in_class & chosen]))

    test = films.split == "test"
    if folds is None:
        return patients(films.split == "train"), patients(test)
    return min(patients(test & (folds != fold)) for fold in range(folds.max(initial=0) + 1)), patients(test)


def _flags(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.asarray(pc.fill_null(column, False).to_numpy(), dtype=np.bool_)
