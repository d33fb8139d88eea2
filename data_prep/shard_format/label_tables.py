"""Files, columns and readers of the label tables of a public folder: labels, boxes, statistics and agreement."""

import pyarrow as pa
import pyarrow.compute as pc

from data_prep.errors import ShardFormatError
from data_prep.folder_url import PublicFolder
from data_prep.object_storage.published_files import local_file
from data_prep.shard_format.label_schema import BOXES_SCHEMA, LABELS_SCHEMA
from data_prep.shard_format.parquet_bytes import read_parquet

LABELS_FILE, BOXES_FILE = "labels.parquet", "boxes.parquet"
VALUES = ("present", "absent", "uncertain", "not_mentioned")
"""Values of a label."""
SOURCES = ("expert", "report", "metadata")
"""Sources of labels, the most reliable first."""
STATISTICS_FILE, AGREEMENT_FILE = "label_statistics.parquet", "label_agreement.parquet"
LABELS_SCHEMAS = (LABELS_SCHEMA, pa.schema(list(LABELS_SCHEMA)[:-1]))
"""The schema of this release, and that of earlier releases, without readers."""

MERGED = "merged"
"""``source`` of the statistics of all sources, merged under a policy."""
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
"""Number of films by value of a label, per source, split and body part, with the readers of a source reconciled.
``films`` is the sum of the columns from ``present`` on; ``patients`` is their number of patients."""

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
"""Agreement of experts who read the same films, with 95 % intervals (``low``, ``high``) over patients.

=============  ===============================================================================================
cohen_kappa    two readers, over present, absent and uncertain; ``observed`` is the fraction of films on which they
               agree
fleiss_kappa   more than two readers; ``observed`` is the fraction of pairs of entries that agree
box_agreement  ``estimate`` is the fraction of boxes that another reader also annotated, ``observed`` the mean
               intersection over union of matched boxes
=============  ===============================================================================================
"""


def read_labels(public: PublicFolder) -> pa.Table:
    """Read all labels of a public folder (LABELS_SCHEMA); no rows where it has no table.

    Raises:
        ShardFormatError: the table is damaged or has other columns.
    """
    return _read(public, LABELS_FILE, LABELS_SCHEMA, LABELS_SCHEMAS)


def read_boxes(public: PublicFolder) -> pa.Table:
    """Read all boxes of a public folder (BOXES_SCHEMA); no rows where it has no table.

    Raises:
        ShardFormatError: the table is damaged or has other columns.
    """
    return _read(public, BOXES_FILE, BOXES_SCHEMA, (BOXES_SCHEMA,))


def is_from_private_report(labels: pa.Table) -> pa.Array:
    """Whether each row comes from the text of a private report ([rows] boolean): such rows have ``start``."""
    return pc.is_valid(labels["start"])


def _read(public: PublicFolder, name: str, schema: pa.Schema, known_schemas: tuple[pa.Schema, ...]) -> pa.Table:
    """Read a table of one of ``known_schemas``, and add the columns that it lacks of ``schema`` as nulls."""
    path = local_file(public, name)
    if not path.exists():
        return schema.empty_table()
    try:
        table = read_parquet(path)
    except (OSError, pa.ArrowException):
        table = None
    if table is None or not any(table.schema.equals(schema) for schema in known_schemas):
        raise ShardFormatError(f"{name} of {public} is damaged. Remove it, then write it again with: mae-rad label")
    for field in list(schema)[table.num_columns :]:
        table = table.append_column(field, pa.nulls(len(table), field.type))
    return table
