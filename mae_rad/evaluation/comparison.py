"""Encoder × task × probe: metrics with intervals, and differences paired on the same films."""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_prep.progress import Progress
from mae_rad.evaluation.embeddings import Embeddings
from mae_rad.evaluation.intervals import Bootstrap, Interval, bootstrap
from mae_rad.evaluation.metrics import estimates
from mae_rad.evaluation.probes import PROBES, Part, Probed, run_probe
from mae_rad.evaluation.settings import CompareSettings
from mae_rad.evaluation.tasks import Task

FLOOR = "random floor"
"""Name of the reference that randomly initialised encoders make together: the mean of their metrics."""

COMPARISON_SCHEMA = pa.schema(
    [
        ("encoder", pa.string()),
        ("task", pa.string()),
        ("probe", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("reference", pa.string()),
        ("difference", pa.float64()),
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("n_films", pa.int64()),
        ("n_patients", pa.int64()),
        ("n_train", pa.int64()),
        ("note", pa.string()),
    ]
)
"""Long form. A row without ``reference`` gives the metric of an encoder; one with it adds encoder minus reference."""


@dataclass(frozen=True)
class Row:
    """One row of comparison.parquet; ``metric`` of ``encoder``, and its difference to ``reference``."""

    encoder: str
    task: str
    probe: str
    metric: str
    interval: Interval
    reference: str | None
    difference: Interval | None
    n_films: int
    n_patients: int
    n_train: int
    note: str

    @property
    def verdict(self) -> str:
        """What the interval of the difference says; one interval at a time, not corrected for their number."""
        if self.difference is None:
            return ""
        if self.difference.low > 0:
            return "higher"
        if self.difference.high < 0:
            return "lower"
        return "no difference shown" if math.isfinite(self.difference.low) else "too few patients"

    def flat(self) -> dict[str, object]:
        """The row as :data:`COMPARISON_SCHEMA` has it."""
        difference = self.difference or (None, None, None)
        flat = {name: getattr(self, name) for name in COMPARISON_SCHEMA.names if hasattr(self, name)}
        flat |= dict(zip(("value", "low", "high"), self.interval, strict=True))
        return flat | dict(zip(("difference", "difference_low", "difference_high"), difference, strict=True))


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


def write_comparison(rows: Sequence[Row], path: Path) -> None:
    """Write ``comparison.parquet`` (:data:`COMPARISON_SCHEMA`), atomically."""
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(pa.Table.from_pylist([row.flat() for row in rows], schema=COMPARISON_SCHEMA), partial)
    partial.replace(path)


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
                name,
                task.name,
                probe,
                metric,
                interval,
                reference,
                difference,
                n_films=len(test),
                n_patients=len(np.unique(patients)),
                n_train=len(fitted),
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


def _caveat(interval: Interval) -> str:
    if not math.isfinite(interval.low):
        return "; too few patients of a class for an interval"
    if interval.low == interval.high:
        return "; no resample differs: the interval does not show how uncertain this is"
    return ""
