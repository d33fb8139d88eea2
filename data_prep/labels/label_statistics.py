"""How many films have a finding, by what each source says of it and by what all of them amount to."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.shard_format.label_policy import REASONS, LabelPolicy, Resolved, resolve
from data_prep.shard_format.label_tables import MERGED, SOURCES, STATISTICS_SCHEMA

_SAID = ("present", "absent", "uncertain", "conflict", "not_mentioned", "number")
# A word in which nobody has any confidence counts as uncertain in MERGED; of its source it is what it says.
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
        policy: how readers of one source are settled, and for MERGED the sources too.
    """
    labels = labels.filter(pc.is_in(labels["key"], index["key"].combine_chunks()))
    alone = LabelPolicy(readers=policy.readers)
    tables = [_of_source(labels, index, policy, MERGED)]
    words = labels.set_column(
        labels.schema.get_field_index("confidence"),
        labels.schema.field("confidence"),
        pa.nulls(len(labels), pa.float32()),
    )
    tables += [_of_source(words.filter(pc.equal(words["source"], one)), index, alone, one) for one in SOURCES]
    return pa.concat_tables(tables).sort_by([(name, "ascending") for name in STATISTICS_SCHEMA.names[:4]])


def _of_source(labels: pa.Table, index: pa.Table, policy: LabelPolicy, source: str) -> pa.Table:
    keys = pc.unique(labels["key"])
    films = index.take(pc.index_in(keys, index["key"].combine_chunks()))
    names = sorted(pc.unique(labels["label"]).to_pylist())
    resolved = resolve(labels, policy, keys=keys.to_pylist(), names=names)
    numbers = labels.filter(pc.is_valid(labels["number"]))
    tables = [STATISTICS_SCHEMA.empty_table()]
    for column, name in enumerate(names):
        said = _said(resolved, column)
        number = pc.is_in(keys, numbers.filter(pc.equal(numbers["label"], name))["key"].combine_chunks())
        said[(said == "") & np.asarray(number)] = "number"
        tables.append(_counted(films, said, name, source))
    return pa.concat_tables(tables)


def _said(resolved: Resolved, column: int) -> NDArray[np.object_]:
    """[films] what is said of the label in that place, of _SAID; empty where nothing is."""
    values = resolved.values[:, column]
    words = np.array([_UNKNOWN.get(reason, "") for reason in REASONS], dtype=object)[resolved.reasons[:, column]]
    words[values == 1] = "present"
    words[values == 0] = "absent"
    between = np.isfinite(values) & (values > 0) & (values < 1)
    words[between] = np.where(resolved.uncertain[:, column][between], "uncertain", "conflict")
    return words


def _counted(films: pa.Table, said: NDArray[np.object_], name: str, source: str) -> pa.Table:
    table = films.select(["split", "body_part", "patient"]).append_column(
        "films", pa.array(np.ones(len(said), np.int64))
    )
    for word in _SAID:
        table = table.append_column(word, pa.array((said == word).astype(np.int64)))
    table = table.filter(pa.array(said != ""))
    sums = [(column, "sum") for column in ("films", *_SAID)]
    groups = table.group_by(["split", "body_part"]).aggregate([("patient", "count_distinct"), *sums])
    columns = {
        "label": pa.array([name] * len(groups), pa.string()),
        "source": pa.array([source] * len(groups), pa.string()),
        "split": groups["split"],
        "body_part": groups["body_part"],
        "films": groups["films_sum"],
        "patients": groups["patient_count_distinct"],
        **{word: groups[f"{word}_sum"] for word in _SAID},
    }
    return pa.table(columns).cast(STATISTICS_SCHEMA)
