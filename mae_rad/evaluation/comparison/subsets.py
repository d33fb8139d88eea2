"""Subsets of the test films with separate results for a label: by index column, by size of the object."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_prep.folder_url import PublicFolder
from data_prep.object_storage.published_files import local_file
from data_prep.shard_format.label_schema import BOXES_SCHEMA
from data_prep.shard_format.label_tables import BOXES_FILE
from data_prep.shard_format.parquet_bytes import read_parquet
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.comparison.films import Films, Strings
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.comparison.trained_probes import ProbePlan

_MAX_NUMBERS = 10
"""Columns of more different numbers are divided into thirds."""


def subsets_of(
    plan: ProbePlan, films: Films, settings: CompareSettings, boxes: pa.Table
) -> dict[str, NDArray[np.bool_]]:
    """Return the subsets of the test films of a label in which all classes, or the numbers, have enough patients.

    Args:
        plan: task with the films of its probes.
        films: films of all splits.
        settings: settings of the comparison.
        boxes: table of the boxes of objects.

    Returns:
        Name → [test films of the task] bool; empty for a task of an index column.
    """
    task = plan.task
    if task.label is None:
        return {}
    subsets = [*_by_column(plan, films, settings)]
    if task.numbers is None:
        subsets += _by_size(plan, films, settings, boxes)
    y, patients = task.y[plan.test], task.patients[plan.test]
    return {
        name: in_subset
        for name, in_subset in subsets
        if min(len(np.unique(patients[in_subset & (y == c)])) for c in range(len(task.classes)))
        >= settings.min_patients
    }


def read_boxes(shards: Sequence[PublicFolder]) -> pa.Table:
    """Read the boxes of all shard folders; an empty table if there are none.

    Raises:
        EvaluationError: a table of boxes is damaged.
    """
    tables = []
    for folder in shards:
        table = local_file(folder, BOXES_FILE)
        if table.exists():
            try:
                tables.append(read_parquet(table, BOXES_SCHEMA.names))
            except (OSError, pa.ArrowException):
                raise EvaluationError(
                    f"boxes.parquet is damaged: {folder}. Write it again with: mae-rad label"
                ) from None
    return pa.concat_tables(tables) if tables else BOXES_SCHEMA.empty_table()


def object_sizes(films: Films, boxes: pa.Table, label: str) -> NDArray[np.float64]:
    """Return longer side of the largest box / longer side of the film.

    Args:
        films: films of all splits.
        boxes: table of the boxes of objects.
        label: label of the boxes.

    Returns:
        [films] in [0, 1]; NaN without a box.
    """
    rows = {key: row for row, key in enumerate(films.keys)}
    source = np.maximum(*(films.table.column(name).to_numpy() for name in ("source_rows", "source_columns")))
    sizes = np.full(len(films.keys), np.nan)
    for box in boxes.filter(pa.compute.equal(boxes.column("label"), label)).to_pylist():
        row = rows.get(box["key"])
        if row is not None:
            side = max(box["x_max"] - box["x_min"], box["y_max"] - box["y_min"])
            sizes[row] = np.fmax(sizes[row], side / source[row])
    return sizes


def _by_column(plan: ProbePlan, films: Films, settings: CompareSettings) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    rows = plan.task.rows[plan.test]
    for column in settings.subsets:
        values = _values(films, column, rows)
        for value in sorted(set(values) - {""}):
            yield f"{column}={value}", np.asarray(values == value, dtype=np.bool_)


def _values(films: Films, column: str, rows: NDArray[np.int64]) -> Strings:
    """Values of a column of some films, empty where unknown; numbers as the third of these films that they are in."""
    numbers = films.numbers(column)
    if numbers is None or len(np.unique(numbers[rows][np.isfinite(numbers[rows])])) <= _MAX_NUMBERS:
        return films.strings(column)[rows]
    own = numbers[rows]
    low, high = np.nanquantile(own, [1 / 3, 2 / 3])  # the lowest and the highest number may be those of one patient
    names = np.array([f"up to {low:g}", f"over {low:g} to {high:g}", f"over {high:g}"], dtype=object)
    return np.where(np.isnan(own), "", names[np.searchsorted([low, high], np.nan_to_num(own))])


def _by_size(
    plan: ProbePlan, films: Films, settings: CompareSettings, boxes: pa.Table
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield the positive films whose largest object is between two edges, with all negative films."""
    task = plan.task
    sizes = object_sizes(films, boxes, str(task.label))[task.rows[plan.test]]
    negative = task.y[plan.test] == 0
    for low, high in pairwise([0.0, *settings.object_sizes, np.inf]):
        if low == 0:
            range_text = f"under {100 * high:g} %"
        elif high == np.inf:
            range_text = f"{100 * low:g} % and more"
        else:
            range_text = f"{100 * low:g} to {100 * high:g} %"
        yield f"object_size={range_text} of the film", negative | ((sizes >= low) & (sizes < high))
