"""Heads against each other on the same test films: differences paired by patient.

Legend: N films, known to every run.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.shard_format.boxes import EDGES
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.detection.detection_metrics import quick_estimates
from mae_rad.evaluation.detection.ranked_boxes import FilmDetections
from mae_rad.evaluation.statistics.intervals import Interval, bootstrap, contrast, interval
from mae_rad.evaluation.statistics.metrics import Estimate, auroc, average_precision
from mae_rad.finetuning.detection.evaluation import FILMS

_OF_SCORES = {"auroc": auroc, "average_precision": average_precision}


class Score(NamedTuple):
    """What a classification told of a film."""

    present: bool
    logit: float


Film = Score | FilmDetections
"""What one run told of one label on one film, and what is true."""


class Against(NamedTuple):
    """One run and one label.

    Attributes:
        run: name.
        label: name.
        metric: AUROC and average precision; of boxes AP50 and FROC.
        value: of the run.
        difference: to the reference; None for the reference itself.
        films: number of them, and how many are present.
        present: of the films.
        patients: number of them.
    """

    run: str
    label: str
    metric: str
    value: Interval
    difference: Interval | None
    films: int
    present: int
    patients: int


def against(
    runs: Mapping[str, Path], reference: str, shards: Sequence[Path], *, repetitions: int = 1000, seed: int = 0
) -> list[Against]:
    """Metrics of the test films of each run, and their differences to those of ``reference``, paired.

    Args:
        runs: name → folder of a finished finetuning; the reference is one of them.
        reference: name.
        shards: public folders that the runs were tested on, which know the patients.
        repetitions: bootstrap resamples of the patients.
        seed: of the resamples.

    Raises:
        EvaluationError: a run has no predictions, or they do not go together.
    """
    tested = {name: tested_films(folder) for name, folder in runs.items()}
    shared = set.intersection(*(set(labels) for labels in tested.values()))
    if not shared:
        raise EvaluationError("the runs have no label in common; compare runs of one task")
    index = ShardIndex(shards, split=None).table
    patient_of = dict(zip(index.column("key").to_pylist(), index.column("patient").to_pylist(), strict=True))
    rows: list[Against] = []
    for label in sorted(shared):
        keys, films = _shared_films({name: labels[label] for name, labels in tested.items()}, label)
        if missing := [key for key in keys if key not in patient_of]:
            raise EvaluationError(f"{len(missing)} test films are not in these shards; give those of the runs")
        patients = np.unique([patient_of[key] for key in keys], return_inverse=True)[1].astype(np.int64)
        counts = len(keys), sum(_truth(film) != [] for film in films[reference]), len(np.unique(patients))
        estimates = {name: _estimates(own) for name, own in films.items()}
        for metric in estimates[reference]:
            of_runs = {name: [own[metric]] for name, own in estimates.items()}
            drawn = bootstrap(patients, of_runs, repetitions=repetitions, seed=seed)
            for name in runs:
                difference = None if name == reference else contrast(drawn[name], drawn[reference]).interval
                rows.append(Against(name, label, metric, interval(drawn[name]), difference, *counts))
    return rows


def against_text(rows: Sequence[Against], reference: str) -> str:
    """A table for a person."""
    lines = []
    for row in rows:
        told = f"{row.label:<24} {row.metric.replace('_', ' '):<18} {row.run:<24} {_words(row.value, '.3f')}"
        if row.difference:
            told += f"   {_words(row.difference, '+.3f')} against {reference}"
        lines.append(f"{told}   {row.present} of {row.films} films present, {row.patients} patients")
    return "\n".join(lines)


def _words(interval: Interval, form: str) -> str:
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def tested_films(run: Path) -> dict[str, dict[str, Film]]:
    """Label → key → what was told of a test film."""
    folder = run / "evaluation"
    try:
        table = pq.read_table(folder / "predictions.parquet")
        told = table.filter(pc.equal(table["split"], "test"))
        return _boxes(told, pq.read_table(folder / FILMS)) if (folder / FILMS).exists() else _scores(told)
    except FileNotFoundError:
        raise EvaluationError(
            f"{run} has no evaluation/predictions.parquet; give the folder of a finished finetuning"
        ) from None
    except (pa.ArrowException, KeyError):
        raise EvaluationError(
            f"the tables of {folder} are damaged; run the same finetuning command again to write them anew"
        ) from None


def _scores(told: pa.Table) -> dict[str, dict[str, Film]]:
    told = told.filter(pc.is_valid(told["present"]))
    films: dict[str, dict[str, Film]] = {}
    for label, key, present, logit in zip(
        *(told[name].to_pylist() for name in ("label", "key", "present", "logit")), strict=True
    ):
        films.setdefault(label, {})[key] = Score(present, logit)
    return films


def _boxes(told: pa.Table, judged: pa.Table) -> dict[str, dict[str, Film]]:
    found: dict[tuple[str, str], list[list[float]]] = {}
    for label, key, *box in zip(*(told[name].to_pylist() for name in ("label", "key", *EDGES, "score")), strict=True):
        found.setdefault((label, key), []).append(box)
    films: dict[str, dict[str, Film]] = {}
    for film in judged.filter(pc.equal(judged["split"], "test")).to_pylist():
        boxes = np.array(found.get((film["label"], film["key"]), ()), dtype=np.float64).reshape(-1, 5)
        true = np.array(film["boxes"], dtype=np.float64).reshape(-1, 4)
        films.setdefault(film["label"], {})[film["key"]] = FilmDetections(boxes[:, :4], boxes[:, 4], true, film["unit"])
    return films


def _shared_films(runs: Mapping[str, Mapping[str, Film]], label: str) -> tuple[list[str], dict[str, list[Film]]]:
    """Keys [N] of the films that all runs were tested on for ``label``, and what each run told of them."""
    keys = sorted(set.intersection(*(set(films) for films in runs.values())))
    if not keys:
        raise EvaluationError(f"the runs have no test film of {label} in common; test them on the same shards")
    told = {name: [films[key] for key in keys] for name, films in runs.items()}
    first = next(iter(told.values()))
    if any(type(one) is not type(other) for films in told.values() for one, other in zip(first, films, strict=True)):
        raise EvaluationError(f"{label}: some runs are classifications, others detections; compare runs of one task")
    if any([_truth(film) for film in films] != [_truth(film) for film in first] for films in told.values()):
        raise EvaluationError(f"the runs take different films for {label}; judge them by the same policy")
    return keys, told


def _truth(film: Film) -> list[list[float]]:
    """What is there: boxes, or one without corners; empty where nothing is."""
    if isinstance(film, Score):
        return [[]] if film.present else []
    boxes: list[list[float]] = film.true.tolist()
    return boxes


def _estimates(films: Sequence[Film]) -> dict[str, Estimate]:
    boxes = [film for film in films if isinstance(film, FilmDetections)]
    if boxes:
        return quick_estimates(boxes)
    present = np.array([bool(_truth(film)) for film in films])
    logits = np.array([film.logit for film in films if isinstance(film, Score)])
    return {name: partial(of, present, logits) for name, of in _OF_SCORES.items()}
