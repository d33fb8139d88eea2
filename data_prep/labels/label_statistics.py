"""How many films have a finding, by the value of each source and by that of all sources together."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.shard_format.label_policy import REASONS, LabelPolicy, Resolved, resolve
from data_prep.shard_format.label_tables import MERGED, SOURCES, STATISTICS_SCHEMA

_VALUES = ("present", "absent", "uncertain", "conflict", "not_mentioned", "number")
# An entry of confidence 0 counts as uncertain in MERGED; in its source it keeps its value.
_UNKNOWN = {
    "uncertain": "uncertain",
    "labels conflict": "conflict",
    "not mentioned": "not_mentioned",
    "confidence 0": "uncertain",
}


def statistics_of(labels: pa.Table, index: pa.Table, policy: LabelPolicy) -> pa.Table:
    """Films by label, source, split and body part (STATISTICS_SCHEMA).

    Args:
        labels: rows of LABELS_SCHEMA.
        index: ``key``, ``patient``, ``split`` and ``body_part`` of the films that count.
        policy: how readers of one source are resolved, and for MERGED the sources too.
    """
    labels = labels.filter(pc.is_in(labels["key"], index["key"].combine_chunks()))
    alone = LabelPolicy(readers=policy.readers)
    tables = [_of_source(labels, index, policy, MERGED)]
    entries = labels.set_column(
        labels.schema.get_field_index("confidence"),
        labels.schema.field("confidence"),
        pa.nulls(len(labels), pa.float32()),
    )
    tables += [_of_source(entries.filter(pc.equal(entries["source"], one)), index, alone, one) for one in SOURCES]
    return pa.concat_tables(tables).sort_by([(name, "ascending") for name in STATISTICS_SCHEMA.names[:4]])


def _of_source(labels: pa.Table, index: pa.Table, policy: LabelPolicy, source: str) -> pa.Table:
    keys = pc.unique(labels["key"])
    films = index.take(pc.index_in(keys, index["key"].combine_chunks()))
    names = sorted(pc.unique(labels["label"]).to_pylist())
    resolved = resolve(labels, policy, keys=keys.to_pylist(), names=names)
    numbers = labels.filter(pc.is_valid(labels["number"]))
    tables = [STATISTICS_SCHEMA.empty_table()]
    for column, name in enumerate(names):
        found = _values(resolved, column)
        number = pc.is_in(keys, numbers.filter(pc.equal(numbers["label"], name))["key"].combine_chunks())
        found[(found == "") & np.asarray(number)] = "number"
        tables.append(_counted(films, found, name, source))
    return pa.concat_tables(tables)


def _values(resolved: Resolved, column: int) -> NDArray[np.object_]:
    """[films] value of the label in that column, of _VALUES; empty where there is none."""
    values = resolved.values[:, column]
    found = np.array([_UNKNOWN.get(reason, "") for reason in REASONS], dtype=object)[resolved.reasons[:, column]]
    found[values == 1] = "present"
    found[values == 0] = "absent"
    between = np.isfinite(values) & (values > 0) & (values < 1)
    found[between] = np.where(resolved.uncertain[:, column][between], "uncertain", "conflict")
    return found


def _counted(films: pa.Table, found: NDArray[np.object_], name: str, source: str) -> pa.Table:
    table = films.select(["split", "body_part", "patient"]).append_column(
        "films", pa.array(np.ones(len(found), np.int64))
    )
    for value in _VALUES:
        table = table.append_column(value, pa.array((found == value).astype(np.int64)))
    table = table.filter(pa.array(found != ""))
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
