"""Encoder × task × probe: metrics with intervals, and differences paired on the same films."""

import math
import zlib
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from data_prep.progress import Progress
from mae_rad.evaluation.embeddings import Embeddings
from mae_rad.evaluation.intervals import Bootstrap, Interval, bootstrap
from mae_rad.evaluation.metrics import estimates
from mae_rad.evaluation.probes import PROBES, Part, Probed, run_probe
from mae_rad.evaluation.rows import FLOOR, Row, Verdict
from mae_rad.evaluation.settings import CompareSettings
from mae_rad.evaluation.tasks import Task


def compare(
    trained: Sequence[Embeddings], floors: Sequence[Embeddings], tasks: Sequence[Task], settings: CompareSettings
) -> list[Row]:
    """Put every task to every encoder.

    Args:
        trained: embeddings of trained encoders, in the order of their differences: the first minus the second, ….
        floors: embeddings of randomly initialised encoders.
        tasks: what is asked.
        settings: probes, repetitions, seed, most training films.

    Raises:
        EvaluationError: an encoder lacks a film of a task.
    """
    progress = Progress("compare", "probes", len(tasks) * len(settings.probes) * (len(trained) + len(floors)))
    rows: list[Row] = []
    for task in tasks:
        seed = zlib.crc32(f"{settings.seed} {task.name}".encode())
        fitted = _training_rows(task, settings.max_train_films, seed)
        for probe in settings.probes:
            probed = {}
            for encoder in (*trained, *floors):
                probed[encoder.encoder] = _probe(task, encoder, probe, fitted, seed)
                progress.add(note=f"{task.name}, {encoder.encoder}")
            rows += _rows(task, probe, fitted, probed, [floor.encoder for floor in floors], settings.repetitions, seed)
    progress.close()
    return rows


def _training_rows(task: Task, most: int, seed: int) -> NDArray[np.int64]:
    """Rows of ``task`` to fit on: those in train, or of randomly drawn patients about ``most`` of them."""
    rows = np.flatnonzero(task.split == "train")
    if len(rows) <= most:
        return rows
    names, of_film, films = np.unique(task.patients[rows], return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    drawn = order[np.cumsum(films[order]) <= most]
    return rows[np.isin(of_film, drawn)]


def _probe(task: Task, encoder: Embeddings, probe: str, fitted: NDArray[np.int64], seed: int) -> Probed:
    matrix = encoder.rows(task.keys)

    def part(rows: NDArray[np.int64]) -> Part:
        return Part(matrix[rows], task.y[rows], task.patients[rows])

    val, test = part(np.flatnonzero(task.split == "val")), part(np.flatnonzero(task.split == "test"))
    return run_probe(PROBES[probe], part(fitted), val, test.x, len(task.classes), seed)


def _rows(
    task: Task,
    probe: str,
    fitted: NDArray[np.int64],
    probed: dict[str, Probed],
    floors: list[str],
    repetitions: int,
    seed: int,
) -> Iterator[Row]:
    test = np.flatnonzero(task.split == "test")
    patients = task.patients[test]
    priors = np.bincount(task.y[fitted], minlength=len(task.classes)) / len(fitted)
    measured = {name: estimates(task.y[test], result.scores, priors) for name, result in probed.items()}
    for metric in next(iter(measured.values())):
        by_encoder = {name: functions[metric] for name, functions in measured.items()}
        result = bootstrap(patients, by_encoder, repetitions=repetitions, seed=seed)
        for name, reference, difference in _differences(result, list(probed), floors):
            interval = result.interval(name)
            yield Row(
                encoder=name,
                method="random" if name in floors else "",
                task=task.name,
                probe=probe,
                metric=metric,
                interval=interval,
                reference=reference,
                difference=difference,
                verdict=_verdict(difference),
                n_films=len(test),
                n_patients=len(np.unique(patients)),
                n_train=len(fitted),
                n_train_patients=len(np.unique(task.patients[fitted])),
                note=f"{probed[name].note}{_caveat(interval)}",
            )


def _differences(
    result: Bootstrap, encoders: list[str], floors: list[str]
) -> Iterator[tuple[str, str | None, Interval | None]]:
    """(encoder, reference, difference): every encoder by itself, against the floor, then against those after it."""
    for name in encoders:
        yield name, None, None
    trained = [name for name in encoders if name not in floors]
    if floors:
        for name in trained:
            yield name, FLOOR, result.difference(name, floors)
    for name, other in combinations(trained, 2):
        yield name, other, result.difference(name, [other])


def _verdict(difference: Interval | None) -> Verdict:
    if difference is None:
        return ""
    if difference.low > 0:
        return "higher"
    if difference.high < 0:
        return "lower"
    return "no difference shown" if math.isfinite(difference.low) else "too few patients"


def _caveat(interval: Interval) -> str:
    if not math.isfinite(interval.low):
        return "; too few patients of a class for an interval"
    if interval.low == interval.high:
        return "; no resample differs: the interval does not show how uncertain this is"
    return ""
