"""Parts of the test films for which a finding's result is shown apart: by body part, by size of the object."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_prep.shard_format.label_schema import BOXES_SCHEMA
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.comparison.tasks import Films
from mae_rad.evaluation.comparison.trained_probes import ProbePlan


def subsets_of(
    one: ProbePlan, films: Films, settings: CompareSettings, boxes: pa.Table
) -> dict[str, NDArray[np.bool_]]:
    """Name → [test films of the task] bool. Only of labels, and only where both classes have enough patients."""
    task = one.task
    if task.label is None:
        return {}
    every = [*_by_column(one, films, settings), *_by_size(one, films, settings, boxes)]
    y, patients = task.y[one.test], task.patients[one.test]
    return {
        name: kept
        for name, kept in every
        if min(len(np.unique(patients[kept & (y == c)])) for c in (0, 1)) >= settings.min_patients
    }


def read_boxes(shards: Sequence[Path]) -> pa.Table:
    """Boxes of all shard folders; an empty table where there are none.

    Raises:
        EvaluationError: a table of boxes is damaged.
    """
    tables = []
    for folder in shards:
        if (folder / "boxes.parquet").exists():
            try:
                tables.append(pq.read_table(folder / "boxes.parquet", columns=BOXES_SCHEMA.names))
            except (OSError, pa.ArrowInvalid):
                raise EvaluationError(
                    f"boxes.parquet of {folder} is damaged; write it again with: python -m data_prep label"
                ) from None
    return pa.concat_tables(tables) if tables else BOXES_SCHEMA.empty_table()


def object_sizes(films: Films, boxes: pa.Table, label: str) -> NDArray[np.float64]:
    """[films] longer side of the largest box of ``label`` over the longer side of the film; NaN without a box."""
    rows = {key: row for row, key in enumerate(films.keys)}
    source = np.maximum(*(films.table.column(name).to_numpy() for name in ("source_rows", "source_columns")))
    sizes = np.full(len(films.keys), np.nan)
    for box in boxes.filter(pa.compute.equal(boxes.column("label"), label)).to_pylist():
        row = rows.get(box["key"])
        if row is not None:
            side = max(box["x_max"] - box["x_min"], box["y_max"] - box["y_min"])
            sizes[row] = np.fmax(sizes[row], side / source[row])
    return sizes


def _by_column(one: ProbePlan, films: Films, settings: CompareSettings) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    rows = one.task.rows[one.test]
    for column in settings.subsets:
        values = films.words(column)[rows]
        for value in sorted(set(values) - {""}):
            yield f"{column}={value}", np.asarray(values == value, dtype=np.bool_)


def _by_size(
    one: ProbePlan, films: Films, settings: CompareSettings, boxes: pa.Table
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Positive films whose largest object lies between two edges, with all negative films."""
    task = one.task
    sizes = object_sizes(films, boxes, str(task.label))[task.rows[one.test]]
    negative = task.y[one.test] == 0
    for low, high in pairwise([0.0, *settings.object_sizes, np.inf]):
        if low == 0:
            words = f"under {100 * high:g} %"
        elif high == np.inf:
            words = f"{100 * low:g} % and more"
        else:
            words = f"{100 * low:g} to {100 * high:g} %"
        yield f"object_size={words} of the film", negative | ((sizes >= low) & (sizes < high))
