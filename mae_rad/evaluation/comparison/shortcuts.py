"""Shortcuts: how well scanner, site, marker and collimation can be read from the vectors, and what skill rests on them.

A finding that is commoner on one scanner can be told by the scanner. Among films of one scanner alone that is of no
use: what a probe loses there, on the same scores, is what it owed to the shortcut.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mae_rad.evaluation.comparison.candidates import Candidate
from mae_rad.evaluation.comparison.differences import ComparedMetric, EncoderPair, arm_word, row_of, with_difference
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.comparison.tasks import Films, ProbeTask, Skipped, Words, task_of
from mae_rad.evaluation.comparison.trained_probes import ProbePlan
from mae_rad.evaluation.probes.linear_and_knn import Probed
from mae_rad.evaluation.results.rows import Row
from mae_rad.evaluation.statistics.intervals import bootstrap
from mae_rad.evaluation.statistics.metrics import Estimate, Floats, auroc

ALL_FILMS = "all films"
"""The reference of what is left within one scanner."""
COLLIMATION = "collimation"
_FIELDS = ("large", "medium", "small")
_ASPECTS = ("wide", "square", "tall")
_ABOUT_SQUARE = (1 / 1.15, 1.15)


def shortcut_values(films: Films, column: str, sizes: NDArray[np.float32] | None) -> Words | Skipped:
    """[films] value of a shortcut as a word, empty where it is not known.

    Args:
        films: of all splits.
        column: of the index, or ``collimation``.
        sizes: [films, 2] of the films, as an embedding gives them; None where nothing was embedded here.
    """
    if column != COLLIMATION:
        return films.words(column)
    if sizes is None:
        return Skipped(column, "only encoders of our own tell the content box of a film, and there is none")
    # A film has rows × columns patches where its content box has 196, so their product is the film over its box.
    film_over_box = sizes.prod(axis=1)
    thirds = np.quantile(film_over_box[films.split == "train"], [1 / 3, 2 / 3])
    field = np.searchsorted(thirds, film_over_box)
    aspect = np.searchsorted(_ABOUT_SQUARE, sizes[:, 0] / np.maximum(sizes[:, 1], 1e-6))
    words = [f"{shape} film, {size} field" for shape in _ASPECTS for size in _FIELDS]
    return np.asarray(np.array(words, dtype=object)[len(_FIELDS) * aspect + field])


def shortcut_tasks(
    films: Films, settings: CompareSettings, sizes: NDArray[np.float32] | None, lacking: Mapping[str, NDArray[np.bool_]]
) -> tuple[list[ProbeTask], dict[str, Words], list[Skipped]]:
    """Tasks that ask for the shortcuts themselves, the values by film, and what cannot be asked."""
    tasks, values, skipped = [], {}, []
    for column in settings.shortcuts:
        found = shortcut_values(films, column, sizes)
        if isinstance(found, Skipped):
            skipped.append(found)
            continue
        values[column] = found
        left_out = {f"no {column}": found == ""} | dict(lacking)
        task = task_of(films, column, found, settings.min_patients, left_out=left_out)
        if isinstance(task, ProbeTask):
            tasks.append(task)
        else:
            skipped.append(task)
    return tasks, values, skipped


def within_rows(
    one: ProbePlan,
    answers: Mapping[str, Sequence[Probed]],
    values: Words,
    column: str,
    candidates: Sequence[Candidate],
    settings: CompareSettings,
    like: ComparedMetric,
) -> list[Row]:
    """Of a task of two classes: AUROC among films of one value of ``column``, minus that among all of them.

    Args:
        one: the task.
        answers: of a probe with all labels.
        values: [films] of the shortcut.
        column: its name.
        candidates: everyone.
        settings: repetitions.
        like: the measurement of the same probe on all films.
    """
    task = one.task
    rows = task.rows[one.test]
    known = values[rows] != ""
    y, patients = task.y[one.test][known] == 1, task.patients[one.test][known]
    groups = np.unique(values[rows][known].astype(str), return_inverse=True)[1]
    if len(task.classes) != 2 or groups.max(initial=0) == 0 or not _comparable(y, groups):
        return []
    least = min(len(np.unique(patients[y == present])) for present in (False, True))
    told = f"{column} tells {task.name} with AUROC {_by_itself(one, values):.2f} by itself"
    out = []
    for candidate in candidates:
        if candidate.name not in answers:
            continue
        score = np.asarray(answers[candidate.name][0].scores[known, 1], dtype=np.float64)
        both: dict[str, list[Estimate]] = {
            "within": [lambda weights, s=score: within_auroc(y, s, groups, weights)],  # type: ignore[misc]
            "all": [lambda weights, s=score: auroc(y, s, weights)],  # type: ignore[misc]
        }
        sampled = bootstrap(patients, both, repetitions=settings.repetitions, seed=one.seed)
        measured = replace(like, subset=f"within {column}", probe="shortcut", patients=patients, least=least)
        found = measured.contrast(sampled["within"], sampled["all"])
        row = row_of(measured, [candidate], measured.interval(sampled["within"]), f"{like.probe} probe; {told}")
        out.append(with_difference(row, EncoderPair("", ALL_FILMS, arm_word(candidate.arms), ""), found, 1))
    return out


def named(rows: Sequence[Row]) -> list[Row]:
    """The rows with the shortcut named where a task loses within one value of it."""
    return [
        replace(row, note=f"shortcut found: {row.subset.removeprefix('within ')}; {row.note}")
        if row.reference == ALL_FILMS and row.verdict == "lower"
        else row
        for row in rows
    ]


def within_auroc(y: NDArray[np.bool_], score: Floats, groups: NDArray[np.int64], weights: Floats) -> Floats:
    """[R] chance that a positive film scores above a negative one of its group; groups weigh by their pairs."""
    right, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for group in np.unique(groups):
        here = groups == group
        positive = weights[:, here & y].sum(axis=1)
        count = positive * weights[:, here & ~y].sum(axis=1)
        value = auroc(y[here], score[here], weights[:, here])
        right += np.where(count > 0, np.nan_to_num(value) * count, 0)
        pairs += count
    return np.asarray(np.divide(right, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))


def _comparable(y: NDArray[np.bool_], groups: NDArray[np.int64]) -> bool:
    return any(y[groups == group].any() and not y[groups == group].all() for group in np.unique(groups))


def _by_itself(one: ProbePlan, values: Words) -> float:
    """AUROC, on test films, of how often the finding comes with the film's value among training films."""
    task = one.task
    train = one.draws[1.0][0].train
    words = values[task.rows]
    known = one.test[words[one.test] != ""]
    frequency = {
        word: float(np.mean(task.y[train][words[train] == word]))
        for word in set(words[train]) | set(words[known])
        if (words[train] == word).any()
    }
    overall = float(np.mean(task.y[train]))
    score = np.array([frequency.get(word, overall) for word in words[known]])
    return float(auroc(task.y[known] == 1, score, np.ones((1, len(known))))[0])
