"""Which rows of a benchmark are circular: the strategy was told what is asked."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.object_storage.published_files import local_file
from data_prep.shard_format.label_policy import resolve_labels
from data_prep.shard_format.label_schema import LABELS_SCHEMA
from data_prep.shard_format.label_tables import LABELS_FILE, SOURCES, read_labels
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.pairs.asked_labels import labels_read
from mae_rad.pairing.columns import ALL_LABELS
from mae_rad.pairs_bench.bench_arms import BenchArm

_EXPERT = SOURCES.index("expert")


def judged_by_experts(arms: Sequence[BenchArm], compared: CompareSettings) -> bool:
    """Whether all are scored on labels of experts alone: a strategy reads labels, and experts have labelled films.

    Args:
        arms: what was trained.
        compared: settings of the comparison.
    """
    return any(labels_read(one.pairs) for one in arms) and bool(_labels_of_experts(compared, compared.score_on))


def circular_rows(arms: Sequence[BenchArm], compared: CompareSettings) -> set[tuple[str, str]]:
    """Find the circular rows.

    A strategy that reads labels is circular in a finding that no expert has labelled on the scored films, and in one
    that it reads itself where experts decided what it read; one that reads a column of the index, where that is asked.

    Args:
        arms: what was trained.
        compared: settings of the comparison.

    Returns:
        (strategy, task).
    """
    scored = _labels_of_experts(compared, compared.score_on)
    asked = {task.label: task.title for task in compared.tasks if task.label}
    columns = {task.column: task.title for task in compared.tasks if task.column}
    names = set(pc.unique(_labels(compared)["label"]).to_pylist())
    circular: set[tuple[str, str]] = set()
    for arm in arms:
        read = {*arm.pairs.columns_of_relation, *arm.pairs.columns_of_order}
        circular |= {(arm.strategy, title) for column, title in columns.items() if column in read}
        labels = labels_read(arm.pairs)
        if not labels:
            continue
        told = _told_by_experts(arm, compared)
        for name in names:
            is_read = ALL_LABELS in labels or f"label.{name}" in labels
            if name not in scored or (is_read and name in told):
                circular.add((arm.strategy, asked.get(name, name)))
    return circular


def _told_by_experts(arm: BenchArm, compared: CompareSettings) -> set[str]:
    """Labels of the training films of which a strategy reads what experts say."""
    table = _of_split(compared, "train")
    told = set()
    keys = pc.unique(table["key"]).to_pylist()
    for name in pc.unique(table["label"]).to_pylist():
        of_label = table.filter(pc.and_(pc.equal(table["label"], name), pc.is_valid(table["value"])))
        resolved = resolve_labels(of_label, arm.arm.settings.labels.policy, keys=keys, names=[name])
        if resolved.sources.size and bool(np.any(resolved.sources == _EXPERT)):
            told.add(name)
    numbers = table.filter(pc.and_(pc.is_valid(table["number"]), pc.equal(table["source"], "expert")))
    is_weak = arm.arm.settings.labels.policy.merge == "weak_only"
    return told if is_weak else told | set(pc.unique(numbers["label"]).to_pylist())


def _labels_of_experts(compared: CompareSettings, split: str) -> set[str]:
    table = _of_split(compared, split)
    return set(pc.unique(table.filter(pc.equal(table["source"], "expert"))["label"]).to_pylist())


def _of_split(compared: CompareSettings, split: str) -> pa.Table:
    """Rows of the labels of the films of a split."""
    index = ShardIndex(compared.shards, split=split, distinct_patients=compared.distinct_patients)
    table = _labels(compared)
    return table.filter(pc.is_in(table["key"], value_set=pa.array(index.table["key"].to_pylist(), pa.string())))


def _labels(compared: CompareSettings) -> pa.Table:
    tables = [read_labels(folder) for folder in compared.shards if local_file(folder, LABELS_FILE).exists()]
    return pa.concat_tables([*tables, LABELS_SCHEMA.empty_table()])
