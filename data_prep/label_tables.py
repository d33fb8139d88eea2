"""``labels.parquet`` and ``boxes.parquet`` of a public folder, as labelling, training and evaluation read them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.errors import ShardFormatError
from data_prep.shard_format import BOXES_SCHEMA, LABELS_SCHEMA

LABELS_FILE, BOXES_FILE = "labels.parquet", "boxes.parquet"
VALUES = ("present", "absent", "uncertain", "not_mentioned")
SOURCES = ("expert", "report", "metadata")
"""The most reliable first."""
LABELS_SCHEMAS = (LABELS_SCHEMA, pa.schema(list(LABELS_SCHEMA)[:-1]))
"""As it is, and as it was before labels had readers."""


def read_labels(public: Path) -> pa.Table:
    """All labels of a public folder (LABELS_SCHEMA); none where there is no table.

    Raises:
        ShardFormatError: the table is damaged or has other columns.
    """
    return _read(public / LABELS_FILE, LABELS_SCHEMA, LABELS_SCHEMAS)


def read_boxes(public: Path) -> pa.Table:
    """All boxes of a public folder (BOXES_SCHEMA); none where there is no table.

    Raises:
        ShardFormatError: the table is damaged or has other columns.
    """
    return _read(public / BOXES_FILE, BOXES_SCHEMA, (BOXES_SCHEMA,))


def from_private_report(labels: pa.Table) -> pa.Array:
    """Which rows were read from a report text by ``data_prep.reports``: they have offsets into it."""
    return pc.is_valid(labels["start"])


def _read(path: Path, schema: pa.Schema, known: tuple[pa.Schema, ...]) -> pa.Table:
    if not path.exists():
        return schema.empty_table()
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException):
        table = None
    if table is None or not any(table.schema.equals(one) for one in known):
        raise ShardFormatError(
            f"{path.name} of {path.parent} is damaged; remove it, then write it again with: python -m data_prep label"
        )
    for field in list(schema)[table.num_columns :]:
        table = table.append_column(field, pa.nulls(len(table), field.type))
    return table
