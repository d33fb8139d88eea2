"""Tables about labels are put into a public folder, each in one step."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from data_prep.errors import ShardFormatError
from data_prep.runtime.atomic_write import atomic_file
from data_prep.shard_format.parquet_bytes import index_bytes


def write_tables(public: Path, tables: Mapping[str, pa.Table]) -> None:
    """Write ``tables`` (name of the file → rows) in place of those that are there.

    Raises:
        ShardFormatError: the folder cannot be written.
    """
    try:
        for name, table in tables.items():
            with atomic_file(public / name) as file:
                file.write(index_bytes(table))
    except OSError as error:
        raise ShardFormatError(f"labels cannot be written into {public} ({error.strerror})") from None
