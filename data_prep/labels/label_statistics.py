"""Count films by label and value, for each source and for all sources merged."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.shard_format.label_policy import REASONS, LabelPolicy, ResolvedLabels, resolve_labels
from data_prep.shard_format.label_tables import MERGED, SOURCES, STATISTICS_SCHEMA

_VALUES = ("present", "absent", "uncertain", "conflict", "not_mentioned", "number")
# An entry with confidence 0 is uncertain in MERGED; in the statistics of its source it has its value.
_VALUE_OF_REASON = {
    "uncertain": "uncertain",
    "labels conflict": "conflict",
    "not mentioned": "not_mentioned",
    "confidence 0": "uncertain",
}


def count_labels(labels: pa.Table, index: pa.Table, policy: LabelPolicy) -> pa.Table:
    """Count films by label, source, split and body part.

    Args:
        labels: rows of LABELS_SCHEMA.
        index: ``key``, ``patient``, ``split`` and ``body_part`` of the films that are counted.
        policy: how readers of one source are resolved, and for MERGED also the sources.

    Returns:
        Rows of STATISTICS_SCHEMA.
    """
    labels = labels.filter(pc.is_in(labels["key"], index["key"].combine_chunks()))
    policy_of_source = LabelPolicy(readers=policy.readers)
    tables = [_statistics_of_source(labels, index, policy, MERGED)]
    entries = labels.set_column(
        labels.schema.get_field_index("confidence"),
        labels.schema.field("confidence"),
        pa.nulls(len(labels), pa.float32()),
    )
    tables += [
        _statistics_of_source(entries.filter(pc.equal(entries["source"], source)), index, policy_of_source, source)
        for source in SOURCES
    ]
    return pa.concat_tables(tables).sort_by([(name, "ascending") for name in STATISTICS_SCHEMA.names[:4]])


def _statistics_of_source(labels: pa.Table, index: pa.Table, policy: LabelPolicy, source: str) -> pa.Table:
    keys = pc.unique(labels["key"])
    films = index.take(pc.index_in(keys, index["key"].combine_chunks()))
    names = sorted(pc.unique(labels["label"]).to_pylist())
    resolved = resolve_labels(labels, policy, keys=keys.to_pylist(), names=names)
    numbers = labels.filter(pc.is_valid(labels["number"]))
    tables = [STATISTICS_SCHEMA.empty_table()]
    for column, name in enumerate(names):
        values_of_films = _film_values(resolved, column)
        has_number = pc.is_in(keys, numbers.filter(pc.equal(numbers["label"], name))["key"].combine_chunks())
        values_of_films[(values_of_films == "") & np.asarray(has_number)] = "number"
        tables.append(_count_films(films, values_of_films, name, source))
    return pa.concat_tables(tables)


def _film_values(resolved: ResolvedLabels, column: int) -> NDArray[np.object_]:
    """[films] value (of _VALUES) of the label in a column; empty where there is none."""
    probabilities = resolved.values[:, column]
    values_of_films = np.array([_VALUE_OF_REASON.get(reason, "") for reason in REASONS], dtype=object)[
        resolved.reasons[:, column]
    ]
    values_of_films[probabilities == 1] = "present"
    values_of_films[probabilities == 0] = "absent"
    is_between = np.isfinite(probabilities) & (probabilities > 0) & (probabilities < 1)
    values_of_films[is_between] = np.where(resolved.uncertain[:, column][is_between], "uncertain", "conflict")
    return values_of_films


def _count_films(films: pa.Table, values_of_films: NDArray[np.object_], name: str, source: str) -> pa.Table:
    table = films.select(["split", "body_part", "patient"]).append_column(
        "films", pa.array(np.ones(len(values_of_films), np.int64))
    )
    for value in _VALUES:
        table = table.append_column(value, pa.array((values_of_films == value).astype(np.int64)))
    table = table.filter(pa.array(values_of_films != ""))
    sums = [(column, "sum") for column in ("films", *_VALUES)]
    groups = table.group_by(["split", "body_part"]).aggregate([("patient", "count_distinct"), *sums])
    columns = {
        "label": pa.array([name] * len(groups), pa.string()),
        "source": pa.array([source] * len(groups), pa.string()),
        "split": groups["split"],
        "body_part": groups["body_part"],
        "films": groups["films_sum"],
        "patients": groups["patient_count_distinct"],
        **{value: groups[f"{value}_sum"] for value in _VALUES},
    }
    return pa.table(columns).cast(STATISTICS_SCHEMA)
