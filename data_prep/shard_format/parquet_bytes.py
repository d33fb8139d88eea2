"""A table as Parquet bytes that are the same each time."""

import io

import pyarrow as pa
import pyarrow.parquet as pq


def index_bytes(index: pa.Table) -> bytes:
    """Rows of the index as Parquet."""
    sink = io.BytesIO()
    pq.write_table(index.combine_chunks(), sink, compression="zstd", version="2.6", store_schema=False)
    return sink.getvalue()
