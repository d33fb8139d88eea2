"""Reconciliation of the numbers that several sources and readers gave a film into one number, under named policies.

The order of sources and the precedence of adjudicated entries are those of :mod:`.label_policy`. Within a source the
numbers of readers are reconciled by ``policy.readers``:

========  ==============================================================================================================
majority  their median: the number of more than half of the readers where there is one, else the middle of their numbers
mean      their mean, weighted by confidence
ignore    the number where all agree, else unknown
========  ==============================================================================================================

``uncertain`` and ``not_mentioned`` have no effect: they are values, not numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.shard_format.label_policy import REASONS, SOURCE_ORDERS, LabelPolicy
from data_prep.shard_format.label_schema import ADJUDICATED

_NOT_LABELLED, _CONFLICT, _ZERO_CONFIDENCE = (
    REASONS.index(reason) for reason in ("not labelled", "labels conflict", "confidence 0")
)


@dataclass(frozen=True)
class ResolvedNumbers:
    """Reconciled numbers of one label of F films.

    Attributes:
        numbers: [F] numbers, in the unit of the label; NaN unknown.
        reasons: [F] index in REASONS.
    """

    numbers: NDArray[np.float64]
    reasons: NDArray[np.int8]


def resolve_numbers(labels: pa.Table, policy: LabelPolicy, *, keys: Sequence[str], name: str) -> ResolvedNumbers:
    """Reconcile all numbers of one label.

    Args:
        labels: rows of LABELS_SCHEMA; rows of other labels and films, and rows without a finite number, are skipped.
        policy: rules of reconciliation.
        keys: keys of the F films, each once.
        name: name of the label.

    Returns:
        Numbers of all films.
    """
    labels = labels.filter(
        pc.and_(pc.equal(labels["label"], name), pc.is_finite(pc.fill_null(labels["number"], np.nan)))
    )
    numbers, reasons = np.full(len(keys), np.nan), np.full(len(keys), _NOT_LABELLED, np.int8)
    positions = {key: position for position, key in enumerate(keys)}
    columns = ("key", "source", "reader", "number", "confidence")
    entries: dict[tuple[int, str, bool], tuple[list[float], list[float]]] = {}
    for key, source, reader, number, confidence in zip(
        *(labels[column].to_pylist() for column in columns), strict=True
    ):
        if key in positions:
            given, confidences = entries.setdefault((positions[key], source, reader == ADJUDICATED), ([], []))
            given.append(number)
            confidences.append(1.0 if confidence is None else confidence)
    decided: set[int] = set()
    for source in SOURCE_ORDERS[policy.merge]:
        for adjudicated in (True, False):
            chosen = {film: entry for (film, *kind), entry in entries.items() if kind == [source, adjudicated]}
            for film, (given, confidences) in chosen.items():
                if film not in decided:
                    numbers[film], reasons[film] = _reconcile(np.array(given), np.array(confidences), policy)
            decided |= chosen.keys()
    return ResolvedNumbers(numbers, reasons)


def _reconcile(given: NDArray[np.float64], confidences: NDArray[np.float64], policy: LabelPolicy) -> tuple[float, int]:
    """Return number and reason of the entries of one film and source."""
    given, confidences = given[confidences > 0], confidences[confidences > 0]
    if not len(given):
        return float("nan"), _ZERO_CONFIDENCE
    if policy.readers == "mean":
        return float(np.average(given, weights=confidences)), 0
    if policy.readers == "ignore" and len(set(given.tolist())) > 1:
        return float("nan"), _CONFLICT
    return float(np.median(given)), 0
