"""Write statistics, agreement and conflicts of the labels of a public folder; part of every ``label`` command.

PUBLIC/label_statistics.parquet    numbers of films by label, source, split, body part and value (STATISTICS_SCHEMA)
PUBLIC/label_agreement.parquet     agreement of readers (AGREEMENT_SCHEMA)
PRIVATE/label_conflicts.csv        labels on which readers or sources differ, with file and line of each entry
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from data_prep.labels.conflicts import CONFLICTS_FILE, write_conflicts
from data_prep.labels.label_statistics import count_labels
from data_prep.labels.reader_agreement import measure_agreement
from data_prep.labels.settings import LabelSettings
from data_prep.shard_format.index import read_index
from data_prep.shard_format.label_files import write_tables
from data_prep.shard_format.label_tables import (
    AGREEMENT_FILE,
    MERGED,
    SOURCES,
    STATISTICS_FILE,
    STATISTICS_SCHEMA,
    read_boxes,
    read_labels,
)

_STATISTIC_NAMES = {"cohen_kappa": "kappa (Cohen)", "fleiss_kappa": "kappa (Fleiss)", "box_agreement": "matched boxes"}


@dataclass(frozen=True)
class Overview:
    """Statistics, agreement and conflicts of labels.

    Attributes:
        statistics: rows of STATISTICS_SCHEMA.
        agreement: rows of AGREEMENT_SCHEMA.
        conflicts: number of conflicts between readers or sources.
        conflicts_file: private table that lists them.
    """

    statistics: pa.Table
    agreement: pa.Table
    conflicts: int
    conflicts_file: Path

    def __str__(self) -> str:
        """Text for the terminal, several lines."""
        lines = [*_statistics_lines(self.statistics), *_agreement_lines(self.agreement)]
        if self.conflicts:
            lines.append(f"{self.conflicts} conflicts between readers or sources: {self.conflicts_file}")
        return "\n".join(lines)


def write_overview(private: Path, public: Path, settings: LabelSettings) -> Overview:
    """Write statistics and agreement of all labels in ``public``, and conflicts on films of the scan.

    Args:
        private: folder of the scan.
        public: complete folder of shards.
        settings: policy and agreement.

    Returns:
        What was written.

    Raises:
        ArchiveError, ShardFormatError: a folder or table is damaged, or cannot be written.
    """
    labels, boxes = read_labels(public), read_boxes(public)
    index = read_index(public, ["key", "patient", "split", "body_part"])
    statistics = count_labels(labels, index, settings.policy)
    agreement = measure_agreement(labels, boxes, index, settings.agreement)
    write_tables(public, {STATISTICS_FILE: statistics, AGREEMENT_FILE: agreement})
    conflicts = write_conflicts(private, labels, settings.policy)
    return Overview(statistics, agreement, conflicts, private / CONFLICTS_FILE)


def _statistics_lines(statistics: pa.Table) -> Iterator[str]:
    """One line per label and source, over all splits and body parts; also for all sources merged if several."""
    values = STATISTICS_SCHEMA.names[6:]
    sums = statistics.group_by(["label", "source"]).aggregate([(value, "sum") for value in values])
    rows = sums.sort_by([("label", "ascending"), ("source", "ascending")]).to_pylist()
    has_several_sources = len({row["source"] for row in rows} - {MERGED}) > 1
    for row in rows:
        if has_several_sources or row["source"] in SOURCES:
            counts = ", ".join(f"{row[f'{value}_sum']} {value}" for value in values if row[f"{value}_sum"])
            yield f"  {row['label']} ({row['source']}): {counts}"


def _agreement_lines(agreement: pa.Table) -> Iterator[str]:
    for row in agreement.to_pylist():
        if not math.isfinite(row["estimate"]):
            estimate = f"undefined, all entries have one value (agreement {row['observed']:.0%})"
        elif not math.isfinite(row["low"]):
            estimate = f"{row['estimate']:.2f} [too few patients for an interval]"
        else:
            estimate = f"{row['estimate']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        counts = f"{row['readers']} readers, {row['films']} films of {row['patients']} patients"
        yield f"  {row['label']}: {_STATISTIC_NAMES[row['statistic']]} {estimate}, {counts}"
