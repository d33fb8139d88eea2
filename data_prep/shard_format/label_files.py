"""Write tables of labels into a public folder, each file atomically."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from data_prep.errors import FolderBusyError, ShardFormatError
from data_prep.runtime.atomic_write import atomic_file, remove_temporary
from data_prep.runtime.folder_lock import locked
from data_prep.shard_format.parquet_bytes import encode_parquet


def write_tables(public: Path, tables: Mapping[str, pa.Table]) -> None:
    """Write tables; existing files are replaced.

    Args:
        public: folder of shards.
        tables: name of the file → rows.

    Raises:
        FolderBusyError: another command writes to the folder.
        ShardFormatError: the folder cannot be written.
    """
    try:
        with locked(public):
            remove_temporary(public, *tables)  # of commands that were killed: labels of films that may be gone
            for name, table in tables.items():
                with atomic_file(public / name) as file:
                    file.write(encode_parquet(table))
    except BlockingIOError:
        raise FolderBusyError(f"another command is writing to {public}. Wait until it has ended") from None
    except OSError as error:
        raise ShardFormatError(
            f"labels cannot be written into {public}: {error.strerror}. Check disk space and permissions,"
            " then run the same command again."
        ) from None
