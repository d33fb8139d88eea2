"""Schema of ``comparison.parquet``: all results of a comparison in long form, one value with its interval per row."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.runtime.atomic_write import atomic_file
from data_prep.shard_format.parquet_bytes import read_parquet
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.statistics.intervals import Interval

RANDOM_BASELINE = "random floor"
"""Name of the group of randomly initialised encoders, the baseline without training."""

RAW_PIXELS = "raw pixels"
"""Name of the principal components of the pixels."""

FLOORS = (RANDOM_BASELINE, RAW_PIXELS)
"""Encoders that any training must exceed, as groups; both are found without being named in the settings."""

MAY_BE_NARROW = "the interval may be too narrow"
"""Text in the note of a row whose smallest class has few test patients."""

NOT_SELF_SUPERVISED = ("supervised", "random", "pca", "imported", "foreign")
"""Values of the column ``method`` besides the names of objectives: trained with labels (stated by the provenance of the
encoder), not trained, no network, trained elsewhere with unknown method (weights, vectors)."""
TRAINED_ELSEWHERE = ("imported", "foreign")
"""Methods of encoders that another program trained: the rows that the self-supervised encoders are compared with."""
Arm = Literal["sample_matched", "compute_matched"]
"""Quantity that is equal for the runs of an arm: number of films, or floating-point operations."""
ARMS: tuple[Arm, ...] = get_args(Arm)
Verdict = Literal["", "higher", "lower", "no relevant difference", "no difference shown", "too few patients"]
"""Conclusion from a difference, after correction for the number of differences of its kind.

higher, lower           the adjusted p is under 0.05 and the interval excludes zero; this is the sign of the difference:
                        of mean_absolute_error, lower is better
no relevant difference  the interval is within ± the relevant difference
too few patients        neither, and with these test patients and pretraining runs only differences larger than the
                        relevant one would be found
no difference shown     neither, although the test set is large enough to find the relevant difference
"""

Role = Literal["encoder", "floor", "ceiling"]
"""Role of a row's encoder: floor (random baseline, raw pixels), ceiling (a supervised encoder, or measurements), or an
encoder that is compared with both."""
AboveFloors = Literal["", "yes", "no", "not shown"]
"""Whether an encoder is better than every floor, see ``comparison/floors_and_ceilings.py``."""

COMPARISON_SCHEMA = pa.schema(
    [
        ("encoder", pa.string()),
        ("method", pa.string()),
        ("arm", pa.string()),
        ("pretraining_seed", pa.int64()),
        ("n_runs", pa.int64()),
        ("task", pa.string()),
        ("subset", pa.string()),
        ("tokens", pa.int64()),
        ("pool", pa.string()),
        ("probe", pa.string()),
        ("label_fraction", pa.float64()),
        ("probe_seed", pa.int64()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("reference", pa.string()),
        ("n_reference_runs", pa.int64()),
        ("difference", pa.float64()),
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("p_value", pa.float64()),
        ("p_adjusted", pa.float64()),
        ("minimum_detectable_difference", pa.float64()),
        ("verdict", pa.string()),
        ("n_films", pa.int64()),
        ("n_patients", pa.int64()),
        ("n_train", pa.int64()),
        ("n_train_patients", pa.int64()),
        ("note", pa.string()),
        ("role", pa.string()),
        ("floor", pa.float64()),
        ("floor_encoder", pa.string()),
        ("ceiling", pa.float64()),
        ("ceiling_encoder", pa.string()),
        ("share", pa.float64()),
        ("above_floors", pa.string()),
    ]
)
"""A row without ``reference`` is a metric of ``encoder``; a row with ``reference`` adds encoder minus reference.

encoder           name of a run, or of a group of runs of one method and arm (``n_runs`` > 1, no ``pretraining_seed``).
                  Differences are between groups; a group of one run has the name of the run.
arm               sample_matched, compute_matched, both or none; of a difference, the arm in which it is taken
subset            all; "body_part=HAND": test films of that value; "object_size=…": positive films with an object of
                  that size and all negative films; "within manufacturer": only pairs of films of one manufacturer
tokens, pool      of the vectors of ``encoder``: T, and the name of the pooling (``encoders/pooling_name.py``) or
                  attentive; "none" for encoders with a single vector. If those of the reference differ, ``note``
                  states them. "POOL → N components": the first N principal components of wider vectors; "POOL, W wide":
                  vectors that are not wider, in a comparison at equal width. ``note`` states the width of the vectors
label_fraction    fraction of the training patients whose labels were used
probe_seed        number of the draw of these patients; null is the mean over all draws
probe             geometry, clustering and retrieval need no labels of training films (n_train is 0)
reference         another encoder or group. Of probe "shortcut": "all films" (score within one scanner minus score on
                  all films); verdict "lower" then means that a shortcut was found, which ``note`` names. Of metric
                  linear_cka: the second encoder; the value is that of the pair and there is no difference
