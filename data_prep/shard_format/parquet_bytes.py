"""Parquet files: equal tables give equal bytes, and files of unknown origin are read within bounds.

A few hundred bytes of Parquet can stand for gigabytes: a long text in each of many rows is stored once.
"""

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep.bounded_reading import open_regular

_VALUES_PER_BYTE, _MIN_VALUES = 64, 2**20
"""Values of a column per byte of the file; tables of films and labels have less than 4."""
_EXPANSION, _MIN_EXPANDED = 512, 2**28
"""Bytes of a table per byte of the file; tables of films and labels reach 100."""
_CONTROL = r"[\x00-\x1f\x7f\x{80}-\x{9f}\x{202a}-\x{202e}\x{2028}\x{2029}]"
"""Characters that control a terminal, or the direction of a text."""
_DELETE = 0x7F


def encode_parquet(index: pa.Table) -> bytes:
    """Encode a table as Parquet; equal tables give equal bytes."""
    sink = io.BytesIO()
    pq.write_table(index.combine_chunks(), sink, compression="zstd", version="2.6", store_schema=False)
    return sink.getvalue()


def with_null_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Add the columns of a schema that a table of an earlier release lacks, as null.

    Args:
        table: with columns of the schema.
        schema: of this release.

    Returns:
        The columns of the schema in its order, with the metadata of the table; further columns of the table come last.
    """
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select([*schema.names, *(name for name in table.column_names if name not in schema.names)])


def read_parquet(source: Path | bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table of unknown origin.

    Args:
        source: path of a regular file, or its bytes.
        columns: to read; None reads all.

    Raises:
        OSError: the file cannot be read, or is no regular file.
        ArrowException: it is damaged, stands for too much, or a text holds characters that control a terminal.
    """
    if isinstance(source, bytes):
        return _read(io.BytesIO(source), len(source), columns)
    with open_regular(source) as file:
        return _read(file, os.fstat(file.fileno()).st_size, columns)


def _read(file: BinaryIO, size: int, columns: Sequence[str] | None) -> pa.Table:
    texts = _check_metadata(pq.read_metadata(file), size)
    file.seek(0)
    names = None if columns is None else list(columns)
    table = pq.read_table(file, columns=names, read_dictionary=texts)
    if sum(map(_plain_bytes, table.columns)) > max(_EXPANSION * size, _MIN_EXPANDED):
        raise pa.ArrowInvalid("the texts of the table stand for too much")
    if any(map(_has_control_characters, table.columns)):
        raise pa.ArrowInvalid("a text of the table holds control characters")
    return table.cast(pa.schema([field.with_type(_plain_type(field.type)) for field in table.schema]))


def _check_metadata(metadata: pq.FileMetaData, size: int) -> list[str]:
    """Refuse a file whose pages stand for too much; the paths of its columns of texts."""
    values = [0] * metadata.num_columns
    expanded = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for number in range(metadata.num_columns):
            chunk = group.column(number)
            values[number] += chunk.num_values
            expanded += chunk.total_uncompressed_size
    most = max(_VALUES_PER_BYTE * size, _MIN_VALUES)
    if max([metadata.num_rows, *values]) > most or expanded > max(_EXPANSION * size, _MIN_EXPANDED):
        raise pa.ArrowInvalid("the table stands for too much")
    leaves = map(metadata.schema.column, range(metadata.num_columns))
    return [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]


def _dictionaries(column: pa.ChunkedArray) -> Iterator[pa.DictionaryArray]:
    """The texts of a column, as dictionaries."""
    for chunk in column.chunks:
        values = chunk
        while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            values = values.flatten()
        if pa.types.is_dictionary(values.type):
            yield values


def _plain_bytes(column: pa.ChunkedArray) -> int:
    """Bytes of the texts of a column, each of them counted as often as it occurs."""
    found = (pc.sum(pc.take(pc.binary_length(part.dictionary), part.indices)) for part in _dictionaries(column))
    return sum(total.as_py() or 0 for total in found)


def _has_control_characters(column: pa.ChunkedArray) -> bool:
    return any(
        not _is_printable(part.dictionary)
        for part in _dictionaries(column)
        if len(part.dictionary) and pa.types.is_string(part.dictionary.type)
    )


def _is_printable(texts: pa.StringArray) -> bool:
    letters = np.frombuffer(texts.buffers()[2] or b"", np.uint8)
    if not letters.size or (letters.min() >= ord(" ") and letters.max() < _DELETE):  # nearly always
        return True
    return not pc.any(pc.match_substring_regex(texts, _CONTROL)).as_py()


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """A type with plain texts in place of dictionaries."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain_type(kind.value_type)))
    return kind
