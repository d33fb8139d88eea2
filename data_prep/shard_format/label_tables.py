"""``labels.parquet`` and ``boxes.parquet`` of a public folder, as labelling, training and evaluation read them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.errors import ShardFormatError
from data_prep.shard_format.label_schema import BOXES_SCHEMA, LABELS_SCHEMA

LABELS_FILE, BOXES_FILE = "labels.parquet", "boxes.parquet"
VALUES = ("present", "absent", "uncertain", "not_mentioned")
SOURCES = ("expert", "report", "metadata")
"""The most reliable first."""
STATISTICS_FILE, AGREEMENT_FILE = "label_statistics.parquet", "label_agreement.parquet"
LABELS_SCHEMAS = (LABELS_SCHEMA, pa.schema(list(LABELS_SCHEMA)[:-1]))
"""As it is, and as it was before labels had readers."""

MERGED = "merged"
"""``source`` of the statistics of what all sources amount to under a policy."""
STATISTICS_SCHEMA = pa.schema(
    [
        ("label", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("body_part", pa.string()),
        ("films", pa.int64()),
        ("patients", pa.int64()),
        ("present", pa.int64()),
        ("absent", pa.int64()),
        ("uncertain", pa.int64()),
        ("conflict", pa.int64()),
        ("not_mentioned", pa.int64()),
        ("number", pa.int64()),
    ]
)
"""Films by what a source says of a label, all its readers together; ``films`` is the sum of the columns behind it."""

STATISTICS = ("cohen_kappa", "fleiss_kappa", "box_agreement")
AGREEMENT_SCHEMA = pa.schema(
    [
        ("label", pa.string()),
        ("statistic", pa.string()),
        ("readers", pa.int16()),
        ("films", pa.int64()),
        ("patients", pa.int64()),
        ("observed", pa.float64()),
        ("estimate", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
    ]
)
"""How far experts agree who have read the same films, with an interval of 95 % over patients.

cohen_kappa     two readers, over present, absent, uncertain; ``observed`` is the share of films on which they agree
fleiss_kappa    several; ``observed`` is the share of pairs of words that agree
box_agreement   ``estimate`` is the share of boxes that another reader has drawn too, ``observed`` their mean overlap
"""


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
    """Which rows were read from a report text by ``data_prep.radiology_reports``: they have offsets into it."""
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