metric            r2 and mean_absolute_error of tasks that predict a number; the unit of the latter is in ``note``
minimum_detectable_difference   found by this test set, with these runs, in four of five cases at a corrected p < 0.05
n_runs            pretraining runs of ``encoder``; with one run per side no conclusion about methods is drawn
role              of ``encoder``: encoder, floor or ceiling; empty in tables of 0.2.0 and earlier
floor, ceiling    value of the better floor and of the best ceiling on the same films, with the same probe, labels and
                  metric, and in ``floor_encoder``, ``ceiling_encoder`` its name; only in rows without ``reference``
                  of encoders that are neither
share             (value - floor) / (ceiling - floor); null without a ceiling that is better than the floor
above_floors      yes, no or not shown: whether the paired differences to all floors are above zero after correction;
                  empty where a difference to a floor was not computed
"""

_ADDED_COLUMNS = ("role", "floor", "floor_encoder", "ceiling", "ceiling_encoder", "share", "above_floors")
"""Columns that tables of 0.2.0 and earlier lack."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of comparison.parquet: ``metric`` of ``encoder``, and its difference to ``reference``."""

    encoder: str
    method: str
    """Name of the objective as the encoder states it, or one of :data:`NOT_SELF_SUPERVISED`."""
    task: str
    probe: str
    metric: str
    interval: Interval
    arm: str = "none"
    pretraining_seed: int | None = None
    n_runs: int = 1
    subset: str = "all"
    tokens: int = 196
    pool: str = "mean"
    label_fraction: float = 1.0
    probe_seed: int | None = None
    reference: str | None = None
    n_reference_runs: int | None = None
    difference: Interval | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    minimum_detectable_difference: float | None = None
    freedom: float = math.inf
    """Degrees of freedom of the difference; not in the table."""
    choice: int = 0
    """Position of its vectors in ``CompareSettings.choices``; not in the table."""
    relevant_unit: float = 1.0
    """Unit of the relevant difference of the settings: the standard deviation of the numbers for mean_absolute_error, 1
    for all other metrics; not in the table."""
    verdict: Verdict = ""
    n_films: int
    n_patients: int
    n_train: int
    n_train_patients: int
    note: str = ""
    role: Role | Literal[""] = ""
    floor: float | None = None
    floor_encoder: str | None = None
    ceiling: float | None = None
    ceiling_encoder: str | None = None
    share: float | None = None
    above_floors: AboveFloors = ""

    def flat(self) -> dict[str, object]:
        """Return the row with the columns of :data:`COMPARISON_SCHEMA`."""
        difference = self.difference or (None, None, None)
        flat = {name: getattr(self, name) for name in COMPARISON_SCHEMA.names if hasattr(self, name)}
        flat |= dict(zip(("value", "low", "high"), self.interval, strict=True))
        return flat | dict(zip(("difference", "difference_low", "difference_high"), difference, strict=True))


def is_self_supervised(method: str) -> bool:
    """Return whether a value of the column ``method`` is a self-supervised objective, installed or not."""
    return bool(method) and method not in NOT_SELF_SUPERVISED


def is_headline(row: Row) -> bool:
    """Return whether the row is of all test films and all labels."""
    return row.subset == "all" and row.label_fraction == 1 and row.probe_seed is None


def write_comparison(rows: Sequence[Row], path: Path) -> None:
    """Write ``comparison.parquet`` (:data:`COMPARISON_SCHEMA`), atomically.

    Args:
        rows: all rows of the comparison.
        path: Parquet file to write.
    """
    with atomic_file(path) as file:
        pq.write_table(pa.Table.from_pylist([row.flat() for row in rows], schema=COMPARISON_SCHEMA), file)


def read_comparison(path: Path) -> list[Row]:
    """Read what :func:`write_comparison` wrote.

    Raises:
        EvaluationError: there is no such file, or it is no comparison.
    """
    try:
        table = read_parquet(path)
    except FileNotFoundError:
        raise EvaluationError(f"{path} does not exist. Write it with: mae-rad compare") from None
    except (OSError, pa.ArrowInvalid):
        raise EvaluationError(f"{path} is not a Parquet file. Write it with: mae-rad compare") from None
    if table.schema.names == [name for name in COMPARISON_SCHEMA.names if name not in _ADDED_COLUMNS]:
        table = _with_added_columns(table)
    if not table.schema.equals(COMPARISON_SCHEMA):
        raise EvaluationError(f"{path} is not a comparison of this release. Write it with: mae-rad compare")
    return [_row(flat) for flat in table.to_pylist()]


def _with_added_columns(table: pa.Table) -> pa.Table:
    for name in _ADDED_COLUMNS:
        kind = COMPARISON_SCHEMA.field(name).type
        empty = "" if name in ("role", "above_floors") else None
        table = table.append_column(name, pa.array([empty] * len(table), kind))
    return table


def _row(flat: dict[str, Any]) -> Row:
    interval = _interval(flat, ("value", "low", "high"))
    difference = _interval(flat, ("difference", "difference_low", "difference_high"))
    assert interval is not None  # every row has a value
    return Row(interval=interval, difference=difference, **flat)


def _interval(flat: dict[str, Any], names: tuple[str, str, str]) -> Interval | None:
    value, low, high = (flat.pop(name) for name in names)
    if value is None:
        return None
    return Interval(value, float("nan") if low is None else low, float("nan") if high is None else high)
