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
"""``value`` is present, absent, uncertain or not_mentioned, or null with a ``number``; ``source`` is expert, report or
metadata; ``start`` and ``stop`` are character offsets into the private report; ``reader`` counts those who have read
the film from 1, is ADJUDICATED for the word that overrules them, and null where nobody is told apart. Tables that were
written before there were readers lack the last column: :func:`read_labels`."""

ADJUDICATED = 0
"""``reader`` of a label or box that was settled after the readers had differed."""

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
"""Boxes in source raster pixels, so that re-sharding at another size moves nothing. ``reader`` as in LABELS_SCHEMA: one
number is one person in both tables."""
