"""Columns of ``labels.parquet`` and ``boxes.parquet``."""

import pyarrow as pa

LABELS_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.string()),
        ("value", pa.string()),
        ("number", pa.float64()),
        ("source", pa.string()),
        ("confidence", pa.float32()),
        ("start", pa.int32()),
        ("stop", pa.int32()),
        ("reader", pa.int16()),
    ]
)
"""One row per film, label, source and reader.

===========  ========================================================================================
value        present, absent, uncertain or not_mentioned; null with a ``number``
number       of a measured label, such as the bone age
source       expert, report or metadata
confidence   0 to 1
start, stop  0 for a label from a private report, else null; in folders of earlier releases offsets
             into the report
reader       number of the reader from 1; ADJUDICATED for the entry that overrules readers; null where
             readers are not distinguished. Tables of earlier releases lack this column:
             :func:`read_labels` adds it
===========  ========================================================================================
"""

ADJUDICATED = 0
"""``reader`` of a label or box that was decided after readers had differed."""

BOXES_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.string()),
        ("x_min", pa.float32()),
        ("y_min", pa.float32()),
        ("x_max", pa.float32()),
        ("y_max", pa.float32()),
        ("source", pa.string()),
        ("reader", pa.int16()),
    ]
)
"""Edges of boxes in pixels of the upright source raster, which do not depend on the size of films in the shards.
``reader`` as in LABELS_SCHEMA: one number is one person in both tables."""
