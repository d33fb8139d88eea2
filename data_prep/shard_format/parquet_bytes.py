"""Reproducible Parquet: equal tables give equal bytes."""

import io

import pyarrow as pa
import pyarrow.parquet as pq


def encode_parquet(index: pa.Table) -> bytes:
    """Encode a table as Parquet; equal tables give equal bytes."""
    sink = io.BytesIO()
    pq.write_table(index.combine_chunks(), sink, compression="zstd", version="2.6", store_schema=False)
    return sink.getvalue()
