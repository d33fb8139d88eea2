"""Columns of ``index.parquet`` and ``rejects.parquet``."""

import pyarrow as pa

INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("shard", pa.string()),
        ("film_offset", pa.int64()),
        ("film_size", pa.int64()),
        ("sidecar_offset", pa.int64()),
        ("sidecar_size", pa.int64()),
        ("frame", pa.int16()),
        ("patient", pa.string()),
        ("study", pa.string()),
        ("series", pa.string()),
        ("site", pa.string()),
        ("patient_known", pa.bool_()),
        ("study_day", pa.int32()),
        ("split", pa.string()),
        ("body_part", pa.string()),
        ("view", pa.string()),
        ("laterality", pa.string()),
        ("sex", pa.string()),
        ("age_years", pa.int16()),
        ("body_part_from", pa.string()),
        ("view_from", pa.string()),
        ("laterality_from", pa.string()),
        ("sex_from", pa.string()),
        ("age_years_from", pa.string()),
        ("body_part_doubtful", pa.bool_()),
        ("manufacturer", pa.string()),
        ("model", pa.string()),
        ("bits_stored", pa.int16()),
        ("photometric", pa.string()),
        ("presentation_intent", pa.string()),
        ("image_type", pa.string()),
        ("rows", pa.int32()),
        ("columns", pa.int32()),
        ("source_rows", pa.int32()),
        ("source_columns", pa.int32()),
        ("pixel_spacing_mm", pa.list_(pa.float32())),
        ("pixel_spacing_from", pa.string()),
        ("display_source", pa.string()),
        ("display_invert", pa.bool_()),
        ("provenance", pa.list_(pa.string())),
        ("polarity_suspect", pa.bool_()),
        ("pixel_sha256", pa.string()),
        ("same_pixels_as", pa.string()),
        ("content_fraction", pa.float32()),
        ("clipped_low", pa.float32()),
        ("clipped_high", pa.float32()),
        ("perceptual_hash", pa.uint64()),
    ]
)
"""``image_type``, ``body_part_doubtful`` and the columns ``…_from`` (header, path, table or correction) come from the
private manifest and are in no sidecar. The columns after ``provenance`` are computed from the pixels. Training can
filter on all of them.

================  =============================================================================================
polarity_suspect  black and white of the film seem to be exchanged
pixel_sha256      equal for films of equal source size and equal shard values (jpeg: values before the display)
same_pixels_as    key of the film that represents all films with equal pixels, null for that film (same_pixels in
                  index.py); always null in the table of one shard
content_fraction  fraction (0 to 1) of the film that its content mask marks as anatomy
clipped_low       fraction (0 to 1) of the content at the dark end of the display, within 0.2 % of the range
clipped_high      … at its bright end
perceptual_hash   64 bits, of which near duplicates share nearly all: see ``perceptual_hash.py``
================  =============================================================================================
"""

LATER_COLUMNS = (
    *("body_part_from", "view_from", "laterality_from", "sex_from", "age_years_from", "body_part_doubtful"),
    "image_type",
)
"""Columns that folders of earlier releases lack; readers take them as null."""
EARLIER_INDEX_SCHEMA = pa.schema([field for field in INDEX_SCHEMA if field.name not in LATER_COLUMNS])
INDEX_SCHEMAS = (INDEX_SCHEMA, EARLIER_INDEX_SCHEMA)
"""The schema of this release, and that of earlier releases."""

REJECTS_SCHEMA = pa.schema([("row", pa.int64()), ("reason", pa.string())])
"""``row`` is the row of the private manifest, from which no file name can be derived."""
