"""Compares finetuned heads on their common test films, with differences paired by patient.

Legend: N test films that all runs have in common.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.folder_url import PublicFolder
from data_prep.shard_format.boxes import EDGES
from data_prep.shard_format.parquet_bytes import read_parquet
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.detection.detection_metrics import quick_estimates
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections
from mae_rad.evaluation.multiclass.class_metrics import OVER_FILMS, class_estimates, classes_without_films
from mae_rad.evaluation.statistics.intervals import (
    BootstrapSamples,
    Interval,
    bootstrap,
    contrast,
    fewest_patients,
    honest_interval,
    interval,
    with_rule_of_three,
)
from mae_rad.evaluation.statistics.metrics import (
    Estimate,
    auroc,
    average_precision,
    mean_absolute_error,
    r_squared,
)
from mae_rad.finetuning.detection.evaluation import FILMS_FILE
from mae_rad.training.films_trained_on import copies_of_trained_films

_log = logging.getLogger(__name__)

_SCORE_METRICS: dict[str, Callable[..., NDArray[np.float64]]] = {"auroc": auroc, "average_precision": average_precision}
_LEAST = 1e-300
"""Replaces a probability of 0, which has no logarithm."""


class Score(NamedTuple):
    """Label and predicted logit of a film."""

    present: bool
    logit: float


class NumberPair(NamedTuple):
    """True and predicted number of a film."""

    number: float
    predicted: float


class ClassPair(NamedTuple):
    """True class of a film, and the probability of every class."""

    name: str
    probabilities: dict[str, float]


Film = Score | FilmDetections | NumberPair | ClassPair
"""Truth and prediction of one run for one label on one film."""
_TASKS = {
    Score: "classifications",
    FilmDetections: "detections",
    NumberPair: "regressions",
    ClassPair: "classifications into exclusive classes",
}


class HeadComparison(NamedTuple):
    """One metric of one run for one label.

    Attributes:
        run: name.
        label: name.
        metric: ``auroc`` or ``average_precision``; of boxes ``ap50`` or ``froc``; of numbers ``r2`` or
            ``mean_absolute_error``, in their unit; of exclusive classes those of :func:`.class_estimates`.
        value: of the run, with interval.
        difference: run minus reference, with interval; None for the reference itself.
        films: number of films.
        present: number of films with the label; None for numbers and exclusive classes.
        patients: number of patients.
        left_out: exclusive classes without a film, which no mean contains.
    """

    run: str
    label: str
    metric: str
    value: Interval
    difference: Interval | None
    films: int
    present: int | None
    patients: int
    left_out: tuple[str, ...] = ()


def compare_heads(
    runs: Mapping[str, Path],
    reference: str,
    shards: Sequence[PublicFolder],
    *,
    repetitions: int = 1000,
    seed: int = 0,
    distinct_patients: bool = False,
) -> list[HeadComparison]:
    """Compute metrics of the common test films of each run, and paired differences to the reference.

    Args:
        runs: name → folder of a finished finetuning; the reference is one of them.
        reference: name of the run that the others are compared to.
        shards: public folders that the runs were tested on; they assign films to patients.
        repetitions: number of bootstrap resamples of the patients.
        seed: of the resamples.
        distinct_patients: whether folders of different secrets hold no patient twice.

    Returns:
        A row per label, metric and run.

    Raises:
        EvaluationError: a run has no predictions, or the runs have no label or film in common.
    """
    index = ShardIndex(shards, split=None, distinct_patients=distinct_patients).table
    tested = _without_copies({name: read_test_films(folder) for name, folder in runs.items()}, runs, index)
    shared = set.intersection(*(set(labels) for labels in tested.values()))
    if not shared:
        raise EvaluationError("the runs have no label in common. Compare runs of one task")
    patient_of = dict(zip(index.column("key").to_pylist(), index.column("patient").to_pylist(), strict=True))
    rows: list[HeadComparison] = []
    for label in sorted(shared):
        keys, films = _shared_films({name: labels[label] for name, labels in tested.items()}, label)
        if missing := [key for key in keys if key not in patient_of]:
            raise EvaluationError(f"{len(missing)} test films are not in the given shards. Give the shards of the runs")
        patients = np.unique([patient_of[key] for key in keys], return_inverse=True)[1].astype(np.int64)
        counts = len(keys), _count_present(films[reference]), len(np.unique(patients))
        fewest, left_out = _fewest_patients(films[reference], patients), _classes_left_out(films[reference])
        estimates = {name: _estimates(run_films) for name, run_films in films.items()}
        for metric in estimates[reference]:
            of_runs = {name: [run_estimates[metric]] for name, run_estimates in estimates.items()}
            resampled = bootstrap(patients, of_runs, repetitions=repetitions, seed=seed)
            bound = counts[2] if metric in OVER_FILMS else fewest
            for name in runs:
                against = None if name == reference else resampled[reference]
                value, difference = _honest(metric, resampled[name], against, bound)
                rows.append(HeadComparison(name, label, metric, value, difference, *counts, left_out))
    return rows


def _honest(
    metric: str, run: BootstrapSamples, reference: BootstrapSamples | None, patients: int | None
) -> tuple[Interval, Interval | None]:
    """Value and difference, widened where no resample differs; ``patients`` is None for an error of numbers."""
    biased, highest = metric == "calibration_error", math.inf if metric == "log_loss" else 1.0
    value = interval(run, biased=biased)
    difference = None if reference is None else contrast(run, reference, biased=biased).interval
    if patients is None:  # it has no bound
        return value, difference
    if value.low == value.high and difference is not None and highest == 1:  # not two heads that rank films alike
        difference = with_rule_of_three(difference, patients)
    return honest_interval(value, patients, highest=highest), difference


def _without_copies(
    tested: Mapping[str, dict[str, dict[str, Film]]], runs: Mapping[str, Path], index: pa.Table
) -> dict[str, dict[str, dict[str, Film]]]:
    """Leave out the films whose pixels a run, or the encoder it starts from, was trained on: they score no run."""
    is_copy = np.logical_or.reduce([copies_of_trained_films(index, folder) for folder in runs.values()])
    copies = set(index.filter(pa.array(is_copy))["key"].to_pylist())
    if found := copies & {key for labels in tested.values() for films in labels.values() for key in films}:
        _log.warning("%d test films are not scored: a run was trained on their pixels", len(found))
    return {
        name: {
            label: {key: film for key, film in films.items() if key not in copies} for label, films in labels.items()
        }
        for name, labels in tested.items()
    }


def comparison_text(rows: Sequence[HeadComparison], reference: str) -> str:
    """Format the rows as a text table.

    Args:
        rows: of :func:`compare_heads`.
        reference: name of the run that the others are compared to.

    Returns:
        One line per row, then one per label with classes that have no film.
    """
    lines = []
    for row in rows:
        line = f"{row.label:<24} {row.metric.replace('_', ' '):<18} {row.run:<24} {_interval_text(row.value, '.3f')}"
        if row.difference:
            line += f"   {_interval_text(row.difference, '+.3f')} against {reference}"
        films = f"{row.films} films" if row.present is None else f"{row.present} of {row.films} films present"
        lines.append(f"{line}   {films}, {row.patients} patients")
    left_out = {row.label: ", ".join(row.left_out) for row in rows if row.left_out}
    return "\n".join(
        [
            *lines,
            *(f"{of}: no test film of {names}; means are over the other classes." for of, names in left_out.items()),
        ]
    )


def _interval_text(interval: Interval, form: str) -> str:
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def read_test_films(run: Path) -> dict[str, dict[str, Film]]:
    """Read the predictions of a finished run for its test films: label → key → film."""
    folder = run / "evaluation"
    try:
        table = read_parquet(folder / "predictions.parquet")
        predictions = table.filter(pc.equal(table["split"], "test"))
        if (folder / FILMS_FILE).exists():
            return _read_boxes(predictions, read_parquet(folder / FILMS_FILE))
        if "number" in predictions.column_names:
            return _read_pairs(predictions, NumberPair, "number", "predicted")
        if "class" in predictions.column_names:
            return _read_pairs(predictions, ClassPair, "class", "probability")
        return _read_pairs(predictions, Score, "present", "logit")
    except FileNotFoundError:
        raise EvaluationError(
            f"{run} has no evaluation/predictions.parquet. Give the folder of a finished finetuning"
        ) from None
    except (pa.ArrowException, KeyError):
        raise EvaluationError(
            f"the tables of {folder} are damaged. Run the same finetuning command again to rewrite them"
        ) from None


def _read_pairs(
    predictions: pa.Table, kind: Callable[[Any, Any], Film], truth: str, predicted: str
) -> dict[str, dict[str, Film]]:
    """Label → key → film, of the films whose truth is known."""
    predictions = predictions.filter(pc.is_valid(predictions[truth]))
    films: dict[str, dict[str, Film]] = {}
    for label, key, true, answer in zip(
        *(predictions[name].to_pylist() for name in ("label", "key", truth, predicted)), strict=True
    ):
        films.setdefault(label, {})[key] = kind(true, answer)
    return films


def _read_boxes(predictions: pa.Table, film_table: pa.Table) -> dict[str, dict[str, Film]]:
    predicted: dict[tuple[str, str], list[list[float]]] = {}
    for label, key, *box in zip(
        *(predictions[name].to_pylist() for name in ("label", "key", *EDGES, "score")), strict=True
    ):
        predicted.setdefault((label, key), []).append(box)
    films: dict[str, dict[str, Film]] = {}
    for film in film_table.filter(pc.equal(film_table["split"], "test")).to_pylist():
        boxes = np.array(predicted.get((film["label"], film["key"]), ()), dtype=np.float64).reshape(-1, 5)
        true = np.array(film["boxes"], dtype=np.float64).reshape(-1, 4)
        films.setdefault(film["label"], {})[film["key"]] = FilmDetections(boxes[:, :4], boxes[:, 4], true, film["unit"])
    return films


def _shared_films(runs: Mapping[str, Mapping[str, Film]], label: str) -> tuple[list[str], dict[str, list[Film]]]:
    """Keys [N] of the films that all runs were tested on for ``label``, and the films of each run."""
    keys = sorted(set.intersection(*(set(films) for films in runs.values())))
    if not keys:
        raise EvaluationError(f"the runs have no test film of {label} in common. Test them on the same shards")
    predictions = {name: [films[key] for key in keys] for name, films in runs.items()}
    first = next(iter(predictions.values()))
    kinds = sorted({type(film) for films in predictions.values() for film in films}, key=[*_TASKS].index)
    if len(kinds) > 1:
        raise EvaluationError(
            f"{label}: some runs are {_TASKS[kinds[0]]}, others {_TASKS[kinds[1]]}. Compare runs of one task"
        )
    if any([_truth(film) for film in films] != [_truth(film) for film in first] for films in predictions.values()):
        raise EvaluationError(
            f"the true labels of {label} differ between the runs. Evaluate them with the same label policy"
        )
    classes = {frozenset(film.probabilities) for films in predictions.values() for film in _class_pairs(films)}
    if len(classes) > 1:
        raise EvaluationError(
            f"the runs distinguish different classes of {label}. Finetune them with the same task.target.classes"
        )
    return keys, predictions


def _truth(film: Film) -> object:
    """What is known of a film: present or absent, its boxes, its number or its class."""
    return film.true.tolist() if isinstance(film, FilmDetections) else film[0]


def _class_pairs(films: Sequence[Film]) -> list[ClassPair]:
    return [film for film in films if isinstance(film, ClassPair)]


def _count_present(films: Sequence[Film]) -> int | None:
    """Number of films with the label; None for numbers and exclusive classes."""
    if isinstance(films[0], NumberPair | ClassPair):
        return None
    return sum(bool(_truth(film)) for film in films)


def _fewest_patients(films: Sequence[Film], patients: NDArray[np.int64]) -> int | None:
    """Patients of the class with the fewest, of boxes those with one; None for numbers."""
    if isinstance(films[0], NumberPair):
        return None
    if isinstance(films[0], FilmDetections):
        return len(np.unique(patients[[bool(_truth(film)) for film in films]]))
    return fewest_patients(patients, np.array([str(_truth(film)) for film in films]))


def _estimates(films: Sequence[Film]) -> dict[str, Estimate]:
    boxes = [film for film in films if isinstance(film, FilmDetections)]
    if boxes:
        return quick_estimates(boxes)
    numbers = [film for film in films if isinstance(film, NumberPair)]
    if numbers:
        true, predicted = np.array(numbers).T
        return {
            "r2": partial(r_squared, true, predicted),
            "mean_absolute_error": partial(mean_absolute_error, true, predicted),
        }
    if classes := _class_pairs(films):
        return _class_estimates(classes)
    present = np.array([bool(_truth(film)) for film in films])
    logits = np.array([film.logit for film in films if isinstance(film, Score)])
    return {name: partial(of, present, logits) for name, of in _SCORE_METRICS.items()}


def _class_estimates(films: Sequence[ClassPair]) -> dict[str, Estimate]:
    """Metrics of exclusive classes; means are over those that the films have."""
    names, y = _class_numbers(films)
    logits = np.log([[max(film.probabilities[name], _LEAST) for name in names] for film in films])
    return class_estimates(y, logits)


def _class_numbers(films: Sequence[ClassPair]) -> tuple[list[str], NDArray[np.int64]]:
    """Names [C] of the classes, and the class [N] of each film."""
    names = sorted(films[0].probabilities)
    return names, np.array([names.index(film.name) for film in films], dtype=np.int64)


def _classes_left_out(films: Sequence[Film]) -> tuple[str, ...]:
    """Exclusive classes without a film."""
    pairs = _class_pairs(films)
    if not pairs:
        return ()
    names, y = _class_numbers(pairs)
    return tuple(classes_without_films(y, names))
