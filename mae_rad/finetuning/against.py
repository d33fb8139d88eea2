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

from mae_rad.data.shards import ShardIndex
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.intervals import Interval, bootstrap, contrast, interval
from mae_rad.evaluation.metrics import auroc, average_precision

METRICS = {"auroc": auroc, "average_precision": average_precision}


class Against(NamedTuple):
    """One run and one label.

    Attributes:
        run: name.
        label: name.
        metric: of METRICS.
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
    tables = {name: _predictions(folder) for name, folder in runs.items()}
    shared = set.intersection(*(set(table.column("label").to_pylist()) for table in tables.values()))
    if not shared:
        raise EvaluationError("the runs have no label in common; compare runs of one task")
    index = ShardIndex(shards, split=None).table
    patient_of = dict(zip(index.column("key").to_pylist(), index.column("patient").to_pylist(), strict=True))
    rows: list[Against] = []
    for label in sorted(shared):
        keys, logits, present = _shared_films(tables, label)
        if missing := [key for key in keys if key not in patient_of]:
            raise EvaluationError(f"{len(missing)} test films are not in these shards; give those of the runs")
        patients = np.unique([patient_of[key] for key in keys], return_inverse=True)[1].astype(np.int64)
        for metric, of in METRICS.items():
            estimates = {name: [partial(of, present, values)] for name, values in logits.items()}
            drawn = bootstrap(patients, estimates, repetitions=repetitions, seed=seed)
            counts = len(keys), int(present.sum()), len(np.unique(patients))
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


def _predictions(run: Path) -> pa.Table:
    path = run / "evaluation" / "predictions.parquet"
    try:
        table = pq.read_table(path)
        return table.filter(pc.and_(pc.equal(table["split"], "test"), pc.is_valid(table["present"])))
    except FileNotFoundError:
        raise EvaluationError(
            f"{run} has no evaluation/predictions.parquet; give the folder of a finished classification"
        ) from None
    except (pa.ArrowException, KeyError):
        raise EvaluationError(f"{path} is damaged; run the same finetuning command again to write it anew") from None


def _shared_films(tables: Mapping[str, pa.Table], label: str) -> tuple[list[str], dict[str, np.ndarray], np.ndarray]:
    """Keys [N] of the films that all runs were tested on for ``label``, logits [N] by run, present [N]."""
    own = {name: table.filter(pc.equal(table["label"], label)) for name, table in tables.items()}
    keys = sorted(set.intersection(*(set(table["key"].to_pylist()) for table in own.values())))
    if not keys:
        raise EvaluationError(f"the runs have no test film of {label} in common; test them on the same shards")
    rows = {name: pc.index_in(pa.array(keys), value_set=table["key"].combine_chunks()) for name, table in own.items()}
    taken = {name: table.take(rows[name]) for name, table in own.items()}
    present = {name: np.array(table["present"].to_pylist(), dtype=bool) for name, table in taken.items()}
    first = next(iter(present.values()))
    if not all(np.array_equal(first, other) for other in present.values()):
        raise EvaluationError(f"the runs take different films for {label}; judge them by the same policy")
    return keys, {name: table["logit"].to_numpy() for name, table in taken.items()}, first
