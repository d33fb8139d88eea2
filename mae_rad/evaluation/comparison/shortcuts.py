"""Shortcuts: prediction of scanner, site, marker, collimation and labels from the vectors, and their effect on tasks.

A finding that is more frequent on one scanner can be predicted from the scanner. Among films of one scanner this is
impossible: the loss of a probe there, with the same scores, is the contribution of the shortcut.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.shard_format.label_policy import LabelPolicy, resolve_labels
from data_prep.shard_format.number_labels import resolve_numbers
from mae_rad.errors import SettingsError
from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.differences import (
    ComparedMetric,
    EncoderPair,
    arm_value,
    metric_row,
    with_difference,
)
from mae_rad.evaluation.comparison.films import Films, Strings
from mae_rad.evaluation.comparison.label_draws import patient_folds, unlabelled_rows
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.comparison.tasks import ProbeTask, SkippedTask, build_task
from mae_rad.evaluation.comparison.trained_probes import ProbePlan
from mae_rad.evaluation.probes.linear_and_knn import ProbeOutput
from mae_rad.evaluation.results.rows import Row
from mae_rad.evaluation.statistics.intervals import bootstrap
from mae_rad.evaluation.statistics.metrics import Estimate, Floats, auroc

ALL_FILMS = "all films"
"""Value of ``reference`` for the score on all films."""
COLLIMATION = "collimation"
_FIELDS = ("large", "medium", "small")
_ASPECTS = ("wide", "square", "tall")
_ABOUT_SQUARE = (1 / 1.15, 1.15)
_THIRDS = ("low third", "middle third", "high third")
_MAX_NUMBERS = 10
"""Columns and labels of more different numbers are divided into thirds."""


def shortcut_values(
    films: Films, column: str, sizes: NDArray[np.float32] | None, policy: LabelPolicy
) -> Strings | SkippedTask:
    """Return the value of a shortcut of every film.

    Args:
        films: films of all splits.
        column: index column, label of labels.parquet, or ``collimation``.
        sizes: [films, 2] sizes of the films from an embedding, as ``Patches.size``; None if all vectors are external.
        policy: rule for films with label entries from several sources and readers.

    Returns:
        [films] strings, empty where unknown; or the reason why the shortcut cannot be evaluated.

    Raises:
        SettingsError: there is no such column or label.
    """
    if column in films.table.column_names:
        kind = films.table.schema.field(column).type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return _number_values(films, films.table.column(column).to_numpy().astype(np.float64))
        return films.strings(column)
    if column != COLLIMATION:
        return _label_values(films, column, policy)
    if sizes is None:
        return SkippedTask(
            column, "the content boxes of films are known only if a run is compared, not from external vectors alone"
        )
    # A film has rows × columns patches where its content box has 196, so their product is the film over its box.
    film_over_box = sizes.prod(axis=1)
    every = np.ones(len(film_over_box), dtype=np.bool_)
    thirds = np.quantile(film_over_box[unlabelled_rows(films, every)], [1 / 3, 2 / 3])
    field = np.searchsorted(thirds, film_over_box)
    aspect = np.searchsorted(_ABOUT_SQUARE, sizes[:, 0] / np.maximum(sizes[:, 1], 1e-6))
    descriptions = [f"{shape} film, {size} field" for shape in _ASPECTS for size in _FIELDS]
    return np.asarray(np.array(descriptions, dtype=object)[len(_FIELDS) * aspect + field])


def _label_values(films: Films, label: str, policy: LabelPolicy) -> Strings:
    """Return the value of a label, or the third of its number, of every film."""
    of_label = films.labels.filter(pc.equal(films.labels["label"], label))
    if pc.any(pc.is_valid(of_label["value"])).as_py():
        value = resolve_labels(films.labels, policy, keys=films.keys, names=[label]).values[:, 0]
        return np.asarray(np.where(value == 1, "present", np.where(value == 0, "absent", "")).astype(object))
    if not pc.any(pc.is_valid(of_label["number"])).as_py():
        raise SettingsError(
            f"shortcuts: neither the index nor labels.parquet has {label!r}. Name a column of the index"
            f" ({', '.join(films.table.column_names)}), a label, or {COLLIMATION}."
        )
    return _number_values(films, resolve_numbers(of_label, policy, keys=films.keys, name=label).numbers)


def _number_values(films: Films, numbers: NDArray[np.float64]) -> Strings:
    """Return each number as a string, or its third among the training films if there are many different numbers."""
    known = np.isfinite(numbers)
    if len(np.unique(numbers[known])) <= _MAX_NUMBERS:
        return np.array([f"{number:g}" if known[film] else "" for film, number in enumerate(numbers)], dtype=object)
    training = known & (films.split == "train")
    edges = np.quantile(numbers[training if training.any() else known], [1 / 3, 2 / 3])
    thirds = np.array(_THIRDS, dtype=object)[np.searchsorted(edges, np.where(known, numbers, 0.0))]
    return np.asarray(np.where(known, thirds, ""))


def shortcut_tasks(
    films: Films, settings: CompareSettings, sizes: NDArray[np.float32] | None, lacking: Mapping[str, NDArray[np.bool_]]
) -> tuple[list[ProbeTask], dict[str, Strings], list[SkippedTask]]:
    """Build the tasks that predict the shortcuts.

    Args:
        films: films of all splits.
        settings: settings of the comparison.
        sizes: see :func:`shortcut_values`.
        lacking: reason → [films] bool, the film is left out.

    Returns:
        The tasks, shortcut → values [films], and the shortcuts that cannot be evaluated with the reason.
    """
    tasks, values, skipped = [], {}, []
    folds = patient_folds(films, settings.cross_fit, settings.seed)
    for column in settings.shortcuts:
        column_values = shortcut_values(films, column, sizes, settings.policy)
        if isinstance(column_values, SkippedTask):
            skipped.append(column_values)
            continue
        values[column] = column_values
        left_out = {f"no {column}": column_values == ""} | dict(lacking)
        task = build_task(films, column, column_values, settings.min_patients, left_out=left_out, folds=folds)
        if isinstance(task, ProbeTask):
            tasks.append(task)
        else:
            skipped.append(task)
    return tasks, values, skipped


def within_rows(
    plan: ProbePlan,
    outputs: Mapping[str, Sequence[ProbeOutput]],
    values: Strings,
    column: str,
    candidates: Sequence[Candidate],
    settings: CompareSettings,
    whole_metric: ComparedMetric,
) -> list[Row]:
    """Compute, for a binary task, AUROC among films of one value of ``column`` minus AUROC among all films.

    Args:
        plan: task with the films of its probes.
        outputs: encoder → outputs of a probe with all labels.
        values: [films] values of the shortcut.
        column: name of the shortcut.
        candidates: all compared encoders.
        settings: settings of the comparison.
        whole_metric: metric of the same probe on all films.

    Returns:
        Rows with the difference; empty for other tasks, and if no value has films of both classes.
    """
    task = plan.task
    rows = task.rows[plan.test]
    known = values[rows] != ""
    y, patients = task.y[plan.test][known] == 1, task.patients[plan.test][known]
    groups = np.unique(values[rows][known].astype(str), return_inverse=True)[1]
    if len(task.classes) != 2 or groups.max(initial=0) == 0 or not _has_pairs(y, groups):
        return []
    min_class_patients = min(len(np.unique(patients[y == present])) for present in (False, True))
    shortcut_note = f"{column} predicts {task.name} with AUROC {_auroc_of_value_alone(plan, values):.2f} by itself"
    out = []
    for candidate in candidates:
        if candidate.name not in outputs:
            continue
        score = np.asarray(outputs[candidate.name][0].scores[known, 1], dtype=np.float64)
        both: dict[str, list[Estimate]] = {
            "within": [lambda weights, s=score: within_auroc(y, s, groups, weights)],  # type: ignore[misc]
            "all": [lambda weights, s=score: auroc(y, s, weights)],  # type: ignore[misc]
        }
        sampled = bootstrap(patients, both, repetitions=settings.repetitions, seed=plan.seed)
        metric = replace(
            whole_metric,
            subset=f"within {column}",
            probe="shortcut",
            patients=patients,
            min_class_patients=min_class_patients,
        )
        column_values = metric.contrast(sampled["within"], sampled["all"])
        row = metric_row(
            metric, [candidate], metric.interval(sampled["within"]), f"{whole_metric.probe} probe; {shortcut_note}"
        )
        out.append(with_difference(row, EncoderPair("", ALL_FILMS, arm_value(candidate.arms), ""), column_values, 1))
    return out


def with_shortcut_notes(rows: Sequence[Row]) -> list[Row]:
    """Name the shortcut in the note of rows whose score is lower within one value of the shortcut."""
    return [
        replace(row, note=f"shortcut found: {row.subset.removeprefix('within ')}; {row.note}")
        if row.reference == ALL_FILMS and row.verdict == "lower"
        else row
        for row in rows
    ]


def within_auroc(y: NDArray[np.bool_], score: Floats, groups: NDArray[np.int64], weights: Floats) -> Floats:
    """Compute the probability that a positive film scores above a negative film of its group.

    Args:
        y: [N] bool, positive.
        score: [N] scores.
        groups: [N] group of each film.
        weights: [R, N] weights of the films.

    Returns:
        [R] in [0, 1]; groups are weighted by their number of pairs.
    """
    concordant, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for group in np.unique(groups):
        in_group = groups == group
        positive = weights[:, in_group & y].sum(axis=1)
        count = positive * weights[:, in_group & ~y].sum(axis=1)
        value = auroc(y[in_group], score[in_group], weights[:, in_group])
        concordant += np.where(count > 0, np.nan_to_num(value) * count, 0)
        pairs += count
    return np.asarray(np.divide(concordant, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))


def _has_pairs(y: NDArray[np.bool_], groups: NDArray[np.int64]) -> bool:
    return any(y[groups == group].any() and not y[groups == group].all() for group in np.unique(groups))


def _auroc_of_value_alone(plan: ProbePlan, values: Strings) -> float:
    """Compute the test AUROC of predicting the finding by its frequency among training films of the same value."""
    task, descriptions, folds = plan.task, values[plan.task.rows], plan.draws[1.0][0]
    scores = []
    for train, _, test in folds:
        overall = float(np.mean(task.y[train]))
        frequency = {
            value: float(np.mean(task.y[train][descriptions[train] == value])) for value in set(descriptions[train])
        }
        scores.append(np.array([frequency.get(value, overall) for value in descriptions[test]]))
    known = descriptions[plan.test] != ""
    score = plan.in_test(scores, folds)[known]
    return float(auroc(task.y[plan.test][known] == 1, score, np.ones((1, len(score))))[0])
